"""Writers of the HDF5 formats that have a layout of their own: Dectris masters, areaDetector, ALS 7.0.1.1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.readers import als7011
from xpcs_assets.readers.hdf5 import DATASET
from xpcs_assets.testing.writers import AcquisitionFacts, Sparse

_ATTRIBUTES = "/entry/instrument/NDAttributes"
_DETECTOR = "/entry/instrument/detector"
_JOULES_PER_KEV = 1.602176634e-16


def write_dectris(
    path: Path,
    shape: tuple[int, int],
    frames: Iterable[Sparse],
    facts: AcquisitionFacts,
    *,
    per_file: int = 1000,
    bad: NDArray[np.int64] | None = None,
    dtype: str = "uint32",
) -> list[Path]:
    """Write a master and its data files, ``<name>_data_000001.h5`` and on; give the data files.

    Parameters
    ----------
    path
        The master, ``<name>_master.h5``.
    shape, frames
        Rows and columns, and the lit pixels of each frame.
    facts
        What the master says of the run.
    per_file
        Frames of a data file.
    bad
        Flat indices of pixels that ``pixel_mask`` marks; they hold the type's largest value.
    dtype
        Of the frames.
    """
    base = path.name.removesuffix(".h5").removesuffix("_master")
    rest = iter(frames)
    parts: list[Path] = []
    done = 0
    while block := list(islice(rest, per_file)):
        part = path.with_name(f"{base}_data_{len(parts) + 1:06d}.h5")
        with h5py.File(part, "w") as file:
            data = file.create_dataset(
                DATASET,
                data=_dense(block, shape, dtype, bad),
                chunks=(1, *shape),
                **hdf5plugin.Bitshuffle(cname="lz4"),
            )
            data.attrs["image_nr_low"], data.attrs["image_nr_high"] = done + 1, done + len(block)
        done += len(block)
        parts.append(part)
    _write_master(path, shape, facts, parts, bad)
    return parts


def _write_master(
    path: Path, shape: tuple[int, int], facts: AcquisitionFacts, parts: list[Path], bad: NDArray[np.int64] | None
) -> None:
    mask = np.zeros(shape, np.uint32)
    if bad is not None:
        mask.reshape(-1)[bad] = 2
    specific = f"{_DETECTOR}/detectorSpecific"
    y, x = facts.beam_centre_yx
    values: dict[str, object] = {
        f"{_DETECTOR}/count_time": facts.count_time_s,
        f"{_DETECTOR}/frame_time": facts.frame_time_s,
        f"{_DETECTOR}/beam_center_x": x,
        f"{_DETECTOR}/beam_center_y": y,
        f"{_DETECTOR}/detector_distance": facts.detector_distance_m,
        f"{_DETECTOR}/x_pixel_size": facts.pixel_size_m,
        f"{_DETECTOR}/y_pixel_size": facts.pixel_size_m,
        f"{_DETECTOR}/description": np.bytes_(facts.detector_name.encode()),
        f"{specific}/nimages": facts.frames + facts.dark_frames,
        f"{specific}/ntrigger": 1,
        f"{specific}/photon_energy": facts.energy_kev * 1000,
        f"{specific}/pixel_mask": mask,
        f"{specific}/data_collection_date": np.bytes_(facts.start_time.encode()),
    }
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            file[name] = value
        for number, part in enumerate(parts, start=1):
            file[f"/entry/data/data_{number:06d}"] = h5py.ExternalLink(part.name, DATASET)


def write_areadetector(
    path: Path,
    shape: tuple[int, int],
    frames: Iterable[Sparse],
    *,
    frame_time_s: float,
    dropped: frozenset[int] = frozenset(),
    dtype: str = "uint16",
    first_id: int = 10_641,
) -> None:
    """Write frames with a number and a time for each; those of ``dropped`` are left out, as a busy detector does."""
    kept = [(number, frame) for number, frame in enumerate(frames) if number not in dropped]
    numbers = np.array([number for number, _ in kept])
    stamps = 1_088_457_348.0 + numbers * frame_time_s
    with h5py.File(path, "w") as file:
        stack = _dense([frame for _, frame in kept], shape, dtype, None)
        file.create_dataset(DATASET, data=stack, chunks=(1, *shape), compression="gzip")
        file[f"{_ATTRIBUTES}/NDArrayUniqueId"] = (first_id + numbers).astype(np.int32)
        file[f"{_ATTRIBUTES}/NDArrayTimeStamp"] = stamps
        file[f"{_ATTRIBUTES}/NDArrayEpicsTSSec"] = stamps.astype(np.uint32)
        file[f"{_ATTRIBUTES}/NDArrayEpicsTSnSec"] = np.round((stamps % 1) * 1e9).astype(np.uint32)


def write_als7011(
    path: Path,
    shape: tuple[int, int],
    frames: Iterable[Sparse],
    facts: AcquisitionFacts,
    *,
    exposures: int = 1,
    adu_per_photon: float = 1.0,
    offset_adu: float = 0.0,
    dtype: str = "int32",
    camera: str = "Princeton Instruments MTE3",
) -> None:
    """Write a series as the exporter does, (points, exposures, rows, columns), in detector units.

    Frames that fill no whole point are left out. ``count_time`` is in ms where the camera is an MTE3.
    """
    stack = _dense(list(frames), shape, "int64", None).astype(np.float64) * adu_per_photon + offset_adu
    points = len(stack) // exposures
    per_second = 1000.0 if "MTE3" in camera else 1.0
    values: dict[str, object] = {
        "start_time": np.bytes_(facts.start_time.encode()),
        "run_id": "simulated",
        "sample_1/name": np.bytes_(facts.sample.encode()),
        "instrument_1/name": np.bytes_(b"COSMIC-Scattering"),
        "instrument_1/source_1/name": np.bytes_(b"ALS"),
        "instrument_1/source_1/energy": np.full(points, facts.energy_kev * _JOULES_PER_KEV),
        "instrument_1/detector_1/description": camera,
        "instrument_1/detector_1/distance": facts.detector_distance_m,
        "instrument_1/detector_1/x_pixel_size": facts.pixel_size_m,
        "instrument_1/detector_1/y_pixel_size": facts.pixel_size_m,
        "instrument_1/detector_1/count_time": facts.count_time_s * per_second,
        "instrument_1/detector_1/period": facts.frame_time_s - facts.count_time_s,
        "instrument_1/detector_1/exposures": exposures,
        "instrument_1/labview_data/LS_LLHTA": np.full(points, 300.0),
    }
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            file[f"/entry1/{name}"] = value
        whole = stack[: points * exposures].reshape(points, exposures, *shape)
        file[als7011.DATASET] = whole.astype(dtype)


def _dense(
    frames: list[Sparse], shape: tuple[int, int], dtype: str, bad: NDArray[np.int64] | None
) -> NDArray[np.generic]:
    stack = np.zeros((len(frames), shape[0] * shape[1]), dtype)
    for row, lit in zip(stack, _clipped(frames, dtype), strict=True):
        row[lit[0]] = lit[1]
        if bad is not None:
            row[bad] = np.iinfo(dtype).max
    return stack.reshape(len(frames), *shape)


def _clipped(frames: list[Sparse], dtype: str) -> Iterator[Sparse]:
    top = np.iinfo(dtype).max - 1
    for pixel, count in frames:
        yield pixel, np.minimum(count, top)
