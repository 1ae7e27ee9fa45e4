"""The run queue: every run carries its beamline's tag, and each beamline has its own limit (``queue.max_runs``).

What all beamlines share (a GPU, tape drives, transfers) is a pool, whose limit stands in the site file. Dagster keeps
limits of pools in its database alone; whoever asks for the queue's configuration, as the daemon does, writes them.

Runs launched in the UI carry no job tags, so a beamline's limit would not hold them back and they would fill the
queue of the others. The tag comes from the assets that a run was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from dagster import DagsterRun
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig

from xpcs_assets.errors import SettingsError
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, set_pool_limits
from xpcs_assets.site import SITE_FILE, Site, find_home


class BeamlineRunCoordinator(QueuedRunCoordinator):
    """Queue runs as Dagster does, each under its beamline's limit."""

    _kept: Mapping[str, int] = MappingProxyType({})

    def get_run_queue_config(self) -> RunQueueConfig:
        """The queue's limits, with each beamline's own in front of what ``dagster.yaml`` says."""
        config = super().get_run_queue_config()
        self._keep_pools()
        limits = [{"key": BEAMLINE_TAG, "value": name, "limit": most} for name, most in _limits(_stamp()).items()]
        return config._replace(tag_concurrency_limits=[*limits, *config.tag_concurrency_limits])

    def _keep_pools(self) -> None:
        """Give the pools the limits of the site file, once and whenever it has others."""
        limits = _pools(_stamp_of_site())
        if limits and limits != self._kept and self.has_instance:
            set_pool_limits(self._instance, limits)
            self._kept = limits

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Tag the run with the beamline its assets belong to, then queue it."""
        run = context.dagster_run
        beamlines = {key.path[0] for key in run.asset_selection or ()}
        beamlines |= {check.asset_key.path[0] for check in run.asset_check_selection or ()}
        if BEAMLINE_TAG not in run.tags and len(beamlines) == 1:
            self._instance.add_run_tags(run.run_id, {BEAMLINE_TAG: beamlines.pop()})
        return super().submit_run(context)


def _stamp() -> tuple[tuple[str, int], ...]:
    """The beamline files with their times: the queue asks every second, the files are read when they change."""
    try:
        files = sorted((find_home() / "beamlines").glob("*.yaml"))
        return tuple((str(file), file.stat().st_mtime_ns) for file in files)
    except (SettingsError, OSError):
        return ()


def _stamp_of_site() -> tuple[tuple[str, int], ...]:
    try:
        file = find_home() / SITE_FILE
        return ((str(file), file.stat().st_mtime_ns),)
    except (SettingsError, OSError):
        return ()


@lru_cache(maxsize=1)
def _pools(stamp: tuple[tuple[str, int], ...]) -> dict[str, int]:
    """How many steps may hold a slot of each pool; nothing while the site file cannot be read: what holds goes on."""
    try:
        return Site(find_home()).settings.pools.model_dump() if stamp else {}
    except SettingsError:
        return {}


@lru_cache(maxsize=1)
def _limits(stamp: tuple[tuple[str, int], ...]) -> dict[str, int]:
    """How many runs of each beamline may work at a time; a file that cannot be read has no runs either."""
    if not stamp:
        return {}
    return {name: settings.queue.max_runs for name, settings in Site(find_home()).beamlines.items()}
