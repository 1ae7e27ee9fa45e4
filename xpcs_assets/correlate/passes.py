"""What a run gave; multi-tau over a part of the pixels, with partials and every pixel's own sums if asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.multitau import Moments
from xpcs_assets.engine.pixel_sums import PixelCorrelator
from xpcs_assets.engine.saxs import Scattering
from xpcs_assets.engine.select import cut
from xpcs_assets.engine.time_axis import BurstsCorrelator, EvenCorrelator
from xpcs_assets.readers.series import Chunk

if TYPE_CHECKING:
    from xpcs_assets.engine.twotime import TwoTime


@dataclass(frozen=True, eq=False)
class Multitau:
    """What multi-tau gave.

    Attributes
    ----------
    moments
        One for each plan of the time axis.
    partial
        One for each stretch and, of the same stretch, each plan: moments of the frames from the first to its end.
    pixel
        (P,) int64, flat index of the pixels that ``pixels`` are of, sorted by bins.
    pixels
        (3, D, P) float32, G, IP and IF of each; None where not asked for.
    """

    moments: tuple[Moments, ...]
    partial: tuple[Moments, ...]
    pixel: NDArray[np.int64]
    pixels: NDArray[np.float32] | None

    def __add__(self, other: Multitau) -> Multitau:
        """Join what other pixels gave over the same frames."""
        pixels = None
        if self.pixels is not None and other.pixels is not None:
            pixels = np.concatenate((self.pixels, other.pixels), axis=2)
        return Multitau(
            tuple(one + more for one, more in zip(self.moments, other.moments, strict=True)),
            tuple(one + more for one, more in zip(self.partial, other.partial, strict=True)),
            np.concatenate((self.pixel, other.pixel)),
            pixels,
        )


@dataclass(frozen=True, eq=False)
class Found:
    """What all analyses of a run gave; None for those that were not asked for.

    Attributes
    ----------
    scattering, multitau, twotime
        By analysis.
    flags
        What is remarkable about the run, as sentences.
    n_empty
        Frames that do not count for want of intensity to divide them by.
    """

    scattering: Scattering
    multitau: Multitau | None
    twotime: TwoTime | None
    flags: tuple[str, ...]
    n_empty: int

    @property
    def n_valid(self) -> int:
        """Analysed frames that count."""
        return int(np.count_nonzero(np.isfinite(self.scattering.intensity))) - self.n_empty


class MultitauPass:
    """Takes the chunks of one pass.

    Parameters
    ----------
    engine
        What correlates; a :class:`PixelCorrelator` gives each pixel's own sums too.
    pixel
        (P,) int64, flat index of its pixels.
    ends
        One past the last frame of each stretch whose partial g2 is asked for; the last one is the run's.
    """

    def __init__(
        self, engine: EvenCorrelator | BurstsCorrelator, pixel: NDArray[np.int64], ends: Sequence[int] = ()
    ) -> None:
        self._engine = engine
        self._pixel = pixel
        self._ends = ends
        self._partial: list[Moments] = []

    def push(self, chunk: Chunk) -> None:
        """Take the chunk that follows."""
        for piece in cut(chunk, self._ends):
            self._engine.push(piece)
            if piece.end in self._ends:
                self._partial += self._engine.finish()

    def finish(self) -> Multitau:
        """What the pixels of this pass gave."""
        (first, *_) = self._engine.engines
        pixels = first.pixels() if isinstance(first, PixelCorrelator) else None
        return Multitau(self._engine.finish(), tuple(self._partial), self._pixel, pixels)


def stretches(n_frames: int, number: int) -> list[int]:
    """One past the last frame of each of ``number`` equal stretches; fewer where there are fewer frames."""
    number = min(number, n_frames)
    return [n_frames * k // number for k in range(1, number + 1)]
