"""Dectris Eiger and Pilatus series: a master file and the data files that it links to.

``*_master.h5`` links ``/entry/data/data_000001`` and on (in files of 2014 ``/entry/data_000001``) to
``/entry/data/data`` of ``*_data_000001.h5`` and on, all in the master's folder. A link that leaves the folder is
refused. The attributes ``image_nr_low`` and ``image_nr_high`` of the data, where they are, number the frames; numbers
that were never recorded are invalid frames.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.dense import DenseSeries, frames_in_time
from xpcs_assets.readers.h5file import damage, open_hdf5
from xpcs_assets.readers.h5items import Items
from xpcs_assets.readers.hdf5 import COPY, H5Frames, good_pixels_of
from xpcs_assets.readers.series import SeriesInfo

_GROUPS = ("/entry/data", "/entry")
_LINK = re.compile(r"data_(\d{1,9})")
_DETECTOR = "/entry/instrument/detector"
_SPECIFIC = f"{_DETECTOR}/detectorSpecific"
_WAVELENGTH = "/entry/instrument/beam/incident_wavelength"
_KEV_ANGSTROM = 12.39841984
_BRING = "Bring the series whole: the master and all data files that it names, in one folder"


@dataclass(frozen=True)
class _Part:
    """A stretch of frames: the dataset ``name`` in ``path``."""

    path: Path
    name: str


def sniff(items: Items) -> bool:
    """Tell whether an open HDF5 file is a Dectris master."""
    return bool(_links(items)[1])


def open_dectris(path: Path) -> DenseSeries:
    """Open a series by its master file.

    Raises
    ------
    RawDataError
        The master is damaged, a data file is missing, leads elsewhere or does not fit the others, or the numbers of
        the frames go backwards.
    """
    with open_hdf5(path, RawDataError, COPY) as file, damage(path, "the master cannot be read", RawDataError, COPY):
        items = Items(file, path, RawDataError, COPY)
        source = DectrisFrames(_parts(items, path))
        with ExitStack() as stack:
            stack.callback(source.close)
            good_pixels, note = good_pixels_of(items, source.shape)
            number = source.number
            n_recorded = int(number[-1]) + 1 if number is not None else int(source.recorded.size)
            valid = source.recorded
            if number is not None:
                valid = np.zeros(n_recorded, np.bool_)
                valid[number] = source.recorded
            series = DenseSeries(
                source,
                SeriesInfo(
                    format="dectris",
                    kind="frames",
                    shape=source.shape,
                    n_recorded=n_recorded,
                    dtype=source.dtype,
                    files=(path, *source.paths(path)),
                    frame_time_s=_positive(items, f"{_DETECTOR}/frame_time"),
                    good_pixels=good_pixels,
                    frames_per_burst=_burst(items, n_recorded),
                    extra=_facts(items) | note | {"missing_frames": n_recorded - int(valid.sum())},
                ),
                valid,
                number=number,
            )
            stack.pop_all()
    return series


def _links(items: Items) -> tuple[str, list[str]]:
    """The group that has the links, and their names in order."""
    for group_name in _GROUPS:
        group = items.group(group_name)
        if group is None:
            continue
        numbered = {int(match[1]): name for name in group if (match := _LINK.fullmatch(name))}
        if numbered:
            return group_name, [numbered[number] for number in sorted(numbered)]
    return "", []


def _parts(items: Items, master: Path) -> list[_Part]:
    group_name, names = _links(items)
    group = items.group(group_name)
    if group is None:
        raise RawDataError("it links to no data", where=master, remedy=_BRING)
    numbers = [int(name.removeprefix("data_")) for name in names]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        missing = next(number for number in range(numbers[0], numbers[-1]) if number not in numbers)
        raise RawDataError(f"it has no link to data_{missing:06d}", where=f"{master}:{group_name}", remedy=_BRING)
    return [_part(group.get(name, getlink=True), master, f"{group_name}/{name}") for name in names]


def _part(link: object, master: Path, name: str) -> _Part:
    if not isinstance(link, h5py.ExternalLink):
        return _Part(master, name)
    target = PurePosixPath(link.filename)
    if target.is_absolute() or ".." in target.parts:
        what = f"it links to {link.filename!r}, which leaves the master's folder"
        raise RawDataError(what, where=f"{master}:{name}", remedy=_BRING)
    path = master.parent / target
    if not path.is_file():
        what = f"the data file {link.filename!r} that it links to is missing"
        raise RawDataError(what, where=f"{master}:{name}", remedy=_BRING)
    return _Part(path, link.path)


class DectrisFrames:
    """The frames of all data files one after the other; one file is open at a time.

    Attributes
    ----------
    shape, dtype
        Of every part.
    recorded
        (n_stored,) bool, which frames were written.
    number
        (n_stored,) int64, frame in time of each stored frame; None when they follow each other.
    layer
        Frames in an HDF5 chunk.
    """

    def __init__(self, parts: list[_Part]) -> None:
        self._parts = parts
        self._open: tuple[int, H5Frames] | None = None
        with ExitStack() as stack:
            stack.callback(self.close)
            first = self._part(0)
            self.shape, self.dtype, self.layer = first.shape, first.dtype, first.layer
            recorded, counters = [], []
            for at in range(len(parts)):
                frames = self._fitting(at)
                recorded.append(frames.recorded)
                counters.append(_counter(frames))
            self.recorded = np.concatenate(recorded)
            self._starts = np.concatenate(([0], np.cumsum([len(part) for part in recorded])))
            known = [counter for counter in counters if counter is not None]
            self.number: NDArray[np.int64] | None = None
            if len(known) == len(counters):
                self.number = frames_in_time(np.concatenate(known), f"{parts[0].path}, image_nr_low")
            stack.pop_all()

    def _fitting(self, at: int) -> H5Frames:
        frames = self._part(at)
        if (frames.shape, frames.dtype) != (self.shape, self.dtype):
            first = f"{self.shape} {self.dtype}"
            what = f"its frames are {frames.shape} {frames.dtype}, those of the first file {first}"
            raise RawDataError(what, where=f"{self._parts[at].path}:{self._parts[at].name}", remedy=_BRING)
        return frames

    def paths(self, master: Path) -> tuple[Path, ...]:
        """The data files, in order, without the master."""
        return tuple(dict.fromkeys(part.path for part in self._parts if part.path != master))

    def read(self, begin: int, end: int) -> NDArray[Any]:
        """The stored frames [begin, end); see :class:`~xpcs_assets.readers.dense.FrameSource`."""
        if begin == end:
            return np.empty((0, self.shape[0] * self.shape[1]), self.dtype)
        pieces = []
        while begin < end:
            at = int(np.searchsorted(self._starts, begin, side="right")) - 1
            first, stop = int(self._starts[at]), min(end, int(self._starts[at + 1]))
            pieces.append(self._part(at).read(begin - first, stop - first))
            begin = stop
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _part(self, at: int) -> H5Frames:
        if self._open is None or self._open[0] != at:
            self.close()
            self._open = at, _open_part(self._parts[at])
        return self._open[1]

    def close(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


def _open_part(part: _Part) -> H5Frames:
    with ExitStack() as stack:
        file = stack.enter_context(open_hdf5(part.path, RawDataError, COPY))
        with damage(part.path, f"{part.name} cannot be read", RawDataError, COPY):
            items = Items(file, part.path, RawDataError, COPY)
            frames = H5Frames.of(items, part.name)
        stack.pop_all()
    return frames


def _counter(frames: H5Frames) -> NDArray[np.int64] | None:
    """Numbers of the frames by the data's attributes; None where those do not fit."""
    low, high = (frames.attribute(name) for name in ("image_nr_low", "image_nr_high"))
    if low is None or high is None or high - low + 1 < frames.n_recorded or not 0 <= low < 1 << 40:
        return None
    return np.arange(low, low + frames.n_recorded, dtype=np.int64)


