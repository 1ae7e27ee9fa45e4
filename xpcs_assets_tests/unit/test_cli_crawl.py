"""``xpcs-assets crawl``: what it prints, and its exit codes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from xpcs_assets import cli
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets_tests.unit.conftest import bare_run


@pytest.fixture(autouse=True)
def runs(beamline: OpenBeamline) -> None:
    for name in ("A001", "A002"):
        bare_run(beamline.source_root / name)
    submit(beamline, beamline.source_root / "A001")
    take(beamline, "A001")


def crawl(beamline: OpenBeamline, *arguments: str) -> tuple[int, list[str]]:
    home = str(beamline.site.home)
    result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, ["crawl", "xpcs", *arguments, "--home", home])
    return result.exit_code, result.stdout.splitlines()


def test_valid_runs_are_listed_and_counted(beamline: OpenBeamline) -> None:
    dry = crawl(beamline, "--dry-run")
    assert dry == (0, ["would be submitted  A002  A002", "known               A001  A001",
                       "2/2 runs are valid, 1 would be submitted"])  # fmt: skip
    code, said = crawl(beamline)
    assert (code, said[0], said[-1]) == (0, "submitted  A002  A002", "2/2 runs are valid, 1 submitted")


def test_an_invalid_run_is_told_and_fails_the_command(beamline: OpenBeamline) -> None:
    (beamline.source_root / "A\n003").mkdir()
    code, said = crawl(beamline)
    assert (code, said[-1]) == (1, "2/3 runs are valid, 1 submitted")
    assert [line.split()[0] for line in said[:-1]] == ["submitted", "known", "invalid"]
    assert "no file of a run is there" in said[2]


def test_a_script_reads_the_same_as_json(beamline: OpenBeamline) -> None:
    code, said = crawl(beamline, "--json", "--numbers", "2", "--dry-run")
    told = json.loads("\n".join(said))
    assert (code, told["dry_run"], told["known"], told["invalid"]) == (0, True, [], [])
    assert told["new"] == [{"source": "A002", "key": "A002", "reason": ""}]
