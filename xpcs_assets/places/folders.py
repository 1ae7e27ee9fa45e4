"""Reaching a folder by descriptors, one name after the other, so that no link can lead elsewhere on the way.

A path that was checked and is then used by its name can be swapped in between. Here each folder is opened in the one
above it and links are refused; what is done to a file is done to its name in the open folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from xpcs_assets.errors import NotVerifiedError
from xpcs_assets.places.syscalls import Syscalls

_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_TRIES = 5


@contextmanager
def open_folder(path: Path, calls: Syscalls, *, make: bool = False) -> Iterator[int]:
    """Open a folder that is trusted with the links on its way, such as a place's root; ``make`` what is missing."""
    with ExitStack() as stack:
        yield _open(path, calls, stack, make=make)


@contextmanager
def open_below(
    root: int, parts: Sequence[str], calls: Syscalls, *, make: bool = False, settle: bool = False
) -> Iterator[int]:
    """Open the folder ``parts`` below an open one, following no link; ``make`` what is missing.

    With ``settle`` its name and those above it are on the disk then, also where another process made one and died.

    Raises
    ------
    NotVerifiedError
        One of the names is a symbolic link.
    OSError
        One is missing, no folder, or cannot be opened.
    """
    with ExitStack() as stack:
        folder = root
        for part in parts:
            folder = _enter(part, folder, calls, stack, make=make, settle=settle)
        yield folder


def _open(path: Path, calls: Syscalls, stack: ExitStack, *, make: bool) -> int:
    try:
        descriptor = calls.open(path, _FOLDER)
    except FileNotFoundError:
        if not make:
            raise
        return _enter(path.name, _open(path.parent, calls, stack, make=True), calls, stack, make=True)
    stack.callback(calls.close, descriptor)
    return descriptor


def _enter(name: str, above: int, calls: Syscalls, stack: ExitStack, *, make: bool, settle: bool = False) -> int:
    try:
        descriptor = _open_name(name, above, calls)
        if settle:
            calls.fsync(above)
    except FileNotFoundError:
        if not make:
            raise
        descriptor = _make(name, above, calls)
    stack.callback(calls.close, descriptor)
    return descriptor


def _make(name: str, above: int, calls: Syscalls) -> int:
    """Make a folder and open it; made again when another takes it away meanwhile, empty as it is."""
    tried = 0
    while True:
        with suppress(FileExistsError):
            calls.mkdir(name, above)
        calls.fsync(above)  # the folder's name is on the disk before anything is put into it
        try:
            return _open_name(name, above, calls)
        except FileNotFoundError:
            tried += 1
            if tried == _TRIES:
                raise


def _open_name(name: str, above: int, calls: Syscalls) -> int:
    try:
        return calls.open(name, _FOLDER | os.O_NOFOLLOW, 0, above)
    except NotADirectoryError:
        if stat.S_ISLNK(calls.lstat(name, above).st_mode):
            raise NotVerifiedError(
                "the path leaves its root through a link", where=name, remedy="Refuse what named it"
            ) from None
        raise
