"""One pass through a bundle, in the order of offsets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xpcs_assets.archive.onward import SKIP_BYTES, Onward
from xpcs_assets.copies.ledger import Member
from xpcs_assets.errors import CopyError
from xpcs_assets.places.posix import PosixPlace

DATA = bytes(range(256)) * 40


class Counted(PosixPlace):
    """A place that says from where it was read and how much, in pieces of 100 bytes; one block may be unreadable."""

    def __init__(self, root: Path, seeks: bool, bad_at: int = -1) -> None:
        super().__init__("disk", root)
        self.seeks = seeks
        self.bad_at = bad_at
        self.offsets: list[int] = []
        self.read_bytes = 0

    def read(self, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
        self.offsets.append(offset_bytes)
        for at in range(offset_bytes, len(DATA), 100):
            if at <= self.bad_at < at + 100:
                raise CopyError("the device reports an input/output error")
            piece = DATA[at : at + 100]
            self.read_bytes += len(piece)
            yield piece


def member(offset_bytes: int, size_bytes: int) -> Member:
    return Member("x", offset_bytes, size_bytes, "")


def test_members_are_read_in_one_pass_and_nothing_before_the_first_or_after_the_last(tmp_path: Path) -> None:
    place = Counted(tmp_path, seeks=False)
    onward = Onward(place, "a.tar")
    for offset, size in ((512, 0), (512, 100), (700, 650), (4000, 1)):
        assert b"".join(onward.read(member(offset, size))) == DATA[offset : offset + size]
    assert place.offsets == [512]
    assert place.read_bytes < 4001 - 512 + 100


@pytest.mark.parametrize("seeks", [False, True])
def test_a_long_gap_is_skipped_where_the_place_can(
    tmp_path: Path, seeks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SKIP_BYTES > 1 << 20
    monkeypatch.setattr("xpcs_assets.archive.onward.SKIP_BYTES", 1000)
    place = Counted(tmp_path, seeks)
    onward = Onward(place, "a.tar")
    for offset, size in ((0, 10), (900, 10), (9000, 10)):
        assert b"".join(onward.read(member(offset, size))) == DATA[offset : offset + size]
    assert place.offsets == ([0, 9000] if seeks else [0])


def test_a_member_that_was_read_in_part_does_not_shift_the_next(tmp_path: Path) -> None:
    onward = Onward(Counted(tmp_path, seeks=False), "a.tar")
    assert next(onward.read(member(0, 1000))) == DATA[:100]
    assert b"".join(onward.read(member(2000, 20))) == DATA[2000:2020]


def test_a_bundle_that_ends_early_gives_what_there_is(tmp_path: Path) -> None:
    onward = Onward(Counted(tmp_path, seeks=True), "a.tar")
    assert b"".join(onward.read(member(len(DATA) - 5, 10))) == DATA[-5:]
    assert b"".join(onward.read(member(len(DATA) + 5, 10))) == b""


def test_behind_a_bad_block_reading_begins_anew(tmp_path: Path) -> None:
    place = Counted(tmp_path, seeks=True, bad_at=450)
    onward = Onward(place, "a.tar")
    with pytest.raises(CopyError):
        list(onward.read(member(100, 800)))
    assert b"".join(onward.read(member(1000, 50))) == DATA[1000:1050]
    assert place.offsets == [100, 1000]
