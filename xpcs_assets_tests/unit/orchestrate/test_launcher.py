"""Who is alive: a worker's process is known by its id and its start, and dead only once its code server answers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from dagster import DagsterInstance, DagsterRun, MetadataValue
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import WorkerStatus

from xpcs_assets.orchestrate import adapter
from xpcs_assets.orchestrate.launcher import WatchedRunLauncher, is_alive
from xpcs_assets_tests.unit.orchestrate.conftest import MakeRun


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits to be told to end."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        yield running
        running.kill()


def test_a_running_process_is_alive(process: subprocess.Popen[bytes]) -> None:
    assert is_alive(process.pid, time.time())
    assert is_alive(os.getpid(), time.time())


def test_a_process_that_has_ended_and_was_reaped_is_dead(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert not is_alive(process.pid, time.time())


def test_a_process_that_has_ended_and_waits_to_be_reaped_is_dead(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert os.path.exists(f"/proc/{process.pid}")  # noqa: PTH110 - a zombie still has its entry
    assert not is_alive(process.pid, time.time())


def test_a_process_that_began_after_the_worker_spoke_is_another(process: subprocess.Popen[bytes]) -> None:
    assert not is_alive(process.pid, time.time() - 3600)


@pytest.fixture
def launcher(instance: DagsterInstance) -> WatchedRunLauncher:
    launcher = WatchedRunLauncher()
    launcher.register_instance(instance)
    return launcher


def worker(instance: DagsterInstance, make_run: MakeRun, pid: int) -> DagsterRun:
    """A run whose worker said that its process id is ``pid``."""
    run = make_run()
    instance.report_engine_event("Started", run, EngineEventData(metadata={"pid": MetadataValue.text(str(pid))}))
    return run


def test_run_monitoring_may_ask(launcher: WatchedRunLauncher) -> None:
    assert launcher.supports_check_run_worker_health


def test_a_worker_that_has_not_spoken_is_running(launcher: WatchedRunLauncher, make_run: MakeRun) -> None:
    assert launcher.check_run_worker_health(make_run()).status is WorkerStatus.RUNNING


def test_a_live_worker_is_running(
    launcher: WatchedRunLauncher, instance: DagsterInstance, make_run: MakeRun, process: subprocess.Popen[bytes]
) -> None:
    found = launcher.check_run_worker_health(worker(instance, make_run, process.pid))
    assert (found.status, found.run_worker_id) == (WorkerStatus.RUNNING, str(process.pid))


@pytest.mark.parametrize(("answers", "status"), [(True, WorkerStatus.FAILED), (False, WorkerStatus.RUNNING)])
def test_a_dead_worker_has_failed_once_the_code_server_answers(
    launcher: WatchedRunLauncher,
    instance: DagsterInstance,
    make_run: MakeRun,
    process: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    answers: bool,
    status: WorkerStatus,
) -> None:
    process.kill()
    process.wait()
    monkeypatch.setattr(adapter, "code_server_answers", lambda tags: answers)
    found = launcher.check_run_worker_health(worker(instance, make_run, process.pid))
    assert found.status is status
    assert str(process.pid) in (found.msg or "")
