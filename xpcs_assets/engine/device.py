"""What this machine offers: a GPU or not, and how much memory."""

from __future__ import annotations

import os
from pathlib import Path

from xpcs_assets.cache_folder import cache_folder
from xpcs_assets.errors import CorrelationError

_NVIDIA = Path("/proc/driver/nvidia/version")
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def choose_device(wanted: str) -> str:
    """Turn ``auto``, ``cpu`` or ``gpu`` into what :func:`~xpcs_assets.engine.multitau.make_correlator` takes.

    Loading jax costs a second, so ``auto`` looks for an NVIDIA driver first.

    Raises
    ------
    CorrelationError
        ``gpu`` is asked for and jax sees none.
    """
    if not may_use_gpu(wanted):
        return "cpu"
    import jax

    if jax.default_backend() == "gpu":
        keep_compiled()
        return "jax"
    if wanted == "gpu":
        raise CorrelationError(
            "jax sees no GPU on this machine", remedy="Install xpcs-assets[gpu] where there is one, or use --device cpu"
        )
    return "cpu"


def may_use_gpu(wanted: str) -> bool:
    """Tell whether what is to run on ``auto``, ``cpu`` or ``gpu`` may come to run on a GPU of this machine."""
    return wanted == "gpu" or (wanted == "auto" and _NVIDIA.exists())


def keep_compiled() -> None:
    """Keep every program that jax compiles for the next process, in the user's own folder.

    Compiling takes seconds, loading tenths of one. Without these settings jax keeps only what took long to compile.
    """
    import jax

    settings = {
        "jax_compilation_cache_dir": str(cache_folder("jax")),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]


def memory_limit_bytes() -> int:
    """Half of the memory that this process may use, by the machine and by its control group."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits) // 2
