"""Moving many files at once between a folder of this machine and a place over ssh, by rsync.

Files arrive in a folder of their own, where an rsync that was cut off goes on. They are read back there, and only those
with the right sha256 are given their final names, which are never given to other bytes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpcs_assets.commands import SSH_FAILED, Answer, SshCommands, in_a_line, run_here
from xpcs_assets.errors import (
    ConflictingBytesError,
    CopyError,
    NoRoomError,
    NotFoundError,
    NotVerifiedError,
    UnreachableError,
)
from xpcs_assets.places.folders import open_below, open_folder
from xpcs_assets.places.moving import move_file
from xpcs_assets.places.reading import hash_file, open_regular, told_as_copy_error
from xpcs_assets.places.ssh import SshPlace
from xpcs_assets.places.syscalls import SYSCALLS
from xpcs_assets.runs.folders import ARRIVING_FOLDER
from xpcs_assets.runs.manifest import FileEntry, check_relative

_SILENT_S = 300
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


def pull(place: SshPlace, source_folder: str, entries: Sequence[FileEntry], target_folder: Path, limit_s: float) -> int:
    """Copy files below a folder of the place to a local folder, which may be new; the counterpart of :func:`push`.

    All of ``entries`` are there then, read back from the disk here with the right sha256. Parameters, what is returned
    and what is raised are those of :func:`push`.
    """
    check_relative(source_folder)
    if reason := place.why_unavailable():
        raise place.unavailable(reason)
    with told_as_copy_error(target_folder), open_folder(target_folder, SYSCALLS, make=True) as root:
        left = [entry for entry in entries if not _is_there(root, target_folder, entry)]
        if not left:
            return 0
        with open_below(root, [ARRIVING_FOLDER], SYSCALLS, make=True):
            source = f"{_host(place.commands)}:{place.root}/{source_folder}/"
            moved = _rsync(place, left, source, f"{target_folder}/{ARRIVING_FOLDER}/", limit_s)
        for entry in left:
            _take(root, target_folder, entry)
    return moved


def _is_there(root: int, folder: Path, entry: FileEntry) -> bool:
    """Whether the file has its name already; other bytes that have it are refused."""
    *above, _ = check_relative(entry.path).parts
    try:
        with open_below(root, above, SYSCALLS) as inner, told_as_copy_error(folder / entry.path):
            found = hash_file(folder / entry.path, SYSCALLS, (), inner)
    except (FileNotFoundError, NotFoundError):
        return False
    if found.sha256 != entry.sha256:
        raise ConflictingBytesError(
            "the name is taken by other bytes",
            where=folder / entry.path,
            remedy="Both were kept: look which is right, and move the other away",
        )
    return True


def _take(root: int, folder: Path, entry: FileEntry) -> None:
    """Read back what has arrived, and give it its final name."""
    arrived = f"{ARRIVING_FOLDER}/{entry.path}"
    above = check_relative(arrived).parts[:-1]
    with open_below(root, above, SYSCALLS) as inner:
        with open_regular(folder / arrived, SYSCALLS, inner) as descriptor:
            SYSCALLS.set_mtime(descriptor, entry.mtime_ns)
            SYSCALLS.fsync(descriptor)
        found = hash_file(folder / arrived, SYSCALLS, (), inner)
    if entry.differs(found):
        raise NotVerifiedError(entry.differs(found), where=folder / entry.path, remedy="Repeat: it is sent again")
    move_file(root, folder, arrived, entry.path, SYSCALLS)


def _rsync(place: SshPlace, entries: Sequence[FileEntry], source: str, target: str, limit_s: float) -> int:
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
