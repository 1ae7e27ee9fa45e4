"""Judge frames and pixels of a result: what does not count in time, beam dumps, hot and lost pixels, empty bins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from xpcs_assets.describe.judgement import Judge, Judgement
from xpcs_assets.describe.pixels import count_hot, count_silent
from xpcs_assets.runs.recipe import selected_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpcs_assets.results.result import Result

_DARK_BLOCKS = 500


def judge_frames(judge: Judge, result: Result) -> Iterator[Judgement]:
    """Judge which frames do not count, what the worker found remarkable, and whether the beam was there."""
    intensity = np.asarray(result.intensity_vs_time[1], dtype=np.float64)
    count = max(1, intensity.size)
    invalid = int(np.count_nonzero(~np.isfinite(intensity)))
    yield judge.value("invalid_frames_share", invalid / count, f"{invalid} of {count} frames do not count in time")
    if "flags" in result.provenance:
        flags = [str(flag) for flag in result.provenance["flags"]]
        yield judge.value("flags", len(flags), "; ".join(flags))
    else:
        yield judge.not_judged("flags", "the result has no report of a worker")
    below = judge.rules.parameter("dark_below")
    dark = _dark_frames(intensity, below)
    if dark is None:
        yield judge.not_judged("dark_frames_share", "no frame counts in time")
    else:
        told = f"about {dark} of {count} frames are below {below:g} of the usual intensity: beam dump or shutter"
        yield judge.value("dark_frames_share", dark / count, told)


def _dark_frames(intensity: NDArray[np.float64], below: float) -> int | None:
    """Frames in blocks whose mean is below a share of the usual one; blocks keep photon noise out of it."""
    finite = intensity[np.isfinite(intensity)]
    length = max(1, finite.size // _DARK_BLOCKS)
    blocks = finite[: finite.size // length * length].reshape(-1, length).mean(axis=1)
    if blocks.size == 0:
        return None
    usual = np.percentile(blocks, 75)  # of the brighter half the median, so that half a run may be dark
    return int(np.count_nonzero(blocks < below * usual)) * length


def judge_pixels(judge: Judge, result: Result) -> Iterator[Judgement]:
    """Judge the mask: hot pixels that leaked into it, silent, masked and saturated ones."""
    analysed = int(np.count_nonzero(result.mask))
    if result.mask.shape != result.scattering_2d.shape:
        names = ("hot_pixels", "silent_pixels_share", "masked_pixels_share")
        yield from (judge.not_judged(name, "q-map and scattering pattern differ in shape") for name in names)
    else:
        hot, silent = count_hot(result), count_silent(result)
        told = f"{hot} pixels shine far above their static bin: mask them, they spoil g2"
        yield judge.value("hot_pixels", hot, told)
        told = f"{silent} of {analysed} analysed pixels never counted though their bin did: dead, saturated or shadowed"
        yield judge.value("silent_pixels_share", silent / max(1, analysed), told)
        masked = result.mask.size - analysed
        told = f"{masked} of {result.mask.size} pixels are masked"
        yield judge.value("masked_pixels_share", masked / max(1, result.mask.size), told)
    saturated, used = (result.provenance.get(name) for name in ("n_saturated", "n_pixels"))
    if isinstance(saturated, int) and isinstance(used, int):
        told = f"{saturated} of {used} analysed pixels saturated in a used frame and were dropped: attenuate the beam"
        yield judge.value("saturated_pixels_share", saturated / max(1, used), told)
    else:
        yield judge.not_judged("saturated_pixels_share", "the result does not tell how many pixels saturated")


def judge_bins(judge: Judge, result: Result) -> Judgement:
    """Judge how many dynamic bins have no g2 at all."""
    g2 = analysed_g2(result)
    if not g2.size:
        return judge.not_judged("empty_bins_share", "the result has no multi-tau g2")
    empty = ~np.isfinite(g2).any(axis=0)
    told = f"{np.count_nonzero(empty)} of {empty.size} dynamic bins have no g2: is it this detector's q-map?"
    return judge.value("empty_bins_share", float(empty.mean()), told)


def analysed_g2(result: Result) -> NDArray[np.float64]:
    """Columns of g2 that the recipe selects; the others are undefined on purpose."""
    chosen = [number - 1 for number in selected_bins(result.recipe.settings.dynamic_bins)]
    return result.g2[:, chosen] if chosen else result.g2
