"""What every storage back end can do, and the values it answers with. Paths are relative to the place's root."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from xpcs_assets.places.files import ONLY_SHA256, Written
from xpcs_assets.places.reading import Hashed, Signature


class Presence(StrEnum):
    """Whether something is there. Unknown never counts as a copy, and never as absence."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Stat:
    """What a place says of a path without reading it.

    Attributes
    ----------
    presence
        Whether a regular file is there.
    signature
        What it is, when it is there.
    reason
        Why not, or why nothing can be said.
    is_under_way
        Nothing can be said yet: it is being asked, and the next look may tell.
    """

    presence: Presence
    signature: Signature | None = None
    reason: str = ""
    is_under_way: bool = False


@dataclass(frozen=True)
class Listing:
    """What lies below a folder.

    Attributes
    ----------
    presence
        Whether the folder is there; on unknown the rest says nothing.
    files
        Regular files, sorted, relative to the place's root.
    others
        Links, devices and partials, likewise.
    reason
        Why nothing can be said.
    """

    presence: Presence
    files: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Usage:
    """How full the disk of a place is, bytes. ``used_bytes`` and ``free_bytes`` are what this user sees."""

    used_bytes: int
    free_bytes: int

    @property
    def share(self) -> float:
        """The part in use, 0 to 1."""
        return self.used_bytes / (self.used_bytes + self.free_bytes)


class RemovalPermit(Protocol):
    """What a place asks before it removes or sets aside anything; ``prune.proof.RemovalProof`` is one."""

    def allow(self, place: str, path: str) -> None:
        """Return if this file may go now; raise RemovalRefusedError if not."""


class Place(Protocol):
    """A place where bytes live."""

    @property
    def name(self) -> str:
        """Its name in the site's settings."""

    @property
    def failure_domain(self) -> str:
        """What is lost together with it; asked now. CopyError when that cannot be known."""

    @property
    def holds_bundles(self) -> bool:
        """Whether a copy here is bundles (an archive) and not the run's files."""

    @property
    def seeks(self) -> bool:
        """Whether reading from an offset on costs nothing for what lies before it, as it does on a tape."""

    def why_unavailable(self) -> str:
        """Why nothing can be done here now (not mounted, another disk in its stead); empty when it can."""

    def stat(self, path: str) -> Stat:
        """Whether a file is there, and what it is."""

    def digest(self, path: str, also: Iterable[str] = ()) -> Hashed:
        """Read a file now: sha256, the digests in ``also``, and what it was; see ``places.reading.hash_file``.

        NotFoundError or CopyError when it cannot be read, SettingsError when a digest cannot be made here.
        """

    def read(self, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
        """The bytes of a file from an offset on."""

    def put(
        self,
        path: str,
        chunks: Iterable[bytes],
        *,
        sha256: str = "",
        also: Mapping[str, str] = ONLY_SHA256,
        mtime_ns: int | None = None,
    ) -> Written:
        """Write a file that never overwrites other bytes; see ``places.files.write_file_safely``."""

    def settle(self, paths: Iterable[str]) -> None:
        """Have the names of all folders above files on the disk, before anybody is told that the files are here."""

    def remove(self, path: str, permit: RemovalPermit) -> bool:
        """Remove a file that the permit allows to go; False when it was not there."""

    def set_aside(self, path: str, label: str, permit: RemovalPermit) -> str:
        """Move a file to ``<ASIDE_FOLDER>/<label>/<path>`` of the same place, never over another; that path.

        Done again after a crash it finishes. NotFoundError when the file is neither here nor there.
        """

    def put_back(self, aside_path: str, path: str) -> None:
        """Move a file that was set aside to its name again; ConflictingBytesError when other bytes have it."""

    def sweep(self, folder: str = "") -> int:
        """Remove the partials below a folder whose writers are dead; how many those were."""

    def usage(self) -> Usage | None:
        """How full its disk is; None when that cannot be known."""

    def list(self, folder: str = "") -> Listing:
        """What lies below a folder; the marker and what was set aside are not listed with the rest."""
