"""Reading ahead: the next chunk is read while the one before is being worked on, whatever the format."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Chunk = TypeVar("_Chunk")


def ahead(chunks: Iterator[_Chunk]) -> Iterator[_Chunk]:
    """The same chunks in the same order, each read in a thread while the one before is taken.

    One chunk more is in memory than without. Errors come out where the chunk would have. When the iterator is closed,
    the chunk that is being read is waited for, so that the files may be closed afterwards.

    Parameters
    ----------
    chunks
        Only one thread at a time takes from it, and not the caller's.

    Examples
    --------
    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read") as thread:
        coming = thread.submit(_take, chunks)
        while taken := coming.result():
            coming = thread.submit(_take, chunks)
            yield taken[0]
            # Not kept while the one after is waited for: that would be a third chunk in memory.
            del taken


def _take(chunks: Iterator[_Chunk]) -> tuple[_Chunk, ...]:
    """The next one, alone in a tuple; an empty tuple at the end."""
    for chunk in chunks:
        return (chunk,)
    return ()
