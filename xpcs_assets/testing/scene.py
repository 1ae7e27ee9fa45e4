"""What a simulated detector sees: its geometry, bad pixels, rings of q, and photons frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.qmaps.rings import QPartition, q_of_pixels, ring_partition
from xpcs_assets.readers import rigaku, rigaku3m
from xpcs_assets.testing.dynamics import ageing_pace, drifting_flux, intensities, sphere_form_factor
from xpcs_assets.testing.writers import Sparse

Format = Literal[
    "imm",
    "imm-dense",
    "rigaku500k",
    "rigaku3m",
    "eiger",
    "lambda",
    "dectris",
    "areadetector",
    "als7011",
    "edf",
    "npy",
]

ENERGY_KEV = 10.0
DISTANCE_M = 4.0
SPHERE_RADIUS_ANGSTROM = 400.0

_DARK_COUNTS = 0.01
_HOT_COUNTS = 40.0
_N_HOT, _N_DEAD = 12, 20
_ARM_PIXELS = 3


@dataclass(frozen=True)
class Detector:
    """What differs between the simulated detectors.

    Attributes
    ----------
    suffix
        Of the raw file.
    shape
        Rows and columns, when none are asked for.
    pixel_size_m
        m.
    centre
        Direct beam as a part of the rows and columns.
    frame_time_s, mean_counts
        What is used when nothing is asked for; counts a pixel and frame in the mask.
    radii
        Inner and outer radius of the analysed rings, pixels.
    """

    suffix: str
    shape: tuple[int, int]
    pixel_size_m: float
    centre: tuple[float, float]
    frame_time_s: float
    mean_counts: float
    radii: tuple[float, float]


def _small(suffix: str, pixel_size_m: float) -> Detector:
    return Detector(suffix, (96, 128), pixel_size_m, (0.53, 0.455), 1e-3, 0.5, (8.0, 44.0))


DETECTORS: dict[Format, Detector] = {
    "imm": _small(".imm", 75e-6),
    "imm-dense": _small(".imm", 75e-6),
    "eiger": _small(".h5", 75e-6),
    "lambda": _small(".h5", 55e-6),
    # Only some of its half million pixels are lit, so that a run takes seconds.
    "rigaku500k": Detector(".bin", rigaku.SHAPE, 76e-6, (0.5, 0.5), 2e-5, 0.1, (12.0, 72.0)),
    # The beam is in the gap between two modules, the rings are on both.
    "rigaku3m": Detector(".bin.000", rigaku3m.SHAPE, 76e-6, (0.5, 0.5), 2e-5, 0.1, (30.0, 90.0)),
    "dectris": _small("_master.h5", 75e-6),
    "areadetector": _small(".h5", 55e-6),
    "als7011": _small(".h5", 15e-6),
    "edf": _small(".edf", 55e-6),
    "npy": _small(".npy", 75e-6),
}


@dataclass(frozen=True)
class Scene:
    """A detector with its bad pixels and rings.

    Attributes
    ----------
    partition
        Rings outside the beamstop and its arm, without the bad pixels.
    hot, dead
        Flat indices of the bad pixels, ascending; hot ones that leaked are in the mask and in bins, the others not.
    q
        (rows, cols) momentum transfer, Å⁻¹.
    """

    partition: QPartition
    hot: NDArray[np.int64]
    dead: NDArray[np.int64]
    q: NDArray[np.float64]

    def per_bin(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of ``values``, (rows, cols), over the pixels of each dynamic bin."""
        bins = self.partition.dynamic.ravel()
        return np.asarray((np.bincount(bins, values.ravel()) / np.bincount(bins))[1:])


