"""One call of the worker as a value: its command line here, or where this machine's paths are called otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from xpcs_assets.runs.recipe import AnalysisSettings


@dataclass(frozen=True)
class WorkerCall:
    """What the worker is to do. Paths are absolute, and of this machine.

    Attributes
    ----------
    raw, qmap, metadata
        Its inputs.
    output
        The result to make; its report lies beside it.
    settings
        The recipe's settings.
    raw_digests
        sha256 of the raw files, hex, where they are known.
    frames_field
        Path of the number of frames in the metadata file; empty: not there.
    device
        ``auto``, ``cpu`` or ``gpu``.
    memory_bytes
        Bound on the sums; 0: the worker's own, half of what its job may use.
    """

    raw: tuple[str, ...]
    qmap: str
    metadata: str
    output: str
    settings: AnalysisSettings
    raw_digests: tuple[str, ...] = ()
    frames_field: str = ""
    device: str = "auto"
    memory_bytes: int = 0

    def arguments(self, seen: Callable[[str], str] = str) -> tuple[str, ...]:
        """What follows ``xpcs-assets correlate``; ``seen`` says what a path is called where it runs."""
        settings = self.settings.with_files(lambda path: Path(seen(str(path))))
        return (
            *map(seen, self.raw),
            *("--qmap", seen(self.qmap), "--metadata", seen(self.metadata), "--output", seen(self.output)),
            *("--device", self.device, *settings.arguments()),
            *(("--memory", str(self.memory_bytes)) if self.memory_bytes else ()),
            *(("--frames-field", self.frames_field) if self.frames_field else ()),
            *(part for digest in self.raw_digests for part in ("--raw-digest", digest)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Make a call of what :meth:`to_dict` gave."""
        lists = {name: tuple(content[name]) for name in ("raw", "raw_digests")}
        known = {item.name for item in fields(AnalysisSettings)}  # an older version may have asked for it
        settings = AnalysisSettings(**{name: value for name, value in content["settings"].items() if name in known})
        return cls(**{**content, **lists, "settings": settings})
