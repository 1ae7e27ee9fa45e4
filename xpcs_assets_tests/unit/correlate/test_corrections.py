"""Stages by themselves; against the definition in whole results they are tested in test_carry_out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from xpcs_assets.correlate.corrections import Corrections, spread
from xpcs_assets.errors import CorrelationError
from xpcs_assets.readers.series import Chunk, Events, Frames, RawSeries, SeriesInfo
from xpcs_assets.runs.recipe import AnalysisSettings
from xpcs_assets_tests.unit.engine.reference import chunks

SHAPE = (2, 3)


class Held:
    """A series in memory."""

    def __init__(self, counts: NDArray[Any], kind: str = "frames", **info: Any) -> None:
        self.counts, self.kind = counts, kind
        known = SeriesInfo("held", "frames", SHAPE, len(counts), "int32", (Path("held.h5"),))
        self.info = replace(known, kind=kind, **info)

    def chunks(self, begin: int, end: int, *, max_bytes: int = 1 << 20) -> Iterator[Chunk]:
        assert begin == 0
        yield from chunks(self.counts[:end], np.ones(end, bool), 3, self.kind)

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...


def held(counts: Any, kind: str = "frames", **info: Any) -> RawSeries:
    return Held(np.asarray(counts), kind, **info)


def corrected(corrections: Corrections, counts: Any, dtype: Any = np.int32) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    array = np.asarray(counts, dtype)
    (chunk,) = corrections.apply([Frames(0, array, np.ones(len(array), bool))], 6)
    assert isinstance(chunk, Frames)
    return np.asarray(chunk.counts), chunk.valid


def test_nothing_is_done_by_default_and_no_copy_is_made() -> None:
    corrections = Corrections.of(AnalysisSettings(), held(np.ones((9, 6), np.int32)), 3)
    chunk = Frames(0, np.ones((2, 6), np.int32), np.ones(2, bool))
    assert not corrections.is_on
    assert corrections.n_bytes == 0
    assert next(corrections.apply([chunk], 6)) is chunk


def test_dark_frames_at_the_head_are_taken_off_where_there_is_a_use_for_them() -> None:
    counts = np.arange(54, dtype=np.int32).reshape(9, 6)
    photons = held(counts)
    assert Corrections.of(AnalysisSettings(), photons, 4).dark is None
    for settings, series in (
        (AnalysisSettings(lld=2), photons),
        (AnalysisSettings(), held(counts, integrating=True)),
    ):
        found = Corrections.of(settings, series, 4)
        assert found.dark is not None
        np.testing.assert_allclose(found.dark, counts[:4].mean(axis=0))
    sigma = Corrections.of(AnalysisSettings(lld=1, sigma=2), photons, 4)
    assert sigma.limit is not None
    np.testing.assert_allclose(sigma.limit, 1 + 2 * counts[:4].std(axis=0), rtol=1e-6)


def test_a_masked_dark_pixel_masks_the_pixel_only_where_no_dark_frame_holds_it() -> None:
    counts = np.full((5, 6), 7, np.int32)
    counts[:5, 1] = -1
    counts[:2, 2] = -1
    found = Corrections.of(AnalysisSettings(lld=1), held(counts), 5)
    assert found.good_pixels(SHAPE).ravel().tolist() == [True, False, True, True, True, True]
    assert found.dark is not None
    assert found.dark[2] == 7


def test_masked_counts_stay_masked_through_every_step() -> None:
    every = Corrections(
        dark=np.ones(6, np.float32), limit=np.float32(1), offset=np.array([0]), flat=np.full(6, 2, np.float32),
        adu_per_photon=2, round_photons=True,
    )  # fmt: skip
    values, valid = corrected(every, [[1, -1, 9, 3, 2, 1]])
    assert np.isnan(values[0, 1])
    assert values[0, [0, 2, 3, 4, 5]].tolist() == [0, 2, 0, 0, 0]
    assert valid.all()
    values, _ = corrected(every, [[1, np.nan, 9, 3, 2, 1]], np.float32)
    assert np.isnan(values[0, 1])


def test_a_frame_whose_offset_is_unknown_does_not_count() -> None:
    values, valid = corrected(Corrections(offset=np.array([0, 1])), [[4, -1, 9, 3, 2, 1], [-1, -1, 1, 1, 1, 1]])
    assert valid.tolist() == [True, False]
    assert values[0].tolist()[2:] == [5, -1, -2, -3]


def test_the_threshold_is_the_one_of_xpcs_eigen() -> None:
    # v = max(raw - dark, 0); v <= lld + sigma std becomes 0, and what is above it keeps its whole value.
    threshold = Corrections(dark=np.full(6, 10, np.float32), limit=np.full(6, 3, np.float32))
    values, _ = corrected(threshold, [[5, 10, 12, 13, 14, 99]])
    assert values[0].tolist() == [0, 0, 0, 0, 4, 89]


def test_a_chunk_is_not_changed_by_being_corrected() -> None:
    counts = np.full((2, 6), 5, np.float32)
    corrected(Corrections(dark=np.ones(6, np.float32)), counts, np.float32)
    assert (counts == 5).all()


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"sigma": 1.0}, "frames", "there is no dark"),
        ({"dark_file": "dark.h5"}, "events", "no sense for photon events"),
        ({"offset_region": "0:1,0:1"}, "events", "no sense for photon events"),
        ({"offset_region": "0:1"}, "frames", "is no region"),
        ({"offset_region": "1:1,0:1"}, "frames", "is not on a detector of 2 x 3 pixels"),
        ({"offset_region": "0:3,0:1"}, "frames", "is not on a detector of 2 x 3 pixels"),
    ],
)
def test_what_has_no_meaning_is_refused(options: dict[str, Any], kind: str, said: str) -> None:
    settings = AnalysisSettings(**options)
    with pytest.raises(CorrelationError, match=said):
        Corrections.of(settings, held(np.ones((9, 6), np.int32), kind), 0)


def test_a_threshold_on_events_needs_no_dark() -> None:
    found = Corrections.of(AnalysisSettings(lld=1.0), held(np.ones((9, 6), np.int32), "events"), 3)
    assert found.dark is None
    assert found.limit == 1
    assert found.keeps_events()


def test_events_are_rounded_to_photons_and_those_without_one_vanish() -> None:
    events = Events(
        0, 3, np.array([0, 1, 2]), np.array([1, 2, 3], np.int32), np.array([40, 230, -1], np.int32), np.ones(3, bool)
    )
    (found,) = Corrections(adu_per_photon=100, round_photons=True).apply([events], 6)
    assert isinstance(found, Events)
    assert (found.frame.tolist(), found.pixel.tolist(), found.count.tolist()) == ([1, 2], [2, 3], [2, -1])


def test_events_become_frames_in_pieces_with_masked_counts_as_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpcs_assets.correlate import corrections

    monkeypatch.setattr(corrections, "_PIECE_BYTES", 4 * 6 * 2)
    counts = np.random.default_rng(1).poisson(0.5, (7, 6)).astype(np.int32)
    counts[4, 2] = -1
    (events,) = chunks(counts, np.ones(7, bool), 10, "events")
    assert isinstance(events, Events)
    pieces = list(spread(events, 6))
    assert [(piece.begin, piece.end) for piece in pieces] == [(0, 2), (2, 4), (4, 6), (6, 7)]
    dense = np.concatenate([piece.counts for piece in pieces])
    assert np.array_equal(np.isnan(dense), counts < 0)
    assert np.array_equal(np.nan_to_num(dense), np.maximum(counts, 0))
