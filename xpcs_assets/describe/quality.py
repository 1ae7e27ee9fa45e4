"""Judgements of raw data and results, each with its value, its limit and where the limit comes from. Pure functions.

``error`` says that what was judged must not be used unseen; ``warning`` that somebody should look. Neither
changes data: frames that were never recorded stay so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xpcs_assets.correlate.frames import claimed_by_name
from xpcs_assets.describe.pixels import count_hot, count_silent
from xpcs_assets.runs.recipe import selected_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpcs_assets.readers.metadata import Acquisition
    from xpcs_assets.readers.series import SeriesInfo
    from xpcs_assets.results.fit import BinFit
    from xpcs_assets.results.result import Result
    from xpcs_assets.runs.manifest import Manifest

Severity = Literal["error", "warning"]

_DARK_BLOCKS = 500


@dataclass(frozen=True)
class Limits:
    """What is taken for good.

    Attributes
    ----------
    invalid_frames_share
        Dropped, excluded or never recorded frames of all; chosen here: a tenth less time costs 5 % in error bars.
    dark_below
        A stretch is dark below this share of the usual intensity: half the beam is no beam that was asked for.
    dark_share
        Dark frames of all that are borne; chosen here: one in a hundred at zero raises g2 by 1 % at short delays.
    hot_pixels
        Pixels leaked into the mask; a dozen in 7000 left 2 of 9 q bins with a usable fit (measured).
    silent_pixels_share
        Analysed pixels that never counted though their neighbours did; chosen here, they cost statistics only.
    saturated_pixels_share
        Analysed pixels dropped for a masked or overflowed count; chosen here, they are the brightest of their bin.
    empty_bins_share
        Dynamic bins without g2; chosen here: more mean that the q-map is not this detector's.
    baseline
        Mean of the last points of g2: what pyXPCSViewer takes for a good repeat (0.95 to 1.05).
    contrast
        A contrast above 1 is impossible for speckle; one below 0.002 is chosen here for hardly a decay.
    undefined_share
        Points of g2 without a value; chosen here.
    fitted_share
        Bins with a good fit; chosen here: with fewer than half, tau(q) hangs on a few bins.
    """

    invalid_frames_share: float = 0.1
    dark_below: float = 0.5
    dark_share: float = 0.01
    hot_pixels: int = 0
    silent_pixels_share: float = 0.01
    saturated_pixels_share: float = 0.01
    empty_bins_share: float = 0.1
    baseline: tuple[float, float] = (0.95, 1.05)
    contrast: tuple[float, float] = (0.002, 1.0)
    undefined_share: float = 0.2
    fitted_share: float = 0.5


@dataclass(frozen=True)
class Judgement:
    """One thing that was looked at.

    Attributes
    ----------
    name
        What, with its unit.
    value
        What was found; None when it could not be told.
    limit
        The bound in words.
    passed
        Whether the value is within it.
    severity
        What it means when it is not.
    reason
        What is wrong, as a sentence; empty when it passed.
    """

    name: str
    value: float | None
    limit: str
    passed: bool
    severity: Severity
    reason: str = ""


@dataclass(frozen=True)
class Quality:
    """What all judgements of one kind say together."""

    judgements: tuple[Judgement, ...]

    @property
    def reasons(self) -> list[str]:
        """Every finding, the serious ones first; empty when all is well."""
        failed = [judgement for judgement in self.judgements if not judgement.passed]
        return [judgement.reason for judgement in sorted(failed, key=lambda failure: failure.severity)]

    @property
    def passed(self) -> bool:
        """Whether there is no finding at all."""
        return not self.reasons

    @property
    def serious(self) -> bool:
        """Whether some finding is an error, so that what was judged is not to be used unseen."""
        return any(judgement.severity == "error" and not judgement.passed for judgement in self.judgements)

    @property
    def facts(self) -> dict[str, float | str | None]:
        """The value and limit of each judgement, flat."""
        flat: dict[str, float | str | None] = {}
        for judgement in self.judgements:
            flat[judgement.name] = judgement.value
            flat[f"{judgement.name}_limit"] = judgement.limit
        return flat

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "passed": self.passed,
            "serious": self.serious,
            "judgements": [asdict(judgement) for judgement in self.judgements],
        }


def raw_complete(
    run_key: str, info: SeriesInfo, acquisition: Acquisition | None, manifest: Manifest | None = None
) -> Quality:
    """Judge whether the run is all there.

    Parameters
    ----------
    run_key
        Its ``f000500`` is a claim to 500 frames.
    info
        What the raw file tells.
    acquisition
        What the metadata tell; None when there are none.
    manifest
        Its files; None where they are not known.
    """
    return Quality(tuple(_raw_judgements(run_key, info, acquisition, manifest)))


def frames_sane(result: Result, limits: Limits | None = None) -> Quality:
    """Judge frames and pixels of a result: invalid ones, the worker's flags, beam dumps, hot pixels, empty bins."""
    return Quality(tuple(_frame_judgements(result, limits or Limits())))


