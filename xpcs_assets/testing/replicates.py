"""Many independent repeats of one measurement in one run of the engine: how far stated errors are true.

Each dynamic bin is a repeat: its pixels share the law but no chance. The scatter of g2 over the repeats is what the
stated error bars should be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.delays import Plan, make_plan
from xpcs_assets.engine.multitau import make_correlator
from xpcs_assets.engine.normalise import G2, normalise
from xpcs_assets.engine.partition import Partition
from xpcs_assets.readers.series import Frames
from xpcs_assets.testing.dynamics import intensities
from xpcs_assets.testing.expectation import expected_g2


@dataclass(frozen=True)
class Law:
    """One measurement.

    Attributes
    ----------
    photons
        Mean counts a pixel and run.
    tau_frames
        Correlation time of the field, frames: g2 = 1 + beta exp(-2 d / tau).
    frames
        Frames of the run.
    beta
        Contrast.
    n_static
        Static bins of the dynamic bin.
    pixels
        Pixels of each static bin.
    rate_spread
        The pixels' rates lie evenly within this part of their mean, either way.
    """

    photons: float
    tau_frames: float
    frames: int = 1000
    beta: float = 0.25
    n_static: int = 8
    pixels: int = 50
    rate_spread: float = 0.1


@dataclass(frozen=True, eq=False)
class Repeats:
    """What the repeats gave.

    Attributes
    ----------
    plan
        The plan.
    g2
        As the engine gives it; each of its dynamic bins is a repeat.
    expected
        (D,) mean of g2 over noise.
    """

    plan: Plan
    g2: G2
    expected: NDArray[np.float64]

    def deviation(self) -> NDArray[np.float64]:
        """(D, repeats) g2 less its expectation."""
        return self.g2.g2 - self.expected[:, None]

    def ratio(self, error: NDArray[np.float64], delays: NDArray[np.bool_]) -> float:
        """True scatter over stated error: root mean squares over repeats and the chosen delays.

        Each delay counts alike, whatever its scatter. NaN where an error is not finite.
        """
        true = (self.deviation()[delays] ** 2).mean(axis=1)
        stated = (error[delays] ** 2).mean(axis=1)
        return float(np.sqrt((true / stated).mean()))


def repeat(law: Law, repeats: int, seed: int, *, device: str = "cpu") -> Repeats:
    """Measure ``repeats`` times."""
    n_pixels = repeats * law.n_static * law.pixels
    static = np.arange(n_pixels) // law.pixels
    maps = (static // law.n_static + 1)[None, :], (static + 1)[None, :]
    partition = Partition.of(*maps, np.ones((1, n_pixels), np.bool_))
    plan = make_plan(law.frames)
    rng = np.random.default_rng(seed)
    steps = np.linspace(1 - law.rate_spread, 1 + law.rate_spread, law.pixels)
    rate = np.tile(law.photons / law.frames * steps, repeats * law.n_static)
    rho = np.full(n_pixels, np.exp(-2 / law.tau_frames))
    correlator = make_correlator(plan, partition, occupancy=law.photons / law.frames, device=device)
    for frames in _counts(intensities(rho, law.beta, law.frames, rng), rate, rng):
        correlator.push(frames)
    expected = expected_g2(plan, partition, rate, rho, law.beta)[:, 0]
    return Repeats(plan, normalise(correlator.finish()), expected)


def _counts(
    intensity: Iterable[NDArray[np.float64]], rate: NDArray[np.float64], rng: np.random.Generator
) -> Iterable[Frames]:
    waiting: list[NDArray[np.int32]] = []
    begin = 0
    for instant in intensity:
        waiting.append(rng.poisson(rate * instant).astype(np.int32))
        if len(waiting) == 64:
            yield Frames(begin, np.array(waiting), np.ones(len(waiting), np.bool_))
            begin, waiting = begin + len(waiting), []
    if waiting:
        yield Frames(begin, np.array(waiting), np.ones(len(waiting), np.bool_))
