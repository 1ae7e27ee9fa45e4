"""The marker in a place's root that says which place this is, so that another disk is never taken for it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, Self

from xpcs_assets.errors import ConflictingBytesError, CopyError, NotFoundError, NotVerifiedError
from xpcs_assets.places.files import write_in
from xpcs_assets.places.folders import open_folder
from xpcs_assets.places.reading import chunks_of, open_regular, told_as_copy_error
from xpcs_assets.places.syscalls import SYSCALLS, Syscalls
from xpcs_assets.runs.folders import MARKER

FORMAT = "xpcs-assets place 1"
UNMARKED = "unmarked"
"""The expected identity of a place that bears no marker, since nothing may be written into its root."""
_DAMAGED = "See whether this is the right disk; if it is, delete the marker and run `xpcs-assets place` with --adopt"


@dataclass(frozen=True)
class Marker:
    """What a marker says.

    Attributes
    ----------
    identity
        32 hex digits, drawn at random when the place was met.
    place
        The name that the place had in the settings then; for people.
    made_at
        When, ISO 8601, by the clock of the machine that made it; for people.
    """

    identity: str
    place: str
    made_at: str

    @classmethod
    def new(cls, place: str, made_at: str) -> Self:
        """A marker with a new identity."""
        return cls(secrets.token_hex(16), place, made_at)

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str | os.PathLike[str]) -> Self:
        """Read it back; NotVerifiedError when it is damaged or of another format."""
        try:
            content = json.loads(text)
            marker = cls(str(content["identity"]), str(content["place"]), str(content["made_at"]))
            sound = content["format"] == FORMAT and len(marker.identity) == 32 and int(marker.identity, 16) >= 0
        except (ValueError, KeyError, TypeError) as error:
            raise NotVerifiedError("the marker is damaged", where=where, remedy=_DAMAGED) from error
        if not sound:
            raise NotVerifiedError("the marker is not one of this format", where=where, remedy=_DAMAGED)
        return marker


class Root(Protocol):
    """The root of a place, of whatever kind, as a meeting sees it."""

    @property
    def where(self) -> str:
        """What people call it: a folder, ``host:folder``, ``s3://bucket/prefix``."""

    def read_marker(self) -> Marker | None:
        """The marker there; None when there is none. CopyError when that cannot be known, or it is damaged."""

    def leave_marker(self, marker: Marker) -> Marker:
        """Put a marker where there is none, and return the one that is there then: another's if that was quicker."""

    def has_any(self, paths: Sequence[str]) -> bool:
        """Whether anything below the root has one of these names; CopyError when that cannot be known."""


@dataclass(frozen=True)
class PosixRoot:
    """The root of a place that is a folder of a mounted file system."""

    folder: Path

    @property
    def where(self) -> str:
        """The folder."""
        return str(self.folder)

    def read_marker(self) -> Marker | None:
        """See :func:`read_marker`."""
        return read_marker(self.folder)

    def leave_marker(self, marker: Marker) -> Marker:
        """See :func:`leave_marker`."""
        return leave_marker(self.folder, marker)

    def has_any(self, paths: Sequence[str]) -> bool:
        """Whether anything has one of these names, a link that leads nowhere included."""
        return any(os.path.lexists(self.folder / path) for path in paths)


def why_unknown(identity: str | None, read: Callable[[], Marker | None]) -> str:
    """Why what is not found in a place may be there all the same; empty when its root is known to be the place's.

    Parameters
    ----------
    identity
        What is expected: an identity, :data:`UNMARKED`, or None for a root that is taken at its word.
    read
        Reads the marker that the root bears; not called where none is expected.
    """
    if identity is None:
        return ""
    if identity == UNMARKED:
        return f"its root bears no marker {MARKER}, so that another disk there would not be noticed"
    try:
        marker = read()
    except CopyError as error:
        return f"its marker {MARKER} cannot be read: {error.what}"
    if marker is None:
        return f"no marker {MARKER} is there, and that of {identity} should be: its disk is not mounted"
    if marker.identity != identity:
        return f"the marker {MARKER} is that of {marker.identity} ({marker.place}), and not of {identity}"
    return ""


def marker_in(folder: int, root: Path, calls: Syscalls = SYSCALLS) -> Marker | None:
    """The marker in a place's open root; None when there is none.

    Raises
    ------
    CopyError
        It cannot be read, or is damaged.
    """
    try:
        with open_regular(root / MARKER, calls, folder) as descriptor:
            return Marker.from_json(b"".join(chunks_of(descriptor, calls)), root / MARKER)
    except NotFoundError:
        return None


def read_marker(root: Path, calls: Syscalls = SYSCALLS) -> Marker | None:
    """The marker in a folder; None when the folder has none; CopyError when that cannot be known."""
    with _opened(root, calls) as folder:
        return marker_in(folder, root, calls)


def leave_marker(root: Path, marker: Marker, calls: Syscalls = SYSCALLS) -> Marker:
    """Put a marker into a folder that has none, and return the one that is there then: another's if that was quicker.

    Raises
    ------
    CopyError
        The folder is not there or cannot be written, or holds a marker that cannot be read.
    """
    with _opened(root, calls) as folder:
        found = marker_in(folder, root, calls)
        if found is not None:
            return found
        try:
            write_in(folder, root / MARKER, [marker.to_json().encode()], calls=calls)
        except ConflictingBytesError:  # another process came between look and write
            return leave_marker(root, marker, calls)
        return marker


@contextmanager
def _opened(root: Path, calls: Syscalls) -> Iterator[int]:
    try:
        with told_as_copy_error(root), open_folder(root, calls) as folder:
            yield folder
    except NotFoundError as error:
        raise CopyError("the place's root is not there", where=root, remedy="Mount its disk") from error
