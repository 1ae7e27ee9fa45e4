"""The companion metadata of a raw file: what the analysis needs of them, and which file they are.

Two layouts are read: today's of APS 8-ID (``/entry/instrument/...``) and the older Data Exchange one
(``/measurement/instrument/...``). Scalars may be () or (1, 1); attributes may be absent. Where there is no such file,
a sidecar (``<name>.json``) serves, or the raw file itself, if its format tells the frame time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xpcs_assets.errors import InputError, MetadataError, RawDataError
from xpcs_assets.readers import rigaku3m, sidecar
from xpcs_assets.readers.companions import kind_of
from xpcs_assets.readers.field import Field as Field
from xpcs_assets.readers.fields import read_fields as read_fields
from xpcs_assets.readers.h5file import H5_ERRORS, damage, is_plain, open_companion, open_hdf5
from xpcs_assets.readers.h5items import Items
from xpcs_assets.readers.recognise import has_frames, is_raw_name, open_raw

SUFFIX = "_metadata.hdf"

FRAME_TIME = ("/entry/instrument/detector_1/frame_time", "/measurement/instrument/detector/exposure_period")
COUNT_TIME = ("/entry/instrument/detector_1/count_time", "/measurement/instrument/detector/exposure_time")
ENERGY = (
    "/entry/instrument/incident_beam/incident_energy",
    "/measurement/instrument/source_begin/energy",
)
DETECTOR_NAME = ("/entry/instrument/detector_1/detector_name", "/measurement/instrument/detector/manufacturer")
START_TIME = ("/entry/start_time", "/measurement/instrument/source_begin/datetime")
DARK = (
    ("/measurement/instrument/acquisition/dark_begin", "/measurement/instrument/acquisition/dark_end"),
    ("/xpcs/dark_begin", "/xpcs/dark_end"),
)
DATA_BEGIN = ("/measurement/instrument/acquisition/data_begin",)

_HDF5_SUFFIXES = (".hdf", ".h5", ".hdf5", ".nxs")
_MAX_FRAMES = 1 << 31
_FEW_FILES, _UNRELATED = 16, 3
_COPY = "Put the run's metadata file beside its raw file, or correct it at the source"


@dataclass(frozen=True)
class Acquisition:
    """How a run was taken, as far as the analysis needs it.

    Attributes
    ----------
    frame_time_s
        Time from one frame to the next, s; above 0.
    count_time_s
        Exposure of a frame, s; the frame time where the file does not say.
    n_frames
        Number of frames from the field that was asked for; None when none was.
    dark_frames
        Frames at the head of the raw file that were taken without beam.
    energy_kev
        Photon energy, keV; None where the file does not say.
    detector_name
        What the file calls the detector; may be empty.
    start_time
        As written in the file; may be empty.
    count_time_told
        Whether the file says the exposure; False where the frame time stands for it.
    """

    frame_time_s: float
    count_time_s: float
    n_frames: int | None
    dark_frames: int
    energy_kev: float | None
    detector_name: str
    start_time: str
    count_time_told: bool = True


def read_acquisition(path: Path, *, frames_field: str = "") -> Acquisition:
    """Read a metadata file, a sidecar, or what a raw file tells of itself.

    Parameters
    ----------
    path
        The file.
    frames_field
        HDF5 path of the number of frames; empty when the metadata are not asked for it. A sidecar and a raw file that
        tells how many frames were asked of the detector need none.

    Raises
    ------
    MetadataError
        No such file, no HDF5, or a field that is missing, of a wrong type or impossible; it is named.
    """
    if path.suffix.lower() == sidecar.SUFFIX:
        return _of_sidecar(path)
    if _is_raw(path):
        return _of_raw(path, frames_field)
    with open_companion(path, MetadataError, _COPY) as file, damage(path, "it cannot be read", MetadataError, _COPY):
        fields = _Fields(file, path)
        frame_time_s, count_time_s = fields.positive(FRAME_TIME), fields.number(COUNT_TIME)
        if frame_time_s is None:
            what = "there is no frame time"
            raise MetadataError(what, where=f"{path}:{FRAME_TIME[0]}", remedy=_COPY)
        return Acquisition(
            frame_time_s=frame_time_s,
            count_time_s=count_time_s or frame_time_s,
            n_frames=_n_frames(fields, frames_field),
            dark_frames=_dark_frames(fields),
            energy_kev=fields.positive(ENERGY),
            detector_name=fields.text(DETECTOR_NAME),
            start_time=fields.text(START_TIME),
            count_time_told=bool(count_time_s),
        )


def _of_sidecar(path: Path) -> Acquisition:
    told = sidecar.read_sidecar(path)
    return Acquisition(
        frame_time_s=told.frame_time_s,
        count_time_s=told.count_time_s or told.frame_time_s,
        n_frames=told.frames or None,
        dark_frames=told.dark_frames,
        energy_kev=told.energy_kev,
        detector_name=told.detector_name,
        start_time=told.start_time,
        count_time_told=bool(told.count_time_s),
    )


def _is_raw(path: Path) -> bool:
    """Tell whether a file is to be read as raw data: HDF5 with frames, or a raw file that is no HDF5 file."""
    if path.is_file() and not h5py.is_hdf5(path):
        return not path.name.lower().endswith(_HDF5_SUFFIXES)
    try:
        with open_hdf5(path, MetadataError, _COPY) as file:
            return has_frames(Items(file, path, MetadataError, _COPY))
    except (MetadataError, *H5_ERRORS):
        return False  # the reader of companions says what is wrong with it


def _of_raw(path: Path, frames_field: str) -> Acquisition:
    try:
        with open_raw(path) as series:
            info = series.info
    except RawDataError as error:
        raise MetadataError(error.what, where=error.where, remedy=error.remedy) from error
    if info.frame_time_s is None:
        what = "the raw file does not tell its frame time, and no metadata lie beside it"
        raise MetadataError(what, where=path, remedy=f"{_COPY}, or write a sidecar {path.stem}{sidecar.SUFFIX}")
    n_frames = info.extra.get("frames_claimed")
    if frames_field:
        with open_hdf5(path, MetadataError, _COPY) as file, damage(path, "it cannot be read", MetadataError, _COPY):
            n_frames = _n_frames(_Fields(file, path), frames_field)
    count_time_s, energy_kev = info.extra.get("count_time_s"), info.extra.get("energy_kev")
    return Acquisition(
        frame_time_s=info.frame_time_s,
        count_time_s=float(count_time_s or info.frame_time_s),
        n_frames=None if n_frames is None else int(n_frames),
        dark_frames=0,
        energy_kev=None if energy_kev is None else float(energy_kev),
        detector_name=str(info.extra.get("detector_name", "")),
        start_time=str(info.extra.get("start_time", "")),
        count_time_told=bool(count_time_s),
    )


class _Fields:
    """Scalars of one file by the first of several paths that is there."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file = file
        self._path = path

    def value(self, paths: tuple[str, ...]) -> tuple[str, Any] | None:
        """The path that is there and its one value, ``()`` or ``(1, 1)`` alike."""
        for name in paths:
            leaf = self._file.get(name)
            if isinstance(leaf, h5py.Dataset) and leaf.size == 1 and is_plain(leaf.dtype):
                return name, np.asarray(leaf[()]).reshape(-1)[0]
        return None

    def number(self, paths: tuple[str, ...]) -> float | None:
        """A number; None where there is none, NaN or infinite."""
        found = self.value(paths)
        if found is None:
            return None
        name, value = found
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise self.wrong(name, f"{value!r} is no number") from error
        return number if math.isfinite(number) else None

    def positive(self, paths: tuple[str, ...]) -> float | None:
        """A number above 0; None where no field is there.

        Raises
        ------
        MetadataError
            The field is there and holds something else.
        """
        found = self.value(paths)
        if found is None:
            return None
        number = self.number(paths)
        if number is None or number <= 0:
            raise self.wrong(found[0], f"{found[1]} is not above 0")
        return number

    def text(self, paths: tuple[str, ...]) -> str:
        """A text; empty where there is none."""
        found = self.value(paths)
        if found is None:
            return ""
        return found[1].decode("utf-8", "backslashreplace") if isinstance(found[1], bytes) else str(found[1])

    def wrong(self, name: str, what: str) -> MetadataError:
        return MetadataError(what, where=f"{self._path}:{name}", remedy=_COPY)


