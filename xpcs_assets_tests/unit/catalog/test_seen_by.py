"""Who sees records follows the roster without their being made again, on both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.catalog.query import Search
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.catalog.roster import Member, Roster
from xpcs_assets.catalog.seen_by import follow_roster
from xpcs_assets.catalog.viewer import Viewer
from xpcs_assets_tests.unit.catalog.made import derived, described, owned_by

BEAMLINE = described().beamline
BEFORE = Roster({"P-1": Member(groups=("pi", "guests")), "P-2": Member(groups=("others",))})
WITHOUT_GUESTS = Roster({"P-1": Member(groups=("pi",)), "P-2": Member(groups=("others",))})


@pytest.fixture
def filled(catalog: EmbeddedCatalog) -> EmbeddedCatalog:
    """A run with its result of P-1 which had a group of its own at intake, and a run of P-2."""
    catalog = replace(catalog, roster=BEFORE)
    first = described("A001", owner=owned_by("P-1", "staff"))
    catalog.put_raw(first, "/f")
    catalog.put_derived(derived(first))
    catalog.put_raw(described("A002", owner=owned_by("P-2")), "/f")
    return catalog


def seen(catalog: EmbeddedCatalog, *groups: str) -> list[str]:
    """The runs that somebody with these groups finds, each as often as it has records."""
    found = CatalogReader(catalog.engine, Viewer.of(groups)).search(Search(sort="run"))
    return [hit.run_key for hit in found.hits]


def test_a_group_that_leaves_a_roster_sees_nothing_more_of_the_proposal(filled: EmbeddedCatalog) -> None:
    assert seen(filled, "guests") == ["A001", "A001"]
    assert follow_roster(filled.engine, BEAMLINE, WITHOUT_GUESTS) == 2
    assert seen(filled, "guests") == []
    assert seen(filled, "pi") == seen(filled, "staff") == ["A001", "A001"]
    assert seen(filled, "others") == ["A002"]


def test_the_record_and_its_document_say_who_sees_it_now(filled: EmbeddedCatalog) -> None:
    follow_roster(filled.engine, BEAMLINE, Roster({"P-1": Member(groups=("new", "guests"))}))
    for record in filled.records(BEAMLINE):
        expected = ("new", ["guests", "staff"]) if record.run_key == "A001" else ("P-2", [])
        assert (record.owner_group, record.access_groups) == expected
        assert (record.document["ownerGroup"], record.document["accessGroups"]) == expected
        assert filled.get(record.pid) == record


def test_a_group_that_comes_sees_it_and_one_that_comes_back_too(filled: EmbeddedCatalog) -> None:
    follow_roster(filled.engine, BEAMLINE, WITHOUT_GUESTS)
    follow_roster(filled.engine, BEAMLINE, replace(BEFORE, members={**BEFORE.members, "P-2": Member(groups=("pi",))}))
    assert seen(filled, "guests") == ["A001", "A001"]
    assert seen(filled, "pi") == ["A001", "A001", "A002"]
    assert seen(filled, "others") == []


def test_a_roster_that_is_as_it_was_changes_nothing(filled: EmbeddedCatalog) -> None:
    before = filled.records(BEAMLINE)
    assert follow_roster(filled.engine, BEAMLINE, BEFORE) == 0
    assert filled.records(BEAMLINE) == before


def test_the_roster_of_one_beamline_leaves_the_records_of_others(filled: EmbeddedCatalog) -> None:
    assert follow_roster(filled.engine, "elsewhere", Roster()) == 0
    assert seen(filled, "guests") == ["A001", "A001"]


def test_a_rule_that_changes_is_followed_for_proposals_that_no_file_names(filled: EmbeddedCatalog) -> None:
    follow_roster(filled.engine, BEAMLINE, Roster(rule=("p-{proposal}", "{beamline}-staff")))
    assert seen(filled, "p-P-1") == ["A001", "A001"]
    assert seen(filled, f"{BEAMLINE}-staff") == ["A001", "A001", "A002"]
    assert seen(filled, "pi") == seen(filled, "others") == []


def test_a_run_that_is_put_while_its_facets_stand_goes_by_what_was_followed(filled: EmbeddedCatalog) -> None:
    """Filling a catalog again takes long: the roster it began with brings no group back."""
    follow_roster(filled.engine, BEAMLINE, WITHOUT_GUESTS)
    again = described("A001", owner=owned_by("P-1", "staff"))
    filled.put_raw(again, "/other")
    filled.put_derived(derived(again))
    assert seen(filled, "guests") == []


def test_groups_that_were_known_at_intake_tell_records_apart_that_the_roster_showed_alike(
    catalog: EmbeddedCatalog,
) -> None:
    both = replace(catalog, roster=Roster({"P-1": Member(groups=("pi", "guests"))}))
    both.put_raw(described("A001", owner=owned_by("P-1", "guests")), "/f")
    both.put_raw(described("A002", owner=owned_by("P-1")), "/f")
    assert seen(both, "guests") == ["A001", "A002"]
    follow_roster(both.engine, BEAMLINE, Roster({"P-1": Member(groups=("pi",))}))
    assert seen(both, "guests") == ["A001"]
