"""Each fault is found and named, and a sound run passes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpcs_assets.describe.pixels import count_hot, count_silent
from xpcs_assets.describe.quality import Judgement, Quality, frames_sane, g2_sane, raw_complete, raw_unreadable
from xpcs_assets.errors import RawDataError
from xpcs_assets.qmaps.rings import ring_partition
from xpcs_assets.readers.metadata import Acquisition, find_metadata, read_acquisition
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.results.result import Result, open_result
from xpcs_assets.runs.criteria import CRITERIA, FRAMES, G2, RAW, Rules
from xpcs_assets.runs.manifest import FileEntry, Manifest
from xpcs_assets.testing.simulate import simulate
from xpcs_assets_tests.made_results import CONTRAST, make_info, make_result, without_g2

RUN = "A001_made_a0001_f000400_r00001"


def acquisition(*, n_frames: int | None = None, dark_frames: int = 0) -> Acquisition:
    return Acquisition(0.001, 0.001, n_frames, dark_frames, 10.0, "made", "")


def judged(quality: Quality, name: str) -> Judgement:
    (found,) = [judgement for judgement in quality.judgements if judgement.name == name]
    return found


def test_a_complete_run_passes() -> None:
    quality = raw_complete(RUN, make_info(), acquisition(n_frames=400))
    assert (quality.passed, quality.serious, quality.reasons) == (True, False, [])
    assert quality.facts["metadata_frames"] == quality.facts["name_frames"] == 0


def test_a_name_that_claims_more_frames_than_an_event_file_holds_is_a_warning() -> None:
    quality = raw_complete("A001_sim_a0001_f000500_r00001", make_info(), acquisition())
    assert not quality.passed
    assert not quality.serious
    assert quality.reasons == [
        "the run's name claims 500 frames, 400 were recorded; an event file does not show empty frames at its end"
    ]


def test_frames_missing_from_a_frame_file_are_an_error() -> None:
    quality = raw_complete(RUN, make_info(n_recorded=390, kind="frames"), acquisition(n_frames=400))
    assert quality.serious
    assert quality.reasons == [
        "the metadata promise 400 frames, 390 were recorded",
        "the run's name claims 400 frames, 390 were recorded",
    ]


def test_more_frames_than_promised_are_a_warning() -> None:
    quality = raw_complete("A001", make_info(n_recorded=410), acquisition(n_frames=400))
    assert quality.reasons == ["the metadata promise 400 frames, 410 were recorded"]
    assert not quality.serious


def test_dark_frames_are_in_the_metadata_s_number_and_not_in_the_name_s() -> None:
    assert raw_complete(RUN, make_info(n_recorded=410), acquisition(n_frames=410, dark_frames=10)).passed


def test_missing_metadata_are_a_warning_of_their_own() -> None:
    quality = raw_complete(RUN, make_info(), None)
    assert quality.reasons == ["there is no metadata file: neither frame time nor energy are known"]
    assert not quality.serious


def test_a_file_without_bytes_is_an_error_that_names_it() -> None:
    manifest = Manifest.of(RUN, [FileEntry("A001.imm", 0, "a" * 64), FileEntry("b.hdf", 7, "b" * 64)])
    quality = raw_complete(RUN, make_info(), acquisition(), manifest)
    assert quality.serious
    assert quality.reasons == ["A001.imm: no bytes"]


def test_a_sound_result_passes() -> None:
    result = make_result()
    assert frames_sane(result).reasons == []
    assert g2_sane(result, result.fit()).reasons == []


def with_intensity(result: Result, mean: np.ndarray) -> Result:
    return replace(result, intensity_vs_time=np.stack([np.arange(mean.size), mean]).astype(np.float32))


def test_a_beam_dump_is_found() -> None:
    mean = np.random.default_rng(0).normal(0.5, 0.05, 2000)
    mean[1000:1100] = 0.01
    found = judged(frames_sane(with_intensity(make_result(), mean)), "dark_frames_share")
    assert (found.passed, found.severity) == (False, "quarantine")
    assert found.value == pytest.approx(0.05, abs=0.005)
    assert "beam dump" in found.reason


def test_a_run_that_is_mostly_dark_is_found_too() -> None:
    mean = np.full(1000, 0.5)
    mean[450:] = 0.001
    assert not judged(frames_sane(with_intensity(make_result(), mean)), "dark_frames_share").passed


def test_photon_noise_of_a_weak_run_is_no_beam_dump() -> None:
    mean = np.random.default_rng(0).poisson(3, 50_000) / 1000
    assert judged(frames_sane(with_intensity(make_result(), mean)), "dark_frames_share").passed


def test_frames_that_do_not_count_are_counted() -> None:
    mean = np.full(400, 0.5)
    mean[:100] = np.nan
    quality = frames_sane(with_intensity(make_result(), mean))
    assert quality.serious
    assert quality.reasons == ["100 of 400 frames do not count in time"]


def test_a_run_without_any_counted_frame_is_an_error() -> None:
    quality = frames_sane(with_intensity(make_result(), np.full(400, np.nan)))
    assert quality.serious


def test_hot_pixels_that_leaked_into_the_mask_are_found_and_masked_ones_are_not() -> None:
    result = make_result(counts=0.3)
    pattern = result.scattering_2d.copy()
    inside = np.argwhere(result.mask)
    for row, column in inside[[5, 300, 900]]:
        pattern[row, column] = 40.0
    pattern[0, 0] = 40.0
    quality = frames_sane(replace(result, scattering_2d=pattern))
    assert judged(quality, "hot_pixels").value == 3
    assert not quality.serious
    assert "3 pixels shine far above" in quality.reasons[0]


@pytest.mark.parametrize("counts", [0.0005, 0.02, 5.0])
def test_no_pixel_is_hot_or_silent_by_photon_statistics_alone(counts: float) -> None:
    for seed in range(5):
        result = make_result(counts=counts, seed=seed)
        assert count_hot(result) == count_silent(result) == 0


def test_static_speckle_of_full_contrast_makes_hardly_a_hot_pixel() -> None:
    result = make_result()
    speckle = np.random.default_rng(0).exponential(0.5, result.mask.shape).astype(np.float32)
    assert count_hot(replace(result, scattering_2d=speckle)) <= 1


def test_the_edge_of_a_bright_ring_within_a_bin_is_not_hot() -> None:
    result = make_result(n_q=2)
    rows, columns = np.indices(result.mask.shape)
    edge = np.where(np.hypot(rows - 29.5, columns - 39.5) < 11, 30.0, 0.5)
    pattern = np.random.default_rng(0).poisson(edge * 400) / 400
    assert count_hot(replace(result, scattering_2d=(pattern * result.mask).astype(np.float32))) == 0


def test_a_hot_column_is_found_though_its_pixels_have_each_other_for_neighbours() -> None:
    result = make_result()
    pattern = result.scattering_2d.copy()
    pattern[:, 30] = 200.0
    assert count_hot(replace(result, scattering_2d=pattern)) == np.count_nonzero(result.mask[:, 30])


def test_the_hot_column_of_measured_frames_is_found(shared_data: Path) -> None:
    frames = np.load(shared_data / "real" / "xpcs_frames_100x256x256_uint16.npy").astype(np.float64)

    def hot_without(*columns: int) -> int:
        mask = np.ones(frames.shape[1:], bool)
        mask[:, list(columns)] = False
        rings = ring_partition(mask.shape, (123.0, 143.0), 1.08e-4, 2.23, 8.02, mask, 8, 40)
        intensity = np.stack([np.arange(len(frames)), frames.mean(axis=(1, 2))])
        measured = {"scattering_2d": frames.mean(axis=0), "intensity_vs_time": intensity}
        return count_hot(replace(make_result(), mask=rings.mask, static_map=rings.static, **measured))

    with_column, without = hot_without(), hot_without(143)
    assert with_column - without > 50
    assert without < with_column / 2


def test_pixels_that_never_count_are_found_where_counts_are_due() -> None:
    result = make_result()
    pattern = result.scattering_2d.copy()
    silent = np.argwhere(result.mask)[:60]
    pattern[silent[:, 0], silent[:, 1]] = 0
    quality = frames_sane(replace(result, scattering_2d=pattern))
    assert judged(quality, "silent_pixels_share").value == pytest.approx(60 / result.mask.sum(), rel=1e-4)
    assert "60 of" in quality.reasons[0]


def test_a_q_map_of_another_detector_leaves_bins_empty() -> None:
    result = without_g2(make_result(n_q=4), 2)
    found = judged(frames_sane(result), "empty_bins_share")
    assert (found.value, found.passed) == (0.25, False)
    assert "1 of 4 dynamic bins have no g2" in found.reason


def test_bins_that_the_recipe_leaves_out_are_not_missed() -> None:
    result = without_g2(make_result(n_q=4, dynamic_bins="1,2,4"), 2)
    assert frames_sane(result).passed
    assert g2_sane(result, result.fit()).passed


def test_a_baseline_off_one_is_an_error() -> None:
    result = make_result()
    result.g2[:] += 0.2
    quality = g2_sane(result, result.fit())
    assert quality.serious
    assert quality.reasons[0].startswith("the fitted baseline of g2 is 1.20")


@pytest.mark.parametrize(("factor", "serious"), [(8.0, True), (0.004, False)])
def test_an_impossible_contrast_is_an_error_and_a_tiny_one_a_warning(*, factor: float, serious: bool) -> None:
    result = make_result()
    fits = [replace(fit, contrast=CONTRAST * factor) for fit in result.fit()]
    quality = g2_sane(result, fits)
    assert quality.reasons == [f"the fitted contrast is {CONTRAST * factor:.4g}"]
    assert quality.serious is serious


def test_undefined_points_and_failed_fits_are_told_apart() -> None:
    result = make_result()
    result.g2[:, :3] = np.nan
    quality = g2_sane(result, result.fit())
    assert quality.reasons == ["75% of all g2 points are undefined", "1 of 4 bins have a good fit"]
    assert quality.serious


def test_without_a_single_fit_the_baseline_cannot_be_told_and_is_no_finding() -> None:
    result = make_result()
    quality = g2_sane(result, [])
    assert judged(quality, "baseline").value is None
    assert quality.reasons == ["0 of 4 bins have a good fit"]


def test_limits_are_the_caller_s() -> None:
    result = make_result()
    strict = g2_sane(result, result.fit(), Rules({"contrast": (0.4, 1.0)}))
    found = judged(strict, "contrast")
    assert (found.limit, found.source) == ("0.4 to 1", "beamline file, quality.limits.contrast")
    assert not strict.passed


def test_what_the_worker_found_remarkable_is_a_warning() -> None:
    flags = ["contrast not absolute", "the intensity drifts"]
    quality = frames_sane(replace(make_result(), provenance={"flags": flags}))
    found = judged(quality, "flags")
    assert (found.passed, found.severity, found.value) == (False, "warn", 2)
    assert found.reason == "contrast not absolute; the intensity drifts"
    assert judged(frames_sane(replace(make_result(), provenance={"flags": []})), "flags").passed
    assert judged(frames_sane(make_result()), "flags").outcome == "not judged"


@pytest.mark.parametrize(("n_saturated", "passed"), [(0, True), (20, True), (21, False)])
def test_more_than_a_hundredth_of_the_pixels_saturated_is_told(n_saturated: int, passed: bool) -> None:
    quality = frames_sane(replace(make_result(), provenance={"n_saturated": n_saturated, "n_pixels": 2000}))
    found = judged(quality, "saturated_pixels_share")
    assert (found.value, found.passed, found.severity) == (n_saturated / 2000, passed, "warn")
    assert passed or f"{n_saturated} of 2000 analysed pixels saturated" in found.reason
    assert not quality.serious


def test_how_many_pixels_are_masked_is_among_the_facts() -> None:
    result = make_result()
    share = np.count_nonzero(~result.mask) / result.mask.size
    assert frames_sane(result).facts["masked_pixels_share"] == pytest.approx(share, rel=1e-5)


def test_every_criterion_is_judged_by_its_check_once_and_in_the_order_of_the_table() -> None:
    result = make_result()
    checks = {
        RAW: raw_complete(RUN, make_info(), acquisition()),
        FRAMES: frames_sane(result),
        G2: g2_sane(result, result.fit()),
    }
    for check, quality in checks.items():
        wanted = [name for name, criterion in CRITERIA.items() if criterion.check == check]
        assert sorted(found.name for found in quality.judgements) == sorted(wanted)
    unreadable = raw_unreadable(RawDataError("cut off"), None)
    assert {found.name for found in unreadable.judgements} == {found.name for found in checks[RAW].judgements}
    assert (unreadable.reasons, unreadable.serious) == (["cut off"], True)


def test_a_result_of_two_time_alone_has_no_g2_to_judge_and_no_fault() -> None:
    made = make_result()
    nothing = {"g2": made.g2[:0], "g2_error": made.g2_error[:0], "delay_frames": made.delay_frames[:0]}
    result = replace(made, delay_s=made.delay_s[:0], **nothing)
    assert g2_sane(result, []).passed
    assert {found.outcome for found in g2_sane(result, []).judgements} == {"not judged"}
    assert judged(frames_sane(result), "empty_bins_share").reason == "the result has no multi-tau g2"


def test_judgements_become_plain_values() -> None:
    result = make_result()
    both = Quality((*frames_sane(result).judgements, *g2_sane(result, []).judgements))
    content = both.to_dict()
    assert (content["passed"], content["serious"], len(content["judgements"])) == (False, False, 20)
    assert json.loads(json.dumps(content)) == content


def test_what_quarantines_comes_before_warnings_and_what_was_not_judged_is_said_beside() -> None:
    look = Judgement("a", 1, "", passed=False, severity="warn", reason="look")
    stop = Judgement("b", 1, "", passed=False, severity="quarantine", reason="stop")
    unknown = Judgement("c", None, "", passed=None, severity="quarantine", reason="nobody knows")
    quality = Quality((look, stop, unknown))
    assert quality.reasons == ["stop", "look"]
    assert (quality.passed, quality.serious, quality.quarantining) == (False, True, ["stop"])
    assert quality.words == "stop; look; c not judged, because nobody knows"
    assert quality.verdict == "quarantined: stop"
    assert Quality((look, unknown)).verdict == "warned: look"
    assert Quality((unknown,)).words == "passed; c not judged, because nobody knows"
    assert (Quality((unknown,)).passed, Quality((unknown,)).verdict) == (True, "passed")
    assert [row["outcome"] for row in quality.rows] == ["warn", "quarantine", "not judged"]


@pytest.mark.parametrize(
    "form", ["imm", "imm-dense", "eiger", "lambda", "dectris", "areadetector", "als7011", "edf", "npy"]
)
def test_a_simulated_run_of_each_format_is_complete(form: Any, tmp_path: Path) -> None:
    run = simulate(tmp_path, format=form, frames=40, shape=(32, 40), n_dynamic=2, n_static=4)
    metadata = find_metadata(run.raw)
    assert metadata is not None
    with open_raw(run.raw) as series:
        quality = raw_complete(run.name, series.info, read_acquisition(metadata), metadata=metadata)
    assert quality.reasons == []
    assert judged(quality, "name_frames").passed
    assert judged(quality, "dead_time_share").passed


def test_golden_results_of_boost_corr_pass_and_say_what_they_do_not_tell(shared_data: Path) -> None:
    for path in sorted((shared_data / "golden").glob("*/boost_corr_result/*.hdf")):
        result = open_result(path)
        (metadata,) = path.parent.parent.glob("*_metadata.hdf")
        frames, g2 = frames_sane(result, metadata=metadata), g2_sane(result, result.fit())
        assert frames.reasons == g2.reasons == []
        unknown = {found.name for found in (*frames.judgements, *g2.judgements) if found.passed is None}
        assert unknown == {"flags", "saturated_pixels_share", "g2_drift"}


def test_the_golden_run_whose_name_claims_more_than_it_holds_is_a_warning(shared_data: Path) -> None:
    folder = shared_data / "golden" / "rigaku3m"
    (metadata,) = folder.glob("*_metadata.hdf")
    with open_raw(sorted(folder.glob("*.bin.00?"))) as series:
        quality = raw_complete("A001_sim_a0001_f000500_r00001", series.info, read_acquisition(metadata))
    found = judged(quality, "name_frames")
    assert (found.outcome, found.value) == ("warn", 500 - series.info.n_recorded)