def _n_frames(fields: _Fields, name: str) -> int | None:
    if not name:
        return None
    number = fields.positive((name,))
    if number is None:
        raise fields.wrong(name, "there is no such field for the number of frames")
    if number != int(number) or number > _MAX_FRAMES:
        raise fields.wrong(name, f"{number} is no number of frames")
    return int(number)


def _dark_frames(fields: _Fields) -> int:
    """Dark frames at the head: ``dark_begin`` to ``dark_end``, from 1, as far as they come before the data."""
    for begin_name, end_name in DARK:
        begin, end = fields.number((begin_name,)), fields.number((end_name,))
        if begin is None or end is None or end < 1:
            continue
        data_begin = fields.number(DATA_BEGIN)
        if data_begin is not None:
            end = min(end, max(data_begin - 1, 0))
        if end >= 1 and not (begin in (0, 1) and end == int(end)):
            raise fields.wrong(begin_name, f"dark frames {begin:g} to {end:g} are not the first of the file")
        return int(end)
    return 0


def find_metadata(raw: Path) -> Path | None:
    """The metadata of a raw file, in the same folder; None where there are none.

    They are a ``*_metadata.hdf``, else the sidecar ``<name>.json``, else an HDF5 file of another name whose content is
    metadata of a known layout, else the raw file itself if it tells its frame time. Of several it is first the one of
    the raw file's own name, then one whose name begins with it, then one whose name the raw file's begins with, then
    any that bears no other raw file's name; of those that fit equally well by name, the one with such content.

    Raises
    ------
    MetadataError
        Two fit equally well, or the folder cannot be listed.
    """
    try:
        names = sorted(entry.name for entry in raw.parent.iterdir())
    except OSError as error:
        raise MetadataError(
            f"the folder cannot be listed ({error.strerror})", where=raw.parent, remedy=_COPY
        ) from error
    stem = _stem(raw.name)
    others = {_stem(name) for name in names if is_raw_name(name) and name != raw.name} - {stem}
    bases = {name: name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)}
    best = _best({name: base for name, base in bases.items() if base not in others}, stem)
    if not best:
        beside = sidecar.sidecar_of(raw)
        best = [] if beside else _by_content(raw, names)
        if not best:
            return beside or (raw if _tells_frame_time(raw) else None)
    if len(best) > 1:
        best = [name for name in best if kind_of(raw.parent / name) == "companion"] or best
    if len(best) > 1:
        what = f"{len(best)} metadata files fit equally well: {', '.join(best[:4])}"
        raise MetadataError(what, where=raw, remedy=f"Name the right one {stem}{SUFFIX}")
    return raw.parent / best[0]


