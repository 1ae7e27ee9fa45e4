"""`xpcs-assets retry`: what failed is asked for once more, chosen by run, path and time, with a preview."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.campaign import again
from xpcs_assets.cli import app
from xpcs_assets.errors import NotFoundError, SettingsError
from xpcs_assets.follow import state_of
from xpcs_assets_tests.unit.conftest import bare_run

RUNS = ("A001", "A002", "B003")


def noted(beamline: OpenBeamline, key: str, step: str, what: str, **detail: object) -> None:
    beamline.ledger.note("xpcs", key.partition("~")[0], step, what, {"partition": key, **detail})


@pytest.fixture
def failed(beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch) -> OpenBeamline:
    """Three runs: the correlation of the first two failed, the third is well."""
    monkeypatch.setenv("XPCS_ASSETS_HOME", str(beamline.site.home))
    monkeypatch.setenv("COLUMNS", "300")
    for key in RUNS:
        submit(beamline, bare_run(beamline.source_root / key))
        take(beamline, key)
        for step in ("raw_file", "staged_copy", "metadata", "catalog_entry"):
            noted(beamline, key, step, "done")
        noted(beamline, key, "correlation", "done" if key == "B003" else "failed: the disk was full")
    return beamline


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str], dict[str, Any]]]:
    calls: list[tuple[str, list[str], dict[str, Any]]] = []

    def launch(site: object, partitions: str, key: str, assets: Any, config: Any) -> str:
        assert partitions == "xpcs_runs"
        calls.append((key, [name for _, name in assets], config))
        return "run-1"

    monkeypatch.setattr(again, "launch", launch)
    return calls


def retry(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["retry", "xpcs", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


BEHIND = ["correlation", "plots", "result_entry"]


def test_what_failed_and_what_stands_behind_it_is_asked_for_and_nothing_else(
    failed: OpenBeamline, launched: list[Any]
) -> None:
    assert retry().splitlines()[-1] == "2 asked for, 0 left"
    config = {"ops": {"xpcs__correlation": {"config": {}}}}
    assert launched == [("A001", BEHIND, config), ("A002", BEHIND, config)]
    noted(failed, "B003", "metadata", "failed: no room")
    del launched[:]
    retry("B003")
    assert launched == [("B003", ["metadata", "catalog_entry", "result_entry"], {})], "no recipe without a correlation"


def test_a_dry_run_prints_what_would_be_asked_for_and_why_it_failed(failed: OpenBeamline, launched: list[Any]) -> None:
    told = retry("--dry-run").splitlines()
    assert told[0].split("  ")[:2] == ["would be asked for", "A001"]
    assert "correlation, plots, result_entry" in told[0]
    assert told[0].endswith("correlation: the disk was full")
    assert (told[-1], launched) == ("2 would be asked for, 0 left", [])
    assert state_of(failed, "A001").timeline[-1].step == "correlation"


def test_runs_are_chosen_by_name_path_number_and_limit(failed: OpenBeamline, launched: list[Any]) -> None:
    for words in (["A002"], ["--numbers", "2-9"], ["--match", "2$"], ["--where", "run=*2"], ["--start-from", "A002"]):
        retry(*words, "--dry-run")
        (one,) = json.loads(retry(*words, "--dry-run", "--json"))["asked"]
        assert one["key"] == "A002"
    assert len(json.loads(retry("--limit", "1", "--dry-run", "--json"))["asked"]) == 1
    with pytest.raises(SettingsError, match="have no cycle"):
        retry("--where", "cycle=1")
    with pytest.raises(NotFoundError):
        retry("A009")


def test_runs_are_chosen_by_when_they_failed(failed: OpenBeamline, launched: list[Any]) -> None:
    now = failed.ledger.clock()
    later = (now + timedelta(days=1)).isoformat()
    assert json.loads(retry("--since", later, "--json"))["asked"] == []
    assert json.loads(retry("--until", (now - timedelta(days=1)).isoformat(), "--json"))["asked"] == []
    words = ["--since", "1 h", "--until", later, "--json", "--dry-run"]
    assert [one["key"] for one in json.loads(retry(*words))["asked"]] == ["A001", "A002"]
    assert "such as" in retry("--since", "yesterday", code=2)


def test_what_was_asked_for_and_is_not_over_is_left_unless_it_is_named(
    failed: OpenBeamline, launched: list[Any]
) -> None:
    retry("A001")
    told = retry(code=1)
    assert "it was asked for at" in told
    assert [key for key, *_ in launched] == ["A001", "A002"]
    retry("A001")
    assert [key for key, *_ in launched][-1] == "A001"
    noted(failed, "A001", "correlation", "failed: the disk was full again")
    retry("--numbers", "1")
    assert [key for key, *_ in launched][-1] == "A001"
    noted(failed, "A001", "correlation", "done")
    assert retry("A001") == "0 asked for, 0 left\n"


def test_a_reprocessing_is_asked_for_with_its_own_settings_and_one_of_unknown_settings_is_left(
    failed: OpenBeamline, launched: list[Any]
) -> None:
    for key, detail in (("B003~wide", {"settings": {"stride": 2}}), ("B003~mine", {})):
        noted(failed, key, "reprocess", f"asked for as {key}", **detail)
        noted(failed, key, "plots", "done")
        noted(failed, key, "correlation", "failed: the q-map is gone")
    told = retry("--match", "B003", code=1)
    assert launched == [("B003~wide", BEHIND, {"ops": {"xpcs__correlation": {"config": {"stride": 2}}}})]
    assert "B003~mine  its settings are not known here" in told


def test_an_archive_that_failed_is_left_to_its_own_sensor(failed: OpenBeamline, launched: list[Any]) -> None:
    noted(failed, "B003", "archive", "failed: the tape is away")
    assert "the archive is tried again by itself" in retry("B003", code=1)
    assert launched == []
