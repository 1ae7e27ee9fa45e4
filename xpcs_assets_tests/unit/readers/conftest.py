"""Small raw files whose frames are known, and readers of whole series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from xpcs_assets.readers import imm
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import Events, RawSeries
from xpcs_assets.testing.writers import Sparse, write_imm, write_nexus, write_rigaku

SHAPE = (6, 7)
N_FRAMES = 23


def sparse_frames(n_pixels: int, n_frames: int = N_FRAMES, seed: int = 3) -> list[Sparse]:
    """Frames of a few photons; the fifth is dark."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(n_frames):
        count = rng.poisson(0.0 if number == 4 else 0.4, n_pixels)
        pixel = np.flatnonzero(count)
        frames.append((pixel, count[pixel]))
    return frames


def dense(frames: list[Sparse], n_pixels: int) -> NDArray[np.int64]:
    """The same frames as an array, (frames, pixels)."""
    counts = np.zeros((len(frames), n_pixels), np.int64)
    for row, (pixel, count) in zip(counts, frames, strict=True):
        row[pixel] = count
    return counts


def read_all(
    series: RawSeries, begin: int, end: int, *, max_bytes: int = 64 << 20
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """All counts as an array and the validity, checking that the chunks follow each other without a gap."""
    n_pixels = series.info.shape[0] * series.info.shape[1]
    counts = np.zeros((end - begin, n_pixels), np.int64)
    valid = np.zeros(end - begin, np.bool_)
    at = begin
    for chunk in series.chunks(begin, end, max_bytes=max_bytes):
        assert chunk.begin == at
        assert chunk.end > at
        assert chunk.valid.shape == (chunk.end - chunk.begin,)
        if isinstance(chunk, Events):
            assert (chunk.frame.dtype, chunk.pixel.dtype, chunk.count.dtype) == (np.int64, np.int32, np.int32)
            counts[chunk.frame - begin, chunk.pixel] = chunk.count
        else:
            assert chunk.counts.dtype in (np.int16, np.int32, np.float32)
            counts[at - begin : chunk.end - begin] = chunk.counts
        valid[at - begin : chunk.end - begin] = chunk.valid
        at = chunk.end
    assert at == end
    return counts, valid


def read_file(path: Path, *, max_bytes: int = 1 << 16) -> int:
    """Read every frame of a file; how many there are."""
    with open_raw(path) as series:
        return sum(chunk.end - chunk.begin for chunk in series.chunks(0, series.info.n_recorded, max_bytes=max_bytes))


@pytest.fixture
def sparse_imm(tmp_path: Path) -> Path:
    path = tmp_path / "a.imm"
    write_imm(path, SHAPE, sparse_frames(42), frame_time_s=1e-3)
    return path


@pytest.fixture
def dense_imm(tmp_path: Path) -> Path:
    path = tmp_path / "d.imm"
    write_imm(path, SHAPE, sparse_frames(42), frame_time_s=1e-3, compression=imm.DENSE)
    return path


@pytest.fixture
def rigaku_bin(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    write_rigaku(path, sparse_frames(300))
    return path


@pytest.fixture
def nexus(tmp_path: Path) -> Path:
    path = tmp_path / "a.h5"
    write_nexus(path, SHAPE, sparse_frames(42))
    return path
