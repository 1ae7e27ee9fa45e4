"""What is remarkable about a run, as sentences: it changes no number, and somebody should know it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xpcs_assets.correlate.corrections import Corrections
from xpcs_assets.correlate.frames import claimed_by_name
from xpcs_assets.engine.partition import Partition
from xpcs_assets.readers.series import SeriesInfo
from xpcs_assets.runs.recipe import AnalysisSettings, selected_bins

_NOISE = 4.0
# Below, g2 is biased by more than half of its error bar, see docs/explanation/trust.md.
_FEW_PIXELS = 10
_MOST_NAMED = 8


def known_flags(
    info: SeriesInfo, settings: AnalysisSettings, frames: dict[str, int], corrections: Corrections, whole: Partition
) -> list[str]:
    """What is known before the run is read."""
    flags = [told for told in str(info.extra.get("flags", "")).split("; ") if told]
    claimed, with_beam = claimed_by_name(info.files[0].name), frames["total"] - frames["dark"]
    if "expected" in frames:
        flags.append(f"the run was still being written: these are its first {frames['total']} frames")
    elif claimed is not None and claimed > with_beam:
        flags.append(
            f"the run's name claims {claimed} frames, there are {with_beam}: the others were not taken as empty"
        )
    if frames["missing"]:
        flags.append(f"{frames['missing']} frames that the metadata promise were not recorded")
    if info.integrating and corrections.dark is None and corrections.offset is None:
        flags.append(
            "contrast not absolute: this detector integrates, and neither a dark nor an offset region was given; "
            "an offset lowers the contrast"
        )
    if corrections.offset is not None and (whole.position[corrections.offset] >= 0).any():
        flags.append("the offset region lies on analysed pixels: what is subtracted is light")
    return [*flags, *small_bin_flags(whole, selected_bins(settings.dynamic_bins))]


def small_bin_flags(whole: Partition, chosen: Sequence[int] = ()) -> list[str]:
    """Dynamic bins of ``chosen``, from 1 (empty is all), whose usual static bin has fewer than ten used pixels."""
    n_pixels = np.bincount(whole.static, minlength=whole.n_static)
    small = [
        (number, float(np.median(n_pixels[of_static])))
        for number in chosen or range(1, whole.n_dynamic + 1)
        if (of_static := (whole.dynamic_of_static == number - 1)).any()
    ]
    small = [(number, median) for number, median in small if median < _FEW_PIXELS]
    if not small:
        return []
    named = ", ".join(str(number) for number, _ in small[:_MOST_NAMED])
    more = f" and {len(small) - _MOST_NAMED} more" if len(small) > _MOST_NAMED else ""
    least, most = min(median for _, median in small), max(median for _, median in small)
    pixels = f"{least:g}" if least == most else f"{least:g} to {most:g}"
    return [
        f"dynamic bins {named}{more}: a static bin has {pixels} used pixels in the median, fewer than {_FEW_PIXELS}; "
        "g2 is biased low and its error bar is too small: make larger static bins"
    ]


def seen_flags(info: SeriesInfo) -> list[str]:
    """What the reader has seen in the frames, once they are read."""
    repeated = int(info.extra.get("repeated_pixels", 0))
    return [f"{repeated} times a pixel came twice in a frame: its counts were summed"] if repeated else []


def beam_dump_flags(median: float, below: float) -> list[str]:
    """Photon noise that would be taken for a beam dump; ``median`` in counts a frame."""
    margin = (1 - below) * np.sqrt(max(median, 0.0))
    if margin >= _NOISE:
        return []
    return [
        f"with {median:.3g} counts a frame, {below:g} of the median is only {margin:.1f} standard deviations of photon "
        "noise away: frames in full beam were left out too"
    ]
