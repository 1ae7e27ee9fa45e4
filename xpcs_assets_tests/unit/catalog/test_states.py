"""The state of a dataset follows the facts in the moment they change, and the database's rules are the code's own."""

from __future__ import annotations

import random

import pytest

from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.catalog.query import Search
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.catalog.states import DatasetState, derived_state, raw_state
from xpcs_assets.copies.copy_book import CopyState
from xpcs_assets.copies.ledger import BundleRun, Evidence, FindingKind, Ledger
from xpcs_assets.runs.manifest import FileEntry, Manifest
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.catalog.made import derived, described

B, R = "test-beamline", "A001"
PID = f"xpcs-assets/{B}/{R}/v1"


@pytest.fixture
def ledger(catalog: EmbeddedCatalog, clock: HandClock) -> Ledger:
    ledger = Ledger(catalog.engine, clock)
    for run_key in (R, "A002"):
        ledger.record_version(B, run_key, Manifest.of(run_key, [FileEntry("a", 1, "0" * 64)]), "/d")
    return ledger


def copy(ledger: Ledger, place: str, evidence: Evidence = Evidence.READ_BACK) -> None:
    ledger.record_copy(B, R, 1, place=place, path=R, failure_domain=place, evidence=evidence)


def bundle(
    ledger: Ledger, evidence: Evidence = Evidence.READ_BACK, *, place: str = "tape", name: str = "r.tar"
) -> None:
    ledger.record_bundle(
        B, [BundleRun(R, 1)], place=place, name=name, content="raw", size_bytes=1, sha256="0" * 64, index_digest="i",
        members=[], evidence=evidence,
    )  # fmt: skip


def test_a_run_s_state_goes_with_its_copies(catalog: EmbeddedCatalog, reader: CatalogReader, ledger: Ledger) -> None:
    catalog.put_raw(described(R), "/f")
    catalog.put_raw(described("A002"), "/f")
    seen = [catalog.get(PID).state]

    def then() -> None:
        seen.append(catalog.get(PID).state)

    copy(ledger, "disk", Evidence.SIZE)
    then()
    copy(ledger, "disk")
    then()
    bundle(ledger)
    copy(ledger, "tape")
    then()
    ledger.mark_copy(B, R, 1, place="disk", path=R, state=CopyState.IN_TRASH, reason="")
    then()
    ledger.judge_bundle("tape", "r.tar", Evidence.LEDGER)
    then()
    ledger.judge_bundle("tape", "r.tar", Evidence.READ_BACK)
    then()
    ledger.mark_copy(B, R, 1, place="tape", path=R, state=CopyState.LOST, reason="")
    then()
    copy(ledger, "disk")
    then()
    assert seen == [
        "unverified", "unverified", "staged", "archived", "pruned", "unverified", "pruned", "lost", "staged",
    ]  # fmt: skip
    assert [hit.pid for hit in reader.search(Search(where={"state": ["staged"]})).hits] == [PID]
    assert dict(reader.count(Search(), by=["state"]).by["state"]) == {"staged": 1, "unverified": 1}
    assert catalog.get(f"xpcs-assets/{B}/A002/v1").state == "unverified"


def test_facts_of_before_the_record_count_when_it_is_put(catalog: EmbeddedCatalog, ledger: Ledger) -> None:
    copy(ledger, "disk")
    catalog.put_raw(described(R), "/f")
    assert catalog.get(PID).state == "staged"
    catalog.put_raw(described(R, sample="gold"), "/f")
    assert catalog.get(PID).state == "staged"


def test_the_database_s_rules_are_the_code_s(catalog: EmbeddedCatalog, ledger: Ledger) -> None:
    catalog.put_raw(described(R), "/f")
    some = random.Random(4)
    seen = set()
    for step in range(90):
        place = some.choice(["disk", "second", "tape", "vault"])
        choice = some.random()
        if choice < 0.4 or not ledger.copies(B, R, 1):
            copy(ledger, place, _evidence(some))
        elif choice < 0.6:
            one = some.choice(ledger.copies(B, R, 1))
            ledger.mark_copy(B, R, 1, place=one.place, path=one.path, state=some.choice(list(CopyState)), reason="")
        elif place in {"tape", "vault"} and step > 15:
            bundle(ledger, _evidence(some), place=place, name=f"{some.randrange(2)}.tar")
        bundles = ledger.bundles(B, R, 1)
        expected = raw_state(
            ledger.copies(B, R, 1),
            {each.place for each in bundles},
            {each.place for each in bundles if not each.evidence.counts},
        )
        assert catalog.get(PID).state == expected
        seen.add(expected)
    assert seen >= {DatasetState.STAGED, DatasetState.ARCHIVED, DatasetState.UNVERIFIED}


def _evidence(some: random.Random) -> Evidence:
    return Evidence.READ_BACK if some.random() < 0.7 else some.choice(list(Evidence))


def test_a_result_is_analysed_quarantined_or_found_to_differ(
    catalog: EmbeddedCatalog, ledger: Ledger, clock: HandClock
) -> None:
    content = derived()
    good = catalog.put_derived(content)
    bad = catalog.put_derived(derived(analysis_key="A001~bad", good=False))
    other = catalog.put_derived(derived(analysis_key="A001~other"))
    for key in (R, "A001~other"):
        path = f"{B}/{R}/v1/{key}/{content.recipe.folder}/x.hdf"
        ledger.record_result(
            B,
            key,
            run_key=R,
            version=1,
            recipe_digest=content.recipe.digest,
            path=path,
            result_digest="sha256:1",
            report={},
        )
    assert [catalog.get(pid).state for pid in (good, bad, other)] == ["analysed", "quarantined", "analysed"]
    began = clock.now
    for _ in range(2):
        clock.advance(7200)
        ledger.see_finding(
            B, FindingKind.RESULT_DIFFERS, place="disk", path=f"{B}/{R}/v1/{R}/{content.recipe.folder}/x.hdf",
            run_key=R, version=1, reason="gone", open_after_s=60,
        )  # fmt: skip
    assert [catalog.get(pid).state for pid in (good, bad, other)] == ["differs", "quarantined", "analysed"]
    clock.advance(60)
    ledger.close_findings(B, [FindingKind.RESULT_DIFFERS], seen_before=clock.now)
    assert catalog.get(good).state == "analysed"
    assert began < clock.now


def test_a_result_that_differs_is_told_so_whatever_its_quality() -> None:
    assert derived_state(differs=True, quarantined=True) is DatasetState.DIFFERS
    assert derived_state(differs=False, quarantined=True) is DatasetState.QUARANTINED
    assert derived_state(differs=False, quarantined=False) is DatasetState.ANALYSED
