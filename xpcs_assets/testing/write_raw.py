"""Which writer makes which simulated format, and which files a run of it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.readers import imm, rigaku3m
from xpcs_assets.testing.scene import Format
from xpcs_assets.testing.writers import AcquisitionFacts, Sparse, write_imm, write_nexus, write_rigaku
from xpcs_assets.testing.writers_files import write_edf, write_npy, write_rigaku3m
from xpcs_assets.testing.writers_hdf5 import write_als7011, write_areadetector, write_dectris


@dataclass(frozen=True)
class RawContent:
    """What is to be written.

    Attributes
    ----------
    shape
        Rows and columns.
    frames
        The lit pixels of each frame.
    dead
        Flat indices of the pixels that the detector masks, where its format can.
    facts
        What the formats that tell of the run say of it.
    dropped
        Frames, by number, that are left out; only the formats that number their frames have them.
    """

    shape: tuple[int, int]
    frames: Iterable[Sparse]
    dead: NDArray[np.int64]
    facts: AcquisitionFacts
    dropped: frozenset[int] = frozenset()


def write_raw(raw_format: Format, path: Path, content: RawContent) -> list[Path]:
    """Write a run's raw file ``path`` and those that belong to it; give them all, ``path`` last."""
    return [*_WRITERS[raw_format](path, content), path]


def _imm(path: Path, content: RawContent, compression: int) -> list[Path]:
    frame_time_s = content.facts.frame_time_s
    write_imm(
        path, content.shape, content.frames,
        frame_time_s=frame_time_s, compression=compression, dropped=content.dropped,
    )  # fmt: skip
    return []


def _rigaku500k(path: Path, content: RawContent) -> list[Path]:
    write_rigaku(path, content.frames)
    return []


def _rigaku3m(path: Path, content: RawContent) -> list[Path]:
    paths = [path.with_suffix(f".00{module}") for module in range(rigaku3m.N_MODULES)]
    write_rigaku3m(paths, content.frames)
    return paths[1:]


def _nexus(path: Path, content: RawContent, dtype: str, lz4: bool) -> list[Path]:
    write_nexus(path, content.shape, content.frames, dtype=dtype, lz4=lz4, masked=content.dead)
    return []


def _dectris(path: Path, content: RawContent) -> list[Path]:
    return write_dectris(path, content.shape, content.frames, content.facts, bad=content.dead)


def _areadetector(path: Path, content: RawContent) -> list[Path]:
    write_areadetector(
        path, content.shape, content.frames, frame_time_s=content.facts.frame_time_s, dropped=content.dropped
    )
    return []


def _als7011(path: Path, content: RawContent) -> list[Path]:
    write_als7011(path, content.shape, content.frames, content.facts)
    return []


def _edf(path: Path, content: RawContent) -> list[Path]:
    facts = content.facts
    fields = {"acq_expo_time": facts.count_time_s, "acq_latency_time": facts.frame_time_s - facts.count_time_s}
    write_edf(path, content.shape, content.frames, fields=fields)
    return []


def _npy(path: Path, content: RawContent) -> list[Path]:
    facts = content.facts
    sidecar = {
        "frame_time_s": facts.frame_time_s,
        "count_time_s": facts.count_time_s,
        "energy_kev": facts.energy_kev,
        "frames": facts.dark_frames + facts.frames,
        "dark_frames": facts.dark_frames,
        "detector_name": facts.detector_name,
        "start_time": facts.start_time,
    }
    write_npy(path, content.shape, content.frames, sidecar, bad=content.dead)
    return [path.with_suffix(".json"), path.with_name(f"{path.stem}_mask.npy")]


NUMBERED: frozenset[Format] = frozenset({"imm", "imm-dense", "areadetector"})
"""Formats whose frames carry a number, so that those which were dropped can be told."""

_WRITERS: dict[Format, Callable[[Path, RawContent], list[Path]]] = {
    "imm": lambda path, content: _imm(path, content, imm.SPARSE),
    "imm-dense": lambda path, content: _imm(path, content, imm.DENSE),
    "rigaku500k": _rigaku500k,
    "rigaku3m": _rigaku3m,
    "eiger": lambda path, content: _nexus(path, content, "uint32", lz4=False),
    "lambda": lambda path, content: _nexus(path, content, "uint16", lz4=True),
    "dectris": _dectris,
    "areadetector": _areadetector,
    "als7011": _als7011,
    "edf": _edf,
    "npy": _npy,
}
