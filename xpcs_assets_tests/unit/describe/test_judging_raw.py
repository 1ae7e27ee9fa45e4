"""Lost frames, times that do not agree and dead time are found; formats that do not tell say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.describe.judgement import Judge, Judgement
from xpcs_assets.describe.judging_raw import count_time_gaps, judge_files, judge_times
from xpcs_assets.describe.quality import raw_complete
from xpcs_assets.readers.metadata import Acquisition, read_acquisition
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import SeriesInfo
from xpcs_assets.runs.criteria import Rules
from xpcs_assets.testing.simulate import simulate
from xpcs_assets_tests.made_results import make_info

ACQUISITION = Acquisition(0.001, 0.0009, None, 0, 10.0, "made", "")


def judged(info: SeriesInfo, acquisition: Acquisition | None = ACQUISITION) -> dict[str, Judgement]:
    return {found.name: found for found in judge_times(Judge(Rules()), info, acquisition)}


def stamped(time_s: np.ndarray, **more: int) -> SeriesInfo:
    return replace(make_info(n_recorded=time_s.size), time_s=time_s, extra={"dropped_frames": 0}, **more)


def test_even_time_stamps_with_jitter_have_no_gaps() -> None:
    time_s = np.arange(400) * 0.001 + np.random.default_rng(0).uniform(-2e-4, 2e-4, 400)
    found = judged(stamped(time_s))
    assert [found[name].passed for name in ("dropped_frames_share", "time_gaps", "frame_time_deviation")] == [True] * 3
    assert found["dead_time_share"].value == pytest.approx(0.1)


def test_a_jump_of_the_stamps_where_the_numbers_go_on_is_counted_in_frames() -> None:
    time_s = np.arange(400) * 0.001
    time_s[100:] += 0.003
    time_s[200:] += 0.001
    found = judged(stamped(time_s))["time_gaps"]
    assert (found.value, found.passed, found.severity, found.unit) == (4, False, "warn", "frames")
    assert "4 frames are missing" in found.reason


def test_a_frame_whose_number_is_missing_too_is_dropped_and_no_gap() -> None:
    time_s = np.arange(400) * 0.001
    time_s[50:60] = np.nan
    info = replace(stamped(time_s), extra={"missing_frames": 10})
    found = judged(info)
    assert found["time_gaps"].value == 0
    assert (found["dropped_frames_share"].value, found["dropped_frames_share"].passed) == (0.025, False)
    assert found["dropped_frames_share"].reason == "10 of 400 frames have a number and were not recorded"


def test_pauses_between_bursts_are_no_gaps() -> None:
    time_s = np.arange(400) * 0.001 + np.repeat(np.arange(4) * 0.5, 100)
    assert count_time_gaps(time_s, 0.001, frames_per_burst=100) == 0
    assert count_time_gaps(time_s, 0.001) == 3 * 500
    time_s[150:] += 0.002
    assert count_time_gaps(time_s, 0.001, frames_per_burst=100) == 2


def test_another_frame_time_than_the_metadata_s_is_found() -> None:
    found = judged(stamped(np.arange(400) * 0.0011))["frame_time_deviation"]
    assert found.value == pytest.approx(0.1)
    assert found.reason == "the time stamps step by 0.0011 s, the metadata say 0.001 s"


@pytest.mark.parametrize(
    ("count_time_s", "value", "passed"),
    [(0.001, 0.0, True), (0.0005, 0.5, True), (0.0004, 0.6, False), (0.002, -1.0, False)],
)
def test_dead_time_beyond_a_half_or_below_nothing_is_found(count_time_s: float, value: float, passed: bool) -> None:
    found = judged(make_info(), replace(ACQUISITION, count_time_s=count_time_s))["dead_time_share"]
    assert (found.value, found.passed) == (pytest.approx(value), passed)


def test_what_the_file_does_not_tell_is_not_judged_and_says_why() -> None:
    info = replace(make_info(), extra={})
    found = judged(info, replace(ACQUISITION, count_time_told=False))
    reasons = {name: each.reason for name, each in found.items()}
    assert {each.outcome for each in found.values()} == {"not judged"}
    assert reasons == {
        "dropped_frames_share": "imm does not number its frames",
        "time_gaps": "the raw file has no time stamps",
        "frame_time_deviation": "the raw file has no time stamps",
        "dead_time_share": "the metadata do not tell the exposure time",
    }
    assert judged(info, None)["dead_time_share"].reason == "there are no metadata"
    time_s = np.arange(400) * 0.001
    assert judged(stamped(time_s), None)["frame_time_deviation"].outcome == "not judged"


def test_files_that_are_not_known_are_not_judged() -> None:
    found = next(judge_files(Judge(Rules()), None, metadata=True))
    assert (found.name, found.outcome) == ("empty_files", "not judged")


def test_frames_that_a_simulated_detector_lost_are_counted(tmp_path: Path) -> None:
    run = simulate(tmp_path, format="areadetector", frames=100, shape=(32, 32), n_dynamic=2, n_static=4, dropped=5)
    with open_raw(run.raw) as series:
        info = series.info
    found = judged(info, read_acquisition(run.metadata))
    assert found["dropped_frames_share"].value == pytest.approx(5 / info.n_recorded)
    assert found["dropped_frames_share"].passed is False
    assert found["time_gaps"].value == 0


def test_the_frame_that_als_7_0_1_1_lost_shows_in_its_time_stamps_alone(shared_data: Path) -> None:
    """539 of 540 points of a scan of 18 rows: one step of 6.5 s where 3.3 are due, and 17 turns of 9 s."""
    raw = shared_data / "als-7.0.1.1" / "missing_frames__ccd_data16x16_2.h5"
    with open_raw(raw) as series:
        info = series.info
    quality = raw_complete("als", info, None, metadata=raw)
    found = {each.name: each for each in quality.judgements}
    assert found["dropped_frames_share"].value == 0  # the detector's numbers go on
    assert (found["time_gaps"].value, found["time_gaps"].passed) == (1 + 17 * 2, False)
    assert info.time_s is not None
    assert count_time_gaps(info.time_s[:28], 3.32) == 1
    assert found["missing_fields"].passed


@pytest.mark.parametrize("name", ["imm_both", "eiger_aging"])
def test_golden_runs_are_complete(shared_data: Path, name: str) -> None:
    folder = shared_data / "golden" / name
    (metadata,) = folder.glob("*_metadata.hdf")
    stem = metadata.name.removesuffix("_metadata.hdf")
    (raw,) = [path for path in folder.glob(f"{stem}.*") if path.suffix in {".imm", ".h5"}]
    with open_raw(raw) as series:
        quality = raw_complete(stem, series.info, read_acquisition(metadata), metadata=metadata)
    assert quality.reasons == []
