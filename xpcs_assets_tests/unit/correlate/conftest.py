"""Simulated runs, made once; tests that change files copy them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from xpcs_assets.correlate.device import keep_compiled
from xpcs_assets.testing.simulate import SimulatedRun, simulate


@pytest.fixture(scope="session", autouse=True)
def compiled_programs() -> None:
    """What jax compiles is kept for the next run of the tests, as what numba compiles is."""
    keep_compiled()


@pytest.fixture(scope="session")
def eiger(tmp_path_factory: pytest.TempPathFactory) -> SimulatedRun:
    return simulate(tmp_path_factory.mktemp("eiger"), format="eiger", frames=300, seed=3)


@pytest.fixture(scope="session")
def imm(tmp_path_factory: pytest.TempPathFactory) -> SimulatedRun:
    return simulate(tmp_path_factory.mktemp("imm"), format="imm", frames=300, seed=3)


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[SimulatedRun], Path]:
    """Copy a run's folder to where it may be changed; returns the folder."""

    def copy(run: SimulatedRun) -> Path:
        return Path(shutil.copytree(run.folder, tmp_path / run.name))

    return copy
