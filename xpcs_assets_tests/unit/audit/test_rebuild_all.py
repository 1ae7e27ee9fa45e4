"""All that a ledger remembers, made again: versions, gathered bundles, removals, a trash, words of people."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest

from xpcs_assets.archive.archiving import archive
from xpcs_assets.archive.gather import gather_runs
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.audit.looking import audit_beamline
from xpcs_assets.audit.rebuild import rebuild
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.journal import Journal
from xpcs_assets.copies.ledger import CopyState, Errand, Ledger, TransferState
from xpcs_assets.copies.meeting import adopt
from xpcs_assets.places.marker import PosixRoot
from xpcs_assets.prune.remove import prune_copy
from xpcs_assets.prune.trash import put_back
from xpcs_assets.runs.retention import Retention
from xpcs_assets.site import Site
from xpcs_assets.stage.further import copy_further
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.audit.ledgers import begun, destroy, dump, opened, told
from xpcs_assets_tests.unit.conftest import Altered, bare_run


def eventful(altered: Altered) -> OpenBeamline:
    """A beamline with all that a ledger remembers: versions, gathered bundles, removals, a trash, words of people."""
    gather = {"under": "1 MB", "until": "1 GB", "wait": "1 day", "by": []}
    rooms = {name: {"failure_domain": f"room of the {name}"} for name in ("detector", "store", "tape")}
    mirror = {"kind": "posix", "root": "mirror", "failure_domain": "another town"}
    pipeline = {"archive": {"bundle": {"gather": gather}}, "copies": ["mirror"]}
    beamline = altered({"places": {**rooms, "mirror": mirror}, "pipeline": pipeline})
    beamline.root("mirror").mkdir()
    for key in ("A001", "A002", "A003"):
        taken(beamline, key)
    assert gather_runs(beamline, ["A001", "A002"]).failed == {}
    archive(beamline, "A003")
    (beamline.source_root / "A001" / "more.txt").write_text("measured again under the same name")
    taken(beamline, "A001", fresh=False)
    archive(beamline, "A001")
    copy_further(beamline, "A001", "mirror")
    ledger = beamline.ledger
    removed(beamline, "A002", "detector")
    removed(beamline, "A003", "store", trash_for_s=60.0)
    removed(beamline, "A003", "detector", trash_for_s=60.0)
    put_back(beamline, "A003", 1, "detector")
    moved_by_others(ledger)  # after the removals: of a run that a service moves nothing goes
    ledger.hold("xpcs", "A001", "paper", "a scientist")
    ledger.hold("xpcs", "A002", "paper", "a scientist")
    ledger.release("xpcs", "A002", "a scientist")
    ledger.approve("xpcs", "store", "sha256:ab", ["A001/v1"], "an operator")
    adopt(ledger, "xpcs", "store", PosixRoot(beamline.root("store")))
    return beamline


def taken(beamline: OpenBeamline, key: str, *, fresh: bool = True) -> None:
    folder = bare_run(beamline.source_root / key) if fresh else beamline.source_root / key
    submit(beamline, folder, as_is=True)
    take(beamline, key)
    stage(beamline, key)


def moved_by_others(ledger: Ledger) -> None:
    """A transfer that failed, the one after it, and one that is paused."""
    errand, now = Errand("xpcs", "A001", 1, "copy", "store", "eagle"), ledger.clock()
    first = ledger.intend_transfer(errand, "submission 1", 1000, now)
    ledger.change_transfer("submission 1", state=TransferState.ACTIVE, task="task 1", bytes_moved=500)
    ledger.replace_transfer(first, TransferState.FAILED, "a byte was wrong", "submission 2", 500, now)
    ledger.intend_transfer(replace(errand, run_key="A002"), "submission 3", 1000, now)
    ledger.change_transfer("submission 3", state=TransferState.PAUSED, task="task 3", reason="consent lacks")


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
    assert all(before[table] for table in (*tables, "transfers", "aside", "places", "events", "arrivals"))
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
