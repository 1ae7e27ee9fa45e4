from __future__ import annotations

import threading

import pytest

from xpcs_assets.engine.threads import share


@pytest.mark.parametrize("threads", ["1", "2", "5"])
@pytest.mark.parametrize(("n_items", "at_least"), [(1, 1), (7, 1), (1000, 1), (1000, 300), (1000, 5000)])
def test_ranges_cover_every_item_once(
    threads: str, n_items: int, at_least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
    lock, ranges = threading.Lock(), []

    def work(begin: int, end: int) -> None:
        with lock:
            ranges.append((begin, end))

    share(work, n_items, at_least=at_least)
    assert sorted(item for begin, end in ranges for item in range(begin, end)) == list(range(n_items))
    assert len(ranges) == 1 or min(end - begin for begin, end in ranges) >= at_least


def test_an_error_in_a_range_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")

    def work(begin: int, end: int) -> None:
        if begin:
            raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"):
        share(work, 100)
