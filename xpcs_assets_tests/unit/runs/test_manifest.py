"""A manifest's digest follows from names, sizes and hashes; a damaged manifest or a path that climbs is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcs_assets.errors import NotVerifiedError
from xpcs_assets.runs.manifest import FileEntry, Manifest, check_relative

ENTRY = FileEntry("A001.imm", 6, "ab" * 32, 17)
OTHER = FileEntry("sub/A001 é.hdf", 0, "cd" * 32, 18)
MANIFEST = Manifest.of("A001", [OTHER, ENTRY])


def test_files_in_any_order_make_one_manifest() -> None:
    assert Manifest.of("A001", [ENTRY, OTHER]) == MANIFEST
    assert [entry.path for entry in MANIFEST.files] == ["A001.imm", "sub/A001 é.hdf"]
    assert MANIFEST.size_bytes == 6


@pytest.mark.parametrize("change", [{"path": "A002.imm"}, {"size_bytes": 7}, {"sha256": "ac" * 32}])
def test_names_sizes_and_hashes_change_the_digest(change: dict[str, object]) -> None:
    assert Manifest.of("A001", [replace(ENTRY, **change), OTHER]).digest != MANIFEST.digest  # type: ignore[arg-type]


def test_times_and_other_digests_do_not_change_the_digest() -> None:
    also = (("md5", "ef" * 16),)
    assert Manifest.of("A001", [replace(ENTRY, mtime_ns=99, also=also), OTHER]).digest == MANIFEST.digest


def test_other_digests_are_stored_and_a_manifest_without_them_is_read() -> None:
    entry = replace(ENTRY, also=(("adler32", "11e60398"), ("md5", "ef" * 16)))
    manifest = Manifest.of("A001", [entry, OTHER])
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert entry.kinds == ("adler32", "md5")
    stored = [json.loads(text.to_json())["files"] for text in (manifest, MANIFEST)]
    assert (stored[0][0]["also"], "also" in stored[1][0]) == ({"adler32": "11e60398", "md5": "ef" * 16}, False)


@pytest.mark.parametrize("also", [7, None, "md5", [["md5"]], [7]])
def test_other_digests_that_cannot_be_read_are_a_damaged_manifest(also: object) -> None:
    content = json.loads(MANIFEST.to_json())
    content["files"][0]["also"] = also
    with pytest.raises(NotVerifiedError, match="cannot be read"):
        Manifest.from_json(json.dumps(content))


@dataclass(frozen=True)
class Found:
    """What a read of a file gave."""

    size_bytes: int = 6
    sha256: str = "ab" * 32
    also: Mapping[str, str] = field(default_factory=lambda: {"md5": "ef" * 16, "adler32": "11e60398"})


HASHED = replace(ENTRY, also=(("adler32", "11e60398"), ("md5", "ef" * 16)))


def test_i9_a_file_is_the_one_of_the_manifest_when_size_and_every_digest_agree() -> None:
    assert (HASHED.differs(Found()), ENTRY.differs(Found())) == ("", "")


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (Found(size_bytes=5), "other bytes than the manifest says: 5 bytes, not 6"),
        (Found(sha256="ac" * 32), "other bytes than the manifest says"),
        (Found(also={"md5": "ee" * 16, "adler32": "11e60398"}), f"md5 {'ee' * 16}, not {'ef' * 16}"),
        (Found(also={"md5": "ef" * 16, "adler32": "11e60399"}), "adler32 11e60399, not 11e60398"),
        (Found(also={"md5": "ef" * 16}), "not verified: no digest adler32 was made"),
        (Found(also={}), "not verified"),
    ],
)
def test_f27_f28_f31_one_thing_that_does_not_agree_is_a_difference(found: Found, difference: str) -> None:
    assert difference in HASHED.differs(found)


def test_f31_a_digest_of_an_unknown_kind_is_not_verified() -> None:
    unknown = replace(ENTRY, also=(("whirlpool", "00"),))
    assert unknown.differs(Found()) == "it is not verified: no digest whirlpool was made"


def test_another_run_of_the_same_files_has_another_digest() -> None:
    assert Manifest.of("A002", MANIFEST.files).digest != MANIFEST.digest


def test_what_was_stored_is_read_back() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


@given(st.data())
def test_a_stored_manifest_with_any_byte_changed_is_never_taken_for_another(data: st.DataObject) -> None:
    text = MANIFEST.to_json()
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.characters(codec="ascii")) + text[at + 1 :]
    try:
        read = Manifest.from_json(damaged)
    except NotVerifiedError:
        return
    assert read.digest == MANIFEST.digest


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "{}", '"a"', "7", '{"run_key": "A001", "files": 3}'])
def test_what_is_no_manifest_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(NotVerifiedError, match=r"^here: the manifest cannot be read .* Do not delete anything"):
        Manifest.from_json(text, where="here")


def test_a_manifest_cut_short_is_refused() -> None:
    with pytest.raises(NotVerifiedError):
        Manifest.from_json(MANIFEST.to_json()[:-20])


def test_a_file_less_than_the_digest_says_is_refused() -> None:
    content = json.loads(MANIFEST.to_json())
    content["files"].pop()
    with pytest.raises(NotVerifiedError, match="does not match its own digest"):
        Manifest.from_json(json.dumps(content))


CLIMBING = ["", "/etc/passwd", "../a", "a/../../b", "a/..", "a//b", "./a", "a/", "a\0b", ".."]


@pytest.mark.parametrize("path", CLIMBING)
def test_a_path_that_leaves_its_run_is_refused(path: str) -> None:
    with pytest.raises(NotVerifiedError, match="is no path inside a run's folder"):
        check_relative(path)


@pytest.mark.parametrize("path", CLIMBING)
def test_a_stored_manifest_with_a_path_that_leaves_its_run_is_refused(path: str) -> None:
    content = json.loads(MANIFEST.to_json())
    content["files"][0]["path"] = path
    with pytest.raises(NotVerifiedError):
        Manifest.from_json(json.dumps(content))


def test_names_with_dots_blanks_and_percent_signs_are_carried_as_they_are() -> None:
    names = ["..a", "a..", "%2e%2e", "a b", " ", "-a", "a\nb", "Düse"]
    manifest = Manifest.of("A001", [FileEntry(name, 1, "ab" * 32) for name in names])
    assert {entry.path for entry in Manifest.from_json(manifest.to_json()).files} == set(names)
