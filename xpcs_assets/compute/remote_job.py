"""From what was asked to a job: the worker's command line as its back end sees it, and what each rung asks for.

The ladder for a job that was too big, each rung with more time than the one before: as it is set, in smaller batches,
on a CPU. None of them changes the recipe.
"""

from __future__ import annotations

from dataclasses import replace

from xpcs_assets.compute.backend import Job, Resources
from xpcs_assets.compute.call import WorkerCall
from xpcs_assets.copies.ledger import BookedJob
from xpcs_assets.errors import SettingsError
from xpcs_assets.settings_compute import BackendSettings
from xpcs_assets.settings_correlate import Correlate

SMALLER, ON_CPU = 1, 2
_SMALLER_BYTES = 2 * 2**30  # where nothing says how much memory a job has
_LEAST_BYTES = 256 * 2**20


def rungs(call: WorkerCall, backend: BackendSettings) -> tuple[int, ...]:
    """The rungs of the ladder that make a difference at a back end."""
    has_gpu = backend.gpus > 0 and call.device != "cpu"
    return (0, SMALLER, ON_CPU) if has_gpu else (0, SMALLER)


def call_of(job: BookedJob) -> WorkerCall:
    """What the worker is to do, without the ladder."""
    return WorkerCall.from_dict(job.request["call"])


def job_for(job: BookedJob, name: str, backend: BackendSettings, beamline: Correlate) -> Job:
    """The job to hand over to back end ``name``.

    Raises
    ------
    SettingsError
        A file of the run is not seen there.
    """

    def seen(path: str) -> str:
        try:
            return backend.seen(path)
        except ValueError as error:
            raise SettingsError(
                f"a file of the run is not seen at {name}: {error}",
                where=f"compute.{name}.seen_as",
                remedy="Put it where it is seen there, or say under seen_as how that folder is called there",
            ) from error

    call = _smaller(call_of(job), job.rung, backend)
    return Job(
        name=job.name,
        words=(backend.python, "-m", "xpcs_assets.correlate", *call.arguments(seen), "--progress", "json"),
        folder=backend.folder,
        environment=dict(backend.environment),
        resources=Resources(
            walltime_s=(beamline.walltime or backend.walltime) * (1 + job.rung),
            gpus=0 if job.rung >= ON_CPU else backend.gpus,
            nodes=backend.nodes,
            memory_bytes=backend.memory,
            account=beamline.account or backend.account,
            queue=beamline.queue or backend.queue,
            extra=backend.extra,
        ),
    )


def _smaller(call: WorkerCall, rung: int, backend: BackendSettings) -> WorkerCall:
    if rung < SMALLER:
        return call
    # By itself the worker uses half of what its job may have.
    memory_bytes = max(backend.memory // 4, _LEAST_BYTES) if backend.memory else _SMALLER_BYTES
    return replace(call, memory_bytes=memory_bytes, device="cpu" if rung >= ON_CPU else call.device)
