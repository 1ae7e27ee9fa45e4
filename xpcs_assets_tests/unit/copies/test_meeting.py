"""Meeting a place for the first time: what is adopted, what is marked, and what is never taken for the place."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from xpcs_assets.copies.database import open_database
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.copies.meeting import Met, adopt, meet
from xpcs_assets.errors import CopyError, RefusedError
from xpcs_assets.places import marker
from xpcs_assets.places.marker import UNMARKED, Marker, PosixRoot, leave_marker, read_marker
from xpcs_assets.runs.folders import MARKER
from xpcs_assets.testing.faults import FailAt, FaultySyscalls, in_children
from xpcs_assets_tests.storage import BEAMLINE, RUN, Storage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    built = Storage.build(tmp_path)
    yield built
    built.close()


def identity(root: Path) -> str:
    found = read_marker(root)
    assert found is not None
    return found.identity


def met(storage: Storage, place: str) -> Met:
    return meet(storage.ledger, BEAMLINE, place, PosixRoot(storage.root / place))


def test_a_root_without_a_marker_gets_one_and_keeps_it(storage: Storage) -> None:
    first = met(storage, "disk")
    assert (first, met(storage, "disk")) == (Met(identity(storage.root / "disk")), first)
    content = json.loads((storage.root / "disk" / MARKER).read_text())
    assert content == {
        "format": "xpcs-assets place 1",
        "identity": first.identity,
        "place": "disk",
        "made_at": "2024-05-01T12:00:00+00:00",
    }


def test_a_marker_that_is_there_is_adopted(storage: Storage) -> None:
    left = leave_marker(storage.root / "disk", Marker.new("scratch", "2020-01-01"))
    assert met(storage, "disk") == Met(left.identity)


def test_what_was_met_is_expected_whatever_the_root_bears_later(storage: Storage) -> None:
    first = met(storage, "disk")
    (storage.root / "disk").rename(storage.root / "unmounted")
    assert met(storage, "disk") == first
    (storage.root / "disk").mkdir()
    assert met(storage, "disk") == first
    assert list((storage.root / "disk").iterdir()) == []


def test_a_root_that_is_not_there_is_not_met(storage: Storage) -> None:
    (storage.root / "tape").rmdir()
    assert met(storage, "tape") == Met(UNMARKED, "the place's root is not there")
    assert storage.ledger.known_places(BEAMLINE) == ()


@pytest.mark.parametrize("has_marker", [False, True])
def test_an_empty_folder_is_never_taken_for_the_disk_that_copies_are_on(storage: Storage, has_marker: bool) -> None:
    storage.take()
    storage.source.rename(storage.root / "elsewhere")
    if has_marker:
        leave_marker(storage.root / "detector", Marker.new("other", "now"))
    assert met(storage, "detector").unavailable == "none of 1 copies that the ledger has there is found in it"
    assert (storage.root / "detector" / MARKER).exists() is has_marker
    assert storage.ledger.known_places(BEAMLINE) == ()


def test_a_disk_of_a_site_from_before_markers_is_known_by_its_copies(storage: Storage) -> None:
    storage.fill()
    assert {met(storage, place).unavailable for place in ("detector", "disk", "tape")} == {""}
    assert len(storage.ledger.known_places(BEAMLINE)) == 3


@pytest.mark.parametrize("are_there", [True, False])
def test_copies_in_the_root_itself_are_known_by_their_files(storage: Storage, are_there: bool) -> None:
    storage.take()
    copy = storage.copy("detector")
    storage.ledger.record_copy(
        BEAMLINE, RUN, 1, place="disk", path=".", failure_domain=copy.failure_domain, evidence=copy.evidence
    )
    if are_there:
        (storage.root / "disk" / "A001.imm").write_bytes(b"frames")
    assert bool(met(storage, "disk").unavailable) is not are_there


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.EACCES, Met(UNMARKED)),
        (errno.EROFS, Met(UNMARKED)),
        (errno.ENOSPC, Met(UNMARKED, "the disk is full")),
        (errno.EIO, Met(UNMARKED, "the device reports an input/output error")),
    ],
)
def test_a_root_that_may_not_be_written_bears_no_marker_and_any_other_trouble_is_told(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, code: int, expected: Met
) -> None:
    calls = FaultySyscalls(FailAt(1, code, frozenset({"write"})))
    monkeypatch.setattr(marker, "leave_marker", partial(leave_marker, calls=calls))
    assert met(storage, "disk") == expected
    assert storage.ledger.known_places(BEAMLINE) == ()
    assert list((storage.root / "disk").iterdir()) == []


def test_a_damaged_marker_is_not_met_and_not_replaced(storage: Storage) -> None:
    (storage.root / "disk" / MARKER).write_text("{}")
    assert "the marker is damaged" in met(storage, "disk").unavailable
    assert (storage.root / "disk" / MARKER).read_text() == "{}"


def test_f17_one_folder_under_two_names_is_one_place(storage: Storage) -> None:
    met(storage, "disk")
    again = meet(storage.ledger, BEAMLINE, "copy of disk", PosixRoot(storage.root / "disk"))
    assert "its marker is that of place 'disk'" in again.unavailable
    with pytest.raises(RefusedError, match="a folder of its own"):
        adopt(storage.ledger, BEAMLINE, "copy of disk", PosixRoot(storage.root / "disk"))
    assert [known.place for known in storage.ledger.known_places(BEAMLINE)] == ["disk"]


def test_two_beamlines_may_share_a_root(storage: Storage) -> None:
    assert meet(storage.ledger, "other", "disk", PosixRoot(storage.root / "disk")) == met(storage, "disk")


@pytest.mark.parametrize("bears", ["nothing", "another marker"])
def test_a_person_may_say_that_this_is_the_disk(storage: Storage, bears: str) -> None:
    before = met(storage, "disk")
    root = storage.root / "disk"
    (root / MARKER).unlink()
    if bears == "another marker":
        leave_marker(root, Marker.new("other", "now"))
    adopted = adopt(storage.ledger, BEAMLINE, "disk", PosixRoot(root))
    assert adopted == identity(root) != before.identity
    assert met(storage, "disk") == Met(adopted)


def test_nothing_is_adopted_where_nothing_is_mounted(storage: Storage) -> None:
    (storage.root / "disk").rmdir()
    with pytest.raises(CopyError, match=r"root is not there\. Mount its disk"):
        adopt(storage.ledger, BEAMLINE, "disk", PosixRoot(storage.root / "disk"))


def test_two_processes_that_meet_a_place_at_once_agree(storage: Storage) -> None:
    def meets(name: str) -> None:
        ledger = Ledger(open_database(f"sqlite:///{storage.root / 'ledger.db'}"))
        for number in range(8):
            root = storage.root / f"place {number}"
            root.mkdir(exist_ok=True)
            found = meet(ledger, BEAMLINE, f"place {number}", PosixRoot(root))
            (storage.root / f"{number} {name}").write_text(found.identity + found.unavailable)
        ledger.engine.dispose()

    assert in_children(*(partial(meets, name) for name in "abcd")) == [0, 0, 0, 0]
    for number in range(8):
        said = {(storage.root / f"{number} {name}").read_text() for name in "abcd"}
        assert said == {identity(storage.root / f"place {number}")}
