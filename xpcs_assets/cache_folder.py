"""Where compiled kernels are kept between processes.

A cache of compiled code is trusted by whoever loads it, so it is a folder that only its user can enter.
"""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Make and return the user's own folder for compiled code, ``$XDG_CACHE_HOME/xpcs-assets/<name>``, mode 0700."""
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "xpcs-assets" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return folder
