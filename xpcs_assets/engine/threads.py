"""A pool that shares ranges of pixels or blocks among the processors this process may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise


def n_threads() -> int:
    """Processors this process may use, or ``NUMBA_NUM_THREADS`` where that is set."""
    chosen = os.environ.get("NUMBA_NUM_THREADS", "")
    return int(chosen) if chosen.isdigit() and int(chosen) > 0 else len(os.sched_getaffinity(0))


_RANGES_PER_THREAD = 8


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="correlate")


def share(work: Callable[[int, int], object], n_items: int, *, at_least: int = 1) -> None:
    """Call ``work(begin, end)`` for ranges that cover [0, n_items) once, in parallel.

    Parameters
    ----------
    work
        Releases the GIL; ranges may run at the same time.
    n_items
        Length of the whole range.
    at_least
        Smallest range worth a call of its own.
    """
    # More ranges than threads: one that holds more work than the others is waited for less long.
    parts = max(1, min(_RANGES_PER_THREAD * n_threads(), n_items // max(at_least, 1)))
    edges = [n_items * part // parts for part in range(parts + 1)]
    if parts == 1 or n_threads() == 1:
        work(0, n_items)
        return
    for done in [_pool(n_threads()).submit(work, low, high) for low, high in pairwise(edges)]:
        done.result()
