"""Simulated runs of known beta and tau(q), written as a beamline writes them: raw file, metadata, q-map, truth."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from xpcs_assets.errors import RefusedError
from xpcs_assets.qmaps.qmap import write_qmap
from xpcs_assets.readers.metadata import SUFFIX as METADATA_SUFFIX
from xpcs_assets.runs.folders import PARTIAL_SUFFIX
from xpcs_assets.testing.scene import (
    DETECTORS,
    DISTANCE_M,
    ENERGY_KEV,
    Format,
    Sample,
    Scene,
    make_sample,
    make_scene,
    photons,
)
from xpcs_assets.testing.truth import AGEING_LAW, LAW, Truth, contrast_by_exposure, fit_of_law
from xpcs_assets.testing.write_raw import NUMBERED, RawContent, write_raw
from xpcs_assets.testing.writers import AcquisitionFacts, write_metadata

FRAMES_FIELD = "/entry/instrument/detector_1/number_of_frames"
"""Where the metadata say how many frames the run was meant to have, dark ones included."""

_TAUS_IN_RUN = 20


@dataclass(frozen=True)
class SimulatedRun:
    """Where a simulated run lies, its truth, and the sample that :func:`photons` makes its frames of."""

    name: str
    format: Format
    folder: Path
    raw: Path
    metadata: Path
    qmap: Path
    truth: Truth
    scene: Scene
    sample: Sample


def simulate(
    folder: Path,
    *,
    format: Format,  # noqa: A002  the word of the command line
    frames: int,
    name: str = "",
    shape: tuple[int, int] | None = None,
    beta: float = 0.25,
    d_a2_per_s: float | None = None,
    frame_time_s: float | None = None,
    mean_counts: float | None = None,
    seed: int = 0,
    dark_frames: int = 0,
    missing_tail: int = 0,
    n_dynamic: int = 8,
    n_static: int = 40,
    drift: float = 0.0,
    substeps: int = 1,
    leak_hot: int = 0,
    dropped: int = 0,
    ageing_time_s: float = 0.0,
) -> SimulatedRun:
    """Write a run of Brownian spheres into ``folder/<name>/``; the raw file appears last and whole.

    Parameters
    ----------
    folder
        The detector's folder.
    format
        Raw format: IMM sparse or dense, Rigaku 500k or 3M, Eiger (uint32, bitshuffle) or Lambda (uint16, lz4) HDF5, a
        Dectris master with data files, areaDetector, ALS 7.0.1.1, EDF, or a ``.npy`` stack with its sidecar.
    frames
        Frames the run is meant to have: what its name and metadata say.
    name
        Run name; by default made as at APS 8-ID, such as ``A001_sim_a0001_f000600_r00001``.
    shape
        Detector rows and columns; Rigaku's are fixed.
    beta
        Speckle contrast.
    d_a2_per_s
        Diffusion coefficient, Å²/s; by default the slowest ring's tau is a twentieth of the run.
    frame_time_s
        s; by default 1 ms, Rigaku 20 µs.
    mean_counts
        Counts a pixel and frame, mean over the mask; by default 0.5, Rigaku 0.1.
    seed
        The same arguments give the same photons.
    dark_frames
        Dark frames written before the others, named in the metadata.
    missing_tail
        Frames at the end that the detector never recorded.
    n_dynamic, n_static
        Rings of the q-map.
    drift
        Part by which the incident intensity grows from the first frame to the last, 0.2 for a fifth.
    substeps
        Instants that each frame is the mean of: how much the speckles move within an exposure. 1 is a short one.
    leak_hot
        Hot pixels that the mask takes for good.
    dropped
        Frames that the detector made and lost, by chance anywhere but at the ends; the format must number its frames.
    ageing_time_s
        Time after which diffusion has slowed down to a half, as in a sample that gels, s; 0 for one that does not age.

    Raises
    ------
    RefusedError
        The numbers make no run, or a raw file of that name is there already.
    QmapError
        The rings do not fit the detector.
    """
    detector = DETECTORS[format]
    shape = shape or detector.shape
    frame_time_s = detector.frame_time_s if frame_time_s is None else frame_time_s
    mean_counts = detector.mean_counts if mean_counts is None else mean_counts
    if format.startswith("rigaku") and shape != detector.shape:
        raise RefusedError(f"a {format} has {detector.shape} pixels", remedy="Leave its shape out")
    positive = {"beta": beta, "frame time": frame_time_s, "counts": mean_counts, "substeps": substeps}
    _check(frames, dark_frames, missing_tail, positive, drift, leak_hot)
    if not ageing_time_s >= 0:
        raise RefusedError(
            f"an ageing time of {ageing_time_s} s makes no run", remedy="Give a time, or 0 for no ageing"
        )
    lost = _lost(format, dark_frames + frames - missing_tail, dropped, seed)
    scene = make_scene(detector, shape, n_dynamic, n_static, seed, leak_hot)
    q_squared = scene.per_bin(scene.q**2)
    if d_a2_per_s is None:
        d_a2_per_s = _TAUS_IN_RUN / (frames * frame_time_s * float(q_squared.min()))
    sample = make_sample(
        scene,
        mean_counts=mean_counts,
        diffusion_a2=d_a2_per_s * frame_time_s,
        beta=beta,
        dark=dark_frames,
        frames=frames - missing_tail,
        seed=seed,
        substeps=substeps,
        drift=drift,
        ageing_frames=ageing_time_s / frame_time_s,
    )
    tau_fit_s, beta_fit = fit_of_law(scene, sample, frame_time_s)
    truth = Truth(
        frames=frames,
        frames_recorded=dark_frames + frames - missing_tail - len(lost),
        dark_frames=dark_frames,
        frame_time_s=frame_time_s,
        d_a2_per_s=d_a2_per_s,
        q_inv_angstrom=scene.per_bin(scene.q).tolist(),
        tau_q_s=(1 / (d_a2_per_s * q_squared)).tolist(),
        beta_eff=contrast_by_exposure(scene, sample, d_a2_per_s * frame_time_s),
        tau_fit_s=tau_fit_s,
        beta_fit=beta_fit,
        mean_counts=mean_counts,
        seed=seed,
        substeps=substeps,
        drift=drift,
        leaked_hot=np.intersect1d(scene.hot, np.flatnonzero(scene.partition.dynamic)).tolist(),
        dropped=lost,
        ageing_time_s=ageing_time_s,
    )
    name = name or f"A{seed % 1000:03d}_sim_a0001_f{frames:06d}_r00001"
    if Path(name).name != name or name == "..":
        raise RefusedError(f"{name!r} is no name of a run", remedy="Leave out what separates folders")
    base = folder / name / name
    raw, metadata, qmap = (base.with_name(name + end) for end in (detector.suffix, METADATA_SUFFIX, "_qmap.hdf"))
    run = SimulatedRun(name, format, folder / name, raw, metadata, qmap, truth, scene, sample)
    _write(run)
    return run


def _lost(raw_format: Format, recorded: int, dropped: int, seed: int) -> list[int]:
    if dropped and raw_format not in NUMBERED:
        raise RefusedError(
            f"{raw_format} does not number its frames: what was dropped could not be told",
            remedy=f"Drop frames of {', '.join(sorted(NUMBERED))}",
        )
    if not 0 <= dropped <= max(recorded - 2, 0):
        raise RefusedError(f"{dropped} of {recorded} frames are dropped", remedy="Leave at least 2")
    between = np.random.default_rng([seed, 3]).choice(max(recorded - 2, 0), size=dropped, replace=False)
    return sorted(int(number) + 1 for number in between)


def _check(
    frames: int, dark_frames: int, missing_tail: int, positive: dict[str, float], drift: float, leak_hot: int
) -> None:
    wrong = [f"{name} {value} is not above 0" for name, value in positive.items() if not value > 0]
    if min(dark_frames, missing_tail) < 0 or frames - missing_tail < 1:
        wrong.append(f"{frames} frames less {missing_tail}, with {dark_frames} dark ones")
    if not -2 < drift < 2:
        wrong.append(f"a drift of {drift} leaves frames without light")
    if leak_hot < 0:
        wrong.append(f"{leak_hot} leaked hot pixels")
    if wrong:
        raise RefusedError(f"these numbers make no run: {wrong[0]}", remedy="Choose others")


def _write(run: SimulatedRun) -> None:
    if run.raw.exists():
        raise RefusedError("this raw file is there already", where=run.raw, remedy="Choose another name or seed")
    run.folder.mkdir(parents=True, exist_ok=True)
    write_metadata(run.metadata, _facts(run))
    write_qmap(run.qmap, run.scene.partition, source_file=run.raw.name)
    law = AGEING_LAW if run.truth.ageing_time_s else LAW
    truth = {"format": run.format, "law": law, **{key: _plain(value) for key, value in asdict(run.truth).items()}}
    (run.folder / f"{run.name}_truth.json").write_text(json.dumps(truth, indent=1) + "\n")
    content = RawContent(
        run.scene.partition.shape, photons(run.sample), run.scene.dead, _facts(run), frozenset(run.truth.dropped)
    )
    with TemporaryDirectory(dir=run.folder, suffix=PARTIAL_SUFFIX) as partial:
        # The names in a master's links are those of the end.
        for path in write_raw(run.format, Path(partial) / run.raw.name, content):
            path.rename(run.folder / path.name)


def _plain(value: object) -> object:
    """Null for what is undefined: JSON has no NaN."""
    return [None if number != number else number for number in value] if isinstance(value, list) else value


def _facts(run: SimulatedRun) -> AcquisitionFacts:
    partition = run.scene.partition
    return AcquisitionFacts(
        detector_name=run.format,
        frames=run.truth.frames,
        frame_time_s=run.truth.frame_time_s,
        count_time_s=run.truth.frame_time_s,
        energy_kev=ENERGY_KEV,
        beam_centre_yx=partition.beam_centre_yx,
        pixel_size_m=partition.pixel_size_m,
        detector_distance_m=DISTANCE_M,
        start_time=datetime.now(UTC).isoformat(timespec="seconds"),
        sample="simulated Brownian spheres",
        dark_frames=run.truth.dark_frames,
    )
