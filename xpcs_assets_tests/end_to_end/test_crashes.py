"""What is killed in the middle of a run comes back, and the run ends once, with one result."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from dagster import DagsterInstance, RunsFilter

from xpcs_assets_tests.end_to_end.conftest import Running, eventually

pytestmark = pytest.mark.end_to_end


def words_of(pid: int) -> list[str]:
    """The command line of a process; empty when it has ended."""
    try:
        return [os.fsdecode(word) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def worker_of(running: Running, key: str) -> tuple[int, Path] | None:
    """Process id of the site's worker for a run, and the result it is to make."""
    for folder in Path("/proc").iterdir():
        words = words_of(int(folder.name)) if folder.name.isdigit() else []
        if "xpcs_assets.correlate" not in words or "--output" not in words:
            continue
        output = Path(words[words.index("--output") + 1])
        if not output.is_relative_to(running.site.home) or key not in output.parts:
            continue
        # A child of the worker has its command line until it runs its own.
        with suppress(FileNotFoundError, ProcessLookupError):
            if "xpcs_assets.correlate" not in words_of(parent_of(int(folder.name))):
                return int(folder.name), output
    return None


def parent_of(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1])


def stop_in_mid_correlation(running: Running) -> tuple[str, int, int]:
    """A run key, its worker, stopped while it holds its output's lock, and the Dagster run's process that waits."""
    for _ in range(5):
        key = running.drop(running.simulated(frames=2000))
        worker, output = eventually(lambda key=key: worker_of(running, key), 60)  # type: ignore[misc]
        while Path(f"/proc/{worker}").exists() and not output.with_suffix(".lock").exists():
            time.sleep(0.001)
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGSTOP)
            if not output.exists():
                return key, worker, parent_of(worker)
            os.kill(worker, signal.SIGCONT)
    pytest.fail("no worker was met in mid-correlation")


def runs_of(running: Running, key: str) -> list[str]:
    with DagsterInstance.from_config(str(running.site.dagster_home)) as instance:
        return [run.status.value for run in instance.get_runs(RunsFilter(tags={"dagster/partition": key}))]


def assert_one_result(running: Running, key: str) -> None:
    results = running.beamline.ledger.results("xpcs", key)
    assert len(results) == 1
    folder = running.beamline.result_path(results[0]).parent
    assert [path.name for path in folder.glob("*.hdf*")] == [f"{key}_results.hdf"]


def test_a_run_whose_worker_is_killed_in_mid_correlation_is_retried_and_ends_once(running: Running) -> None:
    key, worker, dagster_run = stop_in_mid_correlation(running)
    os.kill(dagster_run, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    assert running.wait(key) == 0
    assert_one_result(running, key)
    assert eventually(lambda: sorted(runs_of(running, key))[:2] == ["FAILURE", "SUCCESS"], 30)


def test_a_worker_that_outlives_its_killed_run_is_waited_for_and_its_result_taken(running: Running) -> None:
    key, worker, dagster_run = stop_in_mid_correlation(running)
    os.kill(dagster_run, signal.SIGKILL)
    os.kill(worker, signal.SIGCONT)
    assert running.wait(key) == 0
    assert_one_result(running, key)
    assert running.beamline.ledger.results("xpcs", key)[0].report["reused"] is True


def test_a_run_survives_the_death_of_worker_and_code_server_together(running: Running) -> None:
    key, worker, dagster_run = stop_in_mid_correlation(running)
    os.killpg(running.services.pid("code-location"), signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{dagster_run}").exists(), 10)
    assert running.wait(key, timeout_s=150) == 0
    assert_one_result(running, key)