def _best(bases: Mapping[str, str], stem: str) -> list[str]:
    """The names that fit best, by the part of them that is compared with the raw file's."""
    ranked: dict[int, list[str]] = {}
    for name, base in bases.items():
        ranked.setdefault(_rank(base, stem), []).append(name)
    return ranked[min(ranked)] if ranked else []


def _by_content(raw: Path, names: Sequence[str]) -> list[str]:
    """HDF5 files whose content is metadata; in a large folder only those whose names have to do with the raw file's."""
    stem = _stem(raw.name)
    # Many of them may be raw files by their names: it is another raw file's that shares the stem with yet another.
    shared = Counter(_stem(name) for name in names if is_raw_name(name) and name != raw.name)
    candidates = {
        name: _stem(name)
        for name in names
        if name != raw.name
        and name.lower().endswith(_HDF5_SUFFIXES)
        and (_stem(name) == stem or shared[_stem(name)] <= is_raw_name(name))
    }
    if len(candidates) > _FEW_FILES:
        candidates = {name: base for name, base in candidates.items() if _rank(base, stem) < _UNRELATED}
    return _best({name: base for name, base in candidates.items() if kind_of(raw.parent / name) == "companion"}, stem)


def _tells_frame_time(raw: Path) -> bool:
    try:
        with open_raw(raw) as series:
            return series.info.frame_time_s is not None
    except InputError:
        return False  # whoever reads it says what is wrong with it


def _stem(name: str) -> str:
    return name[: -len(".bin.000")] if rigaku3m.is_module_name(name) else name.rsplit(".", 1)[0]


def _rank(base: str, stem: str) -> int:
    if base == stem:
        return 0
    for rank, (longer, shorter) in enumerate(((base, stem), (stem, base)), start=1):
        # A1 is not the beginning of A10.
        if longer.startswith(shorter) and not longer[len(shorter)].isalnum():
            return rank
    return _UNRELATED
