"""``xpcs-assets rebuild``, and what commands say of a ledger that they cannot use."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from xpcs_assets.archive.archiving import archive
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.cli import run
from xpcs_assets.cli_ledger import _shortened
from xpcs_assets.copies.clock import utc_now
from xpcs_assets.copies.database import SCHEMA
from xpcs_assets.copies.journal import Journal, Line
from xpcs_assets.copies.keeping import PROMOTION
from xpcs_assets.definitions import build_defs
from xpcs_assets.site import HOME_VARIABLE, Site
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import bare_run


def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], site: Site, *arguments: str
) -> tuple[int, str]:
    """Exit code and all that a command said."""
    monkeypatch.setenv(HOME_VARIABLE, str(site.home))
    monkeypatch.setattr("sys.argv", ["xpcs-assets", *arguments])
    try:
        code = run()
    except SystemExit as ended:
        code = int(ended.code or 0)
    told = capsys.readouterr()
    return code, " ".join(f"{told.out} {told.err}".split())


@pytest.fixture
def worked(beamline: OpenBeamline) -> Site:
    """A site with a run that was taken, staged and archived."""
    submit(beamline, bare_run(beamline.source_root / "A001"))
    take(beamline, "A001")
    stage(beamline, "A001")
    archive(beamline, "A001")
    beamline.engine.dispose()
    return beamline.site


def test_a_rebuild_says_that_all_is_the_same_and_where_the_old_ledger_is(
    worked: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = said(monkeypatch, capsys, worked, "rebuild")
    assert code == 0
    assert "compared the same" in told
    assert "kept the old ledger is" in told


def test_a_rebuild_says_what_differs_and_ends_with_1_for_a_frozen_run(
    worked: Site, beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    beamline.staged(beamline.latest("A001")).manifest.write_bytes(b"")
    next((worked.home / "store").rglob("A001.imm")).unlink()
    beamline.engine.dispose()
    code, told = said(monkeypatch, capsys, worked, "rebuild")
    assert code == 1
    assert "the run is frozen" in told
    assert "differs copies" in told


def test_a_rebuild_that_differs_cuts_the_long_values_of_a_row() -> None:
    document = {"words": "beam " * 10_000, "pid": "xpcs-assets/xpcs/A001/v1", "number": 7}
    told = _shortened(json.dumps(document))
    assert 'pid "xpcs-assets/xpcs/A001/v1", number 7' in told
    assert len(told) < 200


def test_a_partial_rebuild_ends_with_1_and_leaves_the_ledger(
    worked: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (worked.home / "tape").rename(worked.home / "away")
    code, told = said(monkeypatch, capsys, worked, "rebuild")
    assert code == 1
    assert "xpcs:tape cannot be asked" in told
    assert "a partial one does not replace it" in told


def test_a_ledger_that_is_gone_is_compared_with_nothing(
    worked: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (worked.home / "ledger.db").unlink()
    code, told = said(monkeypatch, capsys, worked, "rebuild")
    assert code == 0
    assert "compared with nothing" in told
    assert "kept" not in told


@pytest.mark.parametrize("command", [("status", "xpcs"), ("init", "."), ("prune", "xpcs", "--dry-run")])
def test_a_ledger_that_is_gone_is_never_taken_for_a_new_one(
    worked: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    (worked.home / "ledger.db").unlink()
    monkeypatch.chdir(worked.home)
    for _ in range(2):  # an empty database that the first one left is no new ledger either
        code, told = said(monkeypatch, capsys, worked, *command)
        assert code == 1
        assert "the ledger that was here is gone" in told
        assert "xpcs-assets rebuild" in told
        assert "xpcs-assets init" not in told
    assert said(monkeypatch, capsys, worked, "rebuild")[0] == 0
    assert "A001" in said(monkeypatch, capsys, worked, "status", "xpcs")[1]


def test_lines_of_nothing_known_are_counted_by_a_rebuild_and_not_listed(
    worked: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(worked.journal)
    last = journal.last()
    assert last is not None
    unknown = {"beamline": "xpcs", "run_key": "A9", "analysis_key": "A9", "version": 1, "recipe_digest": "sha256:0"}
    journal.append([Line(last.number + count, PROMOTION, unknown) for count in (1, 2, 3)], utc_now())
    code, told = said(monkeypatch, capsys, worked, "rebuild")
    assert code == 0
    assert f"3 lines of the journal (promotion) are of nothing known, the first is line {last.number + 1}" in told
    assert told.count("of nothing known") == 1


def newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


@pytest.mark.parametrize("command", [("status", "xpcs"), ("prune", "xpcs"), ("hold", "xpcs", "A001", "--reason", "x")])
def test_f60_every_command_refuses_a_newer_ledger(
    worked: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    newer(worked.home / "ledger.db")
    code, told = said(monkeypatch, capsys, worked, *command)
    assert code == 1
    assert f"schema 9999, newer than the {SCHEMA}" in told
    assert "Update xpcs-assets here" in told


def test_f60_a_rebuild_does_not_put_a_newer_ledger_aside(
    worked: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    newer(worked.home / "ledger.db")
    code, told = said(monkeypatch, capsys, worked, "rebuild")
    assert code == 1
    assert "Update xpcs-assets here" in told
    assert not list(worked.home.glob("ledger.db.kept*"))


def test_f60_sensors_fail_with_the_reason_on_a_newer_ledger(worked: Site) -> None:
    newer(worked.home / "ledger.db")
    repository = build_defs(Site(worked.home)).get_repository_def()
    sensor = repository.get_sensor_def("xpcs_arrivals")
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, repository_def=repository)
        with pytest.raises(Exception, match=r"schema 9999.*Update xpcs-assets"):
            sensor.evaluate_tick(context)
