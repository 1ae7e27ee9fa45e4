"""Pruning at a beamline: plans, limits of a day, a person's word, the trash, and what people read about it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from xpcs_assets import cli
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.clock_book import RESTART_STEP_S
from xpcs_assets.copies.ledger import CopyState, Ledger
from xpcs_assets.errors import NotFoundError, RefusedError, RemovalRefusedError, SettingsError
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets.places.place import Usage
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.prune.assets import build_job
from xpcs_assets.prune.pruning import (
    Pruned,
    approve,
    ask,
    empty,
    forecast_of,
    plan,
    prune,
    prune_all,
    retention_of,
    trash_due,
)
from xpcs_assets.prune.sensors import DRAINING, REQUESTS_PER_TICK, build, sensor_name
from xpcs_assets.prune.trash import put_back
from xpcs_assets.runs.folders import ASIDE_FOLDER
from xpcs_assets.runs.retention import Retention
from xpcs_assets.settings_retention import RetentionSettings
from xpcs_assets.site import Site
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import Altered, bare_run

RULE: dict[str, Any] = {"keep_for": "1 ms", "min_copies": 1, "needs": [], "at_most_share": 1.0}
ROOMS = {name: {"failure_domain": f"{name} room"} for name in ("detector", "store", "tape")}


@dataclass
class Pruning:
    """A beamline whose detector need keep nothing for long, with some runs staged."""

    beamline: OpenBeamline

    def plan(self, **options: Any) -> Any:
        return plan(self.beamline, "detector", **options)

    def all(self) -> list[Pruned]:
        return list(prune_all(self.beamline, [self.plan()]))

    def prune(self, key: str = "A001") -> Any:
        who = {"holder": "test", "by": "operator", "reason": "retention"}
        return prune(self.beamline, key, 1, "detector", key, **who)

    def empty(self, key: str = "A001") -> Any:
        return empty(self.beamline, key, 1, "detector", key, holder="test", by="operator", reason="trash")

    def state(self, key: str = "A001") -> CopyState:
        (copy,) = [copy for copy in self.beamline.ledger.copies("xpcs", key) if copy.place == "detector"]
        return copy.state

    def there(self, key: str = "A001") -> bool:
        return (self.beamline.source_root / key / f"{key}.imm").exists()

    def command(self, *arguments: object) -> Result:
        runner = CliRunner(env={"XPCS_ASSETS_HOME": str(self.beamline.site.home), "COLUMNS": "100"})
        return runner.invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def with_runs(altered: Altered) -> Any:
    """``with_runs(2, trash_for="1 h")``: so many runs at the detector and in the store, and the detector's rule."""

    def make(number: int = 1, **rule: Any) -> Pruning:
        beamline = altered({"places": ROOMS, "retention": {"detector": RULE | rule, "store": RULE | {"min_copies": 2}}})
        for count in range(1, number + 1):
            key = f"A00{count}"
            submit(beamline, bare_run(beamline.source_root / key), as_is=True)
            take(beamline, key)
            stage(beamline, key)
        return Pruning(beamline)

    return make


def test_what_may_go_goes_and_the_rest_says_why(with_runs: Any) -> None:
    pruning = with_runs(2)
    made = pruning.plan()
    assert [(due.copy.run_key, due.others) for due in made.goes] == [("A001", ("store",)), ("A002", ("store",))]
    assert plan(pruning.beamline, "store").reasons == {
        "1 other verified copies (detector) in other failure domains, 2 are needed": 2
    }
    assert [(done.files, done.refused) for done in pruning.all()] == [(2, ""), (2, "")]
    assert not pruning.there()
    assert pruning.plan().goes == ()


def test_a_place_without_a_retention_keeps_everything(with_runs: Any) -> None:
    pruning = with_runs()
    for asked in (plan, forecast_of, trash_due, retention_of):
        with pytest.raises(SettingsError, match="has no retention: everything stays"):
            asked(pruning.beamline, "tape")
    with pytest.raises(RemovalRefusedError, match="no longer know it"):
        prune(pruning.beamline, *_staged(pruning, "store"), holder="t", by="o", reason="r")