def _facts(items: Items) -> dict[str, str | int | float]:
    """What the master says of the measurement, under this project's names."""
    numbers = {
        "count_time_s": _positive(items, f"{_DETECTOR}/count_time"),
        "energy_kev": _energy_kev(items),
        "distance_m": items.number(f"{_DETECTOR}/detector_distance"),
        "pixel_size_m": items.number(f"{_DETECTOR}/x_pixel_size"),
        "beam_center_x_px": items.number(f"{_DETECTOR}/beam_center_x"),
        "beam_center_y_px": items.number(f"{_DETECTOR}/beam_center_y"),
        "bit_depth": items.number(f"{_DETECTOR}/bit_depth_image"),
    }
    texts = {
        "detector_name": items.text(f"{_DETECTOR}/description"),
        "start_time": items.text(f"{_SPECIFIC}/data_collection_date", "/entry/start_time"),
    }
    facts: dict[str, str | int | float] = {name: value for name, value in numbers.items() if value is not None}
    facts |= {name: value for name, value in texts.items() if value}
    images, triggers = (_positive(items, f"{_SPECIFIC}/{name}") for name in ("nimages", "ntrigger"))
    if images:
        facts["frames_claimed"] = int(images * (triggers or 1))
    return facts


def _energy_kev(items: Items) -> float | None:
    energy_ev = _positive(items, f"{_SPECIFIC}/photon_energy")
    if energy_ev:
        return energy_ev / 1000
    wavelength_angstrom = _positive(items, _WAVELENGTH)
    return _KEV_ANGSTROM / wavelength_angstrom if wavelength_angstrom else None


def _burst(items: Items, n_recorded: int) -> int:
    """Frames per trigger, where there are several triggers of several frames."""
    images, triggers = (_positive(items, f"{_SPECIFIC}/{name}") for name in ("nimages", "ntrigger"))
    several = images is not None and triggers is not None and images > 1 and triggers > 1
    return int(images) if several and images is not None and images < n_recorded else 0


def _positive(items: Items, name: str) -> float | None:
    value = items.number(name)
    return value if value is not None and value > 0 else None
