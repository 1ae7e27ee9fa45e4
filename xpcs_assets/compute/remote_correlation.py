"""Correlations at back ends: the worker's command line there, and the ladder for one that was too big.

Each rung has more time than the one before: as it is set, in smaller batches, on a CPU. The recipe stays the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.analyse import Analysed, Planned, analyse_here, correlate_settings, record
from xpcs_assets.compute.backend import Resources
from xpcs_assets.compute.believe import Standing, standing
from xpcs_assets.compute.call import WorkerCall
from xpcs_assets.compute.remote_job import recipe_of
from xpcs_assets.copies.ledger import BookedJob
from xpcs_assets.errors import SettingsError
from xpcs_assets.runs.key import analysis_key, split_analysis_key
from xpcs_assets.settings_compute import BackendSettings
from xpcs_assets.settings_correlate import Correlate

SMALLER, ON_CPU = 1, 2
_SMALLER_BYTES = 2 * 2**30  # where nothing says how much memory a job has
_LEAST_BYTES = 256 * 2**20
_MULTITAU = "without-twotime"


@dataclass(frozen=True)
class CorrelationWork:
    """The correlations of a beamline; see :class:`xpcs_assets.compute.remote_work.Work`."""

    beamline: OpenBeamline
    step: str = "correlation"
    with_more: str = "with less at once and more time"

    @property
    def deployment(self) -> Correlate:
        """Where they are run."""
        return correlate_settings(self.beamline)

    def standing(self, job: BookedJob) -> Standing:
        """What lies where a job's result is to be."""
        call = call_of(job)
        return standing(Path(call.output), recipe_of(job), call.raw_digests)

    def why_not_seen(self, job: BookedJob) -> str:
        """Why the disk of results is not there."""
        return self.beamline.place(self.beamline.settings.pipeline.stage.to).why_unavailable()

    def words(self, job: BookedJob, backend: BackendSettings, seen: Callable[[str], str]) -> tuple[str, ...]:
        """The worker's command line."""
        call = _smaller(call_of(job), job.rung, backend)
        return (backend.python, "-m", "xpcs_assets.correlate", *call.arguments(seen), "--progress", "json")

    def rungs(self, job: BookedJob, backend: BackendSettings) -> tuple[int, ...]:
        """The last makes a difference where there is a GPU alone."""
        has_gpu = backend.gpus > 0 and call_of(job).device != "cpu"
        return (0, SMALLER, ON_CPU) if has_gpu else (0, SMALLER)

    def asks(self, job: BookedJob, resources: Resources) -> Resources:
        """No GPU on the last rung."""
        return replace(resources, gpus=0) if job.rung >= ON_CPU else resources

    def instead(self, job: BookedJob) -> str:
        """The analysis key under which the multi-tau of a job that was too big is made; empty where none is.

        It is another recipe, and so has a name of its own: it is never made in the place of what was asked for.
        """
        is_wanted = job.request.get("is_too_big") and call_of(job).settings.analysis_type == "both"
        run_key, name = split_analysis_key(job.analysis_key)
        try:
            return analysis_key(run_key, f"{name}-{_MULTITAU}" if name else _MULTITAU) if is_wanted else ""
        except SettingsError:  # the name is as long as it may be
            return ""


@dataclass(frozen=True)
class WantedCorrelation:
    """One correlation that is asked for; see :class:`xpcs_assets.compute.remote_work.Wanted`."""

    beamline: OpenBeamline
    planned: Planned

    @property
    def key(self) -> str:
        """The analysis key."""
        return self.planned.key

    @property
    def version(self) -> int:
        """Of the run."""
        return self.planned.inputs.version.version

    @property
    def digest(self) -> str:
        """Of its recipe."""
        return self.planned.recipe.digest

    @property
    def call(self) -> dict[str, Any]:
        """What the worker is to do."""
        return self.planned.call.to_dict()

    def standing(self) -> Standing:
        """What lies where its result is to be."""
        return standing(self.planned.path, self.digest, self.planned.inputs.raw_digests)

    def record(self, report: dict[str, Any]) -> Analysed:
        """Record a result that is what its report says."""
        return record(self.beamline, self.planned, report)

    def make(self, log: Callable[[str], None]) -> Analysed:
        """Correlate on this machine."""
        return analyse_here(self.beamline, self.planned, log)


def call_of(job: BookedJob) -> WorkerCall:
    """What the worker is to do, without the ladder."""
    return WorkerCall.from_dict(job.request["call"])


def _smaller(call: WorkerCall, rung: int, backend: BackendSettings) -> WorkerCall:
    if rung < SMALLER:
        return call
    # By itself the worker uses half of what its job may have.
    memory_bytes = max(backend.memory // 4, _LEAST_BYTES) if backend.memory else _SMALLER_BYTES
    return replace(call, memory_bytes=memory_bytes, device="cpu" if rung >= ON_CPU else call.device)
