"""Which frames count, level by level, and what follows: how many pairs a delay has and which frames lack a partner.

A pair counts only if both frames are valid; a level's frame with an invalid member is invalid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.delays import Plan
from xpcs_assets.errors import CorrelationError


class Validity:
    """The validity of the frames pushed so far, at every level of a plan.

    Attributes
    ----------
    plan
        The plan.
    n_pushed
        Frames so far.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.n_pushed = 0
        self._levels = [np.zeros(plan.n_frames >> level, np.bool_) for level in range(plan.n_levels)]

    def push(self, begin: int, valid: NDArray[np.bool_]) -> None:
        """Note the frames that follow.

        Raises
        ------
        CorrelationError
            They do not follow, or are more than the plan has.
        """
        if begin != self.n_pushed or begin + len(valid) > self.plan.n_frames:
            raise CorrelationError(
                f"frames {begin} to {begin + len(valid)} were pushed where {self.n_pushed} was next "
                f"of {self.plan.n_frames}",
                remedy="Push every frame once and in order",
            )
        self._levels[0][begin : begin + len(valid)] = valid
        low, high = begin, begin + len(valid)
        for finer, coarser in zip(self._levels[:-1], self._levels[1:], strict=True):
            low, high = low >> 1, high >> 1
            coarser[low:high] = finer[2 * low : 2 * high : 2] & finer[2 * low + 1 : 2 * high : 2]
        self.n_pushed += len(valid)

    def level(self, level: int) -> NDArray[np.bool_]:
        """Validity of the frames of a level so far."""
        return self._levels[level][: self.n_pushed >> level]

    def n_pairs(self) -> NDArray[np.int64]:
        """Valid pairs of each delay so far, (D,)."""
        pairs = np.zeros(self.plan.n_delays, np.int64)
        for d, (level, lag) in enumerate(zip(self.plan.level, self.plan.lag, strict=True)):
            valid = self.level(level)
            pairs[d] = np.count_nonzero(valid[:-lag] & valid[lag:])
        return pairs

    def deficits(self, level: int, begin: int, end: int) -> NDArray[np.int64]:
        """Frames that turn out to lack a partner when the level's frames [begin, end) come.

        Returns
        -------
        (K, 3) int64: side (0: a past frame without its later partner, 1: a frame without its earlier one), delay,
        row in a window whose row ``history`` is frame ``begin``.
        """
        valid, reach = self._levels[level], self.plan.history
        if begin >= reach and valid[begin - reach : end].all():
            return np.empty((0, 3), np.int64)
        found = []
        new = np.arange(begin, end)
        for d in range(self.plan.level_start[level], self.plan.level_start[level + 1]):
            lag = int(self.plan.lag[d])
            earlier = new - lag
            has_earlier = (earlier >= 0) & valid[np.maximum(earlier, 0)]
            for side, rows in ((0, earlier[has_earlier & ~valid[new]]), (1, new[valid[new] & ~has_earlier])):
                found.append(np.stack([np.full_like(rows, side), np.full_like(rows, d), rows - begin + reach], axis=1))
        return np.concatenate(found) if found else np.empty((0, 3), np.int64)

    def status(self, level: int) -> NDArray[np.uint8]:
        """Of each frame of a level: 0 it does not count, 1 a partner in reach does not, 2 all partners do."""
        valid, reach = self.level(level), self.plan.history
        padded = np.zeros(len(valid) + 2 * reach + 1, np.int64)
        padded[reach + 1 : reach + 1 + len(valid)] = valid
        sums = np.cumsum(padded)
        in_reach = sums[2 * reach + 1 :] - sums[: len(valid)]
        return np.where(valid, np.where(in_reach == 2 * reach + 1, 2, 1), 0).astype(np.uint8)

    def n_frames(self) -> NDArray[np.int64]:
        """Frames of each level so far, (L,)."""
        return self.n_pushed >> np.arange(self.plan.n_levels)

    def regular_below(self) -> NDArray[np.uint8]:
        """Of each frame so far: the level below which it and all its partners count."""
        below = np.full(self.n_pushed, self.plan.n_levels, np.uint8)
        for level in reversed(range(self.plan.n_levels)):
            irregular = np.repeat(self.status(level) != 2, 1 << level)
            below[: len(irregular)][irregular] = level
            below[len(irregular) :] = level
        return below