def _staged(pruning: Pruning, place: str) -> tuple[str, int, str, str]:
    """The copy in the store, after the place has lost its retention."""
    fewer = {name: rule for name, rule in pruning.beamline.settings.retention.items() if name != place}
    settings = pruning.beamline.settings.model_copy(update={"retention": fewer})
    pruning.beamline.settings = settings
    return "A001", 1, place, "xpcs/A001/v1/raw"


def test_a_copy_that_the_ledger_does_not_know_is_told(with_runs: Any) -> None:
    pruning = with_runs()
    with pytest.raises(NotFoundError, match="no copy at detector:elsewhere"):
        prune(pruning.beamline, "A001", 1, "detector", "elsewhere", holder="t", by="o", reason="r")


def test_f47_a_batch_beyond_the_limit_stops_and_asks_until_that_very_list_is_approved(with_runs: Any) -> None:
    pruning = with_runs(3, at_most_copies=2)
    made = pruning.plan()
    asked = ask(pruning.beamline, made)
    assert "3 copies are to go from detector and 0 went in the last day, but no more than 2 may go" in asked
    assert f"xpcs-assets prune xpcs --approve {made.digest}" in asked
    assert pruning.all() == []
    with pytest.raises(RemovalRefusedError, match="no list has the digest sha256:other now"):
        approve(pruning.beamline, [made], "sha256:other", "operator")
    pruning.beamline.ledger.hold("xpcs", "A002", "paper", "a scientist")
    with pytest.raises(RemovalRefusedError, match="The list has changed since"):
        approve(pruning.beamline, [pruning.plan()], made.digest, "operator")
    pruning.beamline.ledger.release("xpcs", "A002", "a scientist")
    word = approve(pruning.beamline, [pruning.plan()], made.digest, "operator")
    assert (word.copies, ask(pruning.beamline, pruning.plan())) == (3, "")
    assert [(done.files, done.refused) for done in pruning.all()] == [(2, "")] * 3


def test_f47_whoever_asks_for_one_removal_after_the_other_meets_the_limit_too(with_runs: Any) -> None:
    pruning = with_runs(3, at_most_copies=2)
    pruning.prune("A001")
    pruning.prune("A002")
    with pytest.raises(RemovalRefusedError, match="2 copies went from detector in the last day"):
        pruning.prune("A003")
    assert pruning.there("A003")
    with pytest.raises(RemovalRefusedError, match="the copy is removed"):
        pruning.prune("A001")  # counted already: the rules answer, not the limit


def test_the_trash_comes_first_where_there_is_one_and_ends_by_itself(with_runs: Any) -> None:
    pruning = with_runs(1, trash_for="1 h")
    (done,) = pruning.all()
    assert (done.copy.state, trash_due(pruning.beamline, "detector")) == (CopyState.IN_TRASH, ())
    with pytest.raises(RemovalRefusedError, match="the trash keeps it until"):
        pruning.empty()
    _shorten(pruning, "1 ms")
    assert [copy.run_key for copy in trash_due(pruning.beamline, "detector")] == ["A001"]
    (emptied,) = pruning.all()
    assert (emptied.files, emptied.copy.state) == (2, CopyState.REMOVED)
    assert not (pruning.beamline.source_root / ASIDE_FOLDER / "removal-1").exists()


def _shorten(pruning: Pruning, trash_for: str) -> None:
    rule = RetentionSettings.model_validate(RULE | {"trash_for": trash_for})
    settings = pruning.beamline.settings
    retention = {"retention": dict(settings.retention) | {"detector": rule}}
    pruning.beamline.settings = settings.model_copy(update=retention)


def test_what_a_proof_refuses_stays_and_is_told(with_runs: Any) -> None:
    pruning = with_runs()
    (pruning.beamline.root("store") / "xpcs" / "A001" / "v1" / "raw" / "A001.imm").write_bytes(b"other.")
    (done,) = pruning.all()
    assert "0 other copies are right" in done.refused
    assert pruning.there()


