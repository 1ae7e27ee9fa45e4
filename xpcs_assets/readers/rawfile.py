"""Reading raw files as bytes, so that each way a file can fail becomes a :class:`RawDataError` with an offset.

Plain reads, no memory map: a file that shrinks under a map ends the process.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Self

from xpcs_assets.errors import RawDataError

WAIT = "Wait until the detector has closed it, or copy the file anew from the detector"
"""What to do with a file that is too short."""


class RawFile:
    """An open file of known size. Use it as a context manager.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    RawDataError
        It is not there, may not be read, is no regular file or holds no byte.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Opening a pipe would wait for its writer.
            if not stat.S_ISREG(path.stat().st_mode):
                raise RawDataError("this is no regular file", where=path, remedy="Give a raw file")
            self._handle = path.open("rb", buffering=0)
        except OSError as error:
            raise cannot_open(path, error) from error
        self.size_bytes = os.fstat(self._handle.fileno()).st_size
        if self.size_bytes == 0:
            self.close()
            raise RawDataError("the raw file is empty (0 bytes)", where=path, remedy=WAIT)

    def read(self, offset: int, size_bytes: int) -> bytearray:
        """``size_bytes`` from ``offset``.

        Raises
        ------
        RawDataError
            The file has become shorter, or the disk did not give the bytes.
        """
        # No more than the file holds: a damaged header may ask for any size.
        block = bytearray(max(min(size_bytes, self.size_bytes - offset), 0))
        self._fill(memoryview(block), offset, size_bytes)
        return block

    def read_into(self, room: memoryview, offset: int) -> None:
        """Fill ``room``, bytes, from ``offset``: for many reads in turn, which need no new memory each.

        Raises
        ------
        RawDataError
            As :meth:`read`.
        """
        self._fill(room[: max(self.size_bytes - offset, 0)], offset, len(room))

    def _fill(self, room: memoryview, offset: int, size_bytes: int) -> None:
        got = 0
        try:
            while got < len(room) and (step := os.preadv(self._handle.fileno(), [room[got:]], offset + got)):
                got += step
        except OSError as error:
            raise RawDataError(
                f"cannot be read ({error.strerror})", where=at(self.path, offset), remedy=WAIT
            ) from error
        if got < size_bytes:
            what = f"the file ends after {offset + got} bytes, {size_bytes - got} bytes early"
            raise RawDataError(what, where=at(self.path, offset), remedy=WAIT)

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def at(path: Path, offset: int, frame: int | None = None) -> str:
    """How errors name a place in a file: its path, byte offset and frame.

    >>> at(Path("a.imm"), 1024, 3)
    'a.imm, byte 1024, frame 3'
    """
    text = f"{path}, byte {offset}"
    return text if frame is None else f"{text}, frame {frame}"


def cannot_open(path: Path, error: OSError) -> RawDataError:
    """The error for a file that does not open."""
    if isinstance(error, FileNotFoundError):
        return RawDataError("there is no such file (any more)", where=path, remedy="Give the raw file's present path")
    return RawDataError(f"cannot be opened ({error.strerror})", where=path, remedy="Let this account read the file")
