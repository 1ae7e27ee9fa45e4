"""Bundles: bytes that follow from the members, and reading them back without trust."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpcs_assets.archive.bundle import (
    MEMBER_LIMIT_BYTES,
    BundlePlan,
    GatheredPlan,
    member_bytes,
    plan_bundles,
    read_bundle,
    safe_names,
)
from xpcs_assets.archive.index import INDEX_NAME
from xpcs_assets.errors import NotVerifiedError, SourceDiffersError
from xpcs_assets.places.hashing import Hasher
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


@pytest.mark.parametrize(("more", "alone"), [(-1, False), (0, False), (1, True)])
def test_a_file_above_the_limit_is_alone_in_its_bundle(more: int, alone: bool) -> None:
    files = manifest_of({"a": b"1", "big": b"2" * (1000 + more), "c": b"3"})
    plans = plan_bundles("b", 1, "raw", files, alone_over_bytes=1000, up_to_bytes=10**9)
    expected = [["a", "c"], ["big"]] if alone else [["a", "big", "c"]]
    assert [[each.path for each in plan.entries] for plan in plans] == expected


@pytest.mark.parametrize(("more", "alone"), [(-1, False), (0, False), (1, True)])
@pytest.mark.parametrize(("path", "header"), [("big", 1536), ("µ" * 60, 1536)])
def test_hpss_s_longest_member_counts_its_header(more: int, alone: bool, path: str, header: int) -> None:
    """A header has 512 bytes, and 1024 more where the path or a length of 8 GiB needs them."""
    big = FileEntry(path, MEMBER_LIMIT_BYTES - header + more, "0" * 64, 5)
    assert member_bytes(big) == MEMBER_LIMIT_BYTES + more
    files = Manifest.of("r", [entry("a", b"1"), big])
    plans = plan_bundles("b", 1, "raw", files, alone_over_bytes=MEMBER_LIMIT_BYTES, up_to_bytes=10**12)
    assert len(plans) == (2 if alone else 1)


@pytest.mark.parametrize(("more", "bundles"), [(-1, 2), (0, 1), (1, 1)])
def test_the_longest_bundle_counts_headers_padding_and_index(more: int, bundles: int) -> None:
    length = len(bytes_of(plan_of(CONTENT), CONTENT))
    assert plan_of(CONTENT).size_bytes == length
    plans = plan_bundles("b", 1, "raw", manifest_of(CONTENT), alone_over_bytes=10**9, up_to_bytes=length + more)
    assert len(plans) == bundles
    assert sorted(each.path for plan in plans for each in plan.entries) == sorted(CONTENT)
    assert all(len(bytes_of(plan, CONTENT)) <= length + more for plan in plans)


def test_many_files_are_bundles_as_full_as_they_can_be() -> None:
    content = {f"f{number:03}": b"x" * number for number in range(100)}
    plans = plan_bundles("b", 1, "raw", manifest_of(content), alone_over_bytes=10**9, up_to_bytes=30_000)
    paths = [[each.path for each in plan.entries] for plan in plans]
    assert [path for group in paths for path in group] == sorted(content)
    for plan, after in itertools.pairwise(plans):
        assert plan.size_bytes <= 30_000 < replace(plan, entries=(*plan.entries, after.entries[0])).size_bytes


def test_a_bundle_of_one_file_may_be_longer_than_any_limit() -> None:
    plans = plan_bundles("b", 1, "raw", manifest_of(CONTENT), alone_over_bytes=10**9, up_to_bytes=1)
    assert [len(plan.entries) for plan in plans] == [1, 1, 1, 1]
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
        ([("x", b"", tarfile.LNKTYPE)], "no plain file"),
        ([("x", b"1", tarfile.REGTYPE)], "index cannot be read"),
        ([(INDEX_NAME, b"{}", tarfile.REGTYPE)], "index cannot be read"),
        ([(INDEX_NAME, b'{"format": "other"}', tarfile.REGTYPE)], "format 'other'"),
        ([(INDEX_NAME, b"{}", tarfile.REGTYPE), ("x", b"1", tarfile.REGTYPE)], "'x' follows the index"),
    ],
)
def test_f33_a_bundle_with_anything_odd_in_it_is_refused(members: list[tuple[str, bytes, bytes]], reason: str) -> None:
    with pytest.raises(NotVerifiedError, match=reason):
        read_bundle(pieces(tar_of(*members)), where="tape:x.tar")


def test_f33_a_member_that_claims_to_grow_is_refused_at_once() -> None:
    """A sparse member: 512 bytes in the archive that would be read as 8 EB of zeros."""
    info = tarfile.TarInfo("x")
    info.pax_headers = {
        "GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.name": "x",
        "GNU.sparse.size": str(2**62), "GNU.sparse.map": f"0,512,{2**62},0",
    }  # fmt: skip
    info.size = 512
    bomb = info.tobuf(tarfile.PAX_FORMAT) + bytes(512 + 1024)
    with pytest.raises(NotVerifiedError, match="no plain file"):
        read_bundle(pieces(bomb), where="tape:x.tar")


def test_f33_an_index_that_is_too_long_for_its_members_is_not_read_into_memory() -> None:
    long = tar_of((INDEX_NAME, b" " * (1 << 17), tarfile.REGTYPE))
    with pytest.raises(NotVerifiedError, match="its index has 131072 bytes for 0 members"):
        read_bundle(pieces(long), where="tape:x.tar")


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


def md5(data: bytes) -> str:
    hasher = Hasher(["md5"])
    hasher.update(data)
    return hasher.also["md5"]


def hashed(path: str, data: bytes) -> FileEntry:
    return replace(entry(path, data), also=(("md5", md5(data)),))


def gathered(**change: object) -> tuple[GatheredPlan, dict[str, bytes]]:
    """Three versions of two runs, all with a file of the same name."""
    data = {"r1/v1/a": b"one", "r1/v2/a": b"two", "r2/v1/a": b"x" * 600, "r2/v1/sub/b": b""}
    manifests = tuple(
        (version, Manifest.of(run, [entry(p.removeprefix(f"{run}/v{version}/"), d) for p, d in data.items()
                                    if p.startswith(f"{run}/v{version}/")]))
        for run, version in (("r1", 1), ("r1", 2), ("r2", 1))
    )  # fmt: skip
    return replace(GatheredPlan("b", "raw", ("2024-2", "p/1"), manifests), **change), data  # type: ignore[arg-type]


def test_the_bytes_and_the_name_of_a_bundle_of_one_run_never_change() -> None:
    """What archives hold already: format 1 is written as it was from the first day."""
    plan = plan_of({"a.imm": b"x" * 10, "b": b""})
    assert plan.name == "r-v1-raw-71583a44ec404c3c.tar"
    found = hashlib.sha256(bytes_of(plan, {"a.imm": b"x" * 10, "b": b""}))
    assert found.hexdigest() == "f8d258cdd1d04eb95d5219e0f2bba748c0d026a2570b55fb7b45b0ad4e397f52"


def test_digests_beside_sha256_are_in_the_index_and_make_another_name() -> None:
    content = {"a": b"1", "b": b"2"}
    files = Manifest.of("r", [hashed(path, data) for path, data in content.items()])
    (plan,) = plan_bundles("b", 1, "raw", files, alone_over_bytes=10**9, up_to_bytes=10**9)
    assert plan.name != plan_of(content).name
    found = read_bundle(pieces(bytes_of(plan, content)), where="here", also=plan.kinds)
    assert found.told.also == {path: {"md5": md5(data)} for path, data in content.items()}
    assert not any(each.differs(found.files_of("b", "r", 1)[each.path]) for each in files.files)


def test_f28_a_member_with_the_right_sha256_and_another_md5_is_refused() -> None:
    wrong = replace(hashed("a", b"1"), also=(("md5", "0" * 32),))
    with pytest.raises(SourceDiffersError):
        bytes_of(replace(plan_of({"a": b"1"}), entries=(wrong,)), {"a": b"1"})
    told = plan_of({"a": b"1"})
    index = told.index.replace(b'"mtime_ns": 5000000000', b'"mtime_ns": 5000000000, "also": {"md5": "00"}')
    lying = tar_of(("a", b"1", tarfile.REGTYPE), (INDEX_NAME, index, tarfile.REGTYPE))
    with pytest.raises(NotVerifiedError, match="a digest of 'a' is not what its index says"):
        read_bundle(pieces(lying), where="here", also=["md5"])


def test_a_gathered_bundle_holds_each_run_below_a_prefix_of_its_own() -> None:
    plan, data = gathered()
    with tarfile.open(fileobj=io.BytesIO(bytes_of_gathered(plan, data))) as archive:
        names = archive.getnames()
    assert names == ["r1/v1/a", "r1/v2/a", "r2/v1/a", "r2/v1/sub/b", INDEX_NAME]
    found = read_bundle(pieces(bytes_of_gathered(plan, data)), where="here")
    assert found.members == plan.members
    assert [(run.run_key, run.version, run.prefix) for run in found.told.runs] == [
        ("r1", 1, "r1/v1/"), ("r1", 2, "r1/v2/"), ("r2", 1, "r2/v1/")
    ]  # fmt: skip
    assert {path: each.size_bytes for path, each in found.files_of("b", "r2", 1).items()} == {"a": 600, "sub/b": 0}
    assert found.files_of("b", "r2", 2) == found.files_of("b", "r", 1) == found.files_of("other", "r2", 1) == {}


def test_a_gathered_bundle_is_the_same_for_the_same_runs_and_another_for_others() -> None:
    plan, data = gathered()
    assert plan.folder == "b/gathered/2024-2/p=2F1"
    assert plan.name.startswith("3-runs-raw-")
    assert (gathered()[0].name, bytes_of_gathered(gathered()[0], data)) == (plan.name, bytes_of_gathered(plan, data))
    fewer = replace(plan, manifests=plan.manifests[1:])
    assert len({plan.name, fewer.name, replace(plan, again=1).name, replace(plan, beamline="c").name}) == 4
    assert json.loads(replace(plan, again=1).index)["again"] == 1


def test_what_runs_have_in_common_makes_safe_folders_of_bounded_length() -> None:
    assert safe_names(["..", "a/b", ""]) == ("0=.=2E.", "a=2Fb", "none")
    long = safe_names(["a" * 90, "b" * 90])
    assert len("/".join(long)) <= 96
    assert long != safe_names(["a" * 90, "c" * 90])
    assert safe_names([]) == ()


def bytes_of_gathered(plan: GatheredPlan, data: Mapping[str, bytes]) -> bytes:
    return b"".join(plan.chunks(lambda path: [data[path]]))
