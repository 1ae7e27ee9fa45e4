from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.ahead import ahead


class Numbers:
    """Counts from 0; tells what was read, in which threads, and fails at ``bad``."""

    def __init__(self, bad: int = -1) -> None:
        self.read: list[int] = []
        self.threads: set[int] = set()
        self.bad = bad
        self.begun = [threading.Event() for _ in range(6)]

    def __iter__(self) -> Iterator[int]:
        for number in range(5):
            self.begun[number].set()
            self.threads.add(threading.get_ident())
            if number == self.bad:
                raise RawDataError("the frame cannot be read", where="a.h5", remedy="Copy it anew")
            self.read.append(number)
            yield number


def test_all_chunks_come_in_order_and_are_read_in_another_thread() -> None:
    numbers = Numbers()
    assert list(ahead(iter(numbers))) == [0, 1, 2, 3, 4]
    assert threading.get_ident() not in numbers.threads


def test_the_next_chunk_is_read_while_one_is_taken_and_none_beyond_it() -> None:
    numbers = Numbers()
    chunks = ahead(iter(numbers))
    assert next(chunks) == 0
    assert numbers.begun[1].wait(10)
    assert not numbers.begun[2].wait(0.05)
    chunks.close()  # type: ignore[attr-defined]


def test_an_error_comes_after_the_chunks_before_it_as_it_was_raised() -> None:
    chunks = ahead(iter(Numbers(bad=2)))
    assert [next(chunks), next(chunks)] == [0, 1]
    with pytest.raises(RawDataError, match=r"the frame cannot be read"):
        next(chunks)


def test_nothing_is_read_and_no_thread_is_left_after_it_was_closed() -> None:
    numbers, before = Numbers(), threading.active_count()
    chunks = ahead(iter(numbers))
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    assert numbers.read in ([0], [0, 1])
    assert threading.active_count() == before


def test_no_chunk_is_no_error() -> None:
    assert list(ahead(iter(()))) == []
