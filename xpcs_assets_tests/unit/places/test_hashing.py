"""Several digests of the same bytes in one pass."""

from __future__ import annotations

import hashlib
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcs_assets.errors import SettingsError
from xpcs_assets.places.hashing import KINDS, Hasher
from xpcs_assets.places.reading import hash_file
from xpcs_assets.places.syscalls import Syscalls


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_pieces_hash_like_the_whole(pieces: list[bytes]) -> None:
    hasher, whole = Hasher(KINDS), b"".join(pieces)
    for piece in pieces:
        hasher.update(piece)
    assert hasher.sha256 == hashlib.sha256(whole).hexdigest()
    assert hasher.also["md5"] == hashlib.md5(whole, usedforsecurity=False).hexdigest()
    assert int(hasher.also["adler32"], 16) == zlib.adler32(whole)


@pytest.mark.parametrize(
    ("data", "crc32c"),
    [(b"", "00000000"), (b"123456789", "e3069283"), (bytes(32), "8a9136aa"), (b"\xff" * 32, "62a8ab43")],
)
def test_crc32c_is_that_of_the_standard(data: bytes, crc32c: str) -> None:
    hasher = Hasher(["crc32c"])
    hasher.update(memoryview(bytearray(data))[:7])
    hasher.update(data[7:])
    assert hasher.also == {"crc32c": crc32c}  # the vectors of RFC 3720, B.4


def test_f31_a_kind_that_is_not_known_is_not_made() -> None:
    assert Hasher(["whirlpool", "md5"]).also.keys() == {"md5"}


def test_a_missing_library_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    with pytest.raises(SettingsError, match=r"crc32c needs a library.*xpcs-assets\[crc32c\]"):
        Hasher(["crc32c"])
    assert Hasher(["md5"]).also  # it is asked for only where it is needed


def test_all_digests_of_a_file_come_from_one_read_of_it(tmp_path: Path) -> None:
    class Counting(Syscalls):
        read_bytes = 0

        def read(self, descriptor: int, size_bytes: int) -> bytes:
            data = super().read(descriptor, size_bytes)
            self.read_bytes += len(data)
            return data

    (tmp_path / "x").write_bytes(b"123456789")
    calls = Counting()
    found = hash_file(tmp_path / "x", calls, ("crc32c", "adler32"))
    assert (found.also, found.size_bytes) == ({"crc32c": "e3069283", "adler32": "091e01de"}, 9)
    assert calls.read_bytes == 9
