from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from xpcs_assets.engine.select import Selection, cut
from xpcs_assets.errors import CorrelationError
from xpcs_assets.readers.series import Events, Frames
from xpcs_assets_tests.unit.engine.reference import chunks


def dense(selection: Selection, counts: NDArray[np.int32], valid: NDArray[np.bool_], size: int, kind: str):
    """What comes out, as (T, pixels) and (T,)."""
    first, last = selection.begin, selection.read_end
    out, sound, begin = [], [], 0
    shifted = []
    for chunk in chunks(counts[first:last], valid[first:last], size, kind):
        if isinstance(chunk, Events):
            moved = (chunk.begin + first, chunk.end + first, chunk.frame + first, chunk.pixel, chunk.count, chunk.valid)
            shifted.append(Events(*moved))
        else:
            shifted.append(Frames(chunk.begin + first, chunk.counts, chunk.valid))
    for chunk in selection.apply(shifted):
        assert chunk.begin == begin
        begin = chunk.end
        part = np.zeros((chunk.end - chunk.begin, counts.shape[1]), np.int64)
        if isinstance(chunk, Events):
            np.add.at(part, (chunk.frame - chunk.begin, chunk.pixel), chunk.count)
        else:
            part += chunk.counts.astype(np.int64)
        out.append(part)
        sound.append(chunk.valid)
    return np.concatenate(out), np.concatenate(sound)


@pytest.mark.parametrize("kind", ["frames", "events"])
@pytest.mark.parametrize("size", [1, 5, 64, 1000])
@pytest.mark.parametrize(
    ("begin", "end", "stride", "average"), [(0, 100, 1, 1), (7, 93, 1, 1), (0, 100, 3, 1), (5, 98, 1, 4), (2, 99, 3, 2)]
)
def test_range_stride_and_average_make_these_frames(
    kind: str, size: int, begin: int, end: int, stride: int, average: int
) -> None:
    random = np.random.default_rng(1)
    counts = random.poisson(0.7, (100, 6)).astype(np.int32)
    valid = random.random(100) > 0.1
    selection = Selection(begin, end, stride, average)
    found, sound = dense(selection, counts, valid, size, kind)
    whole = (end - begin) // (stride * average)
    taken = counts[begin:end][: whole * stride * average : stride].reshape(whole, average, 6)
    assert selection.n_frames == whole
    assert np.array_equal(found, taken.sum(axis=1))
    of_group = valid[begin:end][: whole * stride * average : stride].reshape(whole, average)
    assert np.array_equal(sound, of_group.all(axis=1))


def test_a_masked_count_stays_masked_when_frames_are_summed() -> None:
    counts = np.array([[5, 1], [-1, 2], [3, 3], [4, 4]], np.int32)
    (chunk,) = Selection(0, 4, 1, 2).apply([Frames(0, counts, np.ones(4, bool))])
    assert isinstance(chunk, Frames)
    assert chunk.counts.tolist() == [[-1, 3], [7, 7]]


@pytest.mark.parametrize("kind", ["frames", "events"])
def test_a_chunk_is_cut_where_frames_begin_and_nowhere_else(kind: str) -> None:
    counts = np.random.default_rng(2).poisson(0.7, (20, 6)).astype(np.int32)
    (chunk,) = chunks(counts, np.arange(20) % 3 > 0, 20, kind)
    pieces = list(cut(chunk, [0, 4, 5, 20, 30]))
    assert [(piece.begin, piece.end) for piece in pieces] == [(0, 4), (4, 5), (5, 20)]
    for piece in pieces:
        part = np.zeros((piece.end - piece.begin, 6), np.int64)
        if isinstance(piece, Events):
            np.add.at(part, (piece.frame - piece.begin, piece.pixel), piece.count)
        else:
            part += piece.counts.astype(np.int64)
        assert np.array_equal(part, counts[piece.begin : piece.end])
        assert np.array_equal(piece.valid, np.arange(piece.begin, piece.end) % 3 > 0)


def test_frames_that_do_not_follow_are_refused() -> None:
    late = Frames(5, np.ones((2, 2), np.int32), np.ones(2, bool))
    with pytest.raises(CorrelationError, match="frame 5 was read where 0 was next"):
        list(Selection(0, 10).apply([late]))
