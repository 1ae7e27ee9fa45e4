"""The definition of multi-tau g2 in plain numpy, float64, one delay at a time: short, slow and obviously right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xpcs_assets.engine.partition import Partition
from xpcs_assets.readers.series import Chunk, Events, Frames


@dataclass(frozen=True)
class Reference:
    delay: list[int]
    g2: NDArray[np.float64]
    error: NDArray[np.float64]
    error_boost: NDArray[np.float64]
    static: NDArray[np.float64]
    n_pairs: list[int]


def boost_delays(n_frames: int) -> list[tuple[int, int]]:
    """(level, lag) in boost_corr's order: 1..4, then 5..8 of every level until a delay does not fit."""
    delays = [(0, lag) for lag in range(1, 5) if lag < n_frames]
    level = 0
    while True:
        for lag in range(5, 9):
            if lag * 2**level >= n_frames // 2**level * 2**level:
                return delays
            delays.append((level, lag))
        level += 1


def correlate(counts: ArrayLike, valid: ArrayLike, dynamic: ArrayLike, static: ArrayLike, *, zero: bool = False):
    """g2 of (T, pixels) counts; bins are (pixels,) from 1, 0 unused."""
    counts, valid = np.asarray(counts, np.float64), np.asarray(valid, bool)
    dynamic, static = np.ravel(dynamic), np.ravel(static)
    delays = boost_delays(len(counts))
    n_dynamic, n_static = dynamic.max(), static.max()
    g2, error, boost = np.full((3, len(delays), n_dynamic), np.nan)
    per_static = np.full((len(delays), n_static), np.nan)
    pairs = []
    for row, (level, lag) in enumerate(delays):
        width = 2**level
        whole = len(counts) // width
        binned = counts[: whole * width].reshape(whole, width, -1).sum(axis=1)
        sound = valid[: whole * width].reshape(whole, width).all(axis=1)
        pair = sound[:-lag] & sound[lag:]
        pairs.append(int(pair.sum()))
        if not pair.any():
            continue
        past, future = binned[:-lag][pair], binned[lag:][pair]
        G = (past * future).mean(axis=0) / 4**level
        A, B = past.mean(axis=0) / width, future.mean(axis=0) / width
        for q in range(1, n_dynamic + 1):
            values, variances = [], []
            for s in np.unique(static[dynamic == q]):
                pixels = (dynamic == q) & (static == s)
                g, a, b = G[pixels], A[pixels], B[pixels]
                if a.mean() * b.mean() == 0:
                    values += [0.0] * zero
                    continue
                value = g.mean() / (a.mean() * b.mean())
                influence = g / (a.mean() * b.mean()) - value * (a / a.mean() + b / b.mean() - 1)
                values.append(value)
                variances.append(influence.var(ddof=1) / pixels.sum() if pixels.sum() > 1 else np.nan)
                per_static[row, s - 1] = value
            if not variances:
                continue
            g2[row, q - 1] = np.mean(values)
            known = [variance for variance in variances if np.isfinite(variance)]
            total = np.sum(known) * len(variances) / len(known) if known else np.inf
            error[row, q - 1] = np.sqrt(total) / len(values)
            pixels = dynamic == q
            if not G[pixels].any():
                error[row, q - 1] = 1 / (by_chance(A, B, pixels, static) * pair.sum() * 4**level)
            norm = A[pixels] * B[pixels]
            ratio = np.where(norm > 0, G[pixels] / np.where(norm > 0, norm, 1), 0)
            boost[row, q - 1] = ratio.std(ddof=1) / np.sqrt(len(ratio)) if len(ratio) > 1 else np.inf
    return Reference([lag * 2**level for level, lag in delays], g2, error, boost, per_static, pairs)


def by_chance(A, B, pixels, static) -> float:
    """Sum over static bins of pixels times mean A times mean B."""
    bins = [pixels & (static == s) for s in np.unique(static[pixels])]
    return sum(here.sum() * A[here].mean() * B[here].mean() for here in bins)


def chunks(counts: NDArray[np.generic], valid: NDArray[np.bool_], size: int, kind: str) -> list[Chunk]:
    """(T, pixels) counts as chunks of ``size`` frames, ``frames`` or ``events``."""
    cut: list[Chunk] = []
    for begin in range(0, len(counts), size):
        part = counts[begin : begin + size]
        sound = valid[begin : begin + size]
        if kind == "frames":
            cut.append(Frames(begin, part, sound))
        else:
            row, pixel = np.nonzero(part)
            cut.append(
                Events(
                    begin,
                    begin + len(part),
                    row.astype(np.int64) + begin,
                    pixel.astype(np.int32),
                    part[row, pixel].astype(np.int32),
                    sound,
                )
            )
    return cut


def maps(shape: tuple[int, int], n_dynamic: int, per_dynamic: int, seed: int):
    """Random dynamic and static maps with unused pixels, and a mask that takes some more away."""
    random = np.random.default_rng(seed)
    dynamic = random.integers(0, n_dynamic + 1, shape)
    static = np.where(dynamic > 0, (dynamic - 1) * per_dynamic + random.integers(1, per_dynamic + 1, shape), 0)
    mask = random.random(shape) > 0.1
    return dynamic, static, mask


def partition_of(dynamic, static, mask) -> tuple[Partition, NDArray[np.int64], NDArray[np.int64]]:
    """The partition, and the maps with masked pixels unused, as the reference takes them."""
    return Partition.of(dynamic, static, mask), np.where(mask, dynamic, 0).ravel(), np.where(mask, static, 0).ravel()
