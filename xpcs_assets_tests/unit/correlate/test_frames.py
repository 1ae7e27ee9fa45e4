from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.correlate.frames import (
    claimed_by_name,
    count_frames,
    count_so_far,
    known_frames,
    read_excluded,
)
from xpcs_assets.errors import CorrelationError, NoFrameYetError, RawDataError
from xpcs_assets.readers.metadata import Acquisition
from xpcs_assets.readers.series import SeriesInfo
from xpcs_assets.runs.recipe import AnalysisSettings

INFO = SeriesInfo("nexus_hdf5", "frames", (4, 4), 100, "uint16", (Path("a.h5"),))
TAKEN = Acquisition(1e-3, 1e-3, None, 0, None, "", "")


def test_the_option_comes_before_the_metadata_and_those_before_the_file() -> None:
    metadata = replace(TAKEN, n_frames=90)
    assert count_frames(INFO, TAKEN, AnalysisSettings())["source"] == "recorded"
    assert count_frames(INFO, metadata, AnalysisSettings())["total"] == 90
    assert count_frames(INFO, metadata, AnalysisSettings(frames=80))["total"] == 80


def test_the_dark_frames_asked_for_come_before_those_of_the_metadata() -> None:
    metadata = replace(TAKEN, dark_frames=5)
    assert count_frames(INFO, metadata, AnalysisSettings())["begin"] == 5
    assert count_frames(INFO, metadata, AnalysisSettings(dark_frames=0))["begin"] == 0
    assert count_frames(INFO, metadata, AnalysisSettings(dark_frames=8, begin_frame=3))["begin"] == 8


def test_a_kinetics_file_is_refused_by_name() -> None:
    with pytest.raises(RawDataError, match="kinetics file"):
        count_frames(replace(INFO, extra={"kinetics": 1}), TAKEN, AnalysisSettings())


@pytest.mark.parametrize("format_", ["imm", "rigaku500k"])
def test_of_a_run_that_is_being_written_the_frames_so_far_count(format_: str) -> None:
    info, promised = replace(INFO, format=format_), replace(TAKEN, n_frames=400)
    for taken, settings, total, expected in (
        (TAKEN, AnalysisSettings(), 100, 0),
        (promised, AnalysisSettings(), 100, 400),
        (promised, AnalysisSettings(frames=200), 100, 200),
        (TAKEN, AnalysisSettings(frames=60), 60, 60),
    ):
        frames = count_so_far(info, taken, settings)
        told = {key: frames[key] for key in ("total", "end", "expected", "missing", "source")}
        assert told == {"total": total, "end": total, "expected": expected, "missing": 0, "source": "so far"}


@pytest.mark.parametrize(
    "settings",
    [AnalysisSettings(begin_frame=99), AnalysisSettings(stride=51), AnalysisSettings(begin_frame=41, average=30)],
)
def test_without_a_pair_of_frames_there_is_nothing_to_correlate_yet(settings: AnalysisSettings) -> None:
    with pytest.raises(NoFrameYetError, match="no pair of frames"):
        count_so_far(INFO, TAKEN, settings)


def test_a_closed_shutter_and_a_missing_monitor_are_counted_after_what_is_excluded() -> None:
    shutter = np.ones(100, bool)
    shutter[10:20] = False
    monitor = np.ones(100)
    monitor[[15, 30, 2]] = 0
    settings = AnalysisSettings(exclude_frames="12-13,50,99")
    known = known_frames(replace(INFO, shutter_open=shutter), settings, 5, 99, monitor)
    assert known.invalid == {"excluded": 3, "shutter closed": 8, "no monitor": 1}
    expected = np.ones(99, bool)
    expected[[2, *range(10, 20), 30, 50]] = False
    assert np.array_equal(known.valid, expected)


def test_frames_beyond_what_the_shutter_tells_are_open() -> None:
    known = known_frames(replace(INFO, shutter_open=np.zeros(10, bool)), AnalysisSettings(), 0, 20)
    assert known.valid.tolist() == [False] * 10 + [True] * 10


@pytest.mark.parametrize("text", ["3, 5-7\n9", "# first\n3 5-7\n9 # last", "9,5-7,3\n\n"])
def test_a_list_of_bad_frames_may_be_written_in_any_way(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(text)
    assert read_excluded(path) == ((3, 3), (5, 7), (9, 9))


@pytest.mark.parametrize("content", [b"frame 3", b"7-5", b"\xff\xfe"])
def test_what_is_no_list_of_frames_is_refused_with_its_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(CorrelationError, match=r"bad\.txt"):
        read_excluded(path)


@pytest.mark.parametrize(
    ("name", "frames"),
    [("E0173_H06-c6c5-4_a0009_f100000_r00001.imm", 100000), ("A_f0500_r1.h5", 500), ("B0147_S3_7", None)],
)
def test_a_name_may_claim_frames(name: str, frames: int | None) -> None:
    assert claimed_by_name(name) == frames
