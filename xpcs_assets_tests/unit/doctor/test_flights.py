"""Flight files: written, read back and taken away; nothing else ever goes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.doctor.flights import FlightPermit, flight_folder, flying, sweep, take_away, try_writing
from xpcs_assets.errors import CopyError, NotFoundError, NotVerifiedError, RefusedError, RemovalRefusedError
from xpcs_assets.places.files import Written
from xpcs_assets.places.place import Presence
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.reading import Hashed
from xpcs_assets.runs.folders import FLIGHT_FOLDER, PARTIAL_SUFFIX

FOLDER = flight_folder("xpcs", "test")
FILE = f"{FOLDER}/0.flight"


@pytest.fixture
def place(tmp_path: Path) -> PosixPlace:
    return PosixPlace("disk", tmp_path)


def below(place: PosixPlace) -> list[str]:
    return sorted(str(path.relative_to(place.root)) for path in place.root.rglob("*"))


def test_a_place_that_takes_files_has_none_of_them_afterwards(place: PosixPlace) -> None:
    try_writing(place, FOLDER)
    assert below(place) == []


def test_a_place_that_gives_other_bytes_back_is_told_and_left_clean(place: PosixPlace) -> None:
    class Flips(PosixPlace):
        def digest(self, path: str, also: Iterable[str] = ()) -> Hashed:
            (self.root / path).chmod(0o644)
            (self.root / path).write_bytes(b"flipped")
            return super().digest(path, also)

    with pytest.raises(NotVerifiedError, match="other bytes"):
        try_writing(Flips("disk", place.root), FOLDER)
    assert below(place) == []


def test_what_one_that_died_has_left_goes_with_the_next(place: PosixPlace) -> None:
    place.put(FILE, [b"left"])
    partial = place.root / FOLDER / f".x{PARTIAL_SUFFIX}"
    partial.write_bytes(b"half")
    try_writing(place, FOLDER)
    assert below(place) == []


def test_a_sweep_takes_nothing_of_another_purpose_beamline_or_name(place: PosixPlace) -> None:
    others = ["run/A001.imm", f"{FLIGHT_FOLDER}/other/test/0", f"{FLIGHT_FOLDER}/xpcs/other/0", "xpcs/test/0"]
    for path in [*others, FILE]:
        place.put(path, [b"x"])
    assert sweep(place, FOLDER) == 1
    assert sorted(path for path in below(place) if (place.root / path).is_file()) == sorted(others)


def test_a_sweep_of_a_place_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CopyError):
        sweep(PosixPlace("gone", tmp_path / "gone"), FOLDER)


@pytest.mark.parametrize(
    "path",
    [
        "xpcs/A001/v1/raw/A001.imm",
        f"{FLIGHT_FOLDER}/xpcs/test",
        f"xpcs/{FLIGHT_FOLDER}/xpcs/test/0",
        f"{FLIGHT_FOLDER}/../xpcs/A001/v1",
        f"/{FILE}",
    ],
)
def test_there_is_no_permit_for_any_other_file(place: PosixPlace, path: str) -> None:
    with pytest.raises((RemovalRefusedError, NotVerifiedError)):
        take_away(place, path)


@pytest.mark.parametrize("asked", [("disk", f"{FOLDER}/1.flight"), ("other", FILE), ("disk", "A001.imm")])
def test_a_permit_is_for_one_file_of_one_place(asked: tuple[str, str]) -> None:
    permit = FlightPermit("disk", FILE)
    permit.allow("disk", FILE)
    with pytest.raises(RemovalRefusedError, match="another file"):
        permit.allow(*asked)


def test_flight_files_are_not_listed_with_what_a_place_holds(place: PosixPlace) -> None:
    place.put(FILE, [b"x"])
    place.put("A001.imm", [b"x"])
    assert place.list().files == ("A001.imm",)
    assert (place.list(FOLDER).presence, place.list(FOLDER).files) == (Presence.YES, (FILE,))


def test_a_folder_that_another_flights_end_takes_away_is_made_again(place: PosixPlace) -> None:
    class Crowded(PosixPlace):
        crowd = 3

        def put(self, *words: Any, **more: Any) -> Written:
            self.crowd -= 1
            if self.crowd >= 0:
                raise NotFoundError("the folder is gone")
            return super().put(*words, **more)

    try_writing(Crowded("disk", place.root), FOLDER)
    crowded = Crowded("disk", place.root)
    crowded.crowd = 1000
    with pytest.raises(NotFoundError):
        try_writing(crowded, FOLDER)


def test_only_one_flies_for_a_purpose(beamline: OpenBeamline) -> None:
    ledger = beamline.ledger
    with flying(ledger, "xpcs", "a", 60.0) as folder, flying(ledger, "xpcs", "b", 60.0):
        assert folder == flight_folder("xpcs", "a")
        ledger.take_lease("xpcs", flight_folder("xpcs", "b"), "other", "someone", 60.0)
    ledger.take_lease("xpcs", flight_folder("xpcs", "a"), "flight", "someone", 60.0)
    with pytest.raises(RefusedError, match="someone works on it"), flying(ledger, "xpcs", "a", 60.0):
        pass
