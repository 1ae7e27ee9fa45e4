"""The files of a run: what they are called, how long they are, what their bytes hash to.

A manifest lies beside the data as JSON with a digest of its own. Two runs of the same bytes under the same
names have the same digest whatever their times, so that a copied or touched file is no new version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from xpcs_assets.errors import NotVerifiedError

FORMAT = "xpcs-assets manifest 1"
FILE_NAME = "manifest.json"


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
    """

    path: str
    size_bytes: int
    sha256: str
    mtime_ns: int = 0

    def __post_init__(self) -> None:
        check_relative(self.path)


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
        """``sha256:`` and the hash of names, sizes and hashes; times do not count."""
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
            "files": [
                {"path": e.path, "size_bytes": e.size_bytes, "sha256": e.sha256, "mtime_ns": e.mtime_ns}
                for e in self.files
            ],
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
            manifest = cls.of(
                content["run_key"],
                [FileEntry(f["path"], f["size_bytes"], f["sha256"], f["mtime_ns"]) for f in content["files"]],
            )
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


def resolve_under(root: Path, relative: str) -> Path:
    """``root / relative``, refused when it would leave ``root`` (by ``..`` or a symbolic link on the way)."""
    check_relative(relative)
    target = root / relative
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise NotVerifiedError("the path leaves its root through a link", where=target, remedy="Refuse what named it")
    return target