def test_put_back_is_what_retrieve_may_call(with_runs: Any) -> None:
    pruning = with_runs(1, trash_for="1 h")
    with pytest.raises(NotFoundError, match="no copy of it lies in the trash of detector"):
        put_back(pruning.beamline, "A001", 1, "detector")
    pruning.all()
    with pruning.beamline.working("A001", "retrieve"):  # whoever works on the run may call it
        assert put_back(pruning.beamline, "A001", 1, "detector").state is CopyState.PRESENT
    assert pruning.there()


def jump(pruning: Pruning, seconds: float) -> None:
    ledger = pruning.beamline.ledger
    pruning.beamline.ledger = Ledger(ledger.engine, lambda: ledger.clock() + timedelta(seconds=seconds))


def test_f43_a_clock_that_jumps_ten_years_between_two_ticks_makes_no_copy_eligible(with_runs: Any) -> None:
    pruning = with_runs(1, keep_for="30 days", trash_for="1 h")
    assert pruning.plan().doubt == ""
    jump(pruning, 10 * 365 * 86400)
    made = pruning.plan()
    assert (made.goes, len(made.waits), trash_due(pruning.beamline, "detector")) == ((), 1, ())
    assert "no age is told by it" in made.doubt
    with pytest.raises(RemovalRefusedError, match="no age is told by it"):
        pruning.prune()
    jump(pruning, -10 * 365 * 86400)
    assert pruning.plan().doubt == ""


@pytest.mark.parametrize("text", ["", "retention", "detector: {keep_for: 30 days", "{}", "[]"])
def test_f44_a_file_that_does_not_parse_makes_nothing_eligible(with_runs: Any, text: str) -> None:
    pruning = with_runs()
    (pruning.beamline.site.home / "beamlines" / "xpcs.yaml").write_text(text)
    assert "xpcs" not in Site(pruning.beamline.site.home).beamlines
    said = pruning.command("prune", "xpcs")
    assert (said.exit_code, isinstance(said.exception, SettingsError), pruning.there()) == (1, True, True)


@pytest.mark.parametrize(
    "rule",
    [
        None,
        "",
        {},
        {"keep_for": "30 days"},
        {"min_copies": 2},
        {"keep_for": "-1 s", "min_copies": 1},
        {"keep_for": 0, "min_copies": 1},
        {"keep_for": "for ever", "min_copies": 1},
        {"keep_for": "", "min_copies": 1},
        {"keep_for": "400000 days", "min_copies": 1},
        {"keep_for": "1 day", "min_copies": 1, "needs": ["nothing"]},
        {"keep_for": "1 day", "min_copies": 1, "keepfor": 3},
        {"keep_for": "1 day", "min_copies": 1, "high_water": "90 %"},
        {"keep_for": "1 day", "min_copies": 1, "high_water": "50 %", "low_water": "60 %"},
        {"keep_for": "1 day", "min_copies": 1, "at_most_copies": 0},
        {"keep_for": "1 day", "min_copies": 1, "at_most_share": 0},
        {"keep_for": "1 day", "min_copies": 1, "trash_for": "-1 s"},
    ],
)
def test_f44_a_rule_that_is_none_is_refused_at_load(rule: object) -> None:
    with pytest.raises(ValueError, match="validation error"):
        RetentionSettings.model_validate(rule)


@pytest.mark.parametrize("place", ["*", "", "det*", "Detector", "detector "])
def test_f44_a_wildcard_is_no_place(altered: Altered, place: str) -> None:
    with pytest.raises(SettingsError, match="no place is called"):
        altered({"retention": {place: {"keep_for": "1 s", "min_copies": 1}}})


@pytest.mark.parametrize("min_copies", [0, "", "0", -1, 0.5, None, False])
def test_f45_min_copies_of_nothing_is_refused_at_load(altered: Altered, min_copies: object) -> None:
    with pytest.raises(SettingsError, match="min_copies"):
        altered({"retention": {"detector": {"min_copies": min_copies}}})
    with pytest.raises((SettingsError, TypeError)):
        Retention(keep_for_s=1, min_copies=min_copies or 0)  # type: ignore[arg-type]


