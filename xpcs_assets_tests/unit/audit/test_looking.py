"""The commands verify, audit and repair on a small site, and what an audit says of runs and results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from click.testing import Result as Said
from typer.testing import CliRunner

from xpcs_assets import cli
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.audit.looking import audit_beamline
from xpcs_assets.audit.runs import RECIPE, SETTLES_S, why_result_differs
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import CopyState, FindingKind, Ledger
from xpcs_assets.errors import NotFoundError
from xpcs_assets.runs.recipe import AnalysisSettings, Recipe
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.audit.conftest import flip
from xpcs_assets_tests.unit.conftest import bare_run

Command = Callable[..., Said]


@pytest.fixture
def clock(beamline: OpenBeamline) -> HandClock:
    hand = HandClock()
    vars(beamline)["ledger"] = Ledger(beamline.engine, hand)
    return hand


@pytest.fixture
def command(beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("XPCS_ASSETS_HOME", str(beamline.site.home))

    def run(*arguments: str) -> Said:
        said = CliRunner().invoke(cli.app, list(arguments))
        if said.exception is not None and not isinstance(said.exception, SystemExit):
            raise said.exception
        return said

    return run


@pytest.fixture
def run_key(beamline: OpenBeamline) -> str:
    key = submit(beamline, bare_run(beamline.source_root / "A001"), as_is=True).key
    take(beamline, key)
    stage(beamline, key)
    return key


def staged_file(beamline: OpenBeamline, run_key: str) -> Path:
    return beamline.staged(beamline.latest(run_key)).raw / "A001.imm"


def test_verify_reads_every_copy_and_says_so(command: Command, run_key: str) -> None:
    said = command("verify", "xpcs", run_key)
    assert said.exit_code == 0
    rows = [line.split() for line in said.stdout.splitlines()]
    assert [(row[0], row[2], row[4]) for row in rows[1:]] == [("A001", "detector", "right"), ("A001", "store", "right")]


def test_verify_finds_a_bad_copy_repair_mends_it_and_all_is_right_again(
    command: Command, beamline: OpenBeamline, run_key: str
) -> None:
    flip(staged_file(beamline, run_key))
    said = command("verify", "xpcs", "--json")
    assert said.exit_code == 1
    assert {row["place"]: row["verdict"] for row in json.loads(said.stdout)} == {"detector": "right", "store": "bad"}
    assert command("verify", "xpcs", run_key, "--place", "detector").exit_code == 0
    planned = command("repair", "xpcs", run_key, "--dry-run")
    assert (planned.exit_code, planned.stdout.split()[-4:]) == (0, ["mended:", "it", "is", "bad"])
    assert command("verify", "xpcs", run_key).exit_code == 1
    mended = command("repair", "xpcs", run_key)
    assert mended.exit_code == 0
    assert "1 file put (detector), 1 kept aside" in mended.stdout
    again = command("repair", "xpcs", run_key)
    assert (again.exit_code, "no copy of A001 is known to be bad or lost" in again.stdout) == (0, True)
    assert command("verify", "xpcs", run_key).exit_code == 0


def test_repair_without_a_good_copy_refuses_and_says_why(
    command: Command, beamline: OpenBeamline, run_key: str
) -> None:
    for file in (staged_file(beamline, run_key), beamline.source_root / "A001" / "A001.imm"):
        flip(file)
    command("verify", "xpcs")
    said = command("repair", "xpcs", run_key)
    assert said.exit_code == 1
    assert "no other copy has the bytes" in said.stderr
    assert "Nothing was changed" in said.stderr


def test_the_watched_folder_is_not_written_to_unless_it_is_named(
    command: Command, beamline: OpenBeamline, run_key: str
) -> None:
    lost = beamline.source_root / "A001" / "A001.imm"
    lost.unlink()
    command("verify", "xpcs")
    assert command("repair", "xpcs", run_key).exit_code == 0
    assert not lost.exists()
    assert command("repair", "xpcs", run_key, "--place", "detector").exit_code == 0
    assert lost.read_bytes() == staged_file(beamline, run_key).read_bytes()


def test_verify_and_repair_of_a_run_that_was_never_taken_are_errors(command: Command) -> None:
    for name in ("verify", "repair"):
        with pytest.raises(NotFoundError):
            command(name, "xpcs", "A999")
    nothing = command("verify", "xpcs")
    assert nothing.exit_code == 1
    assert "no copy is there to be read" in nothing.stderr


def test_audit_prints_what_is_open_and_its_exit_code_is_honest(
    command: Command, beamline: OpenBeamline, run_key: str
) -> None:
    quiet = command("audit", "xpcs")
    assert (quiet.exit_code, quiet.stdout) == (0, "nothing is open; compared: detector, store, tape\n")
    beamline.staged(beamline.latest(run_key)).manifest.unlink()
    said = command("audit", "xpcs")
    assert said.exit_code == 1
    assert "damaged manifest" in said.stdout
    told = json.loads(command("audit", "xpcs", "--json").stdout)
    (finding,) = told["findings"]
    assert (finding["kind"], finding["place"], finding["run_key"]) == ("damaged manifest", "store", run_key)
    assert finding["times_seen"] == 2


def test_audit_of_a_place_that_is_not_there_fails_and_names_it(command: Command, beamline: OpenBeamline) -> None:
    beamline.root("store").rename(beamline.root("store").with_name("unmounted"))
    said = command("audit", "xpcs")
    assert said.exit_code == 1
    assert "not compared: store" in said.stderr


def test_a_run_at_the_source_that_nobody_took_is_found_once_it_has_lain_there(
    beamline: OpenBeamline, clock: HandClock
) -> None:
    bare_run(beamline.source_root / "B002")
    assert audit_beamline(beamline).findings == ()
    clock.advance(SETTLES_S)
    (finding,) = audit_beamline(beamline).findings
    assert (finding.kind, finding.run_key, finding.path) == (FindingKind.UNTAKEN, "B002", "B002")
    take(beamline, submit(beamline, beamline.source_root / "B002", as_is=True).key)
    clock.advance(1)
    assert audit_beamline(beamline).findings == ()


def test_a_staged_run_without_a_catalog_record_is_found_after_a_while(beamline: OpenBeamline, clock: HandClock) -> None:
    key = submit(beamline, bare_run(beamline.source_root / "A001"), as_is=True).key
    take(beamline, key)
    stage(beamline, key)
    assert audit_beamline(beamline).findings == ()
    clock.advance(SETTLES_S)
    assert [each.kind for each in audit_beamline(beamline).findings] == [FindingKind.UNCATALOGUED]


def result_of(beamline: OpenBeamline, run_key: str, inside: Recipe, recorded: Recipe) -> Any:
    folder = beamline.staged(beamline.latest(run_key))
    path = folder.result(recorded.folder)
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file[RECIPE] = json.dumps(inside.to_dict())
    return beamline.ledger.record_result(
        "xpcs", run_key, run_key=run_key, version=1, recipe_digest=recorded.digest,
        path=str(path.relative_to(folder.root)), result_digest="sha256:0", report={"recipe": recorded.to_dict()},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        (Recipe(AnalysisSettings(), "sha256:other", "engine 1"), "q-map sha256:other"),
        (Recipe(AnalysisSettings(), "sha256:map", "engine 2"), "engine engine 2"),
        (Recipe(AnalysisSettings(stride=2), "sha256:map", "engine 1"), "made by recipe"),
    ],
)
def test_f32_a_result_of_another_q_map_engine_or_recipe_is_shown_and_not_taken_for_current(
    beamline: OpenBeamline, run_key: str, inside: Recipe, told: str
) -> None:
    recorded = Recipe(AnalysisSettings(), "sha256:map", "engine 1")
    result = result_of(beamline, run_key, inside, recorded)
    assert told in why_result_differs(beamline, result)
    (finding,) = [each for each in audit_beamline(beamline).findings if each.kind is FindingKind.RESULT_DIFFERS]
    assert (finding.place, finding.path) == ("store", result.path)
    with pytest.raises(NotFoundError, match="is not what the ledger says"):
        beamline.result(run_key)


def test_a_result_that_is_what_the_ledger_says_is_no_finding(beamline: OpenBeamline, run_key: str) -> None:
    recorded = Recipe(AnalysisSettings(), "sha256:map", "engine 1")
    result = result_of(beamline, run_key, recorded, recorded)
    assert why_result_differs(beamline, result) == ""
    beamline.result_path(result).write_bytes(b"no HDF5")
    assert "does not open" in why_result_differs(beamline, result)


def test_a_finding_in_the_store_leaves_the_other_copy_alone(
    command: Command, beamline: OpenBeamline, run_key: str
) -> None:
    staged_file(beamline, run_key).unlink()
    command("verify", "xpcs")
    states = {copy.place: copy.state for copy in beamline.ledger.copies("xpcs", run_key)}
    assert states == {"detector": CopyState.PRESENT, "store": CopyState.LOST}
