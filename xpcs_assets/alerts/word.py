"""A thing that people are told of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from xpcs_assets.plain import plain

LONGEST = 300
"""Characters of a word's text and subject."""


@dataclass(frozen=True)
class Word:
    """Something that is wrong, or that is to come.

    Attributes
    ----------
    kind
        One of ``settings_alerts.Kind``.
    subject
        The run, place or whatever it happened to.
    text
        What it is, in a line without control characters.
    since
        When it began.
    remedy
        What a person should do now.
    is_news
        Nothing is wrong: it is told once, and its end is not told.
    """

    kind: str
    subject: str
    text: str
    since: datetime
    remedy: str
    is_news: bool = False

    @property
    def key(self) -> str:
        """What tells it from others; the same trouble with other words is the same."""
        return f"{self.kind}:{self.subject}" + (f":{self.since.isoformat()}" if self.is_news else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        since = self.since.isoformat()
        return {
            "kind": self.kind, "subject": self.subject, "text": self.text, "since": since, "remedy": self.remedy,
            "is_news": self.is_news,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Word:
        """As :meth:`to_dict` made it."""
        return cls(**{**content, "since": datetime.fromisoformat(content["since"])})


def word(kind: str, subject: str, text: str, since: datetime, remedy: str, *, is_news: bool = False) -> Word:
    """A word of what may hold file names and messages of any length."""
    return Word(kind, short(subject), short(text), since, remedy, is_news)


def short(text: str) -> str:
    """A text in one line that is not too long."""
    line = plain(" ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
