"""Frames as EPICS areaDetector's HDF5 plug-in writes them: ``/entry/data/data`` with a number and a time for each.

``/entry/instrument/NDAttributes/NDArrayUniqueId`` counts the frames that the detector made; the numbers that are not
in the file are frames that were dropped, hence invalid. ``NDArrayTimeStamp``, or ``NDArrayEpicsTSSec`` and
``NDArrayEpicsTSnSec``, tell when each was made.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.dense import DenseSeries, frames_in_time, usual_step
from xpcs_assets.readers.h5file import damage, open_hdf5
from xpcs_assets.readers.h5items import Items
from xpcs_assets.readers.hdf5 import COPY, DATASET, H5Frames, good_pixels_of
from xpcs_assets.readers.series import SeriesInfo

_ATTRIBUTES = ("/entry/instrument/NDAttributes", "/entry/instrument/detector/NDAttributes")
_ID, _TIME, _SECONDS, _NANOSECONDS = (
    "NDArrayUniqueId",
    "NDArrayTimeStamp",
    "NDArrayEpicsTSSec",
    "NDArrayEpicsTSnSec",
)
_PERIOD, _EXPOSURE = ("AcquirePeriod", "AcquirePeriod_RBV"), ("AcquireTime", "AcquireTime_RBV")


def sniff(items: Items) -> bool:
    """Tell whether an open HDF5 file has frames with areaDetector's numbers or times."""
    named = (f"{group}/{name}" for group in _ATTRIBUTES for name in (_ID, _TIME))
    return items.dataset(DATASET) is not None and any(items.dataset(name) is not None for name in named)


def open_areadetector(path: Path) -> DenseSeries:
    """Open a file.

    Raises
    ------
    RawDataError
        No HDF5 file, truncated, without frames, or its numbers go backwards or are not one a frame.
    """
    with ExitStack() as stack:
        file = stack.enter_context(open_hdf5(path, RawDataError, COPY))
        with damage(path, f"{DATASET} cannot be read", RawDataError, COPY):
            items = Items(file, path, RawDataError, COPY)
            frames = H5Frames.of(items, DATASET)
            number = _numbers(items, frames.n_recorded, path)
            n_recorded = frames.n_recorded if number is None else int(number[-1]) + 1
            valid = frames.recorded
            time_s = _times(items, frames.n_recorded, path)
            if number is not None:
                valid = np.zeros(n_recorded, np.bool_)
                valid[number] = frames.recorded
                time_s = _spread(time_s, number, n_recorded)
            good_pixels, note = good_pixels_of(items, frames.shape)
            missing: dict[str, str | int | float] = {"missing_frames": n_recorded - int(valid.sum())}
            info = SeriesInfo(
                format="areadetector",
                kind="frames",
                shape=frames.shape,
                n_recorded=n_recorded,
                dtype=frames.dtype,
                files=(path,),
                frame_time_s=_frame_time_s(items, time_s),
                good_pixels=good_pixels,
                time_s=time_s,
                extra=frames.facts() | missing | _facts(items) | note,
            )
        stack.pop_all()
    return DenseSeries(frames, info, valid, number=number)


def _one_a_frame(items: Items, name: str, n_frames: int, path: Path) -> NDArray[np.float64] | None:
    """One number a frame by name in whichever group has it; None where none has."""
    for group in _ATTRIBUTES:
        where = f"{group}/{name}"
        if items.dataset(where) is None:
            continue
        values = items.numbers(where)
        if values is None or values.size < n_frames:
            what = f"it has {0 if values is None else values.size} values for {n_frames} frames"
            raise RawDataError(what, where=f"{path}:{where}", remedy=COPY)
        # The plug-in extends these in blocks: what follows the frames is filling.
        return np.asarray(values[:n_frames], np.float64)
    return None


def _numbers(items: Items, n_frames: int, path: Path) -> NDArray[np.int64] | None:
    identity = _one_a_frame(items, _ID, n_frames, path)
    if identity is None:
        return None
    if not (np.abs(identity) < 2**53).all():
        raise RawDataError("a frame's number is impossible", where=f"{path}:{_ID}", remedy=COPY)
    return frames_in_time(identity.astype(np.int64), f"{path}:{_ID}")


def _times(items: Items, n_frames: int, path: Path) -> NDArray[np.float64] | None:
    """When each stored frame was made, s; from the first one on, so that no digit is lost."""
    stamp = _one_a_frame(items, _TIME, n_frames, path)
    seconds, nano = (_one_a_frame(items, name, n_frames, path) for name in (_SECONDS, _NANOSECONDS))
    if seconds is not None and nano is not None:
        stamp = (seconds - seconds[0]) + 1e-9 * nano
    if stamp is None or not np.isfinite(stamp).all() or (stamp == stamp[0]).all():
        return None
    return np.asarray(stamp - stamp[0])


def _spread(time_s: NDArray[np.float64] | None, number: NDArray[np.int64], n: int) -> NDArray[np.float64] | None:
    """The times of the stored frames at their places in time, NaN between."""
    if time_s is None:
        return None
    spread = np.full(n, np.nan)
    spread[number] = time_s
    return spread


def _frame_time_s(items: Items, time_s: NDArray[np.float64] | None) -> float | None:
    """The detector's own period, else the usual step of the time stamps."""
    period = _setting(items, _PERIOD)
    if period is not None or time_s is None:
        return period
    return usual_step(time_s)


def _setting(items: Items, names: tuple[str, ...]) -> float | None:
    value = items.number(*(f"{group}/{name}" for group in _ATTRIBUTES for name in names))
    return value if value is not None and value > 0 else None


def _facts(items: Items) -> dict[str, str | int | float]:
    facts: dict[str, str | int | float] = {}
    exposure = _setting(items, _EXPOSURE)
    if exposure is not None:
        facts["count_time_s"] = exposure
    name, start = items.text("/entry/instrument/detector/description"), items.text("/entry/start_time")
    return facts | ({"detector_name": name} if name else {}) | ({"start_time": start} if start else {})
