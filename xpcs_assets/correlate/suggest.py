"""Which recipe a raw file asks for, from a sample of its frames; each advice with its reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xpcs_assets.correlate.frames import claimed_by_name
from xpcs_assets.correlate.intensity import drift_flags
from xpcs_assets.engine.multitau import is_dense
from xpcs_assets.readers.inspect import Inspection

_LONG_WORK = 4e11
_UNITS_OF_A_PHOTON = 3.0
_OFFSET_MEANS = 5.0
_FEWEST_FRAMES = 2


@dataclass(frozen=True)
class Advice:
    """One advice.

    Attributes
    ----------
    option
        What to type after ``correlate``; empty where there is nothing to type.
    reason
        Why.
    """

    option: str
    reason: str


def kernel(found: Inspection) -> str:
    """How the counts will be correlated: ``frames`` or ``events``."""
    return "frames" if found.info.kind == "frames" or is_dense(found.occupancy) else "events"


def suggest(found: Inspection) -> list[Advice]:
    """Give all advice for a file."""
    return [*_frames(found), *_units(found), *_time(found), *_work(found)]


def _frames(found: Inspection) -> list[Advice]:
    advice = []
    recorded = found.info.n_recorded
    claimed = claimed_by_name(found.info.files[0].name)
    if claimed is not None and claimed != recorded:
        unsure = found.info.kind == "events" and claimed > recorded
        option = f"--frames {claimed}" if unsure and found.info.format.startswith("rigaku") else ""
        maybe = ", if the last ones were empty: this format does not store empty frames" if option else ""
        reason = f"the name says {claimed} frames, {recorded} are recorded{maybe}"
        advice.append(Advice(option, reason))
    if found.info.frames_per_burst:
        reason = f"bursts of {found.info.frames_per_burst} frames: delays across bursts need the time between them"
        advice.append(Advice("", reason))
    if recorded < _FEWEST_FRAMES:
        advice.append(Advice("", f"{recorded} frame makes no correlation"))
    if found.acquisition is None:
        reason = found.metadata_fault or "neither the raw file nor a file beside it tells the frame time"
        advice.append(Advice("--metadata FILE", reason))
    return advice


def _units(found: Inspection) -> list[Advice]:
    """Offset and gain of a camera, by what photons cannot do."""
    advice = []
    has_offset = found.info.kind == "frames" and found.lowest_mean > _OFFSET_MEANS and found.lowest > 0
    if has_offset:
        reason = f"no pixel is ever 0, the lowest mean is {found.lowest_mean:.4g}: an offset lowers the contrast"
        advice.append(Advice("--dark-file FILE or --offset-region r0:r1,c0:c1", reason))
    elif found.info.integrating:
        reason = "this detector integrates: if no dark image was subtracted, the contrast is not absolute without one"
        advice.append(Advice("--dark-file FILE or --offset-region r0:r1,c0:c1", reason))
    ratio = found.noise_ratio
    many_units = math.isfinite(ratio) and ratio > _UNITS_OF_A_PHOTON and found.mean_counts > 0
    if found.info.integrating or (many_units and has_offset):
        told = f"; variance over mean is {ratio:.3g}" if math.isfinite(ratio) else ""
        advice.append(Advice("--adu-per-photon UNITS", f"values are detector units, not photons{told}"))
    return advice


def _time(found: Inspection) -> list[Advice]:
    return [Advice("", flag) for flag in drift_flags(found.intensity, found.n_good, "none")]


def _work(found: Inspection) -> list[Advice]:
    """Averaging where a dense run would take very long."""
    rows, columns = found.info.shape
    work = float(found.info.n_recorded) * rows * columns
    if kernel(found) == "events" or work <= _LONG_WORK:
        return []
    n = math.ceil(work / _LONG_WORK)
    reason = f"{work:.2g} pixel-frames take long; this gives up the {n} shortest delays, --stride {n} gives up photons"
    return [Advice(f"--average {n}", reason)]
