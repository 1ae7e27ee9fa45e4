"""A chunk's lies must be found before a filter believes them: what would crash is not read."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from xpcs_assets.readers.h5chunks import ChunkCheck

SHAPE = (4, 70, 33)
PACKINGS = {
    "bitshuffle-lz4": hdf5plugin.Bitshuffle(cname="lz4"),
    "bitshuffle-small-blocks": hdf5plugin.Bitshuffle(nelems=64, cname="lz4"),
    "bitshuffle-zstd": hdf5plugin.Bitshuffle(cname="zstd"),
    "bitshuffle-alone": hdf5plugin.Bitshuffle(cname="none"),
    "lz4": hdf5plugin.LZ4(),
    "lz4-small-blocks": hdf5plugin.LZ4(nbytes=256),
    "gzip": {"compression": "gzip"},
    "none": {},
}
CHECKED = [name for name in PACKINGS if name not in ("bitshuffle-alone", "gzip", "none")]


def write(path: Path, packing: str, dtype: str = "u2", chunks: tuple[int, ...] = (1, 70, 33)) -> Path:
    data = np.random.default_rng(2).poisson(0.5, SHAPE).astype(dtype)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=data, chunks=chunks, **PACKINGS[packing])
    return path


def change(path: Path, offset: int, value: bytes, chunk: int = 2) -> None:
    """Change bytes of a stored chunk."""
    with h5py.File(path, "r") as file:
        at = file["data"].id.get_chunk_info(chunk).byte_offset
    content = bytearray(path.read_bytes())
    content[at + offset : at + offset + len(value)] = value
    path.write_bytes(content)


def check(path: Path, begin: int = 0, end: int = 4) -> None:
    with h5py.File(path, "r") as file:
        ChunkCheck(file["data"]).check(begin, end)


@pytest.mark.parametrize("chunks", [(1, 70, 33), (3, 70, 33), (2, 32, 16)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f8"])
@pytest.mark.parametrize("packing", PACKINGS)
def test_sound_chunks_pass(tmp_path: Path, packing: str, dtype: str, chunks: tuple[int, ...]) -> None:
    check(write(tmp_path / "a.h5", packing, dtype, chunks))


@pytest.mark.parametrize("packing", CHECKED)
@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, b"\xff"),
        (7, b"\x00"),
        (8, b"\x00\x00\x00\x00"),
        (12, struct.pack(">I", 1 << 30)),
        (12, struct.pack(">I", 1 << 16)),
    ],
)
def test_a_length_that_lies_is_found_and_only_where_it_is(
    tmp_path: Path, packing: str, offset: int, value: bytes
) -> None:
    path = write(tmp_path / "a.h5", packing)
    change(path, offset, value)
    check(path, 0, 2)
    check(path, 3, 4)
    with pytest.raises(ValueError, match="chunk"):
        check(path)


def test_a_later_block_that_is_longer_than_the_chunk_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "lz4-small-blocks")
    with h5py.File(path, "r") as file:
        _, packed = file["data"].id.read_direct_chunk((2, 0, 0))
    (first,) = struct.unpack_from(">I", packed, 12)
    change(path, 12 + 4 + first, struct.pack(">I", 1 << 20))
    with pytest.raises(ValueError, match=r"cut off|longer than the chunk"):
        check(path)


def test_chunks_that_were_never_written_pass(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", shape=SHAPE, dtype="u2", chunks=(1, 70, 33), **PACKINGS["lz4"])
        data[1] = 3
    check(path)


def test_a_chunk_is_looked_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "bitshuffle-lz4")
    with h5py.File(path, "r") as file:
        once = ChunkCheck(file["data"])
        once.check(0, 4)
        once._check_chunk = None  # type: ignore[method-assign, assignment]
        once.check(1, 3)
