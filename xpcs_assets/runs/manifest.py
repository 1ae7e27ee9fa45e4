"""The files of a run: what they are called, how long they are, what their bytes hash to.

A manifest lies beside the data as JSON with a digest of its own. Two runs of the same bytes under the same
names have the same digest whatever their times, so that a copied or touched file is no new version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Protocol, Self

from xpcs_assets.errors import NotVerifiedError

FORMAT = "xpcs-assets manifest 1"
FILE_NAME = "manifest.json"


class ReadNow(Protocol):
    """What a read of a file gave, such as ``places.reading.Hashed``."""

    @property
    def size_bytes(self) -> int:
        """Its length."""

    @property
    def sha256(self) -> str:
        """64 hex digits."""

    @property
    def also(self) -> Mapping[str, str]:
        """Other digests by their kind."""


@dataclass(frozen=True, order=True)
class FileEntry:
    """One file of a run.

    Attributes
    ----------
    path
        Relative to the run's folder, ``/`` between parts, no ``..``, not absolute.
    size_bytes
        Length.
    sha256
        Of its bytes, 64 hex digits.
    mtime_ns
        Time of last change at the source, ns since 1970; kept, never compared for safety.
    also
        Kind and hex digits of each digest beside sha256, sorted; from the same read.
    """

    path: str
    size_bytes: int
    sha256: str
    mtime_ns: int = 0
    also: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_relative(self.path)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of digest to make beside sha256 when the file is to be verified."""
        return tuple(kind for kind, _ in self.also)

    def differs(self, found: ReadNow) -> str:
        """How a file that was read is not this one; empty only when size and every recorded digest agree.

        A digest of a kind that was not made, because it is not known here, is a difference: nothing was verified by it.
        """
        other = "it holds other bytes than the manifest says"
        if found.size_bytes != self.size_bytes:
            return f"{other}: {found.size_bytes} bytes, not {self.size_bytes}"
        if found.sha256 != self.sha256:
            return other
        for kind, value in self.also:
            if kind not in found.also:
                return f"it is not verified: no digest {kind} was made"
            if found.also[kind] != value:
                return f"{other}: {kind} {found.also[kind]}, not {value}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """The entry as it stands in a manifest."""
        content = {"path": self.path, "size_bytes": self.size_bytes, "sha256": self.sha256, "mtime_ns": self.mtime_ns}
        return content | ({"also": dict(self.also)} if self.also else {})

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read it back; KeyError, TypeError or ValueError when it is damaged."""
        entry = cls(content["path"], content["size_bytes"], content["sha256"], content["mtime_ns"])
        also = {str(kind): str(value) for kind, value in dict(content.get("also", {})).items()}
        return replace(entry, also=tuple(sorted(also.items())))


@dataclass(frozen=True)
class Manifest:
    """The files of one version of a run, sorted by path."""

    run_key: str
    files: tuple[FileEntry, ...]

    @classmethod
    def of(cls, run_key: str, files: Iterable[FileEntry]) -> Self:
        """Make a manifest of ``files`` in any order."""
        return cls(run_key, tuple(sorted(files)))

    @property
    def digest(self) -> str:
        """``sha256:`` and the hash of names, sizes and sha256; times and other digests do not count."""
        lines = [[entry.path, entry.size_bytes, entry.sha256] for entry in self.files]
        text = json.dumps([FORMAT, self.run_key, lines], separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size_bytes for entry in self.files)

    def to_json(self) -> str:
        """The text to store beside the data."""
        content = {
            "format": FORMAT,
            "run_key": self.run_key,
            "digest": self.digest,
            "files": [entry.to_json() for entry in self.files],
        }
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str = "") -> Self:
        """Read a stored manifest back.

        Raises
        ------
        NotVerifiedError
            The text is damaged, of another format, or does not match its own digest.
        """
        try:
            content = json.loads(text)
            manifest = cls.of(content["run_key"], [FileEntry.from_json(entry) for entry in content["files"]])
            sound = content["format"] == FORMAT and content["digest"] == manifest.digest
        except (ValueError, KeyError, TypeError) as error:
            raise NotVerifiedError(f"the manifest cannot be read ({error!r})", where=where, remedy=_REBUILD) from error
        if not sound:
            raise NotVerifiedError("the manifest does not match its own digest", where=where, remedy=_REBUILD)
        return manifest


_REBUILD = "Do not delete anything of this run; take the manifest from another copy that agrees with its files"


def check_relative(path: str) -> PurePosixPath:
    """Return ``path`` as a relative path that stays below its root.

    Raises
    ------
    NotVerifiedError
        It is absolute, empty, holds ``..`` or a NUL.
    """
    pure = PurePosixPath(path)
    if not path or "\0" in path or pure.is_absolute() or ".." in pure.parts or str(pure) != path:
        raise NotVerifiedError(f"{path!r} is no path inside a run's folder", remedy="Refuse what named it")
    return pure
