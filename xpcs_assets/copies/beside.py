"""The note beside a version's manifest: what the ledger knows of the version, its copies, results and bundles.

``<version folder>/copy.json`` holds what manifest, reports and archive indexes lack to make the ledger's rows again:
source and owner, times, places, evidence, which key a result is shown under. It is written anew, whole or not at all,
whenever a step has told the ledger something of the version. It is a memory like the ledger: a deletion rests on
neither.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from xpcs_assets.copies.database import Base, reading
from xpcs_assets.copies.keeping import plain
from xpcs_assets.copies.tables import BundleRow, BundleRunRow, CopyRow, ResultRow, VersionRow
from xpcs_assets.errors import NotVerifiedError
from xpcs_assets.places.files import write_file_safely
from xpcs_assets.places.reading import told_as_copy_error
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.runs.folders import VersionFolder

FORMAT = "xpcs-assets note 1"
FILE_NAME = "copy.json"
_DAMAGED = "What the manifest and the journal tell still counts; a step that is done again writes the note anew"


@dataclass(frozen=True)
class Note:
    """What a note says, in the columns of the ledger's tables; times in microseconds since 1970.

    Attributes
    ----------
    version
        The version, without its manifest.
    copies, results
        Its copies; its results without their reports, but where the report is not the one beside the result.
    bundles
        The bundles that hold files of it, each with ``runs``.
    """

    version: Mapping[str, Any]
    copies: tuple[Mapping[str, Any], ...]
    results: tuple[Mapping[str, Any], ...]
    bundles: tuple[Mapping[str, Any], ...]

    def to_json(self) -> str:
        """The text to store, with a digest of its own."""
        content = {
            "format": FORMAT,
            "version": self.version,
            "copies": self.copies,
            "results": self.results,
            "bundles": self.bundles,
        }
        return json.dumps(content | {"digest": _digest(content)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str) -> Note:
        """Read a note back.

        Raises
        ------
        NotVerifiedError
            It is damaged or of another format.
        """
        try:
            content = json.loads(text)
            digest = content.pop("digest")
            if content["format"] != FORMAT or digest != _digest(content):
                raise NotVerifiedError("the note does not match its own digest", where=where, remedy=_DAMAGED)
            listed = (tuple(content[name]) for name in ("copies", "results", "bundles"))
            return cls(content["version"], *listed)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NotVerifiedError(f"the note cannot be read ({error!r})", where=where, remedy=_DAMAGED) from error


def write_note(engine: Engine, target: VersionFolder, calls: Syscalls = SYSCALLS) -> None:
    """Write down beside a version's manifest what the ledger says of it now.

    Raises
    ------
    NotFoundError, CopyError, NoRoomError
        The version's folder is not there, or cannot be written; the note before stands.
    """
    with _alone(target.path):  # what is written last is what was asked last
        with reading(engine) as session:
            note = _note(session, target)
        write_file_safely(target.path / FILE_NAME, [note.to_json().encode()], replace=True, calls=calls)


def _note(session: Session, target: VersionFolder) -> Note:
    of = {"beamline": target.beamline, "run_key": target.run_key, "version": target.version}
    (version,) = session.scalars(select(VersionRow).filter_by(**of))
    copies = session.scalars(select(CopyRow).filter_by(**of).order_by(CopyRow.id))
    results = session.scalars(select(ResultRow).filter_by(**of).order_by(ResultRow.id))
    runs = select(BundleRunRow.place, BundleRunRow.bundle).filter_by(**of)
    bundles = [session.get_one(BundleRow, tuple(key)) for key in session.execute(runs.order_by(BundleRunRow.bundle))]
    return Note(
        version=_without(version, "manifest"),
        copies=tuple(_without(row, "id") for row in copies),
        results=tuple(_result(row, target.root) for row in results),
        bundles=tuple(plain(row) | {"runs": _runs(session, row)} for row in bundles),
    )


def _runs(session: Session, bundle: BundleRow) -> list[dict[str, Any]]:
    found = session.scalars(select(BundleRunRow).filter_by(place=bundle.place, bundle=bundle.name))
    return [_without(row, "place", "bundle", "beamline") for row in found]


def _result(row: ResultRow, root: Path) -> dict[str, Any]:
    told = _without(row, "id")
    return _without(row, "id", "report") if report_beside(root / row.path) == row.report else told


def report_beside(path: Path) -> Mapping[str, Any] | None:
    """The report that lies beside a result file; None when there is none that can be read."""
    try:
        content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _without(row: Base, *names: str) -> dict[str, Any]:
    return {name: value for name, value in plain(row).items() if name not in names}


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, separators=(",", ":"), sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with told_as_copy_error(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with told_as_copy_error(folder):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
