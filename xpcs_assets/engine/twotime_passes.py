"""How much memory two-time correlation takes, and how its bins are shared out among passes over the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.twotime import LAGS, MAP_FRAMES, WHOLE_FRAMES, chosen_bins
from xpcs_assets.engine.twotime_counts import BLOCK_PIXELS
from xpcs_assets.errors import CorrelationError

_EVENT_BYTES = 20


def bytes_needed(n_frames: int, n_pixels: int, n_bins: int, *, occupancy: float = 1.0, count_bytes: int = 2) -> int:
    """Memory of a correlator for ``n_pixels`` pixels in ``n_bins`` dynamic bins, bytes.

    Counts: ``count_bytes`` a pixel and frame (1 where no count exceeds 255, 2 up to 65535, else 4), or for events 20
    bytes each. Maps: 8 N^2 for each bin, as array and again in the file that is made in memory, and 12 N^2 for the one
    in work, with N the frames of the map; a multi-tau map 8 x 2 x 64 N a bin, and the map of summed frames beside it. A
    block of 4096 pixels in single precision, three times.
    """
    counts = min(_EVENT_BYTES * occupancy, count_bytes) if occupancy < 1 else count_bytes
    block = 12 * n_frames * max(64, min(BLOCK_PIXELS, n_pixels))
    size = n_frames if n_frames <= WHOLE_FRAMES else MAP_FRAMES
    maps = (8 * n_bins + 12) * size**2
    if n_frames > WHOLE_FRAMES:
        block = min(block, 1 << 30)
        maps += (8 * n_bins + 8) * 2 * LAGS * n_frames
    return int(counts * n_pixels * n_frames) + block + maps


def bins_in_passes(
    partition: Partition,
    n_frames: int,
    memory_bytes: int,
    *,
    bins: Sequence[int] = (),
    occupancy: float = 1.0,
    count_bytes: int = 2,
) -> list[tuple[int, ...]]:
    """Share the bins out among passes over the data, so that each stays within ``memory_bytes``.

    Raises
    ------
    CorrelationError
        One bin alone needs more.
    """
    chosen = chosen_bins(partition, bins)
    pixels = np.bincount(partition.dynamic_of_static[partition.static] + 1, minlength=max(chosen) + 1)

    def needed(some: Sequence[int]) -> int:
        # The maps of all passes stay, the counts of one.
        n_pixels = int(pixels[list(some)].sum())
        return bytes_needed(n_frames, n_pixels, len(chosen), occupancy=occupancy, count_bytes=count_bytes)

    passes: list[tuple[int, ...]] = []
    for bin_ in chosen:
        if needed([bin_]) > memory_bytes:
            raise CorrelationError(
                f"two-time of {n_frames} frames needs {needed([bin_]) / 2**30:.1f} GiB for bin {bin_} "
                f"of {len(chosen)}, {memory_bytes / 2**30:.1f} GiB may be used",
                remedy="Choose fewer bins (--twotime-dq), average frames (--average) or allow more (--memory)",
            )
        if passes and needed([*passes[-1], bin_]) <= memory_bytes:
            passes[-1] = (*passes[-1], bin_)
        else:
            passes.append((bin_,))
    return passes
