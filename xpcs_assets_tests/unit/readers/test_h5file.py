from __future__ import annotations

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import MetadataError, QmapError
from xpcs_assets.qmaps.qmap import read_qmap
from xpcs_assets.readers.h5file import check_heaps, is_plain
from xpcs_assets.readers.metadata import read_acquisition, read_fields

HEAP_HEAD_BYTES = 16


def endless(path: Path) -> Path:
    """A file whose heap of texts has a free space of size 0, which HDF5 2.0 never leaves."""
    with h5py.File(path, "w") as file:
        file["/entry/start_time"] = "2026"
        file["/entry/instrument/detector_1/frame_time"] = 1.0
        file.create_group("qmap").attrs["hash"] = "0"
    content = bytearray(path.read_bytes())
    heap = content.find(b"GCOL")
    place = heap + HEAP_HEAD_BYTES
    while struct.unpack_from("<H", content, place)[0]:
        place += 16 + -(-struct.unpack_from("<Q", content, place + 8)[0] // 8) * 8
    struct.pack_into("<Q", content, place + 8, 0)
    path.write_bytes(content)
    return path


def test_texts_without_end_are_refused_by_every_reader_of_texts(tmp_path: Path) -> None:
    path = endless(tmp_path / "a.hdf")
    for read in (read_acquisition, read_fields):
        with pytest.raises(MetadataError, match="no end") as caught:
            read(path)
        assert "byte" in caught.value.where
    with pytest.raises(QmapError, match="no end"):
        read_qmap(path)


def test_sound_heaps_and_bytes_that_only_look_like_one_pass(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf"
    with h5py.File(path, "w") as file:
        for number in range(300):
            file[f"text{number}"] = f"some text of number {number}" * (number % 7 + 1)
    check_heaps(path.read_bytes(), path, MetadataError, "")
    for content in (b"", b"GCOL", b"GCOL\1\0\0\0", b"GCOL\2" + bytes(64), b"GCOL\1\0\0\0\x08" + bytes(64)):
        check_heaps(content, path, MetadataError, "")


def test_texts_and_numbers_are_plain_and_lists_of_variable_length_are_not() -> None:
    for dtype in (np.dtype("f8"), np.dtype("S5"), h5py.string_dtype(), np.dtype([("n", "i4"), ("x", "f8", 3)])):
        assert is_plain(dtype)
    vlen = h5py.vlen_dtype(np.dtype("u1"))
    for dtype in (vlen, h5py.ref_dtype, np.dtype([("n", "i4"), ("v", vlen)])):
        assert not is_plain(dtype)


def test_lists_of_variable_length_are_noted_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.hdf"
    vlen = h5py.vlen_dtype(np.dtype("u1"))
    with h5py.File(path, "w") as file:
        file.create_dataset("/entry/lists", shape=(2,), dtype=vlen)
        lists = np.empty(1, object)
        lists[0] = np.arange(3, dtype="u1")
        file["/entry"].attrs.create("lists", lists, shape=(1,), dtype=vlen)
    fields = {field.path: field for field in read_fields(path)}
    for name in ("/entry/lists", "/entry@lists"):
        assert fields[name].value is None
        assert "variable length" in fields[name].note
