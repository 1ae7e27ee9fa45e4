"""``xpcs-assets parked``: what the intake refused is listed, mended and put in again."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from xpcs_assets import cli
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import NotFoundError, RefusedError
from xpcs_assets.intake.taking import take_files
from xpcs_assets_tests.unit.conftest import bare_run


def parked(beamline: OpenBeamline, *words: str) -> tuple[int, str]:
    home = str(beamline.site.home)
    result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, ["parked", "xpcs", *words, "--home", home])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_nothing_waits_at_first(beamline: OpenBeamline) -> None:
    assert parked(beamline) == (0, "")


def test_what_waits_is_listed_and_fails_the_command(beamline: OpenBeamline) -> None:
    names = [one.parked for one in take_files(beamline, {"file_path": ["A001", "A\n2"]})]
    code, said = parked(beamline)
    header, first, second = said.splitlines()
    assert (code, header.split()[0], first.split()[0], second.split()[0]) == (1, "name", *names)
    assert "there is no such run" in first
    (one,) = json.loads(parked(beamline, names[1], "--json")[1])
    assert (one["file_path"], one["times"]) == ("A\n2", 1)


def test_a_run_that_was_moved_is_put_in_again_from_where_it_is(beamline: OpenBeamline) -> None:
    (said,) = take_files(beamline, {"file_path": "A001"})
    with pytest.raises(NotFoundError):
        parked(beamline, said.parked, "--again")
    bare_run(beamline.source_root / "B001")
    assert parked(beamline, said.parked, "--again", "--path", "B001") == (0, "B001\n")
    assert parked(beamline) == (0, "")


def test_export_controlled_data_can_only_be_dismissed(beamline: OpenBeamline) -> None:
    bare_run(beamline.source_root / "A001")
    (said,) = take_files(beamline, {"file_path": "A001", "is_export_control": True})
    with pytest.raises(RefusedError, match=r"export-controlled"):
        parked(beamline, said.parked, "--again")
    assert parked(beamline, said.parked, "--dismiss", "kept at the beamline") == (0, "")
    assert beamline.ledger.arrivals("xpcs") == ()


@pytest.mark.parametrize("words", [["--again"], ["1", "--path", "x"], ["1", "--again", "--dismiss", "x"]])
def test_it_must_be_clear_what_is_meant(beamline: OpenBeamline, words: list[str]) -> None:
    with pytest.raises(RefusedError, match=r"not clear"):
        parked(beamline, *words)