def make_scene(
    detector: Detector, shape: tuple[int, int], n_dynamic: int, n_static: int, seed: int, leak_hot: int = 0
) -> Scene:
    """Place bad pixels by chance and draw the rings.

    ``leak_hot`` pixels of the rings are hot although the mask takes them for good.

    Raises
    ------
    QmapError
        The numbers of rings do not fit each other or the detector.
    """
    seen = rigaku3m.good_pixels() if shape == rigaku3m.SHAPE else np.ones(shape, np.bool_)
    bad = np.random.default_rng([seed, 1]).choice(np.flatnonzero(seen), size=_N_HOT + _N_DEAD, replace=False)
    if shape == rigaku3m.SHAPE:
        # A module that sees no photon at all would leave an empty file, which is refused.
        bad[: rigaku3m.N_MODULES] = [rigaku3m.module_place(module)[seed % 1024] for module in range(rigaku3m.N_MODULES)]
    centre = shape[0] * detector.centre[0], shape[1] * detector.centre[1]
    geometry = (detector.pixel_size_m, DISTANCE_M, ENERGY_KEV)
    rows, cols = np.indices(shape)
    mask = seen & ~((np.abs(cols - centre[1]) < _ARM_PIXELS) & (rows > centre[0]))
    mask.reshape(-1)[bad] = False
    inner, outer = (float(q_of_pixels((1, 1), (0, -radius), *geometry)[0, 0]) for radius in detector.radii)
    partition = ring_partition(shape, centre, *geometry, mask, n_dynamic, n_static, inner, outer)
    q = q_of_pixels(shape, centre, *geometry)
    leaked = np.random.default_rng([seed, 2]).choice(np.flatnonzero(partition.dynamic), size=leak_hot, replace=False)
    return Scene(partition, np.sort(np.concatenate([bad[:_N_HOT], leaked])), np.sort(bad[_N_HOT:]), q)


@dataclass(frozen=True)
class Sample:
    """The lit pixels and how each fluctuates.

    Attributes
    ----------
    pixel
        (P,) flat indices, ascending: those of the mask, and the hot ones.
    rate
        (P,) mean counts a frame.
    rho
        (P,) correlation from frame to frame; 0 for hot pixels.
    beta
        Contrast.
    dark
        Dark frames at the head.
    frames
        Frames of scattering after them.
    seed
        Of the generator.
    substeps
        Instants that a frame is the mean of.
    drift
        Part by which the incident intensity grows over the frames.
    ageing_frames
        Frames after which diffusion has slowed down to a half; 0 for a sample that does not age.
    """

    pixel: NDArray[np.int64]
    rate: NDArray[np.float64]
    rho: NDArray[np.float64]
    beta: float
    dark: int
    frames: int
    seed: int
    substeps: int = 1
    drift: float = 0.0
    ageing_frames: float = 0.0


def make_sample(
    scene: Scene,
    *,
    mean_counts: float,
    diffusion_a2: float,
    beta: float,
    dark: int,
    frames: int,
    seed: int,
    substeps: int = 1,
    drift: float = 0.0,
    ageing_frames: float = 0.0,
) -> Sample:
    """Spheres in the beam.

    Parameters
    ----------
    scene
        The detector.
    mean_counts
        Counts a pixel and frame, mean over the mask.
    diffusion_a2
        Diffusion coefficient times frame time, Å².
    beta, dark, frames, seed, substeps, drift, ageing_frames
        As in :class:`Sample`.
    """
    used = np.setdiff1d(np.flatnonzero(scene.partition.mask), scene.hot)
    q = scene.q.ravel()[used]
    form = sphere_form_factor(q, SPHERE_RADIUS_ANGSTROM)
    pixel = np.concatenate([used, scene.hot])
    rate = np.concatenate([form * (mean_counts / form.mean()), np.full(scene.hot.size, _HOT_COUNTS)])
    rho = np.concatenate([np.exp(-2 * diffusion_a2 * q**2), np.zeros(scene.hot.size)])
    order = np.argsort(pixel)
    return Sample(pixel[order], rate[order], rho[order], beta, dark, frames, seed, substeps, drift, ageing_frames)


def photons(sample: Sample) -> Iterator[Sparse]:
    """Yield each frame's lit pixels and counts; the same sample gives the same photons."""
    rng = np.random.default_rng(sample.seed)
    for _ in range(sample.dark):
        yield _seen(sample.pixel, rng.poisson(_DARK_COUNTS, sample.pixel.size))
    pace = ageing_pace(sample.frames, sample.ageing_frames) if sample.ageing_frames else None
    speckle = intensities(sample.rho, sample.beta, sample.frames, rng, sample.substeps, pace)
    for flux, intensity in zip(drifting_flux(sample.frames, sample.drift), speckle, strict=True):
        yield _seen(sample.pixel, rng.poisson(sample.rate * flux * intensity))


def _seen(pixel: NDArray[np.int64], count: NDArray[np.int64]) -> Sparse:
    lit = np.flatnonzero(count)
    return pixel[lit], count[lit]
