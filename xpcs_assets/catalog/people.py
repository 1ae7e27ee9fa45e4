"""What people say about datasets: comments, tags and good or bad marks. They belong to the ledger and its journal.

No rebuild of the catalog touches them, and they refer to no record: a dataset that is found again has its words again.
Nothing is deleted: a tag taken away and a mark replaced are ended, and stay as they were said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from xpcs_assets.copies.book import value_of
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import LabelRow, NoteRow
from xpcs_assets.errors import RefusedError

TAG = "tag"
MARK = "mark"
MARKS = ("good", "bad")
_LONGEST = 100


@dataclass(frozen=True)
class Note:
    """A person's comment on a dataset."""

    pid: str
    text: str
    written_by: str
    written_at: datetime


@dataclass(frozen=True)
class Label:
    """A tag or mark of a dataset.

    Attributes
    ----------
    pid
        The dataset.
    kind
        ``tag`` or ``mark``.
    word
        The tag; ``good`` or ``bad``.
    set_by, set_at
        Whose word it is.
    """

    pid: str
    kind: str
    word: str
    set_by: str
    set_at: datetime


def add_note(session: Session, pid: str, text: str, by: str, now: datetime) -> None:
    """Write a comment.

    Raises
    ------
    RefusedError
        It is empty.
    """
    if not text.strip():
        raise RefusedError("a comment without text", where=pid)
    row = NoteRow(pid=pid, text=text, written_by=by, written_at=now)
    session.add(row)
    keep(session, row)


def notes(session: Session, pid: str) -> tuple[Note, ...]:
    """The comments on a dataset, the first one first."""
    rows = session.scalars(select(NoteRow).where(NoteRow.pid == pid).order_by(NoteRow.id))
    return tuple(value_of(Note, row) for row in rows)


def add_label(session: Session, pid: str, kind: str, word: str, by: str, now: datetime) -> None:
    """Give a tag or mark that it does not have; a mark ends the one before.

    Raises
    ------
    RefusedError
        The word is empty, too long or no mark.
    """
    word = word.strip()
    if kind == MARK and word not in MARKS:
        raise RefusedError(f"{word!r} is no mark", where=pid, remedy=f"Marks are {' and '.join(MARKS)}")
    if not 0 < len(word) <= _LONGEST or not word.isprintable():
        raise RefusedError(f"{word!r} is no tag", where=pid, remedy=f"A tag is a word of 1 to {_LONGEST} characters")
    standing = _standing(session, pid, kind)
    if any(row.word == word for row in standing):
        return
    if kind == MARK:
        _end(session, standing, by, now)
    row = LabelRow(pid=pid, kind=kind, word=word, set_by=by, set_at=now)
    session.add(row)
    keep(session, row)


def end_label(session: Session, pid: str, kind: str, word: str, by: str, now: datetime) -> bool:
    """Take a tag or mark away; without a word, all of the kind. Whether there was one."""
    ended = [row for row in _standing(session, pid, kind) if word in {"", row.word}]
    _end(session, ended, by, now)
    return bool(ended)


def labels(session: Session, pids: Collection[str]) -> dict[str, list[Label]]:
    """The tags and marks of some datasets that stand, in the order they were given."""
    query = select(LabelRow).where(LabelRow.pid.in_(pids), LabelRow.ended_at.is_(None)).order_by(LabelRow.id)
    found: dict[str, list[Label]] = defaultdict(list)
    for row in session.scalars(query):
        found[row.pid].append(value_of(Label, row))
    return found


def _standing(session: Session, pid: str, kind: str) -> list[LabelRow]:
    query = select(LabelRow).where(LabelRow.pid == pid, LabelRow.kind == kind, LabelRow.ended_at.is_(None))
    return list(session.scalars(query.order_by(LabelRow.id)))


def _end(session: Session, rows: Collection[LabelRow], by: str, now: datetime) -> None:
    for row in rows:
        row.ended_by, row.ended_at = by, now
        keep(session, row)
