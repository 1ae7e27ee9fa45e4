"""Contrast and correlation time of simulated runs, fitted, over their truth: the mean over seeds, ring by ring.

    python benchmarks/known_dynamics.py [--seeds 24] [--frames 1200] [--rings 6]

Photons of a simulated detector go straight into the engine. Fits are held to 1 / (D mean q^2) of the ring, which is
no fit's truth, and to the same fit of the exact expectation of g2 with the same error bars, which is.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.delays import MIN_PAIRS, make_plan
from xpcs_assets.engine.multitau import make_correlator
from xpcs_assets.engine.normalise import normalise
from xpcs_assets.engine.partition import Partition
from xpcs_assets.readers.series import Events
from xpcs_assets.results.fit import fit_bins
from xpcs_assets.testing.scene import DETECTORS, make_sample, make_scene, photons
from xpcs_assets.testing.truth import expectation

FRAME_TIME_S = 1e-3
COUNTS, BETA = 0.5, 0.25
TAUS_IN_RUN = 20


@dataclass(frozen=True)
class Measured:
    """One run, (rings,): tau and contrast fitted, of the expectation, tau of the mean q^2; g2 in units of its error."""

    tau_s: NDArray[np.float64]
    contrast: NDArray[np.float64]
    tau_expected_s: NDArray[np.float64]
    contrast_expected: NDArray[np.float64]
    tau_of_q_s: NDArray[np.float64]
    z: NDArray[np.float64]


def measure(seed: int, frames: int, rings: int) -> Measured:
    detector = DETECTORS["eiger"]
    scene = make_scene(detector, detector.shape, rings, 5 * rings, seed)
    q_squared = scene.per_bin(scene.q**2)
    diffusion_a2 = TAUS_IN_RUN / (frames * q_squared.min())
    sample = make_sample(
        scene, mean_counts=COUNTS, diffusion_a2=diffusion_a2, beta=BETA, dark=0, frames=frames, seed=seed
    )
    plan = make_plan(frames)
    correlator = make_correlator(
        plan, Partition.of(scene.partition.dynamic, scene.partition.static, scene.partition.mask)
    )
    for number, (pixel, count) in enumerate(photons(sample)):
        frame = np.full(pixel.size, number, np.int64)
        correlator.push(
            Events(number, number + 1, frame, pixel.astype(np.int32), count.astype(np.int32), np.ones(1, np.bool_))
        )
    g2, mean = normalise(correlator.finish()), expectation(scene, sample, plan)
    delay_s = plan.delay.astype(np.float64) * FRAME_TIME_S
    found, expected = (fit_bins(delay_s, values, g2.error, plan.n_pairs) for values in (g2.g2, mean))
    return Measured(
        np.array([fit.tau_s for fit in found]),
        np.array([fit.contrast for fit in found]),
        np.array([fit.tau_s for fit in expected]),
        np.array([fit.contrast for fit in expected]),
        FRAME_TIME_S / (diffusion_a2 * q_squared),
        ((g2.g2 - mean) / g2.error)[plan.n_pairs >= MIN_PAIRS],
    )


def show(name: str, ratio: NDArray[np.float64]) -> None:
    """Print the mean over seeds of (seeds, rings), and over all with its own error."""
    of_seeds = ratio.mean(axis=1)
    rings = " ".join(f"{value:.3f}" for value in ratio.mean(axis=0))
    print(f"{name:<44} {rings}   all {of_seeds.mean():.4f} +- {of_seeds.std(ddof=1) / np.sqrt(len(of_seeds)):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--frames", type=int, default=1200)
    parser.add_argument("--rings", type=int, default=6)
    arguments = parser.parse_args()
    begun = time.process_time()
    runs = [measure(seed, arguments.frames, arguments.rings) for seed in range(arguments.seeds)]
    tau, exact = np.array([run.tau_s for run in runs]), np.array([run.tau_expected_s for run in runs])
    show("tau fitted / 1 / (D mean q^2)", tau / [run.tau_of_q_s for run in runs])
    show("tau of the expectation / 1 / (D mean q^2)", exact / [run.tau_of_q_s for run in runs])
    show("tau fitted / tau of the expectation", tau / exact)
    contrast = np.array([run.contrast for run in runs])
    show("contrast fitted / asked for", contrast / BETA)
    show("contrast fitted / of the expectation", contrast / [run.contrast_expected for run in runs])
    print(f"(g2 - expectation) / stated error: root mean square {np.sqrt(np.mean([run.z**2 for run in runs])):.2f}")
    print(f"{time.process_time() - begun:.0f} CPU s")


if __name__ == "__main__":
    main()
