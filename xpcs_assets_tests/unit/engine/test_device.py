from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xpcs_assets.engine.device import choose_device, memory_limit_bytes
from xpcs_assets.errors import CorrelationError

COMPILE = """
from xpcs_assets.engine.device import keep_compiled
keep_compiled()
import jax, jax.numpy as jnp
print(jax.jit(lambda x: x * 2 + 1)(jnp.arange(5)).sum())
"""


def test_what_jax_compiles_is_kept_in_a_folder_that_only_its_user_enters(tmp_path: Path) -> None:
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=True)
    folder = tmp_path / "xpcs-assets" / "jax"
    assert done.stdout.strip() == "25"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.iterdir())


def test_the_cpu_is_taken_without_a_look_for_a_gpu() -> None:
    assert choose_device("cpu") == "cpu"


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    with pytest.raises(CorrelationError, match="jax sees no GPU on this machine"):
        choose_device("gpu")


def test_a_gpu_is_used_through_jax_when_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert choose_device("gpu") == "jax"


def test_the_memory_limit_is_half_of_what_there_is_at_most() -> None:
    assert 0 < memory_limit_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
