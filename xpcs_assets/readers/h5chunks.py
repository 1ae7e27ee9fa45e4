"""Packed HDF5 chunks looked at before they are unpacked: the filters believe what a chunk says and crash on a lie.

Bitshuffle (32008, with lz4 or zstd) and lz4 (32004) begin a chunk with its unpacked length, 8 bytes, and the length
of a block, 4 bytes; then each block follows its packed length, 4 bytes; all big endian. Damaged lengths make the
filters of hdf5plugin read and write beyond their buffers, which ends the process.
"""

from __future__ import annotations

import math
import os
import struct

import h5py
import numpy as np
from numpy.typing import NDArray

_LZ4, _BITSHUFFLE = 32004, 32008
_HEAD = struct.Struct(">QI")
_LENGTH = struct.Struct(">I")
_SHUFFLED_TOGETHER = 8
# A filter may make a chunk a little longer than it was.
_MOST_GROWTH, _MOST_MORE_BYTES = 2, 1 << 16


class ChunkCheck:
    """Looks at the chunks of one dataset, each once.

    Parameters
    ----------
    data
        Of at least one dimension.
    """

    def __init__(self, data: h5py.Dataset) -> None:
        self._data = data
        known = data.id.get_create_plist()
        filters = [known.get_filter(i) for i in range(known.get_nfilters())] if data.chunks else []
        # What a chunk holds in the file was made by the last of its filters.
        self._last: int = filters[-1][0] if filters else 0
        self._options: tuple[int, ...] = filters[-1][2] if filters else ()
        self._chunk_bytes = math.prod(data.chunks) * data.dtype.itemsize if data.chunks else 0
        self._layer = int(data.chunks[0]) if data.chunks else 1
        self._seen = np.zeros(-(-data.shape[0] // self._layer) if filters else 0, np.bool_)
        self._stored: NDArray[np.int64] | None = None

    def check(self, begin: int, end: int) -> None:
        """Look at the chunks of the members [begin, end) of the first axis.

        Raises
        ------
        ValueError
            One is damaged.
        """
        if begin == end or not self._seen.size:
            return
        first, last = begin // self._layer, (end - 1) // self._layer + 1
        if self._seen[first:last].all():
            return
        stored = self._places()
        low, high = np.searchsorted(stored[:, 0], (first * self._layer, last * self._layer))
        for _, offset, size, mask in stored[low:high].tolist():
            self._check_chunk(offset, size, mask)
        self._seen[first:last] = True

    def _places(self) -> NDArray[np.int64]:
        """(chunks, 4): first member, byte offset, bytes and left-out filters of each stored chunk, by member."""
        if self._stored is None:
            places: list[tuple[int, int, int, int]] = []
            self._data.id.chunk_iter(
                lambda one: places.append((one.chunk_offset[0], one.byte_offset, one.size, one.filter_mask))
            )
            stored = np.array(places, np.int64).reshape(-1, 4)
            self._stored = stored[np.argsort(stored[:, 0], kind="stable")]
        return self._stored

    def _check_chunk(self, offset: int, size: int, mask: int) -> None:
        if size > _MOST_GROWTH * self._chunk_bytes + _MOST_MORE_BYTES:
            raise ValueError(f"a chunk of {self._chunk_bytes} bytes claims to be packed into {size}")
        if mask:
            if size < self._chunk_bytes:
                raise ValueError("a chunk that was left unpacked is too short")
            return
        if self._last == _LZ4:
            self._check_blocks(offset, size, 1)
        elif self._last == _BITSHUFFLE and len(self._options) > 4 and self._options[4]:
            self._check_blocks(offset, size, _SHUFFLED_TOGETHER * self._data.dtype.itemsize)

    def _check_blocks(self, offset: int, size: int, unit_bytes: int) -> None:
        """Follow the blocks' lengths through a chunk; blocks are whole units, and the rest is not packed."""
        packed = os.pread(self._data.file.id.get_vfd_handle(), size, offset)
        if len(packed) < max(size, _HEAD.size):
            raise ValueError("a packed chunk is cut off")
        n_bytes, block_bytes = _HEAD.unpack_from(packed)
        if n_bytes != self._chunk_bytes or not block_bytes or block_bytes % unit_bytes:
            said = f"{n_bytes} in blocks of {block_bytes}"
            raise ValueError(f"a chunk of {self._chunk_bytes} bytes says that it has {said}")
        rest = n_bytes % unit_bytes
        at, end = _HEAD.size, len(packed) - rest
        for _ in range(-(-(n_bytes - rest) // block_bytes)):
            if at + _LENGTH.size > end:
                raise ValueError("a packed chunk is cut off")
            at += _LENGTH.size + _LENGTH.unpack_from(packed, at)[0]
        if at > end:
            raise ValueError("a block of a packed chunk is longer than the chunk")
