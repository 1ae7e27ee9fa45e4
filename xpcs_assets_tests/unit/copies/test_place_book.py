"""Which marker each place must bear: the first meeting counts, and a person's word."""

from __future__ import annotations

from xpcs_assets.copies.ledger import Ledger
from xpcs_assets_tests.storage import HandClock

ROOT = "/data/disk"


def test_a_place_that_was_never_met_is_not_known(ledger: Ledger) -> None:
    assert (ledger.known_place("b", "disk"), ledger.known_places("b")) == (None, ())


def test_of_two_meetings_the_first_counts(ledger: Ledger, clock: HandClock) -> None:
    first = ledger.meet_place("b", "disk", "aa" * 16, ROOT)
    clock.advance(10)
    assert ledger.meet_place("b", "disk", "bb" * 16, "/elsewhere") == first
    assert ledger.known_place("b", "disk") == first
    assert (first.identity, first.root) == ("aa" * 16, "/data/disk")


def test_a_persons_word_counts_over_what_was_met(ledger: Ledger, clock: HandClock) -> None:
    met = ledger.meet_place("b", "disk", "aa" * 16, ROOT)
    clock.advance(10)
    adopted = ledger.adopt_place("b", "disk", "bb" * 16, "/elsewhere")
    assert (adopted.identity, adopted.root) == ("bb" * 16, "/elsewhere")
    assert adopted.met_at > met.met_at
    assert ledger.known_place("b", "disk") == adopted


def test_places_are_told_apart_by_beamline_and_listed_by_name(ledger: Ledger) -> None:
    for beamline, place in (("b", "tape"), ("b", "disk"), ("c", "disk")):
        ledger.adopt_place(beamline, place, "aa" * 16, ROOT)
    assert [known.place for known in ledger.known_places("b")] == ["disk", "tape"]
