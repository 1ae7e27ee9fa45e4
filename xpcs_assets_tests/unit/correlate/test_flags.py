from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.correlate.corrections import Corrections
from xpcs_assets.correlate.flags import beam_dump_flags, known_flags, seen_flags, small_bin_flags
from xpcs_assets.engine.partition import Partition
from xpcs_assets.readers.series import SeriesInfo
from xpcs_assets.runs.recipe import AnalysisSettings

INFO = SeriesInfo("nexus_hdf5", "frames", (12, 3), 100, "uint16", (Path("A_a0001_f000100_r00001.h5"),))
MAP = np.repeat([[0, 1, 1], [0, 2, 2]], 6, axis=0)
WHOLE = Partition.of(MAP, MAP, MAP > 0)
FRAMES = {"total": 100, "dark": 0, "missing": 0}


def flags(info: SeriesInfo = INFO, corrections: Corrections | None = None, **frames: int) -> list[str]:
    return known_flags(info, AnalysisSettings(), {**FRAMES, **frames}, corrections or Corrections(), WHOLE)


def test_a_plain_run_has_no_flag() -> None:
    assert flags() == []
    assert seen_flags(INFO) == []


def test_dark_frames_are_none_of_those_that_a_name_claims() -> None:
    assert flags(total=110, dark=10) == []
    (flag,) = flags(total=100, dark=10)
    assert flag.startswith("the run's name claims 100 frames, there are 90")


def test_frames_that_the_metadata_promise_are_missed() -> None:
    (flag,) = flags(missing=7)
    assert flag.startswith("7 frames that the metadata promise")


@pytest.mark.parametrize(
    ("corrections", "flagged"),
    [
        (Corrections(), True),
        (Corrections(flat=np.ones(6, np.float32)), True),
        (Corrections(dark=np.ones(6, np.float32)), False),
        (Corrections(offset=np.array([0, 3])), False),
    ],
)
def test_an_integrating_detector_without_dark_or_offset_has_no_absolute_contrast(
    corrections: Corrections, flagged: bool
) -> None:
    found = flags(replace(INFO, integrating=True), corrections)
    assert [flag.startswith("contrast not absolute") for flag in found] == [True] * flagged


def test_an_offset_region_on_lit_pixels_is_flagged() -> None:
    (flag,) = flags(corrections=Corrections(offset=np.array([0, 1])))
    assert "lies on analysed pixels" in flag


def test_what_the_reader_says_is_passed_on() -> None:
    assert flags(replace(INFO, extra={"flags": "period is 0; ms assumed"})) == ["period is 0", "ms assumed"]
    (flag,) = seen_flags(replace(INFO, extra={"repeated_pixels": 4}))
    assert flag.startswith("4 times a pixel came twice")


@pytest.mark.parametrize(("median", "below", "flagged"), [(1e4, 0.5, False), (30, 0.5, True), (30, 0.2, False)])
def test_photon_noise_that_looks_like_a_beam_dump_is_flagged(median: float, below: float, flagged: bool) -> None:
    assert bool(beam_dump_flags(median, below)) is flagged


def test_dynamic_bins_whose_static_bins_have_few_pixels_are_named() -> None:
    # Two dynamic bins of three static bins each: 3, 9 and 20 pixels, and 10, 10 and 10.
    static = np.repeat(np.arange(7), [4, 3, 9, 20, 10, 10, 10])[None]
    dynamic = np.where(static > 3, 2, np.minimum(static, 1))
    whole = Partition.of(dynamic, static, static > 0)
    (flag,) = small_bin_flags(whole)
    assert flag.startswith("dynamic bins 1: a static bin has 9 used pixels in the median, fewer than 10")
    assert small_bin_flags(whole, [1]) == [flag]
    assert small_bin_flags(whole, [2]) == []
    # It is the used pixels that count: a mask that takes one of a bin's ten leaves too few.
    mask = static > 0
    mask[0, [36, 46]] = False
    (flag,) = small_bin_flags(Partition.of(dynamic, static, mask))
    assert flag.startswith("dynamic bins 1, 2: a static bin has 9 used pixels")


def test_many_bins_of_few_pixels_are_one_flag_of_bounded_length() -> None:
    bins = np.repeat(np.arange(1, 401), 2)[None]
    (flag,) = small_bin_flags(Partition.of(bins, bins, bins > 0))
    assert flag.startswith("dynamic bins 1, 2, 3, 4, 5, 6, 7, 8 and 392 more: a static bin has 2 used pixels")
