"""Writers of the raw formats and the companion metadata, for the simulator and for frames of other origin.

Each raw writer takes the frames as (pixel, count) of the lit pixels, so that a large detector in which few
pixels see photons costs no more than those.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.readers import imm, rigaku
from xpcs_assets.readers.hdf5 import DATASET

Sparse = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The pixels of one frame that are not 0, ascending flat indices, and their counts."""

# mode, compression, date, prefix, number, suffix, 13 ints from monitor, elapsed, preset, topup, inject,
# dlen, roi, buffer, systick, ten process variables, imageserver to threshold, filler
_IMM_HEADER = struct.Struct("<ii32s16si16s13iddiiIiiI" + "40sf" * 10 + "ffiIifc295s84s12s")


@dataclass(frozen=True)
class AcquisitionFacts:
    """What the metadata file says of a run.

    Attributes
    ----------
    detector_name
        Name of the detector.
    frames
        Frames the run was meant to have, without dark ones.
    frame_time_s, count_time_s
        Period and exposure, s.
    energy_kev
        Photon energy, keV.
    beam_centre_yx
        Row and column of the direct beam, pixels.
    pixel_size_m, detector_distance_m
        Geometry, m.
    start_time
        ISO 8601.
    sample
        Short description.
    dark_frames
        Dark frames at the head of the raw file.
    """

    detector_name: str
    frames: int
    frame_time_s: float
    count_time_s: float
    energy_kev: float
    beam_centre_yx: tuple[float, float]
    pixel_size_m: float
    detector_distance_m: float
    start_time: str
    sample: str = ""
    dark_frames: int = 0


def write_metadata(path: Path, facts: AcquisitionFacts) -> None:
    """Write a metadata file in today's layout of APS 8-ID, with all that its viewer needs.

    Dark frames are named as the older layout does, ``/measurement/instrument/acquisition/dark_begin`` and
    ``dark_end``, from 1: today's layout has no place for them.
    """
    y, x = facts.beam_centre_yx
    detector: dict[str, tuple[float | int | str, str]] = {
        "detector_name": (facts.detector_name, ""),
        "number_of_frames": (facts.dark_frames + facts.frames, ""),
        "frame_time": (facts.frame_time_s, "s"),
        "count_time": (facts.count_time_s, "s"),
        "beam_center_x": (x, "pixel"),
        "beam_center_y": (y, "pixel"),
        "beam_center_position_x": (0.0, "mm"),
        "beam_center_position_y": (0.0, "mm"),
        "position_x": (0.0, "mm"),
        "position_y": (0.0, "mm"),
        "x_pixel_size": (facts.pixel_size_m, "m"),
        "y_pixel_size": (facts.pixel_size_m, "m"),
        "distance": (facts.detector_distance_m, "m"),
    }
    with h5py.File(path, "w") as file:
        for name, (value, unit) in detector.items():
            _put(file, f"/entry/instrument/detector_1/{name}", value, unit)
        _put(file, "/entry/instrument/incident_beam/incident_energy", facts.energy_kev, "keV")
        _put(file, "/entry/schema_version", "0.1.0")
        _put(file, "/entry/definition", "NXxpcs")
        _put(file, "/entry/start_time", facts.start_time)
        _put(file, "/entry/sample/short_description", facts.sample)
        for group, kind in (("", "NXentry"), ("/instrument", "NXinstrument"), ("/sample", "NXsample")):
            file[f"/entry{group}"].attrs["NX_class"] = kind
        if facts.dark_frames:
            acquisition = "/measurement/instrument/acquisition"
            first, last = facts.dark_frames + 1, facts.dark_frames + facts.frames
            ranges = (("dark_begin", 1), ("dark_end", facts.dark_frames), ("data_begin", first), ("data_end", last))
            for name, value in ranges:
                file.create_dataset(f"{acquisition}/{name}", data=np.full((1, 1), value, np.float64))


def _put(file: h5py.File, path: str, value: float | str, unit: str = "") -> None:
    data = file.create_dataset(path, data=value, dtype=h5py.string_dtype() if isinstance(value, str) else None)
    if unit:
        data.attrs["units"] = unit


def write_imm(
    path: Path,
    shape: tuple[int, int],
    frames: Iterable[Sparse],
    *,
    frame_time_s: float,
    compression: int = imm.SPARSE,
    dropped: frozenset[int] = frozenset(),
) -> None:
    """Write an IMM file of 2-byte values, sparse (compression 6) or dense (0), without the frames ``dropped``."""
    n_pixels = shape[0] * shape[1]
    with path.open("wb") as file:
        for number, (pixel, count) in enumerate(frames):
            if number in dropped:
                continue
            sparse = compression == imm.SPARSE
            file.write(_imm_header(shape, compression, pixel.size if sparse else n_pixels, number, frame_time_s))
            values = np.minimum(count, 65534).astype("<u2")
            if sparse:
                file.write(pixel.astype("<i4").tobytes())
            else:
                dense = np.zeros(n_pixels, "<u2")
                dense[pixel] = values
                values = dense
            file.write(values.tobytes())


def _imm_header(shape: tuple[int, int], compression: int, dlen: int, number: int, frame_time_s: float) -> bytes:
    rows, cols = shape
    window = (0, 0, 0, rows, 0, cols, 1, 1, rows, cols, 2, 0, 0)
    clock = (number * frame_time_s, frame_time_s, 0, 0, dlen, 1, number, number)
    variables = (b"", 0.0) * 10
    server = (0.0, 0.0, 12, number, 160, 0.0, b"\0", b"", b"", b"\xff" * 12)
    head = (2, compression, b"", b"sim", number, b".imm")
    return _IMM_HEADER.pack(*head, *window, *clock, *variables, *server)


def write_rigaku(path: Path, frames: Iterable[Sparse]) -> None:
    """Write a Rigaku 500k file: a word of frame, pixel and 12-bit count for each lit pixel."""
    with path.open("wb") as file:
        for number, (pixel, count) in enumerate(frames):
            values = np.minimum(count, rigaku.COUNT_BITS).astype(np.uint64)
            words = pixel.astype(np.uint64) << rigaku.PIXEL_SHIFT | values
            file.write((words | np.uint64(number << rigaku.FRAME_SHIFT)).astype("<u8").tobytes())


def write_nexus(
    path: Path,
    shape: tuple[int, int],
    frames: Iterable[Sparse],
    *,
    dtype: str = "uint32",
    lz4: bool = False,
    masked: NDArray[np.int64] | None = None,
) -> None:
    """Write HDF5 frames as 8-ID's detectors do: one frame a chunk, bitshuffle with lz4, or lz4 alone.

    ``masked`` pixels get the type's largest value in every frame, the detectors' sign for "no count".
    """
    packed = hdf5plugin.LZ4() if lz4 else hdf5plugin.Bitshuffle(cname="lz4")
    top = np.iinfo(dtype).max
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset(
            DATASET, shape=(0, *shape), maxshape=(None, *shape), chunks=(1, *shape), dtype=dtype, **packed
        )
        file["/entry"].attrs["NX_class"] = "NXentry"
        file["/entry/data"].attrs["NX_class"] = "NXdata"
        for number, (pixel, count) in enumerate(frames):
            frame = np.zeros(shape[0] * shape[1], dtype)
            frame[pixel] = np.minimum(count, top - 1)
            if masked is not None:
                frame[masked] = top
            data.resize(number + 1, axis=0)
            data[number] = frame.reshape(shape)
