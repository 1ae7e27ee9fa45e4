"""The ledger made again from journal and data."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from xpcs_assets.audit.rebuild import HOLDER, rebuild
from xpcs_assets.copies.database import migrate, open_database
from xpcs_assets.copies.journal import Journal
from xpcs_assets.copies.ledger import CopyState, Evidence, Ledger
from xpcs_assets.errors import LedgerError, RefusedError
from xpcs_assets.orchestrate.processes import not_running
from xpcs_assets.site import Site
from xpcs_assets_tests import postgres
from xpcs_assets_tests.unit.audit.ledgers import begun, destroy, dump, opened, people, told


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, site: Site) -> Iterator[Site]:
    """A site on either database."""
    if request.param == "sqlite":
        yield site
        return
    if reason := postgres.why_missing():
        pytest.skip(reason)
    with postgres.database() as url:
        file = site.home / "site.yaml"
        content = yaml.safe_load(file.read_text("utf-8"))
        file.write_text(yaml.safe_dump(content | {"database": url}), encoding="utf-8")
        yield Site(site.home)


def test_f59_a_ledger_that_is_gone_is_made_again_row_by_row(home: Site) -> None:
    beamline = begun(home, "A001", "A002")
    people(beamline)
    beamline.engine.dispose()
    before = dump(home)
    assert {name for name, rows in before.items() if rows} >= {
        *("arrivals", "run_versions", "copies", "results", "bundles", "bundle_runs", "bundle_members"),
        *("holds", "removals", "events", "catalog_records", "catalog_notes"),
    }
    destroy(home)
    done = rebuild(home)
    assert (done.replaced, done.partial, told(done)) == (True, False, [])
    assert "there is no ledger" in done.why_not_read
    after = dump(home)
    for table, rows in before.items():
        assert after[table] == rows, table
    again = opened(home)
    again.ledger.note("xpcs", "A001", "step", "life goes on")  # numbers go on above those that came back
    assert [event.what for event in again.ledger.timeline("xpcs", "A001")][-1] == "life goes on"
    again.engine.dispose()


def test_the_old_ledger_is_compared_and_kept(home: Site) -> None:
    begun(home, "A001").engine.dispose()
    done = rebuild(home)
    assert (done.replaced, done.same, done.why_not_read) == (True, True, "")
    assert "kept" in done.kept
    assert sum(each.same for each in done.differences) > 10
    if home.database_url.startswith("sqlite"):
        kept = open_database(f"sqlite:///{done.kept}")
        assert Ledger(kept).latest("xpcs", "A001") is not None
        kept.dispose()
    again = rebuild(home)  # and what was kept before is in nobody's way
    assert (again.same, again.kept != done.kept or not done.kept) == (True, True)


def test_without_a_journal_the_data_tell_runs_results_and_bundles(site: Site) -> None:
    beamline = begun(site, "A001")
    beamline.ledger.hold("xpcs", "A001", "wanted", "me")
    beamline.engine.dispose()
    before = dump(site)
    shutil.rmtree(site.journal)
    destroy(site)
    done = rebuild(site)
    assert [text for text in told(done) if "no journal" in text]
    after = dump(site)
    for table in ("run_versions", "copies", "results", "bundles", "bundle_runs", "bundle_members", "catalog_records"):
        assert after[table] == before[table], table
    assert after["holds"] == after["events"] == after["arrivals"] == ()


def test_f29_a_run_whose_manifest_is_damaged_is_frozen_and_told(site: Site) -> None:
    beamline = begun(site, "A001", "A002", "A003", "A004")
    folders = {key: beamline.staged(beamline.latest(key)) for key in ("A001", "A002", "A003", "A004")}
    beamline.engine.dispose()
    folders["A001"].manifest.write_bytes(b"")
    folders["A002"].manifest.write_bytes(folders["A003"].manifest.read_bytes())  # another run's
    text = folders["A004"].manifest.read_text("utf-8")
    folders["A004"].manifest.write_text(text.replace('"size_bytes": 6', '"size_bytes": 7'), encoding="utf-8")
    destroy(site)
    done = rebuild(site)
    assert {key for _, key in done.found.frozen} == {"A001", "A002", "A004"}
    assert all("the run is frozen" in text for text in told(done))
    again = opened(site)
    assert [len(again.ledger.holds("xpcs", key)) for key in folders] == [1, 1, 0, 1]
    assert {hold.set_by for hold in again.ledger.holds("xpcs", "A001")} == {HOLDER}
    again.engine.dispose()
    rebuild(site)
    assert [len(again.ledger.holds("xpcs", key)) for key in folders] == [1, 1, 0, 1]
    again.engine.dispose()


def test_f29_without_a_journal_a_spoofed_manifest_makes_no_run(site: Site) -> None:
    beamline = begun(site, "A001")
    folder = beamline.staged(beamline.latest("A001"))
    beamline.engine.dispose()
    other = folder.manifest.read_text("utf-8").replace("A001", "A009")
    folder.manifest.write_text(other, encoding="utf-8")
    shutil.rmtree(site.journal)
    shutil.rmtree(site.home / "tape" / "xpcs")
    destroy(site)
    done = rebuild(site)
    again = opened(site)
    assert again.ledger.latest("xpcs", "A001") is None
    assert len(again.ledger.holds("xpcs", "A001")) == 1
    assert "damaged" in done.found.frozen["xpcs", "A001"]
    again.engine.dispose()


def test_what_was_not_read_again_is_known_no_better_than_before(site: Site) -> None:
    beamline = begun(site, "A001")
    of = beamline.ledger.copies("xpcs", "A001", 1)
    for copy in of:
        beamline.ledger.record_copy(
            "xpcs",
            "A001",
            1,
            place=copy.place,
            path=copy.path,
            failure_domain=copy.failure_domain,
            evidence=Evidence.SIZE,
        )
    (beamline.staged(beamline.latest("A001")).path / "copy.json").unlink()
    beamline.engine.dispose()
    rebuild(site)
    assert {copy.evidence for copy in opened(site).ledger.copies("xpcs", "A001", 1)} == {Evidence.SIZE}
    shutil.rmtree(site.journal)
    destroy(site)
    done = rebuild(site)
    found = {copy.place: copy.evidence for copy in opened(site).ledger.copies("xpcs", "A001", 1)}
    assert found == {"store": Evidence.LEDGER, "tape": Evidence.LEDGER}
    assert any("has no copy.json" in text for text in done.found.told)


def test_runs_that_lie_in_an_archive_alone_are_found_by_its_indexes(site: Site) -> None:
    beamline = begun(site, "A001")
    before = beamline.latest("A001")
    beamline.engine.dispose()
    shutil.rmtree(site.journal)
    shutil.rmtree(site.home / "store" / "xpcs")
    destroy(site)
    done = rebuild(site)
    again = opened(site)
    found = again.latest("A001")
    assert (found.manifest_digest, found.source, found.owner) == (before.manifest_digest, "", {})
    assert {bundle.evidence for bundle in again.ledger.bundles("xpcs", "A001", 1)} == {Evidence.READ_BACK}
    assert any("lies in tape alone" in text for text in done.found.told)
    again.engine.dispose()


def test_files_that_are_gone_make_a_copy_lost(site: Site) -> None:
    beamline = begun(site, "A001")
    next(path for path in beamline.staged(beamline.latest("A001")).raw.rglob("*") if path.is_file()).unlink()
    beamline.engine.dispose()
    done = rebuild(site)
    again = opened(site)
    states = {copy.place: copy.state for copy in again.ledger.copies("xpcs", "A001", 1)}
    assert states == {"detector": CopyState.PRESENT, "store": CopyState.LOST, "tape": CopyState.PRESENT}
    assert not done.same
    again.engine.dispose()


def test_a_place_that_is_away_makes_it_partial_and_the_old_ledger_stays(site: Site) -> None:
    begun(site, "A001").engine.dispose()
    (site.home / "tape").rename(site.home / "tape away")
    before = dump(site)
    done = rebuild(site)
    assert (done.partial, done.replaced, done.kept) == (True, False, "")
    assert list(done.found.unavailable) == ["xpcs:tape"]
    assert dump(site) == before
    destroy(site)
    assert rebuild(site).replaced  # better than none
    assert not [path for path in site.home.glob("ledger.db*") if "rebuilding" in path.name]


def test_a_site_that_is_up_or_a_run_that_is_worked_on_refuses(home: Site) -> None:
    beamline = begun(home, "A001")
    with not_running(home), pytest.raises(RefusedError, match="running already"):
        rebuild(home)
    beamline.ledger.take_lease("xpcs", "A001", "stage", "another-host:7:8", 600)
    beamline.ledger.take_lease("xpcs", "A001", "correlate", f"{socket.gethostname()}:999999999:1", 600)
    with pytest.raises(RefusedError, match=r"another-host:7:8 at A001 \(stage\)\. Wait until"):
        rebuild(home)
    beamline.engine.dispose()


def test_a_site_with_a_broken_beamline_file_refuses(site: Site) -> None:
    (site.home / "beamlines" / "bad.yaml").write_text("nonsense: 1", encoding="utf-8")
    with pytest.raises(RefusedError, match="bad"):
        rebuild(Site(site.home))


def test_f46_the_database_of_another_site_is_not_put_aside(site: Site, tmp_path: Path) -> None:
    begun(site, "A001").engine.dispose()
    file = site.home / "ledger.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE ledger SET identity = 'another'")
    with pytest.raises(RefusedError, match="not the ledger that this site's journal belongs to"):
        rebuild(site)


def test_f46_an_empty_database_in_the_ledger_s_place_is_filled(site: Site) -> None:
    begun(site, "A001").engine.dispose()
    before = dump(site)
    destroy(site)
    engine = open_database(site.database_url)
    migrate(engine)
    engine.dispose()
    beamline = opened(site)
    with pytest.raises(LedgerError, match="not the ledger"):
        beamline.ledger.take_lease("xpcs", "A001", "prune", "h", 60)
    beamline.engine.dispose()
    done = rebuild(site)
    assert (done.replaced, done.same) == (True, False)
    assert dump(site) == before


def test_f59_a_malformed_file_says_rebuild_and_is_kept(site: Site) -> None:
    begun(site, "A001").engine.dispose()
    before = dump(site)
    file = site.home / "ledger.db"
    data = bytearray(file.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 100] = b"\xa5" * 100
    file.write_bytes(data)
    beamline = opened(site)
    with pytest.raises(LedgerError, match=r"malformed.*xpcs-assets rebuild"):
        beamline.ledger.runs("xpcs")
    beamline.__dict__["engine"].dispose() if "engine" in beamline.__dict__ else None
    done = rebuild(site)
    assert done.replaced
    assert "malformed" in done.why_not_read
    assert Path(done.kept).read_bytes() == bytes(data)
    assert dump(site) == before


def test_a_torn_journal_is_told(site: Site) -> None:
    begun(site, "A001").engine.dispose()
    with Journal(site.journal).files()[0].open("ab") as file:
        file.write(b'{"number"')
    done = rebuild(site)
    assert [text for text in told(done) if "torn" in text]
    assert done.same


def test_a_result_without_a_note_is_known_by_its_report(site: Site) -> None:
    beamline = begun(site, "A001")
    folder = beamline.staged(beamline.latest("A001"))
    (folder.path / "copy.json").unlink()
    folder.result("wide-A001").write_bytes(b"other bytes")
    beamline.engine.dispose()
    done = rebuild(site)
    again = opened(site)
    assert [each.recipe_digest for each in again.ledger.results("xpcs", "A001")] == ["sha256:recipe-A001"]
    assert [each.promoted for each in again.ledger.results("xpcs", "A001")] == [True]
    assert any("is not the result that its report is of" in text for text in done.found.told)
    again.engine.dispose()
