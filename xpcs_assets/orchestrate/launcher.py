"""A run launcher that notices when a run's worker has died, whoever else died with it.

Dagster's own launcher starts run workers through the code server and learns of their end from it: when both are
killed together a run stays STARTED for ever. This one lets run monitoring look at the worker's process itself.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from dagster import DagsterRun
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

from xpcs_assets.orchestrate import adapter

# The worker's start is logged a moment after its process began; more than this apart is another process.
_START_TOLERANCE_S = 30.0


class WatchedRunLauncher(DefaultRunLauncher):
    """Launch run workers as Dagster does, and tell run monitoring whether they still live."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """RUNNING while the worker lives, or its code server does not answer; FAILED once it is gone for sure.

        A run that failed is retried at once, which needs the code server: so a dead worker is only called
        dead when a code server answers again.
        """
        worker = adapter.worker_process(self._instance, run.run_id)
        if worker is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the worker has not said its process id yet")
        pid, said_at = worker
        if is_alive(pid, said_at):
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(pid))
        if not adapter.code_server_answers(run.tags):
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"worker {pid} is gone; waiting for the code server")
        return CheckRunHealthResult(WorkerStatus.FAILED, f"the worker process {pid} is gone", run_worker_id=str(pid))


def is_alive(pid: int, seen_at: float) -> bool:
    """Tell whether process ``pid`` runs and already ran at ``seen_at`` (s since 1970), so is no later namesake."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return False
    fields = status.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return False
    started_after_boot_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    started_at = time.time() - (uptime_s - started_after_boot_s)
    return started_at <= seen_at + _START_TOLERANCE_S
