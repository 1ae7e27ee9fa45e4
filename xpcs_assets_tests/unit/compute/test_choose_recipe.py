"""One place says which recipe a run has: by the first rule that fits what is known of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest

from xpcs_assets.alerts.late import late_runs
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.audit.reconcile import _missing
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.analyse import correlate_settings, plan
from xpcs_assets.compute.choose_recipe import ChosenRecipe, choose_recipe, note_choice, why_skipped
from xpcs_assets.compute.facts import RUN_DATABASE, SCAN
from xpcs_assets.compute.out_of_date import out_of_date
from xpcs_assets.copies.standing import unfinished
from xpcs_assets.copies.versions import RECIPE_STEP
from xpcs_assets.describe.describing import describe
from xpcs_assets.errors import NotFoundError, RefusedError
from xpcs_assets.reprocess import config_for
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import Altered, Drop, bare_run

KEY = "A001"
FRAMES = "/entry/instrument/detector_1/number_of_frames"


def ruled(altered: Altered, *rules: dict[str, Any], **correlate: Any) -> OpenBeamline:
    return altered({"pipeline": {"correlate": {"rules": list(rules), **correlate}}})


def choice(beamline: OpenBeamline) -> ChosenRecipe:
    return choose_recipe(beamline, correlate_settings(beamline), beamline.latest(KEY))


def taken(beamline: OpenBeamline) -> None:
    submit(beamline, bare_run(beamline.source_root / KEY), as_is=True)
    take(beamline, KEY)


@pytest.fixture
def staged(altered: Altered, drop: Drop) -> None:
    """A simulated run of 60 frames, staged."""
    beamline = altered({})
    submit(beamline, drop(beamline, KEY), as_is=True)
    take(beamline, KEY)
    stage(beamline, KEY)


def note(beamline: OpenBeamline) -> None:
    note_choice(beamline, beamline.latest(KEY), choice(beamline))


def lines(beamline: OpenBeamline) -> list[str]:
    return [event.what for event in beamline.ledger.timeline("xpcs", KEY) if event.step == RECIPE_STEP]


def test_without_rules_a_run_has_the_beamlines_own_recipe_and_that_is_no_news(altered: Altered) -> None:
    beamline = ruled(altered)
    taken(beamline)
    note(beamline)
    correlate = correlate_settings(beamline)
    assert choice(beamline) == ChosenRecipe(correlate.settings, correlate.qmap)
    assert lines(beamline) == []


def test_the_first_rule_that_fits_says_recipe_and_map(altered: Altered) -> None:
    other = {"in_run": "*other.hdf"}
    beamline = ruled(
        altered,
        {"when": {"run": "B*"}, "skip": "dark run"},
        {"when": {"run": "A*", "source": "*001"}, "use": {"type": "both", "qmap": other}},
        {"when": {"run": "A*"}, "skip": "too late"},
    )
    taken(beamline)
    found = choice(beamline)
    assert (found.settings.analysis_type, found.qmap.in_run, found.skip) == ("both", "*other.hdf", "")
    assert found.told == "by rule 2 (run A*, source *001)"


@pytest.mark.parametrize(
    ("when", "fit"),
    [
        ({FRAMES: 60}, True),
        ({FRAMES: ">= 60", "/entry/instrument/detector_1/detector_name": "im?"}, True),
        ({FRAMES: "> 60"}, False),
        ({"raw.frames_recorded": 60, "raw.format": "imm*"}, True),
    ],
)
@pytest.mark.parametrize("described", [True, False])
@pytest.mark.usefixtures("staged")
def test_metadata_of_the_staged_run_choose_before_and_after_its_record_is_written(
    altered: Altered, when: dict[str, Any], fit: bool, described: bool
) -> None:
    beamline = ruled(altered, {"when": when, "skip": "dark run"})
    if described:
        describe(beamline, KEY)
    assert bool(choice(beamline).skip) is fit
    assert not choice(beamline).lacking


@pytest.mark.usefixtures("staged")
def test_a_rule_whose_metadatum_is_not_there_does_not_fit_and_that_is_told(altered: Altered) -> None:
    beamline = ruled(
        altered, {"when": {"/entry/scan_type": "*"}, "skip": "odd"}, {"when": {FRAMES: 60}, "use": {"stride": 2}}
    )
    note(beamline)
    told = "by rule 2 (/entry/instrument/detector_1/number_of_frames 60); rule 1 does not fit: /entry/scan_type is not "
    assert lines(beamline) == [f"{told}known of the run"]
    assert choice(beamline).settings.stride == 2


def test_what_is_not_asked_for_since_another_word_does_not_fit_is_not_missed(altered: Altered) -> None:
    beamline = ruled(altered, {"when": {"/entry/scan_type": "*", "run": "B*"}, "skip": "odd"})
    taken(beamline)
    assert choice(beamline).lacking == ()


def test_metadata_of_a_run_that_has_neither_record_nor_copy_are_no_guess(altered: Altered) -> None:
    beamline = ruled(altered, {"when": {FRAMES: 60}, "skip": "odd"})
    taken(beamline)
    with pytest.raises(NotFoundError, match=r"neither its record nor its staged files are there"):
        choice(beamline)


@pytest.mark.usefixtures("staged")
def test_what_heralded_a_run_chooses_too(altered: Altered) -> None:
    beamline = ruled(
        altered,
        {"when": {"mode": "led*", "detectors": "tpc"}, "skip": "led"},
        {"when": {"/bluesky/start/plan/name": "count", "/bluesky/start/num": "> 3"}, "use": {"stride": 2}},
    )
    assert [choice(beamline).rule, len(choice(beamline).lacking)] == ["", 2]
    start = {"uid": "5e1f", "plan": {"name": "count"}, "num": 4}
    beamline.ledger.note("xpcs", KEY, SCAN, "of scan 5e1f", {"start": start})
    assert choice(beamline).settings.stride == 2
    beamline.ledger.note("xpcs", KEY, RUN_DATABASE, "claimed", {"mode": "led_on", "detectors": ["nai", "tpc"]})
    assert choice(beamline).skip == "led"


def test_a_choice_is_in_the_timeline_once_and_again_when_it_is_another(altered: Altered) -> None:
    beamline = ruled(altered, {"when": {"run": "A*"}, "skip": "dark run"})
    taken(beamline)
    note(beamline)
    note(beamline)
    assert lines(beamline) == ["skipped: dark run, by rule 1 (run A*)"]
    assert why_skipped(beamline, beamline.latest(KEY)) == "dark run, by rule 1 (run A*)"
    plain = ruled(altered)
    note(plain)
    assert lines(plain)[1:] == ["the beamline's own"]
    assert why_skipped(plain, plain.latest(KEY)) == ""


def missed(beamline: OpenBeamline) -> list[str]:
    now = beamline.ledger.clock() + timedelta(hours=1)
    found = unfinished(
        beamline.engine,
        "xpcs",
        staged_in=beamline.settings.pipeline.stage.to,
        analysis="correlation",
        taken_before=now,
        limit=9,
    )
    return [each.run_key for each in found]


@pytest.mark.usefixtures("staged")
def test_a_skipped_run_is_neither_missed_nor_late_until_it_is_no_longer_skipped(altered: Altered) -> None:
    beamline = ruled(altered, {"when": {"run": "A*"}, "skip": "dark run"})
    describe(beamline, KEY)
    late = (timedelta(0), timedelta(days=1), (), 9)
    assert missed(beamline) == [KEY]
    assert [run.lacks for run in late_runs(beamline, *late)] == ["it has no result and no catalog entry"]
    note(beamline)
    assert missed(beamline) == []
    assert [run.lacks for run in late_runs(beamline, *late)] == ["it has no catalog entry"]
    plain = ruled(altered)
    note(plain)
    assert missed(plain) == [KEY]
    assert [item.run_key for item in _missing(plain)] == []  # it has not settled yet


@pytest.mark.usefixtures("staged")
def test_a_result_is_held_to_the_recipe_that_the_rules_say_now(altered: Altered) -> None:
    rule = {"when": {FRAMES: 60}, "use": {"stride": 2}}
    beamline = ruled(altered, rule)
    planned = plan(beamline, KEY, choice(beamline).settings)
    beamline.ledger.record_result(
        "xpcs", KEY, run_key=KEY, version=1, recipe_digest=planned.recipe.digest, path="r.hdf",
        result_digest="sha256:1", report={"recipe": asdict(planned.recipe)},
    )  # fmt: skip
    beamline.ledger.promote("xpcs", KEY, planned.recipe.digest)
    assert list(out_of_date(beamline)) == []
    (found,) = out_of_date(ruled(altered, replace_use(rule, 3)))
    assert (found.differs, found.reason) == (("recipe",), f"other settings, by rule 1 ({FRAMES} 60)")
    (found,) = out_of_date(ruled(altered, {"when": {"run": "A*"}, "skip": "dark run"}))
    assert (found.differs, found.wanted) == ((), "")
    assert found.reason == "it would not be correlated now: skipped: dark run, by rule 1 (run A*)"


def replace_use(rule: dict[str, Any], stride: int) -> dict[str, Any]:
    return {**rule, "use": {"stride": stride}}


@pytest.mark.usefixtures("staged")
def test_a_run_that_was_skipped_and_would_not_be_now_is_out_of_date(altered: Altered) -> None:
    skipping = ruled(altered, {"when": {"run": "A*"}, "skip": "dark run"})
    note(skipping)
    assert list(out_of_date(skipping)) == []
    plain = ruled(altered)
    (found,) = out_of_date(plain)
    assert (found.differs, found.made_of) == (("recipe",), "")
    assert found.wanted == plan(plain, KEY, correlate_settings(plain).settings).recipe.digest
    assert found.reason == (
        "it was not correlated (dark run, by rule 1 (run A*)), and would be now: the beamline's own"
    )


@pytest.mark.usefixtures("staged")
def test_the_map_of_a_rule_is_its_runs_and_not_the_beamlines(altered: Altered, drop: Drop) -> None:
    own = {"in_run": "", "path": "own.hdf"}
    beamline = ruled(altered, {"when": {"run": "A*"}, "use": {"qmap": {"path": "special.hdf"}}}, qmap=own)
    source = beamline.staged(beamline.latest(KEY)).raw / f"{KEY}_qmap.hdf"
    for name in ("own", "special"):
        (beamline.site.home / f"{name}.hdf").write_bytes(source.read_bytes() + name.encode())
    found = plan(beamline, KEY, choice(beamline).settings).inputs
    assert (found.qmap.name, found.qmap_by_rule) == ("special.hdf", True)
    named = plan(beamline, f"{KEY}~other", choice(beamline).settings, str(beamline.site.home / "own.hdf")).inputs
    assert (named.qmap.name, named.qmap_by_rule) == ("own.hdf", False)


def test_a_person_who_asks_for_another_analysis_overrides_the_rules(altered: Altered) -> None:
    beamline = ruled(altered, {"when": {"run": "A*"}, "use": {"type": "both", "stride": 2}}, average=3)
    taken(beamline)
    assert config_for(beamline, KEY, {"average": 1, "stride": 1}) == {
        "analysis_type": "both",
        "average": 1,
        "stride": 1,
    }
    with pytest.raises(RefusedError, match=r"end_frame is not beyond begin_frame"):
        config_for(beamline, KEY, {"begin_frame": 9, "end_frame": 3})
    skipping = ruled(altered, {"when": {"run": "A*"}, "skip": "dark run"}, average=3)
    assert config_for(skipping, KEY, {"stride": 4}) == {"stride": 4}
    assert replace(choice(skipping).settings, average=1) == replace(correlate_settings(skipping).settings, average=1)
