"""The multi-tau scheme: which delays a series of T frames gets, at which level, and how many pairs each has.

Level l holds frames of 2**l base frames, L_l = floor(T / 2**l). A delay of k level frames is k * 2**l base frames
and has L_l - k pairs when every frame is valid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import CorrelationError
from xpcs_assets.runs.recipe import Scheme

MIN_PAIRS = 4
"""Delays with fewer pairs are flagged and are in no fit: with one pair every lit pixel has the same G / (IP IF)."""


@dataclass(frozen=True, eq=False)
class Plan:
    """The delays of a series, in rising order; those of one level are neighbours and their lags consecutive.

    Attributes
    ----------
    n_frames
        Frames of the series, T.
    delays_per_level
        Delays a level adds, m; level 0 has twice as many, in the scheme ``skbeam`` one less.
    history
        Frames of a level that a new frame may pair with: the largest lag of the scheme.
    delay
        (D,) int64, base frames.
    level, lag
        (D,) int64; ``delay == lag * 2**level``.
    n_pairs
        (D,) int64, pairs when every frame is valid.
    level_start
        (levels + 1,) int64; level l holds the delays ``level_start[l]:level_start[l + 1]``.
    """

    n_frames: int
    delays_per_level: int
    history: int
    delay: NDArray[np.int64]
    level: NDArray[np.int64]
    lag: NDArray[np.int64]
    n_pairs: NDArray[np.int64]
    level_start: NDArray[np.int64]

    @property
    def n_delays(self) -> int:
        """Number of delays, D."""
        return len(self.delay)

    @property
    def n_levels(self) -> int:
        """Number of levels that have a delay."""
        return len(self.level_start) - 1


def make_plan(n_frames: int, delays_per_level: int = 4, scheme: Scheme = "boost") -> Plan:
    """Make the delays of ``n_frames`` frames.

    With m ``delays_per_level``, and each until a lag reaches the frames of its level:

    ``boost``
        boost_corr, the engine of APS 8-ID: lags 1 to 2m at level 0, then m + 1 to 2m at each level. With m = 4:
        1..8, 10, 12, 14, 16, 20, 24, 28, 32, 40, ...
    ``skbeam``
        scikit-beam with ``num_bufs = 2 m``: lags 1 to 2m - 1 at level 0, then m to 2m - 1 at each level. With m = 4:
        1..7, 8, 10, 12, 14, 16, 20, 24, 28, 32, ... Its lag 0 is left out: there a photon pairs with itself, and
        g2 holds the shot noise, 1 / counts, beside the contrast.

    The same delay may lie at another level: delay 8 is lag 8 of level 0 in ``boost`` and lag 4 of level 1 in
    ``skbeam``, whose frames are twice as long and smear the decay more.

    Raises
    ------
    CorrelationError
        There are fewer than 2 frames, less than 1 delay a level, or the scheme is unknown.
    """
    if n_frames < 2:
        raise CorrelationError(
            f"{n_frames} frames make no pair", remedy="Correlate at least 2 frames: check begin, end, stride, average"
        )
    first, largest = _lags(delays_per_level, scheme)
    chosen: list[tuple[int, int]] = []
    starts = [0]
    level = 0
    while True:
        n_level = n_frames >> level
        chosen += [(level, lag) for lag in range(first if level else 1, min(largest, n_level - 1) + 1)]
        if len(chosen) > starts[-1]:
            starts.append(len(chosen))
        if n_level <= largest:
            break
        level += 1
    levels, lags = (np.array(column, np.int64) for column in zip(*chosen, strict=True))
    return Plan(
        n_frames=n_frames,
        delays_per_level=delays_per_level,
        history=largest,
        delay=lags << levels,
        level=levels,
        lag=lags,
        n_pairs=(n_frames >> levels) - lags,
        level_start=np.array(starts, np.int64),
    )


def _lags(delays_per_level: int, scheme: Scheme) -> tuple[int, int]:
    """First and last lag of every level but the first, which begins at 1."""
    if delays_per_level < 1:
        raise CorrelationError(f"{delays_per_level} delays a level", remedy="Ask for at least 1")
    match scheme:
        case "boost":
            return delays_per_level + 1, 2 * delays_per_level
        case "skbeam":
            return delays_per_level, 2 * delays_per_level - 1
    raise CorrelationError(f"the level scheme {scheme!r} is unknown", remedy="Use the scheme boost or skbeam")
