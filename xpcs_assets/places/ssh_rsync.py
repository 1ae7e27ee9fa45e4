"""Moving many files at once between a folder of this machine and a place over ssh, by rsync.

Files arrive in a folder of their own, where an rsync that was cut off goes on. They are read back there, and only those
with the right sha256 are given their final names, which are never given to other bytes.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from xpcs_assets.commands import SSH_FAILED, Answer, SshCommands, in_a_line, run_here
from xpcs_assets.errors import (
    ConflictingBytesError,
    CopyError,
    NoRoomError,
    NotFoundError,
    NotVerifiedError,
    SourceDiffersError,
    UnreachableError,
)
from xpcs_assets.places.folders import open_below, open_folder
from xpcs_assets.places.place import Presence
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.reading import open_inside, told_as_copy_error
from xpcs_assets.places.ssh import SshPlace
from xpcs_assets.runs.folders import ARRIVING_FOLDER
from xpcs_assets.runs.manifest import FileEntry, check_relative

RSYNC_LIMIT_S = 12 * 3600.0
"""How long one rsync may take; what it has brought till then is not sent again."""
_SILENT_S = 300
_ENDS_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.1
_OPTIONS = (
    "--times",
    "--checksum",  # a file of the same size and time may hold other bytes
    "--partial-dir=.rsync-partial",
    "-s",  # no shell at the far side sees a name
    "--files-from=-",
    "--from0",
    "--stats",
    "--no-human-readable",
    f"--timeout={_SILENT_S}",
)
_UNREACHED = frozenset({5, 10, 12, 30, 35, SSH_FAILED})
_TROUBLE = {
    1: "rsync does not know one of the options: it is too old",
    2: "the two rsyncs are too far apart in age",
    11: "a file could not be read or written",
    23: "some files could not be moved",
    24: "some files went away meanwhile",
    127: "there is no rsync at the far side",
}
_NO_ROOM = ("No space left on device", "Disk quota exceeded")
_MOVED = re.compile(rb"^Literal data: ([0-9]+) bytes", re.MULTILINE)


def push(place: SshPlace, source_folder: Path, entries: Sequence[FileEntry], target_folder: str, limit_s: float) -> int:
    """Copy files of a local folder below a folder of the place; done again after any end, it goes on.

    All of ``entries`` are in ``target_folder`` then, read back at the far side with the right sha256, their names on
    its disk.

    Parameters
    ----------
    entries
        Which; their paths are relative to both folders.
    target_folder
        Relative to the place's root.
    limit_s
        How long rsync may take; what was moved till then is not moved again.

    Returns
    -------
    int
        Bytes that went over the wire, headers apart.

    Raises
    ------
    ConflictingBytesError
        One of the names is taken by other bytes; those before it may have arrived.
    NoRoomError, NotVerifiedError, NotFoundError, CopyError
        The disk there is full; other bytes arrived; a file is missing here; rsync failed, or the place is unavailable.
    """
    arriving = f"{ARRIVING_FOLDER}/{check_relative(target_folder)}"
    facts: dict[str, Any] = {"new_path": target_folder}
    told = [{"path": entry.path, "sha256": entry.sha256, "mtime_ns": entry.mtime_ns} for entry in entries]
    left = place.request("arriving", arriving, entries=told, **facts)["left"]
    if not left:
        return 0
    target = f"{_host(place.commands)}:{place.root}/{arriving}/"
    moved = _rsync(place, [entries[number] for number in left], f"{source_folder}/", target, limit_s)
    place.request("arrived", arriving, entries=[told[number] for number in left], **facts)
    return moved


def pull(
    place: SshPlace,
    source_folder: str,
    entries: Sequence[FileEntry],
    target: PosixPlace,
    target_folder: str,
    limit_s: float,
) -> int:
    """Copy files below a folder of the place to a folder of a place of this machine; the counterpart of :func:`push`.

    All of ``entries`` are there then, read back from the disk here with the digests of the list. A file that is wrong
    lets the others have their names. Parameters, what is returned and what is raised are those of :func:`push`.

    Raises
    ------
    SourceDiffersError
        A file is not any more what the list says of it; nothing of it was kept under its name.
    """
    check_relative(source_folder)
    if reason := place.why_unavailable():
        raise place.unavailable(reason)
    arriving = f"{ARRIVING_FOLDER}/{check_relative(target_folder)}"
    way = _Way(place, source_folder, target, arriving, target_folder)
    left = [entry for entry in entries if not way.is_there(entry)]
    if not left:
        return 0
    with (
        told_as_copy_error(target.root),
        open_folder(target.root, target.calls) as root,
        open_below(root, check_relative(arriving).parts, target.calls, make=True) as folder,
    ):
        _lock(folder, target, arriving)
        source = f"{_host(place.commands)}:{place.root}/{source_folder}/"
        moved = _rsync(place, left, source, f"{target.root}/{arriving}/", limit_s, keep=(folder,))
        wrong = [error for entry in left if (error := way.taken(entry)) is not None]
    if wrong:
        raise wrong[0]
    return moved


def _lock(folder: int, target: PosixPlace, arriving: str) -> None:
    """Have the folder where files arrive to ourselves: an rsync that has outlived its caller has it until it ends."""
    until_s = time.monotonic() + _ENDS_WITHIN_S
    while True:
        try:
            target.calls.lock(folder)
        except BlockingIOError as error:
            if time.monotonic() > until_s:
                raise CopyError(
                    "an rsync that has outlived an earlier attempt still brings these files",
                    where=target.root / arriving,
                    remedy="Repeat when it has ended",
                ) from error
            time.sleep(_LOOK_EVERY_S)
        except OSError:  # this file system has no locks
            return
        else:
            return


@dataclass(frozen=True)
class _Way:
    """Where files come from, arrive and go."""

    place: SshPlace
    source_folder: str
    target: PosixPlace
    arriving: str
    target_folder: str

    def is_there(self, entry: FileEntry) -> bool:
        """Whether the file has its name already; other bytes that have it are refused."""
        arrived, name = f"{self.arriving}/{entry.path}", f"{self.target_folder}/{entry.path}"
        try:
            self._refuse_other(name, entry)
        except NotFoundError:
            return False
        if self.target.stat(arrived).presence is Presence.YES:  # whoever named it died before the old name went
            with suppress(ConflictingBytesError):
                self.target.put_back(arrived, name)
        return True

    def taken(self, entry: FileEntry) -> NotVerifiedError | None:
        """Read back what has arrived, and give it its final name; why it gets none."""
        arrived, name = f"{self.arriving}/{entry.path}", f"{self.target_folder}/{entry.path}"
        calls = self.target.calls
        try:
            with open_inside(self.target.root, arrived, calls) as descriptor:
                calls.set_mtime(descriptor, entry.mtime_ns)
                calls.fsync(descriptor)
        except NotFoundError:
            what = f"{entry.path!r} did not arrive, as no regular file does"
            return NotVerifiedError(what, where=self.place.where, remedy="See what it is there, and repeat")
        found = self.target.digest(arrived, entry.kinds)
        if why := entry.differs(found):
            return self._blamed(entry, why)
        self.target.put_back(arrived, name)
        named = self.target.stat(name).signature
        if named is None or (named.device, named.inode) != (found.signature.device, found.signature.inode):
            # Where there are no locks an rsync that has outlived its caller may have come in between.
            self._refuse_other(name, entry)
        return None

    def _refuse_other(self, name: str, entry: FileEntry) -> None:
        if why := entry.differs(self.target.digest(name, entry.kinds)):
            raise ConflictingBytesError(
                f"the name is taken by other bytes: {why}",
                where=self.target.root / name,
                remedy="Both were kept: look which is right, and move the other away",
            )

    def _blamed(self, entry: FileEntry, why: str) -> NotVerifiedError:
        """Whether the file is another at the source, or was changed on its way."""
        path = str(PurePosixPath(self.source_folder) / entry.path)
        where = f"{self.place.where}/{path}"
        if entry.differs(self.place.digest(path, entry.kinds)):
            return SourceDiffersError(why, where=where, remedy="It is taken anew when it is still")
        return NotVerifiedError(f"it arrived as other bytes: {why}", where=where, remedy="Repeat: it is sent again")


def _rsync(
    place: SshPlace,
    entries: Sequence[FileEntry],
    source: str,
    target: str,
    limit_s: float,
    keep: Sequence[int] = (),
) -> int:
    """Bytes that went over the wire."""
    shell = shlex.join(place.commands.ssh)
    # A name that begins with # or ; would be taken for a comment.
    names = b"".join(b"./" + entry.path.encode("utf-8", "surrogateescape") + b"\0" for entry in entries)
    try:
        answer = run_here(
            ["rsync", *_OPTIONS, "-e", shell, "--", source, target],
            limit_s=limit_s,
            data=names,
            environment={"LC_ALL": "C"},
            keep=keep,
        )
    except UnreachableError as error:
        raise CopyError(error.what, where=target, remedy="Repeat: it goes on where it was") from error
    except NotFoundError as error:
        raise CopyError(error.what, where=error.where, remedy=error.remedy) from error
    if answer.code:
        raise _failure(place, answer, target)
    found = _MOVED.search(answer.out)
    return int(found[1]) if found else 0


def _failure(place: SshPlace, answer: Answer, where: str) -> CopyError:
    told = in_a_line(answer.err)
    if any(word in told for word in _NO_ROOM):
        return NoRoomError(f"the disk or the quota is full: {told}", where=where, remedy="Make room and repeat")
    if answer.code in _UNREACHED:
        return place.unavailable(f"rsync was cut off ({answer.code}): {told}")
    trouble = _TROUBLE.get(answer.code, f"rsync ended with {answer.code}")
    return CopyError(f"{trouble}: {told}", where=where, remedy="Repeat when that is mended: it goes on where it was")


def _host(commands: SshCommands) -> str:
    return f"[{commands.address}]" if ":" in commands.address else commands.address
