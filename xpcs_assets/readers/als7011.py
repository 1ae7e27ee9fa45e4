"""Series of ALS 7.0.1.1 (COSMIC Scattering) as its exporter writes them: ``/entry1/instrument_1/detector_1/data``.

The frames are (points, exposures, rows, columns), or (frames, rows, columns) of the older exporter; they are read as
one series, exposure after exposure. The detectors are integrating cameras: values are detector units, and signed
where a dark image was subtracted. The time from frame to frame is ``period`` + ``count_time``; ``count_time`` is in s,
but in ms where the camera is a Princeton Instruments MTE3. The file has no mask, no beam centre and no q-map.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.dense import DenseSeries, detector_units
from xpcs_assets.readers.h5file import damage, open_hdf5
from xpcs_assets.readers.h5items import Items
from xpcs_assets.readers.hdf5 import COPY, H5Frames
from xpcs_assets.readers.series import SeriesInfo

DETECTOR = "/entry1/instrument_1/detector_1"
DATASET = f"{DETECTOR}/data"

_ENERGY = "/entry1/instrument_1/source_1/energy"
_JOULES_PER_KEV = 1.602176634e-16
_IN_MILLISECONDS = "MTE3"


def sniff(items: Items) -> bool:
    """Tell whether an open HDF5 file is one of the exporter."""
    return items.dataset(DATASET) is not None


def open_als7011(path: Path) -> DenseSeries:
    """Open a file.

    Raises
    ------
    RawDataError
        No HDF5 file, truncated, without frames or with impossible ones.
    """
    with ExitStack() as stack:
        file = stack.enter_context(open_hdf5(path, RawDataError, COPY))
        with damage(path, f"{DATASET} cannot be read", RawDataError, COPY):
            items = Items(file, path, RawDataError, COPY)
            frames = H5Frames.of(items, DATASET, (3, 4))
            frame_time_s, facts = _timing(items)
            info = SeriesInfo(
                format="als7011",
                kind="frames",
                shape=frames.shape,
                n_recorded=frames.n_recorded,
                dtype=frames.dtype,
                files=(path,),
                frame_time_s=frame_time_s,
                integrating=True,
                extra=frames.facts() | facts | _facts(items),
            )
        stack.pop_all()
    return DenseSeries(frames, info, frames.recorded, convert=detector_units)


def _timing(items: Items) -> tuple[float | None, dict[str, str | int | float]]:
    """Frame time, and what was made of the file's exposure and period."""
    count_time, period = (items.number(f"{DETECTOR}/{name}") for name in ("count_time", "period"))
    in_ms = _IN_MILLISECONDS in items.text(f"{DETECTOR}/description")
    if count_time is None or count_time < 0 or (period is not None and period < 0):
        return None, {"flags": "the file does not tell its frame time"}
    count_time_s = count_time / 1000 if in_ms else count_time
    frame_time_s = count_time_s + (period or 0.0)
    facts: dict[str, str | int | float] = {"count_time_s": count_time_s}
    flags = ["count_time was taken as ms, as for this camera"] if in_ms else []
    if not period:
        flags.append("period is 0 in the file: the frame time is the exposure alone, without read-out")
    if flags:
        facts["flags"] = "; ".join(flags)
    return frame_time_s if frame_time_s > 0 else None, facts


def _facts(items: Items) -> dict[str, str | int | float]:
    numbers = {
        "distance_m": items.number(f"{DETECTOR}/distance"),
        "pixel_size_m": items.number(f"{DETECTOR}/x_pixel_size"),
    }
    facts: dict[str, str | int | float] = {name: value for name, value in numbers.items() if value is not None}
    texts = {
        "detector_name": items.text(f"{DETECTOR}/description"),
        "start_time": items.text("/entry1/start_time"),
        "sample": items.text("/entry1/sample_1/name"),
    }
    return facts | {name: value for name, value in texts.items() if value} | _energy(items)


def _energy(items: Items) -> dict[str, str | int | float]:
    """Photon energy; where it changes from point to point, its range instead."""
    joules = items.numbers(_ENERGY)
    if joules is None or not np.isfinite(joules).all() or not (joules > 0).all():
        return {}
    energy_kev = items.number(_ENERGY)
    if energy_kev is not None:
        return {"energy_kev": energy_kev / _JOULES_PER_KEV}
    low, high = float(joules.min()) / _JOULES_PER_KEV, float(joules.max()) / _JOULES_PER_KEV
    return {"energy_range_kev": f"{low:.6g} to {high:.6g}"}
