"""Crawling a watched folder: what is valid is submitted once, what is not is told with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpcs_assets.arrive.crawl import Crawled, crawl
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import ArrivalState
from xpcs_assets.errors import NotFoundError, SettingsError
from xpcs_assets.runs.selection import Selection
from xpcs_assets_tests.unit.conftest import Altered, bare_run

ALL = Selection()


@pytest.fixture
def runs(beamline: OpenBeamline) -> list[str]:
    for name in ("A001", "A002", "A010"):
        bare_run(beamline.source_root / name)
    (beamline.source_root / "A003").mkdir()
    return ["A001", "A002", "A010"]


def keys(found: Crawled) -> tuple[list[str], list[str], list[str]]:
    return tuple([one.key for one in kind] for kind in (found.new, found.known, found.invalid))  # type: ignore[return-value]


def submitted(beamline: OpenBeamline) -> list[str]:
    return sorted(one.run_key for one in beamline.ledger.arrivals("xpcs") if one.state is ArrivalState.SUBMITTED)


def test_valid_runs_are_submitted_and_invalid_ones_told(beamline: OpenBeamline, runs: list[str]) -> None:
    found = crawl(beamline, ALL)
    assert keys(found) == (runs, [], ["A003"])
    assert (found.total, found.invalid[0].reason) == (4, "no file of a run is there")
    assert submitted(beamline) == runs


def test_a_dry_run_tells_the_same_and_submits_nothing(beamline: OpenBeamline, runs: list[str]) -> None:
    told = crawl(beamline, ALL, dry_run=True)
    assert submitted(beamline) == []
    assert crawl(beamline, ALL) == told


def test_runs_that_were_taken_are_known_and_not_submitted_again(beamline: OpenBeamline, runs: list[str]) -> None:
    crawl(beamline, ALL)
    take(beamline, "A001")
    again = crawl(beamline, ALL)
    assert keys(again) == (["A002", "A010"], ["A001"], ["A003"])
    assert submitted(beamline) == ["A002", "A010"]


def test_a_taken_run_that_was_rewritten_is_new(beamline: OpenBeamline, runs: list[str]) -> None:
    crawl(beamline, ALL)
    take(beamline, "A001")
    (beamline.source_root / "A001" / "A001.imm").write_bytes(b"other frames")
    assert "A001" in keys(crawl(beamline, ALL))[0]


def test_only_what_is_meant_is_looked_at(beamline: OpenBeamline, runs: list[str]) -> None:
    assert keys(crawl(beamline, Selection.of(numbers="2-9"))) == (["A002"], [], ["A003"])
    assert submitted(beamline) == ["A002"]


def test_only_what_lies_below_a_folder_is_looked_at(beamline: OpenBeamline, runs: list[str]) -> None:
    assert keys(crawl(beamline, ALL, beamline.source_root / "A002")) == (["A002"], [], [])


def test_a_folder_elsewhere_is_refused(beamline: OpenBeamline, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"not below the watched folder"):
        crawl(beamline, ALL, tmp_path)
    with pytest.raises(NotFoundError):
        crawl(beamline, ALL, beamline.source_root / "no")


def test_a_field_that_paths_do_not_have_is_refused(beamline: OpenBeamline) -> None:
    with pytest.raises(SettingsError, match=r"have no cycle\. There are: run"):
        crawl(beamline, Selection.of(fields=["cycle=2025-1"]))


def test_two_runs_of_one_key_are_not_both_submitted(altered: Altered) -> None:
    beamline = altered({"runs": {"from": {"path": "{experiment}/{run}/"}, "key": "{run}"}})
    for experiment in ("one", "other"):
        bare_run(beamline.source_root / experiment / "A001")
    found = crawl(beamline, ALL)
    assert keys(found) == (["A001"], [], ["A001"])
    assert found.invalid[0].reason == "its key 'A001' is that of one/A001"
    assert submitted(beamline) == ["A001"]
    assert keys(crawl(beamline, Selection.of(match="other"))) == ([], [], ["A001"])