def test_a_dry_run_prints_the_very_list_and_removes_nothing(with_runs: Any) -> None:
    pruning = with_runs(2)
    said = pruning.command("prune", "xpcs", "--dry-run")
    assert said.exit_code == 0
    made = pruning.plan()
    assert f"  list {made.digest}\n" in said.output
    lines = said.output.splitlines()
    assert lines[0].startswith("detector: 2 of 2 copies are to go, ")
    assert [line.split()[:2] for line in lines[3:5]] == [["A001", "v1"], ["A002", "v1"]]
    assert all("also in store" in line for line in lines[3:5])
    assert "1 other verified copies (detector) in other failure domains, 2 are needed" in said.output
    assert max(map(len, lines)) <= 120
    assert pruning.there()
    told = json.loads(pruning.command("prune", "xpcs", "--dry-run", "--json").output)
    assert [(place["place"], len(place["goes"]), place["asks"]) for place in told] == [
        ("detector", 2, ""),
        ("store", 0, ""),
    ]
    assert told[0]["list"] == made.digest
    assert told[0]["forecast"]["arriving_bytes_per_day"] > 0
    real = pruning.command("prune", "xpcs")
    assert (real.exit_code, f"  list {made.digest}\n" in real.output) == (0, True)
    assert not pruning.there()
    after = json.loads(pruning.command("prune", "xpcs", "--dry-run", "--json").output)
    assert after[0]["copies"] == 0
    assert after[0]["forecast"]["arriving_bytes_per_day"] == told[0]["forecast"]["arriving_bytes_per_day"]


def test_the_dry_run_says_why_each_stays_and_what_comes_of_age(with_runs: Any, monkeypatch: Any) -> None:
    pruning = with_runs(2, keep_for="20 days", high_water=0.9, low_water=0.5)
    monkeypatch.setattr(PosixPlace, "usage", lambda _: Usage(899_999, 100_001))
    said = pruning.command("prune", "xpcs", "--dry-run").output
    assert "2  younger than 20 days" in said
    assert "2 copies" in said
    assert "the disk passes its high mark on" in said
    every = pruning.command("prune", "xpcs", "--dry-run", "--all").output
    assert every.count("A00") == 4
    assert "its place keeps it until" in every


def test_on_one_disk_the_forecast_promises_nothing(with_runs: Any) -> None:
    pruning = with_runs(2, keep_for="20 days")
    settings = pruning.beamline.settings
    one_disk = {name: place.model_copy(update={"failure_domain": ""}) for name, place in settings.places.items()}
    pruning.beamline.settings = settings.model_copy(update={"places": one_disk})
    ahead = forecast_of(pruning.beamline, "detector").of_age
    assert (ahead.days, ahead.stay) == ((), 2)
    assert ahead.reasons == {"0 other verified copies (none) in other failure domains, 1 are needed": 2}


def test_the_dry_run_says_what_will_come_of_age_and_stay(with_runs: Any) -> None:
    pruning = with_runs(3, keep_for="20 days", trash_for="7 days", high_water=0.9, low_water=0.5)
    pruning.beamline.ledger.hold("xpcs", "A002", "reference", "a scientist")
    said = pruning.command("prune", "xpcs", "--dry-run").output
    assert "next 30 days, to the trash for 7 days, if what they need is done by then and the high mark" in said
    assert "  2 copies" in said
    assert "  1 copy will come of age and stay:\n      1  a scientist holds it: reference\n" in said


