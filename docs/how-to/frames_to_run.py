"""Turn an .npy file of frames into a run as a beamline would have written it: HDF5, metadata and q-map.

    python docs/how-to/frames_to_run.py FRAMES.npy FOLDER

See bring-real-frames.md beside this file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from xpcs_assets.qmaps.qmap import write_qmap
from xpcs_assets.qmaps.rings import QPartition, pixels_as_static_bins, q_of_pixels, ring_partition
from xpcs_assets.readers.metadata import SUFFIX as METADATA_SUFFIX
from xpcs_assets.runs.folders import PARTIAL_SUFFIX
from xpcs_assets.testing.writers import AcquisitionFacts, Sparse, write_metadata, write_nexus

FINE_RINGS = 2  # rings in which a pixel's brightness is judged, for each ring of the q-map


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Frames in an .npy file become a run folder.")
    parser.add_argument("frames", type=Path, help="(frames, rows, columns) of unsigned integers")
    parser.add_argument("folder", type=Path, help="the detector's folder; the run gets a folder of its own in it")
    parser.add_argument("--name", default="", help="of the run; the file's name without .npy when left out")
    parser.add_argument("--frame-time-s", type=float, default=1.30068e-3)
    parser.add_argument("--energy-kev", type=float, default=8.0197, help="12.39841984 / wavelength in angstrom")
    parser.add_argument("--pixel-size-m", type=float, default=1.08e-4, help="after binning")
    parser.add_argument("--distance-m", type=float, default=2.230)
    parser.add_argument("--centre-row", type=float, default=132.0, help="direct beam, counted from the first row")
    parser.add_argument("--centre-col", type=float, default=143.0)
    parser.add_argument("--mask-column", type=int, action="append", help="a column of bad pixels; may be repeated")
    parser.add_argument("--q-min", type=float, default=0.0028, help="inner edge of the rings, 1/angstrom")
    parser.add_argument("--q-max", type=float, default=0.0076, help="outer edge")
    parser.add_argument("--rings", type=int, default=12, help="dynamic bins")
    parser.add_argument("--shadow", type=float, default=0.4, help="darker than this part of its ring: beamstop")
    parser.add_argument("--hot", type=float, default=2.5, help="brighter than this many times its ring: bad pixel")
    parser.add_argument("--static", choices=("pixels", "rings"), default="pixels", help="what g2 is normalised by")
    parser.add_argument("--sample", default="", help="short description")
    return parser.parse_args(given)


def good_pixels(mean: NDArray[np.float64], ring: NDArray[np.intp], options: argparse.Namespace) -> NDArray[np.bool_]:
    """Pixels that neither lie in the shadow of the beamstop nor stand out of their ring."""
    good = np.ones(mean.shape, np.bool_)
    good[:, options.mask_column] = False
    typical = np.array([np.median(mean[good & (ring == k)]) for k in range(int(ring.max()) + 1)])[ring]
    shadow = binary_dilation(mean < options.shadow * typical)
    return np.asarray(good & ~shadow & (mean < options.hot * typical))


def partition_of(frames: NDArray[np.uint], options: argparse.Namespace) -> QPartition:
    """Rings of equal width around the beam, without the bad pixels."""
    mean = frames.mean(axis=0)
    shape = (frames.shape[1], frames.shape[2])
    geometry = (
        (options.centre_row, options.centre_col),
        options.pixel_size_m,
        options.distance_m,
        options.energy_kev,
    )
    n_fine = FINE_RINGS * options.rings
    edges = np.linspace(options.q_min, options.q_max, n_fine + 1)
    ring = np.searchsorted(edges, q_of_pixels(shape, *geometry), side="right")
    mask = good_pixels(mean, ring, options)
    rings = ring_partition(shape, *geometry, mask, options.rings, n_fine, options.q_min, options.q_max)
    return pixels_as_static_bins(rings) if options.static == "pixels" else rings


def lit(frames: NDArray[np.uint]) -> Iterator[Sparse]:
    for frame in frames:
        pixel = np.flatnonzero(frame)
        yield pixel, frame.ravel()[pixel].astype(np.int64)


def main(given: list[str] | None = None) -> Path:
    options = arguments(given)
    options.mask_column = [143] if options.mask_column is None else options.mask_column
    frames = np.load(options.frames, mmap_mode="r", allow_pickle=False)
    if frames.ndim != 3 or frames.dtype.kind != "u":
        raise SystemExit(f"{options.frames} holds {frames.dtype} of shape {frames.shape}, no frames of counts")
    name = options.name or options.frames.stem
    base: Path = options.folder / name / name
    raw = base.with_name(f"{name}.h5")
    if raw.exists():
        raise SystemExit(f"{raw} is there already: choose another --name")
    base.parent.mkdir(parents=True, exist_ok=True)
    partition = partition_of(frames, options)
    write_qmap(base.with_name(f"{name}_qmap.hdf"), partition, source_file=raw.name)
    facts = AcquisitionFacts(
        detector_name="frames",
        frames=frames.shape[0],
        frame_time_s=options.frame_time_s,
        count_time_s=options.frame_time_s,
        energy_kev=options.energy_kev,
        beam_centre_yx=partition.beam_centre_yx,
        pixel_size_m=options.pixel_size_m,
        detector_distance_m=options.distance_m,
        start_time=datetime.now(UTC).isoformat(timespec="seconds"),
        sample=options.sample,
    )
    write_metadata(base.with_name(f"{name}{METADATA_SUFFIX}"), facts)
    # The raw file comes last and whole, so that a watched folder sees a complete run.
    partial = raw.with_name(raw.name + PARTIAL_SUFFIX)
    write_nexus(partial, partition.shape, lit(frames), dtype=frames.dtype.name)
    partial.rename(raw)
    print(f"{raw}: {frames.shape[0]} frames, {partition.n_dynamic} rings of {int(partition.mask.sum())} pixels")
    return raw


if __name__ == "__main__":
    main()
