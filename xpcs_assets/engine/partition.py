"""Which pixels are analysed and in which bins they lie, sorted once so that each bin is one slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xpcs_assets.errors import CorrelationError, QmapError

_BLOCK_PIXELS = 256


@dataclass(frozen=True, eq=False)
class Partition:
    """Analysed pixels, sorted by (dynamic bin, static bin).

    Attributes
    ----------
    shape
        Detector rows and columns, pixels.
    pixel
        (P,) int64, flat index of each analysed pixel, sorted as above.
    position
        (rows * columns,) int32, place of each detector pixel in ``pixel``, -1 where it is not analysed.
    static
        (P,) int64, static bin of each analysed pixel, from 0 (the map's value less 1).
    n_dynamic, n_static
        Bins of the maps, those without pixels included.
    dynamic_of_static
        (n_static,) int64, dynamic bin of each static bin, from 0; -1 for static bins without pixels.
    """

    shape: tuple[int, int]
    pixel: NDArray[np.int64]
    position: NDArray[np.int32]
    static: NDArray[np.int64]
    n_dynamic: int
    n_static: int
    dynamic_of_static: NDArray[np.int64]

    @classmethod
    def of(cls, dynamic: ArrayLike, static: ArrayLike, mask: ArrayLike, bins: Sequence[int] = ()) -> Self:
        """Sort the pixels where ``mask``, ``dynamic`` and ``static`` are all above 0.

        Parameters
        ----------
        dynamic, static
            (rows, columns) integers, 0 unused, bins from 1.
        mask
            (rows, columns), True where a pixel counts.
        bins
            Dynamic bins to analyse, from 1; empty is all.

        Raises
        ------
        QmapError
            The maps differ in shape, a static bin lies in two dynamic bins, or no pixel is left.
        CorrelationError
            A chosen bin is not in the map.
        """
        dynamic, static, mask = np.asarray(dynamic), np.asarray(static), np.asarray(mask)
        if dynamic.ndim != 2 or not dynamic.shape == static.shape == mask.shape:
            raise QmapError("mask, dynamic and static map differ in shape", remedy="Make the q-map anew")
        n_dynamic, n_static = int(dynamic.max(initial=0)), int(static.max(initial=0))
        used = (mask > 0) & (dynamic > 0) & (static > 0)
        if bins:
            if max(bins) > n_dynamic:
                raise CorrelationError(
                    f"dynamic bin {max(bins)} is chosen", remedy=f"The q-map has the bins 1 to {n_dynamic}"
                )
            used &= np.isin(dynamic, bins)
        pixel = np.flatnonzero(used)
        if pixel.size == 0:
            raise QmapError("no pixel is left to analyse", remedy="Check the mask and the chosen bins")
        in_dynamic = dynamic.ravel()[pixel].astype(np.int64) - 1
        in_static = static.ravel()[pixel].astype(np.int64) - 1
        order = np.lexsort((pixel, in_static, in_dynamic))
        pixel, in_dynamic, in_static = pixel[order], in_dynamic[order], in_static[order]
        dynamic_of_static = np.full(n_static, -1, np.int64)
        dynamic_of_static[in_static] = in_dynamic
        if np.any(dynamic_of_static[in_static] != in_dynamic):
            crossing = in_static[dynamic_of_static[in_static] != in_dynamic][0] + 1
            raise QmapError(
                f"static bin {crossing} lies in more than one dynamic bin",
                remedy="Make the static bins subdivide the dynamic ones",
            )
        shape = (int(dynamic.shape[0]), int(dynamic.shape[1]))
        return cls._sorted(shape, pixel, in_static, n_dynamic, n_static, dynamic_of_static)

    @classmethod
    def _sorted(
        cls,
        shape: tuple[int, int],
        pixel: NDArray[np.int64],
        static: NDArray[np.int64],
        n_dynamic: int,
        n_static: int,
        dynamic_of_static: NDArray[np.int64],
    ) -> Self:
        position = np.full(shape[0] * shape[1], -1, np.int32)
        position[pixel] = np.arange(pixel.size, dtype=np.int32)
        return cls(shape, pixel, position, static, n_dynamic, n_static, dynamic_of_static)

    @property
    def n_pixels(self) -> int:
        """Analysed pixels, P."""
        return len(self.pixel)

    def blocks(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cut the sorted pixels into blocks that never cross a static bin.

        Returns
        -------
        edge, static
            Block b is the pixels ``edge[b]:edge[b + 1]``, (B + 1,) int64, and lies in the static bin
            ``static[b]``, (B,) int64.
        """
        changes = np.flatnonzero(np.diff(self.static)) + 1
        bounds = np.concatenate(([0], changes, [self.n_pixels]))
        edges = [np.arange(low, high, _BLOCK_PIXELS) for low, high in pairwise(bounds.tolist())]
        edge = np.concatenate([*edges, [self.n_pixels]]).astype(np.int64)
        return edge, self.static[edge[:-1]]

    def part(self, number: int, n_parts: int) -> Self:
        """The ``number``-th, from 1, of ``n_parts`` parts of about equal size; no static bin is cut.

        Raises
        ------
        CorrelationError
            There are fewer static bins than parts.
        """
        bounds = np.concatenate(([0], np.flatnonzero(np.diff(self.static)) + 1, [self.n_pixels]))
        if not 1 <= number <= n_parts <= len(bounds) - 1:
            raise CorrelationError(
                f"{len(bounds) - 1} static bins have no part {number}/{n_parts}", remedy="Take fewer parts"
            )
        steps = np.arange(n_parts + 1)
        cuts = np.searchsorted(bounds, steps * self.n_pixels / n_parts)
        # Every part has a static bin, however large some of them are.
        cuts = np.minimum(np.maximum.accumulate(cuts - steps) + steps, len(bounds) - 1 - n_parts + steps)
        return self._of(slice(bounds[cuts[number - 1]], bounds[cuts[number]]))

    def split(self, max_pixels: int) -> Iterator[Self]:
        """Yield partitions of at most ``max_pixels`` pixels that together hold every pixel once."""
        for begin in range(0, self.n_pixels, max_pixels):
            yield self._of(slice(begin, begin + max_pixels))

    def _of(self, part: slice) -> Self:
        return self._sorted(
            self.shape, self.pixel[part], self.static[part], self.n_dynamic, self.n_static, self.dynamic_of_static
        )
