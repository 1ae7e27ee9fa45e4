"""Frames and events in memory -> chunks as the readers give them, with their number and validity."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xpcs_assets.engine.select import Selection, cut
from xpcs_assets.errors import CorrelationError, QmapError
from xpcs_assets.readers.chunks import signed_counts
from xpcs_assets.readers.series import Chunk, Events, Frames
from xpcs_assets.runs.recipe import selected_frames

EventArrays = tuple[ArrayLike, ArrayLike, ArrayLike]
"""(E,) each: frame from 0, flat pixel index, counts."""
Data = NDArray[Any] | EventArrays | Iterable[NDArray[Any] | Chunk]
_CHUNK_BYTES = 64 << 20


def as_chunks(data: Data, shape: tuple[int, int], n_frames: int | None) -> tuple[int, Iterator[Chunk]]:
    """Give the number of frames, and the data as chunks from frame 0.

    Unsigned counts at their type's maximum become negative, which means masked, as the readers have it.

    Raises
    ------
    CorrelationError
        The data are no series, or do not tell their number of frames.
    QmapError
        The frames are of another shape.
    """
    if isinstance(data, np.ndarray):
        if data.ndim != 3:
            raise CorrelationError(f"an array of shape {data.shape} is no series", remedy="Give (T, rows, columns)")
        _check_shape(data, shape)
        total = _agreed(len(data), n_frames)
        step = max(1, _CHUNK_BYTES // max(1, data[:1].nbytes))
        return total, _numbered((data[low : low + step] for low in range(0, total, step)), shape)
    if isinstance(data, tuple) and len(data) == 3 and not isinstance(data[0], (Frames, Events)):
        if n_frames is None:
            raise CorrelationError("events do not tell the number of frames", remedy="Give n_frames")
        columns: Any = data
        return n_frames, iter([_events(columns, shape, n_frames)])
    return _of_iterable(data, shape, n_frames)


def _of_iterable(
    data: Iterable[NDArray[Any] | Chunk], shape: tuple[int, int], n_frames: int | None
) -> tuple[int, Iterator[Chunk]]:
    if isinstance(data, Sequence):
        total = _agreed(sum(_length(item) for item in data), n_frames)
    elif n_frames is None:
        raise CorrelationError("an iterator does not tell the number of frames", remedy="Give n_frames")
    else:
        total = n_frames
    return total, _numbered(iter(data), shape)


def _agreed(found: int, n_frames: int | None) -> int:
    if n_frames not in (None, found):
        raise CorrelationError(f"n_frames is {n_frames}, the data have {found}", remedy="Leave n_frames out")
    return found


def _length(item: NDArray[Any] | Chunk) -> int:
    if isinstance(item, (Frames, Events)):
        return item.end - item.begin
    return 1 if np.ndim(item) == 2 else len(item)


def _check_shape(frames: NDArray[Any], shape: tuple[int, int]) -> None:
    if frames.shape[-2:] != shape:
        raise QmapError(
            f"the q-map is {shape} pixels, the frames are {frames.shape[-2:]}", remedy="Give this detector's q-map"
        )


def _numbered(items: Iterable[NDArray[Any] | Chunk], shape: tuple[int, int]) -> Iterator[Chunk]:
    begin = 0
    for item in items:
        if isinstance(item, (Frames, Events)):
            chunk: Chunk = item
        else:
            frames = np.asarray(item)
            if frames.ndim not in (2, 3) or frames.dtype.kind not in "biuf":
                raise CorrelationError(
                    f"{frames.dtype} of shape {frames.shape} is no frame", remedy="Give (rows, columns) of numbers"
                )
            _check_shape(frames, shape)
            flat = frames.reshape(-1, shape[0] * shape[1])
            chunk = Frames(begin, _counts(flat), np.ones(len(flat), np.bool_))
        yield chunk
        begin = chunk.end


def _counts(values: NDArray[Any]) -> NDArray[Any]:
    """As the readers give counts: unsigned at its maximum is masked; floats are float32, NaN masked."""
    if values.dtype.kind == "b":
        return values.astype(np.int32)
    if values.dtype.kind == "u" and values.dtype.itemsize <= 4:
        return signed_counts(values)
    return values.astype(np.float32) if values.dtype.kind == "f" else values


def _events(data: EventArrays, shape: tuple[int, int], n_frames: int) -> Events:
    frame, pixel, count = (np.asarray(column) for column in data)
    whole = all(column.dtype.kind in "iu" and column.shape == frame.shape for column in (frame, pixel, count))
    if not whole or frame.ndim != 1:
        raise CorrelationError(
            "these are no events", remedy="Give three arrays of whole numbers of one length: frame, pixel, counts"
        )
    for column, limit, word in ((frame, n_frames, "frame"), (pixel, shape[0] * shape[1], "pixel")):
        if column.size and not (int(column.min()) >= 0 and int(column.max()) < limit):
            raise CorrelationError(
                f"a {word} of the events is {int(column.min())} or {int(column.max())}",
                remedy=f"{word.capitalize()}s are 0 to {limit - 1}",
            )
    order = np.lexsort((pixel, frame))
    columns = frame[order].astype(np.int64), pixel[order].astype(np.int32), count[order].astype(np.int32)
    return Events(0, n_frames, *columns, np.ones(n_frames, np.bool_))


def with_occupancy(chunks: Iterator[Chunk], n_pixels: int) -> tuple[Iterator[Chunk], float]:
    """Give back the chunks with the fraction of pixels that have counts in the first of them, (0, 1]."""
    first = next(chunks, None)
    if first is None:
        return chunks, 1.0
    if isinstance(first, Events):
        filled = len(first.frame) / max(1, (first.end - first.begin) * n_pixels)
    else:
        filled = np.count_nonzero(first.counts) / max(1, first.counts.size)
        if first.counts.dtype.kind == "f":
            filled = 1.0
    return chain([first], chunks), min(1.0, filled)


def validity(valid: ArrayLike | None, exclude_frames: str, n_frames: int) -> NDArray[np.bool_]:
    """Which frames count: those of ``valid`` (all by default) that are not excluded.

    Raises
    ------
    CorrelationError
        ``valid`` is of another length.
    """
    counting = np.ones(n_frames, np.bool_) if valid is None else np.array(valid, np.bool_)
    if counting.shape != (n_frames,):
        raise CorrelationError(
            f"valid has the shape {counting.shape}", remedy=f"Give one value for each of the {n_frames} frames"
        )
    for first, last in selected_frames(exclude_frames):
        counting[first : last + 1] = False
    return counting


def selected(chunks: Iterator[Chunk], selection: Selection, counting: NDArray[np.bool_]) -> Iterator[Chunk]:
    """The selection's frames of the chunks, with those marked that do not count.

    Raises
    ------
    CorrelationError
        The data end before the frames that they should have.
    """
    reached = 0
    for chunk in chunks:
        reached = chunk.end
        for part in cut(chunk, (selection.begin, selection.read_end)):
            if selection.begin <= part.begin and part.end <= selection.read_end:
                yield replace(part, valid=part.valid & counting[part.begin : part.end])
        if reached >= selection.read_end:
            return
    if reached < selection.read_end:
        raise CorrelationError(f"the data end at frame {reached} of {selection.read_end}", remedy="Correct n_frames")
