"""G, IP and IF of every pixel, for those who normalise themselves or look at maps of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.multitau import FramesCorrelator


class PixelCorrelator(FramesCorrelator):
    """The engine for dense frames, which also gives the sums of each pixel."""

    def pixels(self) -> NDArray[np.float32]:
        """G, IP and IF so far, (3, D, P) in the partition's order, means per base frame.

        NaN for pixels that were dropped and for delays without a pair.
        """
        plan, n_pairs = self.validity.plan, self.validity.n_pairs()
        found = np.full((3, plan.n_delays, self.partition.n_pixels), np.nan, np.float32)
        for d, (level, lag) in enumerate(zip(plan.level.tolist(), plan.lag.tolist(), strict=True)):
            if n_pairs[d] == 0:
                continue
            scale = 1.0 / (int(n_pairs[d]) * 2.0**level)
            # The newest frames have no later partner; those of invalid ones are counted apart.
            past = self._total[level] - self._history[level, plan.history - lag :].sum(axis=0)
            if len(self._past):
                past = past - self._past[d]
            found[:, d] = np.stack([self._G[d] / 2.0**level, past, self._total[level] - self._future[d]]) * scale
        found[:, :, self._saturated] = np.nan
        return found[:, :, self._slot]
