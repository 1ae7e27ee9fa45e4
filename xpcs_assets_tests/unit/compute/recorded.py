"""A machine whose programs give recorded answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from xpcs_assets.commands import Answer

_BEFORE = 4  # timeout, and what it is told


def out(text: str, code: int = 0, err: str = "") -> Answer:
    """What a program wrote, and how it ended."""
    return Answer(code, text.encode(), err.encode())


@dataclass
class Recorded:
    """Programs by their names, and what each answers, whatever it is asked.

    Attributes
    ----------
    answers
        An error is raised.
    asked
        The words of each call, without those that hold its time limit.
    """

    answers: Mapping[str, Answer | Exception]
    asked: list[list[str]] = field(default_factory=list)
    where: str = "far"

    def run(self, words: Sequence[str], *, limit_s: float, data: bytes = b"") -> Answer:
        self.asked.append(list(words[_BEFORE:]))
        answer = self.answers[PurePosixPath(words[_BEFORE]).name]
        if isinstance(answer, Exception):
            raise answer
        return answer
