"""How loops are compiled: by numba, without the GIL, once a machine and user.

Import it only where a loop is about to run: loading numba takes a quarter of a second.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

from xpcs_assets.cache_folder import cache_folder

if not os.environ.get("NUMBA_CACHE_DIR"):
    numba.config.CACHE_DIR = str(cache_folder("numba"))  # type: ignore[attr-defined]


def _do_without_scipy() -> None:
    """Load numba's array functions without scipy, which takes as long as numba; no loop here needs its algebra."""
    asked_for = "scipy.linalg.cython_blas"
    if asked_for in sys.modules or "numba.np.arraymath" in sys.modules:
        return
    # None: an import of that name fails at once. numba then knows of no BLAS and goes on.
    sys.modules[asked_for] = None  # type: ignore[assignment]
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        del sys.modules[asked_for]


_do_without_scipy()

_Loop = TypeVar("_Loop", bound=Callable[..., Any])

# What may be done to sums that are exact, or short enough, in any order. NaN and infinities stay what they are.
_IN_ANY_ORDER = {"reassoc", "contract", "nsz"}


def compiled(loop: _Loop) -> _Loop:
    """Compile a function; sums are added up in the order that is written."""
    return cast("_Loop", numba.njit(cache=True, nogil=True, error_model="numpy")(loop))


def reordered(loop: _Loop) -> _Loop:
    """Compile a function whose sums may be added up in any order, several at a time."""
    return cast("_Loop", numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=_IN_ANY_ORDER)(loop))


def inlined(loop: _Loop) -> _Loop:
    """Compile a small function into each of its callers: handing arrays over takes as long as some loops."""
    return cast("_Loop", numba.njit(inline="always")(loop))
