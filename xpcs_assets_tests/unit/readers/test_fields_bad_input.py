"""Metadata files that are large, cyclic or strange: their fields stay within bounds, and what is left out is said."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.readers import field, fields_hdf5
from xpcs_assets.readers.field import MAX_FIELDS, MAX_TEXT, Field, bounded
from xpcs_assets.readers.metadata import read_fields


def made(path: Path, fill: Callable[[h5py.File], object]) -> dict[str, Field]:
    """The fields of a file that ``fill`` has written into; each path is there once, and all can be stored."""
    with h5py.File(path, "w") as file:
        file["/entry/sound"] = 1
        fill(file)
    found = read_fields(path)
    json.dumps([leaf.to_dict() for leaf in found], allow_nan=False, ensure_ascii=False).encode()
    assert len({leaf.path for leaf in found}) == len(found)
    by_path = {leaf.path: leaf for leaf in found}
    assert by_path["/entry/sound"].value == 1
    return by_path


def peak_bytes(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["variable", "fixed", "attribute"])
def test_a_text_of_10_mb_is_cut_and_its_length_said(tmp_path: Path, kind: str) -> None:
    text = "x" * 10_000_000

    def fill(file: h5py.File) -> None:
        if kind == "attribute":
            with h5py.File(file.filename + ".latest", "w", libver="latest") as other:
                other.attrs["log"] = text
        else:
            file["/entry/log"] = text if kind == "variable" else np.bytes_(text.encode())

    path = tmp_path / "a.hdf"
    found = made(path, fill)
    if kind == "attribute":
        found = {leaf.path: leaf for leaf in read_fields(Path(f"{path}.latest"))}
    log = found["/@log" if kind == "attribute" else "/entry/log"]
    assert log.value == "x" * MAX_TEXT
    assert log.note == "a text of 10000000 characters is cut; the whole is in the file"


def test_many_long_texts_stay_within_a_bound_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field, "MAX_TEXTS", 25_000)
    found = made(tmp_path / "a.hdf", lambda file: [file.update({f"/entry/t{i}": "y" * 10_000}) for i in range(5)])
    kept = [len(found[f"/entry/t{i}"].value) for i in range(5)]
    assert kept == [10_000, 10_000, 5_000, 0, 0]
    assert all("text" in found[f"/entry/t{i}"].note for i in (2, 3, 4))
    assert not found["/entry/t1"].note


def test_long_lists_of_texts_are_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields_hdf5, "MAX_TEXTS", 100)

    def fill(file: h5py.File) -> None:
        file["/entry/few"] = np.array(["z" * 80] * 3, object)
        file["/entry/many"] = np.array(["short"] * 5000, object)

    found = made(tmp_path / "a.hdf", fill)
    assert found["/entry/few"].value == ["z" * 80, "z" * 80, ""]
    assert "too long to be read all" in found["/entry/few"].note
    assert found["/entry/many"].value["shape"] == [5000]


def hard_cycle(file: h5py.File) -> str:
    file["/entry/group/up"] = file["/entry"]
    return "/entry/group/up"


def soft_cycle(file: h5py.File) -> str:
    file["/entry/a"], file["/entry/b"] = h5py.SoftLink("/entry/b"), h5py.SoftLink("/entry/a")
    return "/entry/a"


def soft_cycle_of_groups(file: h5py.File) -> str:
    file["/entry/group/up"] = h5py.SoftLink("/entry")
    return "/entry/group/up"


def external_cycle(file: h5py.File) -> str:
    file["/entry/self"] = h5py.ExternalLink(Path(file.filename).name, "/entry")
    return "/entry/self"


def nowhere(file: h5py.File) -> str:
    file["/entry/nowhere"] = h5py.SoftLink("/gone/astray")
    return "/entry/nowhere"


@pytest.mark.parametrize("cycle", [hard_cycle, soft_cycle, soft_cycle_of_groups, external_cycle, nowhere])
def test_links_in_a_circle_end_with_a_word(tmp_path: Path, cycle: Callable[[h5py.File], str]) -> None:
    at: list[str] = []
    found = made(tmp_path / "a.hdf", lambda file: at.append(cycle(file)))
    link = found[at[0]]
    assert (link.value, link.dtype) == (None, "link")
    assert link.note
    assert len(found) < 10


def test_hard_links_that_multiply_the_paths_end_at_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field, "MAX_FIELDS", 500)

    def fill(file: h5py.File) -> None:
        group = file.create_group("many")
        for _ in range(40):  # 2**40 paths
            below = group.create_group("left")
            group["right"] = below
            group = below

    found = made(tmp_path / "a.hdf", fill)
    assert len(found) == 501
    assert "more than 500 fields" in found["/"].note


def test_groups_below_groups_without_end_are_said_and_not_looked_at(tmp_path: Path) -> None:
    found = made(tmp_path / "a.hdf", lambda file: file.create_dataset("/g" * 5000 + "/deep", data=1))
    (deep,) = (leaf for leaf in found.values() if "not looked at" in leaf.note)
    assert deep.path == "/g" * 64


def test_a_hundred_thousand_keys_are_listed_up_to_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_FIELDS == 20_000
    for module in (field, fields_hdf5):
        monkeypatch.setattr(module, "MAX_FIELDS", 500)
    path = tmp_path / "a.hdf"
    with h5py.File(path, "w", libver="latest") as file:
        same = file.create_dataset("/entry/k000000", data=1.5)
        group = file["/entry"].id
        for i in range(1, 100_000):
            group.links.create_hard(f"k{i:06}".encode(), group, b"k000000")
        assert same.shape == ()
    found: list[Field] = []
    assert peak_bytes(lambda: found.extend(read_fields(path))) < 10 << 20
    assert len(found) == 501
    assert found[-1].note == "the file has more than 500 fields; those that follow are not listed here"
    assert [found[0].path, found[499].path] == ["/entry/k000000", "/entry/k000499"]


def test_names_and_texts_that_are_no_utf8_are_written_out(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        group = file["/entry"]
        group.id.links.create_hard(b"caf\xe9", group.id, b"sound")
        group["latin"] = np.bytes_(b"\xb5m")
        file["/entry/unit"] = 2.0
        file["/entry/unit"].attrs["units"] = np.bytes_(b"\xb5m")
        space = h5py.h5s.create(h5py.h5s.SCALAR)
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(3)
        kind.set_cset(h5py.h5t.CSET_UTF8)
        h5py.h5d.create(group.id, b"claims", kind, space).write(space, space, np.array(b"\xff\xfeA"), kind)

    found = made(tmp_path / "a.hdf", fill)
    assert found["/entry/caf\\xe9"].value == 1
    assert (found["/entry/latin"].value, found["/entry/claims"].value) == ("\\xb5m", "\\xff\\xfeA")
    assert found["/entry/unit"].unit == "\\xb5m"


def test_references_are_said_and_not_followed(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        data = file.create_dataset("/entry/data", data=np.arange(4))
        file["/entry"].attrs["ref"] = file.ref
        file.create_dataset("/entry/objects", data=[data.ref, file.ref], dtype=h5py.ref_dtype)
        file.create_dataset("/entry/regions", data=[data.regionref[1:3]], dtype=h5py.regionref_dtype)
        file.create_dataset("/entry/compound", shape=(1,), dtype=[("n", "i4"), ("to", h5py.ref_dtype)])

    found = made(tmp_path / "a.hdf", fill)
    for name in ("/entry@ref", "/entry/objects", "/entry/regions", "/entry/compound"):
        assert found[name].value is None
        assert "reference" in found[name].note


def test_compounds_are_by_their_members_names_and_enumerations_by_theirs(tmp_path: Path) -> None:
    colours = h5py.enum_dtype({"RED": 0, "GREEN": 7}, basetype="u1")
    point = np.dtype([("x", "f8"), ("name", "S4"), ("inner", [("i", "i2")])])

    def fill(file: h5py.File) -> None:
        file["/entry/point"] = np.array((np.nan, b"here", (3,)), point)
        file["/entry/points"] = np.zeros(100, point)
        file.create_dataset("/entry/colour", data=7, dtype=colours)
        file.create_dataset("/entry/colours", data=[0, 7, 9], dtype=colours)
        file["/entry"].attrs.create("colour", 0, dtype=colours)
        file["/entry/opaque"] = np.void(b"\x01\xff")

    found = made(tmp_path / "a.hdf", fill)
    assert found["/entry/point"].value == {"x": None, "name": "here", "inner": {"i": 3}}
    assert found["/entry/point"].not_finite
    assert found["/entry/points"].value["x"] == {"shape": [100], "first": 0.0, "min": 0.0, "max": 0.0}
    assert (found["/entry/colour"].value, found["/entry/colour"].dtype) == ("GREEN", "enum uint8")
    assert found["/entry/colours"].value == ["RED", "GREEN", 9]
    assert found["/entry@colour"].value == "RED"
    assert found["/entry/opaque"].value == "\x01\\xff"


def test_a_filter_that_nobody_has_is_named(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk((4,))
        how.set_filter(31999, h5py.h5z.FLAG_OPTIONAL)
        data = h5py.h5d.create(file["/entry"].id, b"packed", h5py.h5t.NATIVE_INT32, h5py.h5s.create_simple((4,)), how)
        data.write_direct_chunk((0,), b"who knows what!!")

    packed = made(tmp_path / "a.hdf", fill)["/entry/packed"]
    assert (packed.value, packed.dtype) == ({"shape": [4]}, "int32")
    assert packed.note == "packed by the filter 31999, which is not installed here"


def test_values_in_other_files_are_said_and_not_read(tmp_path: Path) -> None:
    np.arange(4.0).tofile(tmp_path / "beside.bin")

    def fill(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((4,), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "gone.h5"), "x", (4,))
        file.create_virtual_dataset("/entry/virtual", layout)
        file.create_dataset("/entry/external", (4,), "f8", external=[(str(tmp_path / "beside.bin"), 0, 32)])

    found = made(tmp_path / "a.hdf", fill)
    for name in ("virtual", "external"):
        assert found[f"/entry/{name}"].value == {"shape": [4]}
        assert "other files" in found[f"/entry/{name}"].note


def test_a_large_array_is_read_piece_by_piece(tmp_path: Path) -> None:
    numbers = np.arange(6_000_000, dtype="f8").reshape(-1, 10)
    numbers[5, 5] = np.inf
    path = tmp_path / "a.hdf"
    with h5py.File(path, "w") as file:
        file.create_dataset("/entry/plain", data=numbers)
        file.create_dataset("/entry/chunked", data=numbers, chunks=(1000, 10), compression="gzip", compression_opts=1)
    found: dict[str, Field] = {}
    peak = peak_bytes(lambda: found.update({leaf.path: leaf for leaf in read_fields(path)}))
    for name in ("plain", "chunked"):
        told = found[f"/entry/{name}"]
        assert told.value == {"shape": [600_000, 10], "first": 0.0, "min": 0.0, "max": 5_999_999.0}
        assert told.not_finite
    # The file's bytes are looked through once for their lists of texts, and two slabs are held meanwhile.
    assert peak < path.stat().st_size + (48 << 20)


def test_arrays_that_are_too_large_together_have_their_shape_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fields_hdf5, "_MAX_READ_BYTES", 1700)
    found = made(tmp_path / "a.hdf", lambda file: [file.update({f"/entry/a{i}": np.arange(100.0)}) for i in range(4)])
    assert [set(found[f"/entry/a{i}"].value) for i in range(4)] == [{"shape", "first", "min", "max"}] * 2 + [
        {"shape"}
    ] * 2
    assert "too large together" in found["/entry/a3"].note


def test_a_row_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    found = made(tmp_path / "a.hdf", lambda file: file.create_dataset("/entry/wide", (2, 9 << 20), "f8"))
    assert found["/entry/wide"].value == {"shape": [2, 9 << 20]}
    assert "too large" in found["/entry/wide"].note


def test_bounds_leave_ordinary_fields_as_they_are() -> None:
    leaves = [Field("/a", 1, "s", "int64", shape=()), Field("/b", ["x", {"y": "z"}])]
    assert bounded(leaves) == leaves
