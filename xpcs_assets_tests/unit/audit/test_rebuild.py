"""The ledger made again from journal and data."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from xpcs_assets.archive.archiving import archive
from xpcs_assets.archive.gather import gather_runs
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.audit.looking import audit_beamline
from xpcs_assets.audit.rebuild import HOLDER, Rebuilt, rebuild
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.cataloguing import catalogue_raw
from xpcs_assets.catalog.embedded import raw_pid
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.catalog.viewer import OPERATOR
from xpcs_assets.copies.compare import contents
from xpcs_assets.copies.database import migrate, open_database
from xpcs_assets.copies.journal import Journal
from xpcs_assets.copies.ledger import CopyState, Evidence, Ledger
from xpcs_assets.copies.meeting import adopt
from xpcs_assets.describe.describing import describe
from xpcs_assets.errors import LedgerError, RefusedError
from xpcs_assets.orchestrate.processes import not_running
from xpcs_assets.prune.remove import prune_copy
from xpcs_assets.prune.trash import put_back
from xpcs_assets.runs.retention import Retention
from xpcs_assets.site import Site
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests import postgres
from xpcs_assets_tests.unit.conftest import Altered, bare_run


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


def opened(site: Site) -> OpenBeamline:
    """The beamline as another process opens it."""
    fresh = Site(site.home)
    return OpenBeamline(fresh, fresh.beamline("xpcs"))


def result(beamline: OpenBeamline, key: str, run_key: str, recipe: str) -> None:
    """A result with its report, as the step of correlation records it."""
    from xpcs_assets.copies.beside import write_note

    folder = beamline.staged(beamline.latest(run_key))
    path = folder.result(recipe)
    path.parent.mkdir(parents=True)
    path.write_bytes(recipe.encode())
    digest = "sha256:" + sha256(recipe.encode()).hexdigest()
    report = {"recipe_digest": f"sha256:{recipe}", "result_digest": digest, "frames": 5}
    folder.report(recipe).write_text(json.dumps(report), encoding="utf-8")
    beamline.ledger.record_result(
        "xpcs",
        key,
        run_key=run_key,
        version=1,
        recipe_digest=f"sha256:{recipe}",
        path=str(path.relative_to(folder.root)),
        result_digest=digest,
        report=report,
    )
    if key == run_key:
        beamline.ledger.promote("xpcs", run_key, f"sha256:{recipe}")
    write_note(beamline.engine, folder)


def work(beamline: OpenBeamline, key: str, seed: int = 0) -> None:
    """A run through the steps that write to ledger and catalog."""
    folder = bare_run(beamline.source_root / key)
    (folder / "more.txt").write_text(f"run {key} {seed}")
    submit(beamline, folder, as_is=True)
    take(beamline, key)
    stage(beamline, key)
    describe(beamline, key)
    catalogue_raw(beamline, key)
    result(beamline, key, key, f"recipe-{key}")
    result(beamline, f"{key}~wide", key, f"wide-{key}")
    archive(beamline, key)
    beamline.ledger.note("xpcs", key, "archive", "done", {"seconds": 1.5})


def people(beamline: OpenBeamline) -> None:
    """What people do: hold, release, note, prune a copy."""
    ledger = beamline.ledger
    ledger.hold("xpcs", "A001", "paper", "a scientist")
    ledger.release("xpcs", "A001", "a scientist")
    ledger.hold("xpcs", "A002", "wanted \udcff", "an operator")
    CatalogReader(beamline.engine, OPERATOR).comment(raw_pid("xpcs", "A001", 1), "nice rings", "a scientist")
    copy = next(each for each in ledger.copies("xpcs", "A001", 1) if each.place == "detector")
    places = {name: beamline.place(name) for name in beamline.settings.places}
    for number, place in enumerate(places.values()):
        place._failure_domain = f"room {number}"
    for each in ledger.copies("xpcs", "A001", 1):
        ledger.record_copy(
            "xpcs",
            "A001",
            1,
            place=each.place,
            path=each.path,
            failure_domain=places[each.place].failure_domain,
            evidence=each.evidence,
        )
    copy = next(each for each in ledger.copies("xpcs", "A001", 1) if each.place == "detector")
    prune_copy(
        ledger,
        copy,
        places,
        Retention(keep_for_s=1e-3, min_copies=1, needs_archive=False, needs_catalog=False),
        catalogued=True,
        holder="a pruner",
        by="an operator",
        reason="room",
    )


def destroy(site: Site) -> None:
    """Take the database away."""
    if site.database_url.startswith("sqlite"):
        for file in site.home.glob("ledger.db*"):
            file.unlink()
        return
    engine = open_database(site.database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()


def dump(site: Site) -> dict[str, tuple[str, ...]]:
    engine = open_database(site.database_url)
    try:
        return contents(engine)
    finally:
        engine.dispose()


def told(done: Rebuilt) -> list[str]:
    """What was told, but for the made-up results that the catalog cannot open."""
    return [text for text in done.found.told if "is no HDF5 file" not in text]


def begun(site: Site, *keys: str) -> OpenBeamline:
    beamline = opened(site)
    for key in keys:
        work(beamline, key)
    return beamline


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


def eventful(altered: Altered) -> OpenBeamline:
    """A beamline with all that a ledger remembers: versions, gathered bundles, removals, a trash, words of people."""
    gather = {"under": "1 MB", "until": "1 GB", "wait": "1 day", "by": []}
    rooms = {name: {"failure_domain": f"room of the {name}"} for name in ("detector", "store", "tape")}
    beamline = altered({"places": rooms, "pipeline": {"archive": {"bundle": {"gather": gather}}}})
    for key in ("A001", "A002", "A003"):
        taken(beamline, key)
    assert gather_runs(beamline, ["A001", "A002"]).failed == {}
    archive(beamline, "A003")
    (beamline.source_root / "A001" / "more.txt").write_text("measured again under the same name")
    taken(beamline, "A001", fresh=False)
    archive(beamline, "A001")
    ledger = beamline.ledger
    removed(beamline, "A002", "detector")
    removed(beamline, "A003", "store", trash_for_s=60.0)
    removed(beamline, "A003", "detector", trash_for_s=60.0)
    put_back(beamline, "A003", 1, "detector")
    ledger.hold("xpcs", "A001", "paper", "a scientist")
    ledger.hold("xpcs", "A002", "paper", "a scientist")
    ledger.release("xpcs", "A002", "a scientist")
    ledger.approve("xpcs", "store", "sha256:ab", ["A001/v1"], "an operator")
    adopt(ledger, "xpcs", "store", beamline.root("store"))
    return beamline


def taken(beamline: OpenBeamline, key: str, *, fresh: bool = True) -> None:
    folder = bare_run(beamline.source_root / key) if fresh else beamline.source_root / key
    submit(beamline, folder, as_is=True)
    take(beamline, key)
    stage(beamline, key)


def removed(beamline: OpenBeamline, key: str, place: str, trash_for_s: float = 0.0) -> None:
    """A copy is pruned, whatever its age."""
    rule = Retention(1e-3, min_copies=1, needs_archive=False, needs_catalog=False, trash_for_s=trash_for_s)
    places = {name: beamline.place(name) for name in beamline.settings.places}
    copy = next(each for each in beamline.ledger.copies("xpcs", key, 1) if each.place == place)
    who = {"holder": "a pruner", "by": "an operator", "reason": "room"}
    prune_copy(beamline.ledger, copy, places, rule, catalogued=True, **who)


@pytest.mark.parametrize("journal", ["whole", "torn", "cut in the last line"])
def test_f59_all_that_a_ledger_remembers_is_made_again(altered: Altered, site: Site, journal: str) -> None:
    beamline = eventful(altered)
    file = Journal(site.journal).files()[-1]
    if journal == "cut in the last line":
        before = dump(site)
        whole = file.stat().st_size
        beamline.ledger.note("xpcs", "A001", "step", "its line is torn by the crash, and its commit never came")
        os.truncate(file, whole + 20)
    elif journal == "torn":
        with file.open("ab") as end:
            end.write(b'{"number": 4711, "table": "ho')
    if journal != "cut in the last line":
        before = dump(site)
    beamline.engine.dispose()
    tables = ("run_versions", "copies", "bundles", "bundle_runs", "bundle_members", "holds", "removals", "approvals")
    assert all(before[table] for table in (*tables, "aside", "places", "events", "arrivals"))
    destroy(site)
    done = rebuild(site)
    after = dump(site)
    assert {table: after[table] for table in before} == before
    assert (done.replaced, len(told(done))) == (True, 0 if journal == "whole" else 1)
    again = opened(site)
    again.ledger.release("xpcs", "A001", "a scientist")  # the journal goes on behind a torn line
    again.engine.dispose()
    held = dump(site)["holds"]
    destroy(site)
    rebuild(site)
    assert dump(site)["holds"] == held


def test_f59_without_the_journal_too_no_copy_is_thought_better_of_than_it_is(altered: Altered, site: Site) -> None:
    beamline = eventful(altered)
    beamline.engine.dispose()
    before = dump(site)
    shutil.rmtree(site.journal)
    destroy(site)
    rebuild(site)
    after = dump(site)
    for table in ("run_versions", "bundles", "bundle_runs", "bundle_members"):
        assert after[table] == before[table], table
    again = opened(site)
    copies = {
        (copy.run_key, copy.version, copy.place): copy.state
        for key in ("A001", "A002", "A003")
        for copy in again.ledger.copies("xpcs", key)
    }
    assert copies["A002", 1, "detector"] is CopyState.LOST
    assert copies["A003", 1, "store"] is CopyState.LOST
    assert {state for key, state in copies.items() if key[2] == "tape"} == {CopyState.PRESENT}
    assert copies["A001", 2, "store"] is CopyState.PRESENT
    done = audit_beamline(again)
    assert done.trouble == ()
    again.engine.dispose()


@pytest.mark.parametrize("left", [b'{"format": ', None])
@pytest.mark.parametrize("with_journal", [True, False])
def test_a_bundle_whose_index_beside_it_rotted_or_is_gone_is_known_by_the_one_inside(
    site: Site, left: bytes | None, with_journal: bool
) -> None:
    beamline = begun(site, "A001")
    before = dump(site)
    beamline.engine.dispose()
    for beside in beamline.root("tape").rglob("*.index.json"):
        beside.chmod(0o644)
        beside.unlink() if left is None else beside.write_bytes(left)
    if not with_journal:
        shutil.rmtree(site.journal)
    destroy(site)
    done = rebuild(site)
    assert sum("the index inside is taken" in text for text in done.found.told) == len(before["bundles"])
    after = dump(site)
    for table in ("bundles", "bundle_runs", "bundle_members", "copies"):
        assert after[table] == before[table], table
    again = opened(site)
    assert archive(again, "A001").written == 0
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