def test_the_dry_run_says_what_lies_in_the_trash_and_when_it_is_emptied(with_runs: Any) -> None:
    pruning = with_runs(2, trash_for="7 days")
    pruning.all()
    pruning.beamline.ledger.hold("xpcs", "A002", "reference", "a scientist")
    said = pruning.command("prune", "xpcs", "--dry-run").output
    day = (pruning.beamline.ledger.clock() + timedelta(days=7)).date()
    assert "  in the trash: 2 copies, " in said
    assert f"      {day}  1 copy  " in said
    assert "      never as it is  1  a scientist holds it: reference" in said
    told = json.loads(pruning.command("prune", "xpcs", "--dry-run", "--json").output)[0]["forecast"]["trash"]
    assert [(each["day"], each["copies"]) for each in told["days"]] == [(str(day), 1)]
    assert told["stay"] == {"copies": 1, "reasons": {"a scientist holds it: reference": 1}}


def test_the_command_asks_and_the_word_is_given_by_the_digest(with_runs: Any) -> None:
    pruning = with_runs(3, at_most_copies=2)
    said = pruning.command("prune", "xpcs")
    assert (said.exit_code, pruning.there()) == (1, True)
    digest = pruning.plan().digest
    assert f"--approve {digest}" in said.output
    wrong = pruning.command("prune", "xpcs", "--approve", "sha256:1")
    assert (wrong.exit_code, isinstance(wrong.exception, RemovalRefusedError)) == (1, True)
    right = pruning.command("prune", "xpcs", "--approve", digest)
    assert right.exit_code == 0
    assert "3 copies in detector may go within a day" in right.output
    assert right.output.count("removed: 2 files") == 3


def test_waiting_copies_are_told_with_the_reason(with_runs: Any, monkeypatch: Any) -> None:
    pruning = with_runs(2, high_water=0.9, low_water=0.5)
    monkeypatch.setattr(PosixPlace, "usage", lambda _: Usage(500, 500))
    said = pruning.command("prune", "xpcs", "--dry-run", "--all").output
    assert "2 more may go" in said
    assert "the high mark of 90% is not passed" in said
    monkeypatch.setattr(PosixPlace, "usage", lambda _: None)
    unknown = pruning.command("prune", "xpcs")
    assert (unknown.exit_code, "how full its disk is cannot be known" in unknown.output) == (1, True)


def test_undo_takes_a_copy_out_of_the_trash(with_runs: Any) -> None:
    pruning = with_runs(1, trash_for="1 h")
    pruning.command("prune", "xpcs")
    assert not pruning.there()
    said = pruning.command("prune", "xpcs", "--undo", "A001")
    assert (said.exit_code, "is back; every byte was read" in said.output, pruning.there()) == (0, True, True)
    assert pruning.command("prune", "xpcs", "--undo", "A001").exit_code == 1


def test_a_beamline_without_any_retention_says_so(altered: Altered) -> None:
    pruning = Pruning(altered({}))
    file = pruning.beamline.site.home / "beamlines" / "xpcs.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"retention": {}}))
    said = pruning.command("prune", "xpcs")
    assert (said.exit_code, said.output) == (0, "no place of xpcs has a retention: everything stays\n")


def test_the_clock_is_told_and_accepted(with_runs: Any) -> None:
    pruning = with_runs()
    said = pruning.command("clock")
    assert (said.exit_code, "last believed" in said.output) == (0, True)
    behind = Ledger(pruning.beamline.engine, lambda: pruning.beamline.ledger.clock() - timedelta(days=1))
    behind.accept_clock("operator")
    assert pruning.command("clock").exit_code == 1
    assert pruning.command("clock", "--accept").exit_code == 0
    assert pruning.command("clock").exit_code == 0
    assert RESTART_STEP_S == 7 * 86400


def tick(pruning: Pruning, instance: dg.DagsterInstance, cursor: str = "") -> dg.SensorResult:
    bound = Bound.of(pruning.beamline)
    sensor = build(bound, build_job(bound))[0]
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    told = sensor(context)
    assert isinstance(told, dg.SensorResult)
    return told


def asked_for(told: dg.SensorResult) -> list[str]:
    return [str(request.run_key) for request in told.run_requests or ()]


