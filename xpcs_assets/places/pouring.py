"""The way of a file's bytes to the disk and back: written, hashed, and read again some way behind the writer.

A file of less than :data:`BLOCK_BYTES` is written first and read back when it is whole, by one thread: its system calls
come in the same order every time. Of a bigger one each block goes to the disk, is forgotten by the page cache and is
read back while the next ones are written, so that at the end only the last part is left to be read. Two threads help:
one hashes what is written, one follows behind with the read-back. No more than a few pieces of the file are in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from xpcs_assets.places.hashing import Hasher
from xpcs_assets.places.reading import chunks_of
from xpcs_assets.places.syscalls import Syscalls

BLOCK_BYTES = 32 << 20
_PIECE_BYTES = 1 << 20
_PIECES_AHEAD = 4
_BLOCKS_AHEAD = 8


@dataclass(frozen=True)
class Digests:
    """Length and digests of bytes; ``also`` by kind."""

    size_bytes: int
    sha256: str
    also: dict[str, str]


class Pouring:
    """One file on its way: :meth:`write`, then fsync, then :meth:`read_back`, all inside its ``with``.

    Parameters
    ----------
    descriptor
        The file, open to read and write, empty.
    also
        Digests to make beside sha256; see :class:`xpcs_assets.places.hashing.Hasher`.
    """

    def __init__(self, descriptor: int, also: Iterable[str], calls: Syscalls) -> None:
        kinds = tuple(also)
        self._descriptor = descriptor
        self._calls = calls
        self._written = Hasher(kinds)
        self._found = Hasher(kinds)
        self._found_bytes = 0
        self._hashing = _Helper(_PIECES_AHEAD)
        self._following = _Helper(_BLOCKS_AHEAD)
        self._helpers = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._helpers.close()  # the descriptor may be closed after this: nobody uses it any more

    def write(self, chunks: Iterable[bytes]) -> Digests:
        """Write ``chunks`` from the start; their length and digests."""
        size_bytes = block = 0
        for chunk in chunks:
            if block:
                self._hashing.add(partial(self._written.update, chunk))
            else:
                self._written.update(chunk)
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._calls.write(self._descriptor, rest) :]
            size_bytes += len(chunk)
            if size_bytes // BLOCK_BYTES > block:
                if not block:
                    self._helpers.enter_context(self._hashing)
                    self._helpers.enter_context(self._following)
                block = size_bytes // BLOCK_BYTES
                self._following.add(partial(self._follow, size_bytes))
        self._hashing.finish()
        return Digests(size_bytes, self._written.sha256, self._written.also)

    def read_back(self) -> Digests:
        """Read what was not read back yet, to the end of the file; length and digests of all that came back."""
        self._following.finish()
        with suppress(OSError):  # an advice, which some file systems do not take
            self._calls.drop_cache(self._descriptor)
        self._calls.seek(self._descriptor, self._found_bytes)
        for data in chunks_of(self._descriptor, self._calls):
            self._take(data)
        return Digests(self._found_bytes, self._found.sha256, self._found.also)

    def _follow(self, end_bytes: int) -> None:
        """Bring the bytes before ``end_bytes`` to the disk, and read back those that were not yet."""
        begin_bytes = self._found_bytes
        self._calls.fdatasync(self._descriptor)
        self._forget(begin_bytes, end_bytes)
        while wanted_bytes := min(_PIECE_BYTES, end_bytes - self._found_bytes):
            data = self._calls.pread(self._descriptor, wanted_bytes, self._found_bytes)
            if not data:  # shorter than it was written: its digest will say so
                return
            self._take(data)
        # Memory that was just in use is given to the next block at once; fresh memory costs a virtual machine dear.
        self._forget(begin_bytes, end_bytes)

    def _forget(self, begin_bytes: int, end_bytes: int) -> None:
        with suppress(OSError):  # an advice, which some file systems do not take
            self._calls.drop_cache(self._descriptor, begin_bytes, end_bytes - begin_bytes)

    def _take(self, data: bytes) -> None:
        self._found.update(data)
        self._found_bytes += len(data)


class _Helper:
    """A thread that does one thing after the other, never more than ``ahead`` of them waiting; off before ``with``."""

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(max_workers=1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._waiting.clear()

    def add(self, act: Callable[[], None]) -> None:
        """Have something done; waits while too much is waiting, and raises what an earlier one raised."""
        while len(self._waiting) >= self._ahead:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(act))

    def finish(self) -> None:
        """Return when all is done; raises what one of them raised."""
        while self._waiting:
            self._waiting.popleft().result()