def g2_sane(result: Result, fits: Sequence[BinFit], limits: Limits | None = None) -> Quality:
    """Judge g2 and its fits: undefined points, baseline, contrast, share of good fits."""
    return Quality(tuple(_g2_judgements(result, fits, limits or Limits())))


def _raw_judgements(
    run_key: str, info: SeriesInfo, acquisition: Acquisition | None, manifest: Manifest | None
) -> Iterator[Judgement]:
    empty = [entry.path for entry in manifest.files if entry.size_bytes == 0] if manifest else []
    yield Judgement(
        "empty_files", len(empty), "0", not empty, "error", f"{', '.join(empty)}: no bytes" if empty else ""
    )
    yield Judgement(
        "metadata_files",
        int(acquisition is not None),
        "1",
        acquisition is not None,
        "warning",
        "" if acquisition else "there is no metadata file: neither frame time nor energy are known",
    )
    recorded = info.n_recorded
    if acquisition is not None and acquisition.n_frames is not None:
        yield _frames_recorded("metadata_frames", recorded, acquisition.n_frames, "the metadata promise", info.kind)
    claimed = claimed_by_name(run_key)
    if claimed is not None:
        # The name counts frames of scattering, the metadata those with the dark ones at the head.
        with_beam = recorded - (acquisition.dark_frames if acquisition else 0)
        yield _frames_recorded("name_frames", with_beam, claimed, "the run's name claims", info.kind)


def _frames_recorded(name: str, recorded: int, expected: int, who: str, kind: str) -> Judgement:
    # Files of events end with the last photon: that empty frames follow cannot be told from an aborted run.
    unsure = "; an event file does not show empty frames at its end" if kind == "events" and recorded < expected else ""
    passed = recorded == expected
    reason = "" if passed else f"{who} {expected} frames, {recorded} were recorded{unsure}"
    severity: Severity = "warning" if unsure or recorded > expected else "error"
    return Judgement(name, recorded, f"{expected}", passed, severity, reason)


def _frame_judgements(result: Result, limits: Limits) -> Iterator[Judgement]:
    intensity = np.asarray(result.intensity_vs_time[1], dtype=np.float64)
    count = max(1, intensity.size)
    invalid = int(np.count_nonzero(~np.isfinite(intensity)))
    yield _at_most(
        "invalid_frames_share",
        invalid / count,
        limits.invalid_frames_share,
        "error",
        f"{invalid} of {count} frames do not count in time",
    )
    flags = [str(flag) for flag in result.provenance.get("flags", [])]
    yield Judgement("flags", len(flags), "0", not flags, "warning", "; ".join(flags))
    dark = _dark_frames(intensity, limits.dark_below)
    yield _at_most(
        "dark_frames_share",
        dark / count,
        limits.dark_share,
        "error",
        f"about {dark} of {count} frames are below {limits.dark_below:g} of the usual intensity: beam dump or shutter",
    )
    hot = count_hot(result)
    yield _at_most(
        "hot_pixels",
        hot,
        limits.hot_pixels,
        "warning",
        f"{hot} pixels shine far above their static bin: mask them, they spoil g2",
    )
    analysed = int(np.count_nonzero(result.mask))
    silent = count_silent(result)
    yield _at_most(
        "silent_pixels_share",
        silent / max(1, analysed),
        limits.silent_pixels_share,
        "warning",
        f"{silent} of {analysed} analysed pixels never counted though their bin did: dead, saturated or shadowed",
    )
    yield from _lost_pixels(result, limits)
    no_counts = ~np.isfinite(_analysed_g2(result)).any(axis=0)
    yield _at_most(
        "empty_bins_share",
        float(no_counts.mean()),
        limits.empty_bins_share,
        "error",
        f"{np.count_nonzero(no_counts)} of {no_counts.size} dynamic bins have no g2: is it this detector's q-map?",
    )