def test_the_planner_asks_for_some_copies_a_tick_and_for_the_trash(with_runs: Any) -> None:
    pruning = with_runs(REQUESTS_PER_TICK + 1, trash_for="1 h")
    with dg.DagsterInstance.ephemeral() as instance:
        assert [key.split(":")[1:4] for key in asked_for(tick(pruning, instance))] == [
            ["prune", "detector", f"A00{number}"] for number in range(1, REQUESTS_PER_TICK + 1)
        ]
        pruning.all()
        assert asked_for(tick(pruning, instance)) == []
        _shorten(pruning, "1 ms")
        assert asked_for(tick(pruning, instance))[0].startswith("xpcs:empty:detector:A001:v1:")


def test_f47_the_planner_s_tick_fails_with_the_question_until_it_is_answered(with_runs: Any) -> None:
    pruning = with_runs(3, at_most_copies=2)
    with dg.DagsterInstance.ephemeral() as instance:
        with pytest.raises(RefusedError, match="--approve sha256:"):
            tick(pruning, instance)
        approve(pruning.beamline, [pruning.plan()], pruning.plan().digest, "operator")
        assert len(asked_for(tick(pruning, instance))) == 3


def test_the_planner_s_tick_fails_while_the_clock_is_in_doubt(with_runs: Any) -> None:
    pruning = with_runs()
    pruning.plan()
    jump(pruning, 86400)
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(RefusedError, match="clock --accept"):
        tick(pruning, instance)


def test_the_planner_goes_on_from_the_high_mark_to_the_low_one(with_runs: Any, monkeypatch: Any) -> None:
    pruning = with_runs(2, high_water=0.9, low_water=0.5)
    used = [950]
    monkeypatch.setattr(PosixPlace, "usage", lambda _: Usage(used[0], 1000 - used[0]))
    with dg.DagsterInstance.ephemeral() as instance:
        told = tick(pruning, instance)
        assert (len(asked_for(told)), told.cursor) == (1, DRAINING)
        used[0] = 700
        assert asked_for(tick(pruning, instance)) == []
        assert len(asked_for(tick(pruning, instance, DRAINING))) == 1
        used[0] = 500
        told = tick(pruning, instance, DRAINING)
        assert (asked_for(told), told.cursor) == ([], "")


def test_a_planner_s_name_is_one_that_dagster_takes(with_runs: Any, tmp_path: Path) -> None:
    bound = Bound.of(with_runs().beamline)
    assert sensor_name(bound, "detector") == "xpcs_retention_detector"
    names = {sensor_name(bound, place) for place in ("a-b", "a_b", "a b")}
    assert len(names) == 3
    assert all(name.replace("_", "").isalnum() for name in names)


def run_job(pruning: Pruning, instance: dg.DagsterInstance, *, from_trash: bool) -> dg.ExecuteInProcessResult:
    which = {"run_key": "A001", "version": 1, "place": "detector", "path": "A001", "from_trash": from_trash}
    config = {"ops": {"xpcs_prune_copy": {"config": which}}}
    job = build_job(Bound.of(pruning.beamline))
    return job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)


def test_the_job_moves_a_copy_to_the_trash_and_empties_it_and_reports_both(with_runs: Any) -> None:
    pruning = with_runs(1, trash_for="1 h")
    with dg.DagsterInstance.ephemeral() as instance:
        for from_trash, state in ((False, "in trash"), (True, "removed")):
            assert run_job(pruning, instance, from_trash=from_trash).success
            (event,) = instance.fetch_materializations(dg.AssetKey(["xpcs", "pruned"]), limit=1).records
            assert event.asset_materialization is not None
            assert event.asset_materialization.metadata["state"].value == state
            assert pruning.state() == state
            _shorten(pruning, "1 ms")


def test_the_job_fails_where_files_stay(with_runs: Any) -> None:
    pruning = with_runs()
    (pruning.beamline.source_root / "A001" / "A001.imm").write_bytes(b"newer.")
    with dg.DagsterInstance.ephemeral() as instance:
        assert not run_job(pruning, instance, from_trash=False).success
        assert pruning.state() is CopyState.PART_REMOVED
        assert not instance.fetch_materializations(dg.AssetKey(["xpcs", "pruned"]), limit=1).records
    assert pruning.there()
