"""What was told to whom and when, in the ledger's timeline under a key that no run can have.

A digest is one line, written before it is sent; how sending it went is another. So a process that is killed between
the two sends it again: each channel is told at least once, and twice only then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from xpcs_assets.alerts.word import Word
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.lately import Line, lines_after

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
REMEMBERED = 20
"""Digests that are shown to a person who asks."""
_KEY = "_alerts"
_STEP = "alerts"


@dataclass(frozen=True)
class Digest:
    """What began and what was over when people were told.

    Attributes
    ----------
    number
        Digests count from 1.
    at
        When it was written down.
    began, over
        What is told in it.
    to
        The channels that are to get it.
    """

    number: int
    at: datetime
    began: tuple[Word, ...]
    over: tuple[Word, ...]
    to: tuple[str, ...]


@dataclass(frozen=True)
class Told:
    """How a channel took what was sent to it.

    Attributes
    ----------
    at
        When.
    digests
        By their numbers.
    why
        Why it did not take them; empty when it did.
    odd
        What is odd though it took them, such as an address that was refused.
    """

    at: datetime
    digests: tuple[int, ...]
    why: str = ""
    odd: str = ""


@dataclass
class Book:
    """What is known of a beamline's digests; :meth:`read` brings it up to date.

    Attributes
    ----------
    standing
        What people were told of and is not over, by its key.
    last
        The newest digest; None before the first.
    seen
        The newest line of all timelines that was looked at for it.
    digests
        The newest ones, and those that a channel did not get yet.
    waiting
        The digests that each channel did not get, the oldest first.
    told
        How each channel took the last one, and how often it failed since it took one.
    """

    beamline: OpenBeamline
    standing: dict[str, Word] = field(default_factory=dict)
    last: Digest | None = None
    seen: int = 0
    digests: dict[int, Digest] = field(default_factory=dict)
    waiting: dict[str, list[int]] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    _number: int = 0
    _newest: deque[int] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    def read(self) -> None:
        """Follow the lines that were written since."""
        beamline = self.beamline
        for line in lines_after(beamline.engine, beamline.name, _KEY, self._number):
            self._follow(line)
            self._number = line.number

    def news(self, words: Iterable[Word]) -> tuple[list[Word], list[Word]]:
        """What of all that is so now was not told, and what was told and is over."""
        now = {one.key: one for one in words}
        began = [one for key, one in now.items() if key not in self.standing]
        return began, [one for key, one in self.standing.items() if key not in now]

    def write_digest(self, began: Sequence[Word], over: Sequence[Word], to: Sequence[str], seen: int) -> None:
        """Write down what is to be told."""
        number = (self.last.number if self.last else 0) + 1
        content = {
            "digest": number, "began": [one.to_dict() for one in began], "over": [one.key for one in over],
            "to": list(to), "seen": seen,
        }  # fmt: skip
        self._note(f"{len(began)} began, {len(over)} over", content)

    def write_sent(self, taken: Mapping[str, Told]) -> None:
        """Write down how channels took what was sent to them."""
        content = {
            name: {"digests": list(told.digests), "why": told.why, "odd": told.odd} for name, told in taken.items()
        }
        silent = [name for name, told in taken.items() if told.why]
        self._note(f"not taken by {', '.join(silent)}" if silent else "told", {"sent": content})

    def due(self, channel: str) -> list[Digest]:
        """The digests to be sent to a channel now; none while it is left alone after it has failed."""
        failures, told = self.failures.get(channel, 0), self.told.get(channel)
        if failures and told is not None:
            pause = min(FIRST_PAUSE * 2 ** min(failures - 1, 20), LONGEST_PAUSE)
            if told.at <= self.beamline.ledger.clock() < told.at + pause:
                return []
        return [self.digests[number] for number in self.waiting.get(channel, [])]

    def _note(self, what: str, content: Mapping[str, object]) -> None:
        self.beamline.ledger.note(self.beamline.name, _KEY, _STEP, what, content)
        self.read()

    def _follow(self, line: Line) -> None:
        if "digest" in line.detail:
            self._begin(line)
        for name, sent in line.detail.get("sent", {}).items():
            told = Told(line.at, tuple(sent["digests"]), sent["why"], sent["odd"])
            self.told[name] = told
            self.failures[name] = self.failures.get(name, 0) + 1 if told.why else 0
            if not told.why:
                self.waiting[name] = [each for each in self.waiting.get(name, []) if each not in told.digests]
        wanted = {*self._newest, *(number for numbers in self.waiting.values() for number in numbers)}
        self.digests = {number: digest for number, digest in self.digests.items() if number in wanted}

    def _begin(self, line: Line) -> None:
        content = line.detail
        began = tuple(map(Word.from_dict, content["began"]))
        over = tuple(self.standing.pop(key) for key in content["over"] if key in self.standing)
        self.standing |= {one.key: one for one in began}
        self.last = Digest(content["digest"], line.at, began, over, tuple(content["to"]))
        self.seen = content["seen"]
        self._newest.append(self.last.number)
        self.digests[self.last.number] = self.last
        for name in self.last.to:
            self.waiting.setdefault(name, []).append(self.last.number)


def merged(digests: Iterable[Digest]) -> tuple[list[Word], list[Word]]:
    """What began and what is over in several digests; what did both is over. News have no end that is told."""
    began: dict[str, Word] = {}
    over: dict[str, Word] = {}
    for digest in digests:
        for one in digest.over:
            began.pop(one.key, None)
            if not one.is_news:
                over[one.key] = one
        for one in digest.began:
            over.pop(one.key, None)
            began[one.key] = one
    return list(began.values()), list(over.values())