def _lost_pixels(result: Result, limits: Limits) -> Iterator[Judgement]:
    """Pixels that are not in the result: masked ones, which is a choice, and saturated ones, which is a loss."""
    masked = int(np.count_nonzero(~result.mask))
    yield Judgement("masked_pixels", masked, "any", passed=True, severity="warning")
    saturated, analysed = (result.provenance.get(name) for name in ("n_saturated", "n_pixels"))
    if isinstance(saturated, int) and isinstance(analysed, int):
        yield _at_most(
            "saturated_pixels_share",
            saturated / max(1, analysed),
            limits.saturated_pixels_share,
            "warning",
            f"{saturated} of {analysed} analysed pixels saturated in a used frame and were dropped: attenuate the beam",
        )


def _dark_frames(intensity: NDArray[np.float64], below: float) -> int:
    """Frames in blocks whose mean is below a share of the usual one; blocks keep photon noise out of it."""
    finite = intensity[np.isfinite(intensity)]
    length = max(1, finite.size // _DARK_BLOCKS)
    blocks = finite[: finite.size // length * length].reshape(-1, length).mean(axis=1)
    if blocks.size == 0:
        return 0
    usual = np.percentile(blocks, 75)  # of the brighter half the median, so that half a run may be dark
    return int(np.count_nonzero(blocks < below * usual)) * length


def _g2_judgements(result: Result, fits: Sequence[BinFit], limits: Limits) -> Iterator[Judgement]:
    undefined = float((~np.isfinite(_analysed_g2(result))).mean())
    yield _at_most(
        "undefined_share", undefined, limits.undefined_share, "error", f"{undefined:.0%} of all g2 points are undefined"
    )
    good = [fit for fit in fits if fit.ok]
    baseline = _median([fit.baseline for fit in good])
    yield _between("baseline", baseline, limits.baseline, "error", "the fitted baseline of g2 is {} where 1 belongs")
    contrast = _median([fit.contrast for fit in good])
    severity: Severity = "error" if contrast is not None and contrast > limits.contrast[1] else "warning"
    yield _between("contrast", contrast, limits.contrast, severity, "the fitted contrast is {}")
    bins = _analysed_g2(result).shape[1]
    fitted = len(good) / max(1, bins)
    yield Judgement(
        "fitted_share",
        fitted,
        f"at least {limits.fitted_share:g}",
        fitted >= limits.fitted_share,
        "warning",
        "" if fitted >= limits.fitted_share else f"{len(good)} of {bins} bins have a good fit",
    )


def _analysed_g2(result: Result) -> NDArray[np.float64]:
    """Columns of g2 that the recipe selects; the others are undefined on purpose."""
    chosen = [number - 1 for number in selected_bins(result.recipe.settings.dynamic_bins)]
    return result.g2[:, chosen] if chosen else result.g2


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _at_most(name: str, value: float, limit: float, severity: Severity, reason: str) -> Judgement:
    passed = value <= limit
    return Judgement(name, float(f"{value:.6g}"), f"at most {limit:g}", passed, severity, "" if passed else reason)


def _between(name: str, value: float | None, limits: tuple[float, float], severity: Severity, reason: str) -> Judgement:
    """A value that could not be told is no finding of its own: the fits are judged beside it."""
    passed = value is None or limits[0] <= value <= limits[1]
    text = "" if passed or value is None else reason.format(f"{value:.4g}")
    return Judgement(name, value, f"{limits[0]:g} to {limits[1]:g}", passed, severity, text)
