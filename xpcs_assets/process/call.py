"""One call of a beamline's command as a value: what it is told, and where it works, here or where it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from xpcs_assets.runs.command_words import filled

_LISTS = ("command", "target", "outputs")


@dataclass(frozen=True)
class CommandCall:
    """What a command is to do. Paths are absolute.

    Attributes
    ----------
    command
        Its words, whose fields stand for the rest.
    raw, run_key, target, context
        What the fields stand for.
    outputs
        Name patterns of what it must leave.
    environment
        Variables for it.
    folder
        Where it works, and what it made is left: one a run, version and recipe.
    digest
        ``sha256:`` of all that decides what comes out.
    """

    command: tuple[str, ...]
    raw: str
    run_key: str
    target: tuple[str, ...]
    context: str
    outputs: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str
    digest: str

    def words(self, output: Path) -> tuple[str, ...]:
        """The command as it is called, with the folder that it is to write to."""
        known = {"raw": self.raw, "output": str(output), "run_key": self.run_key, "context": self.context}
        return filled(self.command, known, self.target)

    def seen_as(self, seen: Callable[[str], str]) -> Self:
        """The call where this machine's paths have other names."""
        return replace(self, raw=seen(self.raw), folder=seen(self.folder))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Make a call of what :meth:`to_dict` gave."""
        return cls(**{**content, **{name: tuple(content[name]) for name in _LISTS}})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Make a call of the JSON of what :meth:`to_dict` gave.

        Raises
        ------
        ValueError, TypeError, KeyError
            It is none.
        """
        return cls.from_dict(json.loads(text))
