"""Analyses on back ends that are not this machine: ask, hand over, cancel. No call here waits for a job.

Each step begins with what the book of jobs has and ends with a line in it, so that any process may die anywhere and any
other goes on. A back end that does not answer is waited for, and nothing is concluded from its silence.
:mod:`xpcs_assets.compute.remote_follow` follows what was handed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.backend import Job
from xpcs_assets.compute.believe import Standing
from xpcs_assets.compute.remote_asking import FIRST_REST_S, Asking, NotTakenError
from xpcs_assets.compute.remote_job import job_for, task
from xpcs_assets.compute.remote_work import Wanted, Work, work_of
from xpcs_assets.copies.ledger import BookedJob, JobState
from xpcs_assets.errors import ComputeError, NotFoundError, SettingsError, UnreachableError
from xpcs_assets.settings_compute import LOCAL

_LOOK_AGAIN_S = 60.0
SILENT = (NotTakenError, ComputeError, UnreachableError, SettingsError, NotFoundError)
"""What a question that was not answered may raise."""


class LaterError(Exception):
    """It is this job's back end, and not its time yet."""


@dataclass
class Remote:
    """The remote analyses of one beamline, as one process sees them.

    Attributes
    ----------
    beamline
        The open beamline.
    asking
        The site's back ends.
    """

    beamline: OpenBeamline
    asking: Asking

    @classmethod
    def of(cls, beamline: OpenBeamline) -> Remote:
        """Those of a beamline, with its site's back ends."""
        return cls(beamline, Asking(beamline.site))

    @cached_property
    def work(self) -> Work:
        """What they are: correlations, or a command."""
        return work_of(self.beamline)

    def ask(self, wanted: Wanted[Any], config: dict[str, Any], *, spoiled: bool = False) -> BookedJob:
        """Write down that an analysis is wanted; what is under way for it already is given back.

        Parameters
        ----------
        spoiled
            What lies there already is not believed: the worker is to look at it.
        """
        return self.beamline.ledger.intend_job(
            self.beamline.name,
            wanted.key,
            wanted.version,
            task(self.work.step, wanted.digest),
            backend=self.work.deployment.on[0],
            request={"call": wanted.call, "config": config, "tries": 1, "spoiled": spoiled},
        )

    def is_of(self, job: BookedJob, wanted: Wanted[Any]) -> bool:
        """Whether a job is about this very analysis."""
        mine = (wanted.key, wanted.version, task(self.work.step, wanted.digest))
        return (job.analysis_key, job.version, job.task) == mine

    def newest(self, wanted: Wanted[Any]) -> BookedJob | None:
        """The newest job of an analysis."""
        jobs = self.beamline.ledger.jobs(self.beamline.name, analysis_key=wanted.key, version=wanted.version)
        return next((job for job in jobs if self.is_of(job, wanted)), None)

    def standing(self, job: BookedJob) -> Standing:
        """What lies where a job's result is to be."""
        return self.work.standing(job)

    def submit(self, job: BookedJob, *, until_s: float = float("inf")) -> BookedJob:
        """Hand a job to the first back end that takes it, looking for its name first; where it is then.

        Parameters
        ----------
        until_s
            By the stopwatch of :attr:`asking`: nothing is handed over later.
        """
        if job.backend_id or job.state not in (JobState.INTENDED, JobState.SUBMITTED):
            return job
        if not job.request["spoiled"] and self.standing(job).report is not None:
            return self.change(job, JobState.ENDED, reason="its result is there")
        if job.state is JobState.SUBMITTED:
            job = self._look_for(job)
        return self._offer(job, until_s) if job.state is JobState.INTENDED else job

    def _look_for(self, job: BookedJob) -> BookedJob:
        """What became of a job that was handed over, and the answer never came."""
        try:
            with self.asking.of(job.backend) as backend:
                found = backend.find(job.name)
        except SILENT as error:
            return self.note(job, f"handed over without an answer, is looked for: {error.what}", wait_s=_LOOK_AGAIN_S)
        if found is not None:
            return self.change(job, JobState.SUBMITTED, backend_id=found, reason="found by its name")
        if self.age_s(job) < self.asking.settles_s(job.backend):
            return self.note(job, "handed over without an answer, and not there yet", wait_s=FIRST_REST_S)
        return self.change(job, JobState.INTENDED, reason=f"it never came to be at {job.backend}")

    def _offer(self, job: BookedJob, until_s: float) -> BookedJob:
        """Offer a job to the back ends in their order."""
        refused = dict(job.request.get("refused", {}))
        told = []
        for name in self.work.deployment.on:
            if name in refused:
                continue
            if name == LOCAL:
                return self.change(job, JobState.INTENDED, backend=LOCAL, reason="is to run on this machine")
            try:
                return self._hand_over(job, name, until_s)
            except LaterError as error:
                return self.note(job, str(error))
            except (NotTakenError, UnreachableError) as error:
                told.append(f"{name}: {error.what}")
            except (ComputeError, SettingsError, NotFoundError) as error:
                refused[name] = str(error)
                job = self.beamline.ledger.job(job.name)
                job = self.change(job, JobState.INTENDED, backend_id="", request={**job.request, "refused": refused})
        if told:
            return self.note(job, "; ".join(told), wait_s=FIRST_REST_S)
        every = [f"{name} does not take it: {why}" for name, why in refused.items()]
        before = job.request.get("because", "")
        return self.change(job, JobState.PARKED, reason="; ".join([*every, *([f"before: {before}"] if before else [])]))

    def _hand_over(self, job: BookedJob, name: str, until_s: float) -> BookedJob:
        made, ledger, settings = self.made(job, name), self.beamline.ledger, self.asking.settings(name)
        if ledger.jobs_at(name, list(self.beamline.site.beamlines)) >= settings.max_jobs:
            raise LaterError(f"{name} has the {settings.max_jobs} jobs that it may have")
        with self.asking.of(name) as backend:
            found = backend.find(job.name)
            if found is not None:
                return self.change(job, JobState.SUBMITTED, backend=name, backend_id=found, reason="found by its name")
            if why := backend.why_unavailable():
                raise NotTakenError(why)
        if self.asking.stopwatch() > until_s:
            raise LaterError("its turn comes")
        claimed = ledger.claim_job(job, name)
        if claimed is None:
            return ledger.job(job.name)
        try:
            with self.asking.of(name) as backend:
                job_id = backend.submit(made)
        except UnreachableError as error:
            return self.note(claimed, f"handed over, no answer: {error.what}", wait_s=FIRST_REST_S)
        return self.change(claimed, JobState.SUBMITTED, backend_id=job_id, reason="handed over")

    def made(self, job: BookedJob, name: str) -> Job:
        """The job as it is handed to back end ``name``.

        Raises
        ------
        SettingsError
            A file of the run is not seen there.
        """
        return job_for(job, name, self.asking.settings(name), self.work)

    def logs(self, job: BookedJob) -> str:
        """The end of what a job wrote; empty when there is nothing.

        Raises
        ------
        UnreachableError
            Its back end did not answer.
        """
        if not job.backend_id:
            return ""
        try:
            with self.asking.of(job.backend) as backend:
                return backend.logs(job.backend_id, self.made(job, job.backend))
        except NotTakenError as error:
            raise UnreachableError(error.what, where=job.backend) from error
        except (ComputeError, SettingsError, NotFoundError):
            return ""

    def cancel(self, job: BookedJob, why: str) -> BookedJob:
        """Have a job ended. It is cancelled once its back end says so; until then it is being cancelled."""
        job = self.beamline.ledger.job(job.name)
        if job.state is JobState.INTENDED or (job.state is JobState.RUNNING and job.backend == LOCAL):
            return self.change(job, JobState.CANCELLED, reason=why)
        if job.state in (JobState.SUBMITTED, JobState.RUNNING):
            return self.end(self.change(job, JobState.CANCELLING, reason=why))
        return job

    def end(self, job: BookedJob) -> BookedJob:
        """Have the back end end a job that is being cancelled."""
        if job.state is not JobState.CANCELLING:
            return job
        try:
            with self.asking.of(job.backend) as backend:
                job_id = job.backend_id or backend.find(job.name)
                if job_id is not None:
                    backend.cancel(job_id)
        except SILENT as error:
            return self.note(job, f"is to be cancelled: {error.what}", wait_s=FIRST_REST_S)
        if job_id is None and self.age_s(job) >= self.asking.settles_s(job.backend):
            return self.change(job, JobState.CANCELLED)
        if job_id is not None and not job.backend_id:
            return self.change(job, JobState.CANCELLING, backend_id=job_id)
        return self.note(job, job.reason, wait_s=FIRST_REST_S)

    def change(self, job: BookedJob, state: JobState, **options: Any) -> BookedJob:
        """Bring a job into a state; what another process made of it meanwhile counts instead."""
        changed = self.beamline.ledger.change_job(job, state, **options)
        return changed or self.beamline.ledger.job(job.name)

    def note(self, job: BookedJob, reason: str, *, wait_s: float | None = None) -> BookedJob:
        """Note why a job is no further, and when to look at it again; the job as it was."""
        self.beamline.ledger.note_job(job, reason, next_at=None if wait_s is None else self.after(wait_s))
        return job

    def after(self, wait_s: float) -> datetime:
        """So long from now."""
        return self.beamline.ledger.clock() + timedelta(seconds=wait_s)

    def age_s(self, job: BookedJob) -> float:
        """How long a job has been in its state."""
        return (self.beamline.ledger.clock() - job.changed_at).total_seconds()
