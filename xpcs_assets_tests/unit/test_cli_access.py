"""``xpcs-assets access``: who may read what, with honest exit codes, and what brings copies back has them guarded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from xpcs_assets.access.keeper import settle_run
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.places.posix_access import PosixDoors
from xpcs_assets_tests.unit.access.conftest import OTHER, copied, opened
from xpcs_assets_tests.unit.conftest import Altered
from xpcs_assets_tests.unit.test_cli_ledger import said


@pytest.fixture
def guarded(altered: Altered, tmp_path: Path) -> OpenBeamline:
    beamline = opened(altered, tmp_path, {"proposal": "P-1", "groups": ["301"], "embargo_until": "2999-12-31"})
    copied(beamline)
    return beamline


def test_what_differs_is_listed_with_exit_code_1_and_set_with_0(
    guarded: OpenBeamline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = said(monkeypatch, capsys, guarded.site, "access", "xpcs")
    assert (code, "as it should be: 0; not so: 2" in told) == (1, True)
    assert "group 64301 cannot read it; group 64302 cannot read it; everybody can, and should not" in told
    code, told = said(monkeypatch, capsys, guarded.site, "access", "xpcs", "--set")
    assert (code, told.count("set now")) == (0, 2)
    assert said(monkeypatch, capsys, guarded.site, "access", "xpcs") == (0, "as it should be: 2; not so: 0")


def test_one_run_is_told_with_who_may_read_each_copy_and_from_when_on_others(
    guarded: OpenBeamline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settle_run(guarded, "A001")
    code, told = said(monkeypatch, capsys, guarded.site, "access", "xpcs", "A001")
    assert code == 0
    assert "A001 v1 mirror xpcs/A001/v1 group 64301, group 64302 right" in told
    assert "proposal P-1 groups 64301, 64302 others from 3000-01-01 00:00 UTC on" in told
    PosixDoors(guarded.place("mirror")).allow("xpcs/A001/v1", {OTHER})  # type: ignore[arg-type]
    code, told = said(monkeypatch, capsys, guarded.site, "access", "xpcs", "A001", "--json")
    rows = {row["place"]: row for row in json.loads(told[: told.rindex("]") + 1])}
    assert code == 1
    assert (rows["mirror"]["right"], rows["mirror"]["readers"]) == (False, ["group 64303"])
    assert rows["store"]["wanted"] == ["group 64301", "group 64302"]


def test_a_beamline_that_guards_nothing_and_a_run_that_is_not_there_are_refused(
    guarded: OpenBeamline, altered: Altered, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = said(monkeypatch, capsys, guarded.site, "access", "xpcs", "Z999")
    assert (code, "no such run was taken" in told) == (1, True)
    altered({"places": {"store": {"access": None}, "mirror": {"access": None}}})
    code, told = said(monkeypatch, capsys, guarded.site, "access", "xpcs")
    assert (code, "no place says who may read runs there" in told) == (1, True)


def test_a_run_that_is_retrieved_is_guarded_at_once(
    guarded: OpenBeamline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(guarded.root("store") / "xpcs" / "A001")
    assert said(monkeypatch, capsys, guarded.site, "retrieve", "xpcs", "A001")[0] == 0
    assert said(monkeypatch, capsys, guarded.site, "access", "xpcs", "A001")[0] == 0


def test_a_run_that_is_repaired_is_guarded_at_once_and_trouble_with_it_is_no_failure(
    guarded: OpenBeamline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(guarded.root("store") / "xpcs" / "A001")
    said(monkeypatch, capsys, guarded.site, "verify", "xpcs", "A001")
    monkeypatch.setattr(PosixDoors, "allow", lambda *_: None)
    code, told = said(monkeypatch, capsys, guarded.site, "repair", "xpcs", "A001")
    assert (code, "who may read it could not be set, and is tried again: store: " in told) == (0, True)
