"""Bundles: bytes that follow from the members, and reading them back without trust."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpcs_assets.archive.bundle import BundlePlan, plan_bundles, read_bundle
from xpcs_assets.archive.index import INDEX_NAME
from xpcs_assets.errors import NotVerifiedError
from xpcs_assets.runs.manifest import FileEntry, Manifest

CONTENT = {"a.imm": b"x" * 1500, "empty": b"", "sub/" + "n" * 120: b"y" * 512, "µ é.txt": b"z"}


def entry(path: str, data: bytes, mtime_ns: int = 5_000_000_000) -> FileEntry:
    return FileEntry(path, len(data), hashlib.sha256(data).hexdigest(), mtime_ns)


def manifest_of(content: Mapping[str, bytes]) -> Manifest:
    return Manifest.of("r", [entry(path, data) for path, data in content.items()])


def plan_of(content: Mapping[str, bytes]) -> BundlePlan:
    (plan,) = plan_bundles("b", 1, "raw", manifest_of(content), alone_over_bytes=10**9, up_to_bytes=10**9)
    return plan


def bytes_of(plan: BundlePlan, content: Mapping[str, bytes]) -> bytes:
    return b"".join(plan.chunks(lambda path: [content[path]]))


def pieces(data: bytes, size: int = 700) -> Iterator[bytes]:
    return iter([data[at : at + size] for at in range(0, len(data), size)])


def tar_of(*members: tuple[str, bytes, bytes]) -> bytes:
    """A tar file of (name, data, type), made by other code than the package's."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, "/etc/passwd"
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def test_a_bundle_is_a_tar_file_that_others_can_read() -> None:
    plan = plan_of(CONTENT)
    data = bytes_of(plan, CONTENT)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]
        assert archive.getmembers()[0].mtime == 5
    assert found == {**CONTENT, INDEX_NAME: plan.index}


def test_offsets_in_the_index_are_where_the_bytes_are() -> None:
    plan = plan_of(CONTENT)
    data = bytes_of(plan, CONTENT)
    for member in json.loads(plan.index)["members"]:
        at = member["offset_bytes"]
        assert data[at : at + member["size_bytes"]] == CONTENT[member["path"]]


def test_the_same_members_in_any_order_are_the_same_bundle() -> None:
    backwards = dict(reversed(CONTENT.items()))
    assert plan_of(backwards).name == plan_of(CONTENT).name
    assert bytes_of(plan_of(backwards), CONTENT) == bytes_of(plan_of(CONTENT), CONTENT)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"content": "results"},
        {"beamline": "c"},
        {"manifest_digest": "sha256:other"},
        {"entries": (entry("a.imm", b"other"),)},
    ],
)
def test_anything_else_is_a_bundle_of_another_name(change: dict[str, object]) -> None:
    plan = plan_of(CONTENT)
    assert replace(plan, **change).name != plan.name  # type: ignore[arg-type]


def test_a_name_says_run_version_and_content() -> None:
    assert plan_of(CONTENT).name.startswith("r-v1-raw-")
    assert plan_of(CONTENT).name.endswith(".tar")


@settings(max_examples=30)
@given(
    st.dictionaries(st.from_regex(r"[a-zµ]{1,5}(/[a-z]{1,150})?", fullmatch=True), st.binary(max_size=2000), min_size=1)
)
def test_what_is_read_back_is_what_was_bundled(content: dict[str, bytes]) -> None:
    plan = plan_of(content)
    data = bytes_of(plan, content)
    found = read_bundle(pieces(data), where="here")
    assert (found.members, found.index) == (plan.members, plan.index)
    assert (found.size_bytes, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_big_files_are_alone_and_small_ones_together_up_to_a_size() -> None:
    content = {"a": b"1" * 10, "b": b"2" * 100, "c": b"3" * 10, "d": b"4" * 10, "e": b"5" * 10}
    plans = plan_bundles("b", 1, "raw", manifest_of(content), alone_over_bytes=99, up_to_bytes=25)
    assert sorted([e.path for e in plan.entries] for plan in plans) == [["a", "c"], ["b"], ["d", "e"]]
    at_the_limit = plan_bundles("b", 1, "raw", manifest_of(content), alone_over_bytes=100, up_to_bytes=140)
    assert [len(plan.entries) for plan in at_the_limit] == [5]
    assert plan_bundles("b", 1, "raw", manifest_of({}), alone_over_bytes=1, up_to_bytes=1) == ()


@pytest.mark.parametrize("data", [b"", b"x" * 1499, b"y" * 1500, b"x" * 1501])
def test_a_file_that_is_not_what_its_manifest_says_ends_the_bundle(data: bytes) -> None:
    with pytest.raises(NotVerifiedError, match=r"a\.imm.*not what its manifest says"):
        bytes_of(plan_of(CONTENT), {**CONTENT, "a.imm": data})


def test_f37_a_bundle_cut_anywhere_is_damaged() -> None:
    data = bytes_of(plan_of(CONTENT), CONTENT)
    index_at = data.index(INDEX_NAME.encode())
    for end in (0, 1, 511, 512, 600, 2048, 2560, index_at, index_at + 600):
        with pytest.raises(NotVerifiedError):
            read_bundle(pieces(data[:end]), where="tape:x.tar")


def test_a_flipped_bit_is_found_wherever_it_is() -> None:
    plan = plan_of(CONTENT)
    data = bytes_of(plan, CONTENT)
    whole = read_bundle(pieces(data), where="here")
    for at in range(0, len(data), 97):
        damaged = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
        try:
            found = read_bundle(pieces(damaged), where="here")
        except NotVerifiedError:
            continue
        assert found.sha256 != whole.sha256


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("../x", b"1", tarfile.REGTYPE)], "no path inside"),
        ([("/etc/x", b"1", tarfile.REGTYPE)], "no path inside"),
        ([("x", b"", tarfile.SYMTYPE)], "no plain file"),
        ([("x", b"", tarfile.FIFOTYPE)], "no plain file"),
        ([("x", b"1", tarfile.REGTYPE)], "index cannot be read"),
        ([(INDEX_NAME, b"{}", tarfile.REGTYPE)], "index cannot be read"),
        ([(INDEX_NAME, b'{"format": "other"}', tarfile.REGTYPE)], "format 'other'"),
        ([(INDEX_NAME, b"{}", tarfile.REGTYPE), ("x", b"1", tarfile.REGTYPE)], "'x' follows the index"),
    ],
)
def test_f33_a_bundle_with_anything_odd_in_it_is_refused(members: list[tuple[str, bytes, bytes]], reason: str) -> None:
    with pytest.raises(NotVerifiedError, match=reason):
        read_bundle(pieces(tar_of(*members)), where="tape:x.tar")


@pytest.mark.parametrize("change", ["missing", "extra", "reordered", "twice"])
def test_f33_members_that_are_not_the_index_s_are_refused(change: str) -> None:
    members = [(path, data, tarfile.REGTYPE) for path, data in sorted(CONTENT.items())]
    changed = {
        "missing": members[1:],
        "extra": [*members, ("extra", b"1", tarfile.REGTYPE)],
        "reordered": members[::-1],
        "twice": [*members, members[0]],
    }[change]
    with pytest.raises(NotVerifiedError, match="does not name exactly"):
        read_bundle(pieces(tar_of(*changed, (INDEX_NAME, plan_of(CONTENT).index, tarfile.REGTYPE))), where="tape:x")
