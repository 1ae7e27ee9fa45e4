"""One message of many things: counts first, then the first of them, then how many more there are and where to look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xpcs_assets.alerts.word import Word, short

LINES = 20
"""So many things are named, of those that began and of those that are over."""
_ORDER = (
    "unavailable",
    "quota",
    "silent",
    "backend",
    "catalog",
    "failed",
    "late",
    "parked",
    "approval",
    "prune",
    "campaign",
)
_COUNTED = {
    "failed": "failed", "late": "late", "silent": "silent", "quota": "nearly full", "unavailable": "unavailable",
    "prune": "to be pruned soon", "catalog": "catalog silent", "backend": "back end silent",
    "parked": "message parked", "campaign": "campaign over", "approval": "removals wait for a word",
}  # fmt: skip


@dataclass(frozen=True)
class Message:
    """A message to people.

    Attributes
    ----------
    subject
        In a line.
    text
        All of it, plain, without the subject.
    content
        The same in its parts, for a program.
    """

    subject: str
    text: str
    content: Mapping[str, Any] = field(default_factory=dict)


def digest_of(beamline: str, title: str, began: Sequence[Word], over: Sequence[Word]) -> Message:
    """Tell what began and what is over at a beamline.

    Parameters
    ----------
    title
        What people call the beamline or its site; may be empty.
    """
    began, over = _sorted(began), _sorted(over)
    counts = [*([_counts(began)] if began else []), *([f"over: {_counts(over)}"] if over else [])]
    subject = short(f"[{beamline}] {'; '.join(counts)}")
    lines = [short(f"{title} ({beamline})" if title else beamline), *map(str, counts), ""]
    lines += _listed(began, "and {} more", remedies=True)
    lines += ["Over:", *_listed(over, "and {} more are over", remedies=False)] if over else []
    lines.append(f"All that is wrong now: `xpcs-assets alerts {beamline}`")
    content = {
        "beamline": beamline, "subject": subject, "began": [one.to_dict() for one in began[:LINES]],
        "over": [one.to_dict() for one in over[:LINES]], "counts": {"began": len(began), "over": len(over)},
    }  # fmt: skip
    return Message(subject, "\n".join(lines), content)


def _sorted(words: Sequence[Word]) -> list[Word]:
    """The rarest and gravest first: one disk that is full may be why five hundred runs fail."""
    return sorted(words, key=lambda one: (_ORDER.index(one.kind), one.since, one.subject))


def _counts(words: Sequence[Word]) -> str:
    counts = Counter(one.kind for one in words)
    return ", ".join(f"{number} {_COUNTED[kind]}" for kind, number in counts.items())


def _listed(words: Sequence[Word], more: str, *, remedies: bool) -> list[str]:
    lines = []
    for one in words[:LINES]:
        lines.append(f"- {one.kind} {one.subject}: {one.text} (since {one.since:%Y-%m-%d %H:%M} UTC)")
        if remedies:
            lines.append(f"  {one.remedy}")
    return [*lines, *([more.format(len(words) - LINES)] if len(words) > LINES else []), ""]
