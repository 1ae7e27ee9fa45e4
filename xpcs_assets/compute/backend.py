"""What every place where heavy work runs can do: a scheduler, a service or this machine, behind one protocol.

A back end is believed in what it says of a job's life, never of its success: that is the worker's own report.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Phase(StrEnum):
    """Where a job is in its life, as its back end tells it."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    FORGOTTEN = "forgotten"
    """The back end answers, and does not know the job: it ended long ago, or never came to be."""


@dataclass(frozen=True)
class Resources:
    """What a job asks for; a back end's own settings stand where something is left open.

    Attributes
    ----------
    walltime_s
        It is ended after this long; 0: the back end's.
    gpus, nodes
        How many.
    memory_bytes
        Main memory a node; 0: the back end's.
    account, queue
        Who pays, and which queue (Slurm: partition or, for NERSC, QOS).
    extra
        Further words for the submission, as the scheduler spells them.
    """

    walltime_s: float = 0.0
    gpus: int = 0
    nodes: int = 1
    memory_bytes: int = 0
    account: str = ""
    queue: str = ""
    extra: tuple[str, ...] = ()

    def over(self, defaults: Resources) -> Resources:
        """What is asked for, with a back end's own where something is left open."""
        return Resources(
            walltime_s=self.walltime_s or defaults.walltime_s,
            gpus=self.gpus or defaults.gpus,
            nodes=max(self.nodes, defaults.nodes),
            memory_bytes=self.memory_bytes or defaults.memory_bytes,
            account=self.account or defaults.account,
            queue=self.queue or defaults.queue,
            extra=(*defaults.extra, *self.extra),
        )


@dataclass(frozen=True)
class Job:
    """A command line that is to run somewhere, once.

    Attributes
    ----------
    name
        Unique among all jobs of all sites: what :meth:`Backend.find` finds it by. Letters, digits, ``-``, ``_`` and
        ``.``, 100 at most.
    words
        The command; never a line for a shell.
    folder
        Absolute path of a folder that is there at the far side: where it runs, and where its output is left in
        ``<name>.out``.
    environment
        Variables to add. No secrets: schedulers show them.
    resources
        What it asks for.
    """

    name: str
    words: tuple[str, ...]
    folder: str
    environment: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = Resources()


@dataclass(frozen=True)
class Seen:
    """What a back end says of a job.

    Attributes
    ----------
    phase
        Where it is in its life.
    code
        The exit code of an ended one, as the back end has it; None where it tells none. Never a proof of success.
    reason
        In words: the scheduler's own state (``TIMEOUT``, ``OUT_OF_MEMORY``), or what a waiting job waits for.
    is_lost
        It ended for a reason that is not its own (node failed, pre-empted, killed by an operator): the same again may
        succeed.
    is_too_big
        It ended since it had too little memory or time: less at once, or more of either, may succeed.
    """

    phase: Phase
    code: int | None = None
    reason: str = ""
    is_lost: bool = False
    is_too_big: bool = False


class Backend(Protocol):
    """Somewhere that jobs run. Every call ends within the back end's time limit.

    All of them raise :class:`~xpcs_assets.errors.UnreachableError` when no answer came (what was asked may have been
    done), and :class:`~xpcs_assets.errors.ComputeError` when the answer is a refusal.
    """

    @property
    def name(self) -> str:
        """Its name in the site's settings."""

    def why_unavailable(self) -> str:
        """Why it takes no jobs now; empty when it does."""

    def find(self, name: str) -> str | None:
        """The id of the newest job of this name, ended or not; None when there is none."""

    def submit(self, job: Job) -> str:
        """Hand a job over; its id. The caller has looked for the name before."""

    def poll(self, ids: Iterable[str]) -> dict[str, Seen]:
        """What is known of jobs, one entry for each id, asked for in as few calls as the back end allows."""

    def cancel(self, job_id: str) -> None:
        """End a job; one that has ended, or is not known, is no error."""

    def logs(self, job_id: str, job: Job) -> str:
        """The end of what a job wrote; empty when there is nothing (yet)."""
