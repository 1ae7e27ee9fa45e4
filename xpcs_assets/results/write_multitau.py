"""The multi-tau part of a result file, ``/xpcs/multitau``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine import stop
from xpcs_assets.engine.delays import MIN_PAIRS
from xpcs_assets.engine.multitau import Moments
from xpcs_assets.engine.normalise import G2
from xpcs_assets.results.h5write import defined, put
from xpcs_assets.results.state import put_moments
from xpcs_assets.runs.recipe import ErrorRule

_GROUP = "/xpcs/multitau"


@dataclass(frozen=True, eq=False)
class MultitauContent:
    """What multi-tau gave, normalised.

    Attributes
    ----------
    delay, delay_s
        (T,) analysed frames, and s.
    g2
        Of all frames.
    moments
        The state that ``g2`` was made of, one for each plan of the time axis.
    partial, partial_frames
        g2 of the first k stretches of the run, and how many frames those are.
    pixel, pixels
        (P,) flat index, and (3, T, P) float32 G, IP and IF of those pixels; None where not asked for.
    """

    delay: NDArray[np.int64]
    delay_s: NDArray[np.float64]
    g2: G2
    moments: Sequence[Moments]
    partial: Sequence[G2]
    partial_frames: Sequence[int]
    pixel: NDArray[np.int64]
    pixels: NDArray[np.float32] | None


def put_multitau(file: h5py.File, content: MultitauContent, error_rule: ErrorRule) -> None:
    """Write all of it; the q-map must be in the file already."""
    g2 = content.g2
    values: dict[str, NDArray[np.generic]] = {
        "delay_list": content.delay,
        "delay_s": content.delay_s,
        "normalized_g2": defined(g2.g2, 0.0),
        "normalized_g2_err": defined(_chosen(g2, error_rule), np.inf),
        "normalized_g2_err_boost": defined(g2.error_boost, np.inf),
        "n_static_used": g2.n_static_used,
        "n_pairs": g2.n_pairs,
        "few_pairs": g2.n_pairs < MIN_PAIRS,
        "static_g2": g2.static.astype(np.float32),
    }
    if content.partial:
        values |= {
            "normalized_g2_partial": np.stack([defined(part.g2, 0.0) for part in content.partial]),
            "normalized_g2_partial_err": np.stack(
                [defined(_chosen(part, error_rule), np.inf) for part in content.partial]
            ),
            "normalized_g2_partial_labels": np.array(content.partial_frames, np.int64),
        }
    for name, value in values.items():
        put(file, f"{_GROUP}/{name}", value)
    put_moments(file, content.moments)
    if content.pixels is not None:
        _put_pixels(file, content.pixel, content.pixels)


def _chosen(g2: G2, error_rule: ErrorRule) -> NDArray[np.float64]:
    return g2.error_boost if error_rule == "boost" else g2.error


def _put_pixels(file: h5py.File, pixel: NDArray[np.int64], pixels: NDArray[np.float32]) -> None:
    """Write (3, T, P) sums as (T, 3, rows, columns), NaN where not analysed, one image at a time."""
    shape = file["/xpcs/qmap/mask"].shape
    n_delays = pixels.shape[1]
    images = file.create_dataset(
        f"{_GROUP}/unnormalized_G2", (n_delays, 3, *shape), np.float32, chunks=(1, 1, *shape), compression="lzf"
    )
    image = np.full(shape[0] * shape[1], np.nan, np.float32)
    for delay in range(n_delays):
        stop.check()
        for kind in range(3):
            image[pixel] = pixels[kind, delay]
            images[delay, kind] = image.reshape(shape)
