"""How a beamline does: how many runs are in which state, how often each step failed, and how long it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.lately import StepLine, lines_since
from xpcs_assets.copies.versions import SKIPPED, WAITS
from xpcs_assets.follow import ASKED, RunState, state_of, steps_of

MOST_RUNS = 1000
"""So many of the newest runs are looked at, at most."""


@dataclass(frozen=True)
class Spread:
    """Of some durations the median and what nine of ten stay below, s; None when there is none."""

    median_s: float | None
    p90_s: float | None

    @classmethod
    def of(cls, durations_s: Sequence[float]) -> Spread:
        """The spread of these.

        >>> Spread.of([4.0, 1.0, 2.0]), Spread.of([])
        (Spread(median_s=2.0, p90_s=4.0), Spread(median_s=None, p90_s=None))
        """
        ordered = sorted(durations_s)
        if not ordered:
            return cls(None, None)
        return cls(ordered[(len(ordered) - 1) // 2], ordered[min(len(ordered) - 1, len(ordered) * 9 // 10)])


@dataclass(frozen=True)
class StepSummary:
    """How a step did.

    Attributes
    ----------
    step
        Which.
    done, failed
        How often it ended so.
    took
        Its own time.
    after
        From when a run was taken to when the step was done for the first time, waiting included.
    """

    step: str
    done: int
    failed: int
    took: Spread
    after: Spread

    @property
    def failure_rate(self) -> float:
        """Failures of all ends; 0 when there was none."""
        ends = self.done + self.failed
        return self.failed / ends if ends else 0.0


@dataclass(frozen=True)
class Summary:
    """How a beamline did since a time.

    Attributes
    ----------
    runs
        The runs that were taken since, the newest first; :data:`MOST_RUNS` at most.
    steps
        Each step in the order they come.
    """

    runs: tuple[RunState, ...]
    steps: tuple[StepSummary, ...]

    @property
    def states(self) -> Mapping[str, int]:
        """How many runs are in which state."""
        return Counter(run.word for run in self.runs)


def summary(beamline: OpenBeamline, since: datetime | None = None) -> Summary:
    """How a beamline did since a time, or ever, by the ledger alone."""
    versions = beamline.ledger.runs(beamline.name)
    taken_at = {version.run_key: version.taken_at for version in versions}
    meant = [version.run_key for version in versions if since is None or version.taken_at >= since][:MOST_RUNS]
    steps = steps_of(beamline, "any")
    lines = lines_since(beamline.engine, beamline.name, steps, since)
    told = tuple(_step(step, [line for line in lines if line.step == step], taken_at) for step in steps)
    return Summary(tuple(state_of(beamline, key) for key in meant), told)


def _step(step: str, lines: Sequence[StepLine], taken_at: Mapping[str, datetime]) -> StepSummary:
    no_end = (WAITS, SKIPPED, ASKED, "refused: ")
    ends = [line for line in lines if "partition" in line.detail and not line.what.startswith(no_end)]
    failed = [line for line in ends if line.what.startswith("failed: ")]
    done = [line for line in ends if not line.what.startswith("failed: ")]
    took_s = [float(line.detail["seconds"]) for line in done if "seconds" in line.detail]
    first: dict[str, float] = {}
    for line in done:
        taken = taken_at.get(line.run_key)
        if line.detail["partition"] == line.run_key and taken is not None and line.at >= taken:
            first.setdefault(line.run_key, (line.at - taken).total_seconds())
    return StepSummary(step, len(done), len(failed), Spread.of(took_s), Spread.of(list(first.values())))
