"""Which kind of file system a folder is on: SQLite's locks and its log hold on a machine's own disks only."""

from __future__ import annotations

import os
from pathlib import Path

# Several machines may write there at once, and what one locks another need not see.
SHARED = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "afs", "pvfs2", "orangefs", "gfs2",
        "ocfs2", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.juicefs",
    }
)  # fmt: skip
_MOUNTS = Path("/proc/self/mountinfo")


def shared_file_system(folder: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of network or cluster file system that a folder is on; empty for others, or where nobody tells.

    Parameters
    ----------
    mounts
        In the format of Linux' ``/proc/self/mountinfo`` (proc(5)).
    """
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    path = os.path.realpath(folder)
    kind, longest = "", -1
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = _unescaped(fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # what is mounted later hides what was there
            kind, longest = after.split(" ")[0], len(point)
    return kind if kind in SHARED else ""


def _unescaped(point: str) -> str:
    for code, sign in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        point = point.replace(code, sign)
    return point
