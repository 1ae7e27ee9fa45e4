"""Run sets that wait for their members: asked for once all are there, told when they never come, and shown."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xpcs_assets import cli
from xpcs_assets.average.run_set import RunSet, find
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.campaign.advance import RunEnd
from xpcs_assets.campaign.choosing import groups_by
from xpcs_assets.campaign.run_sets import SetState, advance, ask_again, await_members, going, states
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.errors import NotFoundError, RefusedError, SettingsError
from xpcs_assets_tests.storage import HandClock

HOUR_S = 3600.0


@pytest.fixture
def clock(beamline: OpenBeamline) -> HandClock:
    hand = HandClock()
    vars(beamline)["ledger"] = Ledger(beamline.engine, hand)
    return hand


@pytest.fixture
def waiting(beamline: OpenBeamline, clock: HandClock, runs: tuple[str, ...]) -> OpenBeamline:
    """A set of three runs that is waited for two hours."""
    await_members(beamline, [RunSet("latex", runs[:3])], 2 * HOUR_S)
    return beamline


def correlated(beamline: OpenBeamline, *keys: str) -> None:
    for key in keys:
        beamline.ledger.record_result(
            "xpcs", key, run_key=key, version=1, recipe_digest="r", path="a/b", result_digest=f"sha256:{key}", report={}
        )


def now(beamline: OpenBeamline, name: str = "latex") -> SetState:
    (found,) = states(beamline, name)
    return found


def brought_on(beamline: OpenBeamline, end: RunEnd = RunEnd.NONE) -> list[str]:
    return [key for each in going(beamline) if (key := advance(beamline, each, lambda _: end))]


def ended(beamline: OpenBeamline, what: str, name: str = "latex") -> None:
    """What the asset ``average`` notes."""
    beamline.ledger.note("xpcs", f"_run_sets.{name}", "average", what)


def test_the_average_is_asked_for_once_all_members_have_results_and_not_twice(waiting: OpenBeamline) -> None:
    correlated(waiting, "A001", "A002")
    assert (brought_on(waiting), now(waiting).state) == ([], "waiting")
    correlated(waiting, "A003")
    (run_key,) = brought_on(waiting)
    assert brought_on(waiting) == [run_key], "Dagster may have been killed before it heard"
    assert brought_on(waiting, RunEnd.GOING) == brought_on(waiting, RunEnd.WELL) == []
    assert now(waiting).state == "asked"
    ended(waiting, "done")
    assert now(waiting).state == "done"
    assert going(waiting) == ()


def test_members_that_never_come_are_named_when_the_time_is_over(waiting: OpenBeamline, clock: HandClock) -> None:
    correlated(waiting, "A002")
    clock.advance(2 * HOUR_S)
    assert (brought_on(waiting), now(waiting).state) == ([], "waiting")
    clock.advance(1)
    assert brought_on(waiting) == []
    assert (now(waiting).state, now(waiting).reason) == ("failed", "2 of 3 members have no result: A001, A003")
    assert going(waiting) == ()


def test_only_sets_that_failed_are_asked_for_once_more_under_another_key(
    waiting: OpenBeamline, runs: tuple[str, ...]
) -> None:
    await_members(waiting, [RunSet("other", runs[:2])], HOUR_S)
    correlated(waiting, *runs)
    first = brought_on(waiting)
    ended(waiting, "failed: fewer than two runs remain")
    ended(waiting, "done", "other")
    assert (now(waiting).state, now(waiting).reason) == ("failed", "fewer than two runs remain")
    assert ask_again(waiting, "", "a scientist") == ("latex",)
    (again,) = brought_on(waiting)
    assert again not in first
    assert (now(waiting).attempt, now(waiting, "other").state) == (2, "done")


def test_a_dagster_run_that_was_killed_is_a_failure(waiting: OpenBeamline, runs: tuple[str, ...]) -> None:
    correlated(waiting, *runs)
    brought_on(waiting)
    assert brought_on(waiting, RunEnd.BADLY) == []
    assert now(waiting).state == "failed"
    assert "the Dagster run failed or was cancelled" in now(waiting).reason


def test_a_set_recorded_anew_begins_anew(waiting: OpenBeamline, clock: HandClock, runs: tuple[str, ...]) -> None:
    correlated(waiting, *runs)
    (first,) = brought_on(waiting)
    clock.advance(1)
    await_members(waiting, [RunSet("latex", runs)], 0.0)
    (second,) = brought_on(waiting)
    assert second != first
    assert find(waiting, "latex").members == runs


def test_what_can_be_no_set_keeps_all_others_from_being_recorded(waiting: OpenBeamline, runs: tuple[str, ...]) -> None:
    for wrong, error in ((RunSet("one", runs[:1]), RefusedError), (RunSet("lost", ("A001", "B9")), NotFoundError)):
        with pytest.raises(error):
            await_members(waiting, [RunSet("good", runs), wrong], 0.0)
    assert [each.run_set.name for each in states(waiting)] == ["latex"]
    with pytest.raises(NotFoundError, match="no such run set"):
        states(waiting, "good")


def test_runs_are_put_together_by_a_field_of_their_paths(beamline: OpenBeamline, runs: tuple[str, ...]) -> None:
    assert groups_by(beamline, "run", runs[:2]) == {"A001": ("A001",), "A002": ("A002",)}
    with pytest.raises(SettingsError, match="have no sample"):
        groups_by(beamline, "sample", runs)


def typed(beamline: OpenBeamline, *words: str) -> tuple[int, list[str]]:
    result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, [*words, "--home", str(beamline.site.home)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, [" ".join(line.split()) for line in result.stdout.splitlines()]


def test_members_are_chosen_by_their_numbers_and_a_dry_run_does_nothing(
    beamline: OpenBeamline, runs: tuple[str, ...]
) -> None:
    words = ("average-runs", "xpcs", "--set", "few", "--numbers", "1-2,10", "--wait", "1")
    assert typed(beamline, *words, "--dry-run") == (0, ["few: A001, A002, A010"])
    assert states(beamline) == ()
    assert typed(beamline, *words) == (0, ["few"])
    assert (now(beamline, "few").run_set.members, now(beamline, "few").wait_s) == (("A001", "A002", "A010"), HOUR_S)
    with pytest.raises(RefusedError, match="either named or chosen"):
        typed(beamline, *words, "A001")
    with pytest.raises(RefusedError, match="make no set"):
        typed(beamline, "average-runs", "xpcs", "--set", "none", "--numbers", "77")


def test_how_far_sets_are_is_shown_as_text_and_table_and_a_failure_fails_the_command(
    beamline: OpenBeamline, runs: tuple[str, ...], tmp_path: Path
) -> None:
    assert typed(beamline, "run-sets", "xpcs") == (0, ["there is no run set"])
    await_members(beamline, [RunSet("a", runs[:2]), RunSet("b", runs)], HOUR_S)
    correlated(beamline, "A001", "A002")
    code, said = typed(beamline, "run-sets", "xpcs")
    assert (code, said[1:]) == (0, ["a waiting 2 of 2", "b waiting 2 of 4 waits for A003, A010", "2 waiting"])
    ended(beamline, "failed: too few remain", "a")
    table = tmp_path / "sets.csv"
    assert typed(beamline, "run-sets", "xpcs", "a", "--csv", str(table)) == (
        1,
        ["set state results why", "a failed 2 of 2 too few remain", "1 failed"],
    )
    with table.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["set"], row["members"], row["with_result"], row["state"]) == ("a", "2", "2", "failed")
    assert typed(beamline, "run-sets", "xpcs", "--retry")[0] == 0
