"""How many threads numpy's matrix products take.

OpenBLAS starts a thread a processor and lets them spin; beside another program, or under a pool of ours, products then
take several times their time. So the pool shares the work out and each product stays on its thread.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

_PREFIXES = ("scipy_openblas", "openblas")
_SUFFIXES = ("64_", "")


@contextmanager
def one_thread_a_product() -> Iterator[None]:
    """Inside, a product takes the thread that asks for it alone; of other libraries than OpenBLAS nothing is known."""
    found = _openblas()
    if found is None:
        yield
        return
    get, set_ = found
    before = get()
    set_(1)
    try:
        yield
    finally:
        set_(before)


@cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """What gets and sets the number of threads, looked for in the library that numpy itself is linked to."""
    library = ctypes.CDLL(str(importlib.import_module("numpy._core._multiarray_umath").__file__))
    for prefix in _PREFIXES:
        for suffix in _SUFFIXES:
            get = getattr(library, f"{prefix}_get_num_threads{suffix}", None)
            set_ = getattr(library, f"{prefix}_set_num_threads{suffix}", None)
            if get is not None and set_ is not None:
                return get, set_
    return None
