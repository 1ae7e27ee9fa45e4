"""A real Dagster instance in a fresh folder, and runs in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, DagsterRun, instance_for_test
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test

MakeRun = Callable[..., DagsterRun]
REPOSITORY = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("xpcs_assets"), "__repository__")


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with instance_for_test() as made:
        yield made


@pytest.fixture
def make_run(instance: DagsterInstance) -> MakeRun:
    """Create a run of a job for some assets, not started yet."""

    def make(job_name: str = "ingest", *assets: AssetKey, **options: Any) -> DagsterRun:
        selection = frozenset(assets) or None
        origin = REPOSITORY.get_job_origin(job_name)
        return create_run_for_test(instance, job_name, asset_selection=selection, remote_job_origin=origin, **options)

    return make
