"""What every report on a result begins with: its format, and the versions of what made it."""

from __future__ import annotations

import platform
from importlib import metadata as distributions

import xpcs_assets

REPORT_FORMAT = "xpcs-assets report 1"


def versions() -> dict[str, str]:
    """Versions of what made the result."""
    names = ("numpy", "numba", "h5py", "hdf5plugin", "jax")
    found = {name: distributions.version(name) for name in names if _installed(name)}
    return {"xpcs-assets": xpcs_assets.__version__, "python": platform.python_version(), **found}


def _installed(name: str) -> bool:
    try:
        distributions.distribution(name)
    except distributions.PackageNotFoundError:
        return False
    return True
