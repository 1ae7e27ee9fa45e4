"""From what was asked to a job: the command line as its back end sees it, and what it asks for."""

from __future__ import annotations

from xpcs_assets.compute.backend import Job, Resources
from xpcs_assets.compute.remote_work import Work
from xpcs_assets.copies.ledger import BookedJob
from xpcs_assets.errors import SettingsError
from xpcs_assets.settings_compute import BackendSettings


def task(step: str, digest: str) -> str:
    """What a job is for: which step, and which recipe.

    >>> task("correlation", "sha256:00")
    'correlation sha256:00'
    """
    return f"{step} {digest}"


def recipe_of(job: BookedJob) -> str:
    """The digest of the recipe that a job is for."""
    return job.task.partition(" ")[2]


def job_for(job: BookedJob, name: str, backend: BackendSettings, work: Work) -> Job:
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

    beamline = work.deployment
    resources = Resources(
        walltime_s=(beamline.walltime or backend.walltime) * (1 + job.rung),
        gpus=backend.gpus,
        nodes=backend.nodes,
        memory_bytes=backend.memory,
        account=beamline.account or backend.account,
        queue=beamline.queue or backend.queue,
        extra=backend.extra,
    )
    return Job(
        name=job.name,
        words=work.words(job, backend, seen),
        folder=backend.folder,
        environment=dict(backend.environment),
        resources=work.asks(job, resources),
    )
