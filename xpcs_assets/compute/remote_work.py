"""What differs between the analyses that back ends do: a correlation, or a beamline's own command.

All the rest (rows before jobs, names, failover, tries, cancelling, following, taking) is the same for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from xpcs_assets.compute.backend import Resources
from xpcs_assets.compute.believe import Standing
from xpcs_assets.copies.ledger import BookedJob
from xpcs_assets.settings_compute import BackendSettings, Deployment

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline

Made_co = TypeVar("Made_co", covariant=True)


class Work(Protocol):
    """How the analyses of a beamline are asked for."""

    @property
    def step(self) -> str:
        """The asset that they make."""
        ...

    @property
    def deployment(self) -> Deployment:
        """Where they are run."""
        ...

    @property
    def with_more(self) -> str:
        """What is different on a further rung of the ladder, in words."""
        ...

    def standing(self, job: BookedJob) -> Standing:
        """What lies where a job's result is to be; quick."""
        ...

    def why_not_seen(self, job: BookedJob) -> str:
        """Why nothing can be concluded from a result that does not lie there now; empty when something can."""
        ...

    def words(self, job: BookedJob, backend: BackendSettings, seen: Callable[[str], str]) -> tuple[str, ...]:
        """The command line; ``seen`` says what a path of this machine is called where it runs."""
        ...

    def rungs(self, job: BookedJob, backend: BackendSettings) -> tuple[int, ...]:
        """The rungs of the ladder that make a difference at a back end."""
        ...

    def asks(self, job: BookedJob, resources: Resources) -> Resources:
        """What a job on its rung asks for, beside more time, given what one on the first does."""
        ...

    def instead(self, job: BookedJob) -> str:
        """The analysis key of something smaller that is made where this was too big; empty where nothing is."""
        ...


class Wanted(Protocol[Made_co]):
    """One analysis that is asked for, with what it is made of."""

    @property
    def key(self) -> str:
        """The analysis key."""
        ...

    @property
    def version(self) -> int:
        """Of the run."""
        ...

    @property
    def digest(self) -> str:
        """``sha256:`` of its recipe."""
        ...

    @property
    def call(self) -> dict[str, Any]:
        """What the worker is to do, as plain values."""
        ...

    def standing(self) -> Standing:
        """What lies where its result is to be; quick."""
        ...

    def record(self, report: dict[str, Any]) -> Made_co:
        """Record a result that is what its report says. Doing it again changes nothing.

        Raises
        ------
        ComputeError, ResultError
            It is not.
        """
        ...

    def make(self, log: Callable[[str], None]) -> Made_co:
        """Make it on this machine, and record it."""
        ...


def work_of(beamline: OpenBeamline) -> Work:
    """What back ends do for a beamline.

    Raises
    ------
    NotFoundError
        It has no analysis; found out when its settings are asked for.
    """
    if beamline.settings.pipeline.process is not None:
        from xpcs_assets.process.at_backends import CommandWork

        return CommandWork(beamline)
    from xpcs_assets.compute.remote_correlation import CorrelationWork

    return CorrelationWork(beamline)
