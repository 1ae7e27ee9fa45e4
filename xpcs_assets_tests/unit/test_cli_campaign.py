"""``xpcs-assets campaign`` and ``campaigns``: what they print, and their exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xpcs_assets import cli
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.campaign.campaign import DONE, FAILED, names, note_asked, note_ended
from xpcs_assets.errors import RefusedError
from xpcs_assets_tests.unit.conftest import Altered, bare_run


@pytest.fixture(autouse=True)
def runs(beamline: OpenBeamline) -> None:
    for name in ("A001", "A002"):
        submit(beamline, bare_run(beamline.source_root / name))
        take(beamline, name)


def typed(beamline: OpenBeamline, *words: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, [*words, "--home", str(beamline.site.home)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def start(beamline: OpenBeamline, *words: str) -> tuple[int, str]:
    return typed(beamline, "campaign", "xpcs", "wide", "--set", "stride=2", *words)


def test_a_dry_run_prints_the_very_keys_and_notes_nothing(beamline: OpenBeamline) -> None:
    code, said = start(beamline, "--dry-run", "--at-once", "5")
    keys = ["A001~wide", "A002~wide"]
    assert (code, said.splitlines()) == (0, [*keys, "2 runs would be analysed with stride=2, 5 at once"])
    assert names(beamline) == ()
    _, real = start(beamline, "--at-once", "5")
    assert real.splitlines() == [*keys, "2 runs are to be analysed with stride=2, 5 at once"]
    assert names(beamline) == ("wide",)


def test_without_a_campaign_that_is_said(beamline: OpenBeamline) -> None:
    assert typed(beamline, "campaigns", "xpcs") == (0, "there is no campaign\n")


def test_how_far_it_is_and_why_a_member_failed_is_shown_and_fails_the_command(beamline: OpenBeamline) -> None:
    start(beamline)
    assert typed(beamline, "campaigns", "xpcs")[0] == 0
    note_asked(beamline, "wide", ["A001", "A002"])
    note_ended(beamline, "wide", {"A001": (DONE, ""), "A002": (FAILED, "correlation: no q-map")})
    code, said = typed(beamline, "campaigns", "xpcs", "wide")
    assert (code, [line.split() for line in said.splitlines()]) == (
        1,
        [
            ["member", "state", "attempt", "why"],
            ["A001~wide", "done", "1"],
            ["A002~wide", "failed", "1", "correlation:", "no", "q-map"],
            ["campaign", "waiting", "asked", "done", "failed", "now"],
            ["wide", "0", "0", "1", "1", "over"],
        ],
    )


def test_a_script_gets_the_members_as_json_and_as_a_table(beamline: OpenBeamline, tmp_path: Path) -> None:
    start(beamline)
    note_asked(beamline, "wide", ["A001"])
    table = tmp_path / "wide.csv"
    _, said = typed(beamline, "campaigns", "xpcs", "wide", "--json", "--csv", str(table))
    (told,) = json.loads(said)
    assert (told["asked"], told["waiting"], told["recipe"]) == (1, 1, {"stride": 2})
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["key"], row["state"], bool(row["asked_at"])) for row in rows] == [
        ("A001~wide", "asked", True),
        ("A002~wide", "waiting", False),
    ]
    with pytest.raises(RefusedError, match=r"cannot be written"):
        typed(beamline, "campaigns", "xpcs", "wide", "--csv", str(table))


def test_a_person_stops_it_lets_it_go_on_and_has_the_failed_tried_again(beamline: OpenBeamline) -> None:
    start(beamline)
    assert "stopped" not in typed(beamline, "campaigns", "xpcs")[1]
    assert typed(beamline, "campaigns", "xpcs", "wide", "--stop")[1].splitlines()[-1].endswith("over")
    assert typed(beamline, "campaigns", "xpcs", "wide", "--go-on")[1].splitlines()[-1].endswith("under way")
    note_asked(beamline, "wide", ["A001"])
    note_ended(beamline, "wide", {"A001": (FAILED, "x")})
    code, said = typed(beamline, "campaigns", "xpcs", "wide", "--retry")
    assert (code, said.splitlines()[-1].split()) == (0, ["wide", "2", "0", "0", "0", "under", "way"])


@pytest.mark.parametrize("words", [["--retry"], ["wide", "--stop", "--go-on"]])
def test_what_is_about_one_campaign_needs_its_name(beamline: OpenBeamline, words: list[str]) -> None:
    start(beamline)
    with pytest.raises(RefusedError, match=r"about one campaign"):
        typed(beamline, "campaigns", "xpcs", *words)


def test_other_targets_of_a_command_are_a_campaign_too_and_its_folders_are_shown(altered: Altered) -> None:
    made = {"command": ["amstrax", "{output}", "{target}"], "outputs": ["*"], "to": "made", "target": ["events"]}
    places = {"made": {"kind": "posix", "root": "made"}}
    beamline = altered({"pipeline": {"correlate": None, "process": made}, "places": places})
    _, said = typed(beamline, "campaign", "xpcs", "hits", "--target", "peaks,hits")
    assert said.splitlines()[-1] == "2 runs are to be analysed with target=peaks,hits, 20 at once"
    detail = {"version": 1, "analysis_key": "A001~hits", "folder": "A001/v1-5e1f", "outputs": {"a.txt": "00"}}
    beamline.ledger.note("xpcs", "A001", "processed", "1 outputs", detail)
    (told,) = json.loads(typed(beamline, "campaigns", "xpcs", "hits", "--json")[1])
    assert [(row["result"], bool(row["result_digest"])) for row in told["members"]] == [
        ("A001/v1-5e1f", True),
        ("", False),
    ]
    assert "A001~hits" not in typed(beamline, "status", "xpcs")[1]
    beamline.ledger.note("xpcs", "A001", "processed", "done", {"partition": "A001~hits"})
    assert "A001~hits" in typed(beamline, "status", "xpcs")[1]
    with pytest.raises(RefusedError, match=r"has no \{context\}"):
        typed(beamline, "campaign", "xpcs", "newer", "--context", "v17")
