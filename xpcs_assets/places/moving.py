"""Moving names between open folders of one file system, never over another file, and so that it can be done again."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from xpcs_assets.errors import ConflictingBytesError, CopyError, NotFoundError, NotVerifiedError
from xpcs_assets.places.folders import open_below
from xpcs_assets.places.reading import exists, hash_file
from xpcs_assets.places.syscalls import Syscalls
from xpcs_assets.runs.manifest import check_relative

_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


def move_file(
    root: int, root_path: Path, old: str, new: str, calls: Syscalls, allow: Callable[[], None] = lambda: None
) -> None:
    """Move a file below an open root; done again after a crash, at whatever call that was, it finishes.

    Parameters
    ----------
    allow
        Called at the last moment before the file gets its new name, or loses the old one: what it raises ends the move.

    Raises
    ------
    NotFoundError
        It is neither here nor there.
    ConflictingBytesError
        Other bytes have the new name; both are kept.
    CopyError
        It is no regular file, or a link stands on the way.
    OSError
        The system refused.
    """
    *above, name = check_relative(old).parts
    *new_above, new_name = check_relative(new).parts
    if _is_file(root, above, name, root_path / old, calls):
        with (
            open_below(root, above, calls) as folder,
            # The old name goes when the new one, and those of all folders above it, are on the disk.
            open_below(root, new_above, calls, make=True, settle=True) as new_folder,
        ):
            allow()
            if not give_name(name, new_name, folder, new_folder, calls):
                _refuse_other_bytes((folder, root_path / old), (new_folder, root_path / new), calls)
                calls.fsync(new_folder)
                allow()  # comparing them took its time
                calls.unlink(name, folder)
            calls.fsync(folder)
    elif not _is_file(root, new_above, new_name, root_path / new, calls):
        raise NotFoundError("no such file", where=root_path / old, remedy="It was moved or removed by another")
    remove_empty_folders(root, above, calls)


def give_name(old: str, new: str, folder: int, new_folder: int, calls: Syscalls) -> bool:
    """Move a name from one open folder to another, never over what is there; False, and nothing done, if it is taken.

    The new name is on the disk before the old one goes; ``folder`` is not synchronised.
    """
    try:
        calls.link(old, new, folder, new_folder)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links has no rename that refuses to overwrite: the run's lease guards this gap.
        if exists(new, calls, new_folder):
            return False
        calls.rename(old, new, folder, new_folder)
        if folder != new_folder:
            calls.fsync(new_folder)
        return True
    if folder != new_folder:
        calls.fsync(new_folder)
    calls.unlink(old, folder)
    return True


def remove_empty_folders(root: int, parts: Sequence[str], calls: Syscalls) -> None:
    """Remove the folder ``parts`` below an open root, and those above it, as far as they are empty."""
    with suppress(OSError, NotVerifiedError):  # not empty: somebody's files stay
        for count in range(len(parts), 0, -1):
            with open_below(root, parts[: count - 1], calls) as folder:
                calls.rmdir(parts[count - 1], folder)


def _is_file(root: int, above: Sequence[str], name: str, path: Path, calls: Syscalls) -> bool:
    with suppress(FileNotFoundError), open_below(root, above, calls) as folder:
        if not stat.S_ISREG(calls.lstat(name, folder).st_mode):
            raise CopyError("it is no regular file", where=path, remedy="Only files are moved")
        return True
    return False


def _refuse_other_bytes(old: tuple[int, Path], new: tuple[int, Path], calls: Syscalls) -> None:
    one, other = (calls.lstat(path.name, folder) for folder, path in (old, new))
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino):
        return  # a crash came between the new name and the end of the old one
    sums = [hash_file(path, calls, (), folder).sha256 for folder, path in (old, new) if stat.S_ISREG(other.st_mode)]
    if len(sums) < 2 or sums[0] != sums[1]:
        raise ConflictingBytesError(
            "the name is taken by other bytes", where=new[1], remedy="Both were kept: look which is right"
        )
