"""An open beamline's places: each expects the marker that its root had when it was met."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies import meeting
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.copies.meeting import Met
from xpcs_assets.errors import CopyError, SettingsError
from xpcs_assets.places.marker import UNMARKED, read_marker
from xpcs_assets.places.place import Presence
from xpcs_assets.places.tape import TapePlace


def test_every_place_expects_the_marker_of_its_root(beamline: OpenBeamline) -> None:
    for name, settings in beamline.settings.places.items():
        place, marker = beamline.place(name), read_marker(beamline.root(name))
        assert marker is not None
        assert (place.identity, place.root, place.name) == (marker.identity, beamline.root(name), name)
        assert isinstance(place, TapePlace) is (settings.kind == "tape")


def test_a_place_that_is_open_notices_that_its_disk_went(beamline: OpenBeamline) -> None:
    place = beamline.place("store")
    assert place.stat("x").presence is Presence.NO
    place.root.rename(place.root.with_name("away"))
    place.root.mkdir()
    for now in (place, beamline.place("store")):
        assert (now.stat("x").presence, now.list().presence) == (Presence.UNKNOWN, Presence.UNKNOWN)
        with pytest.raises(CopyError, match="unavailable"):
            now.put("x", [b"x"])
    assert list(place.root.iterdir()) == []


def test_a_place_that_cannot_be_met_is_unavailable_and_says_why(
    beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_met(ledger: Ledger, name: str, place: str, root: Path) -> Met:
        return Met(UNMARKED, f"{name}/{place} is strange")

    monkeypatch.setattr(meeting, "meet", not_met)
    assert beamline.place("store").why_unavailable() == "xpcs/store is strange"


def test_a_place_that_the_settings_do_not_name_is_refused(beamline: OpenBeamline) -> None:
    with pytest.raises(SettingsError, match=r"xpcs has no place 'cellar'\. There are: detector, store, tape"):
        beamline.place("cellar")
