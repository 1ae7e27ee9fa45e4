"""What one does with g2 over delay and bin, whether it was read from a file or made a moment ago."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.delays import MIN_PAIRS

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from xpcs_assets.results.fit import BinFit, Bounds
    from xpcs_assets.results.fit_laws import FitKind
    from xpcs_assets.results.power_law import PowerLaw
    from xpcs_assets.runs.recipe import Recipe


class G2Table:
    """Labelled g2: T delays, Nd dynamic and Ns static bins.

    Attributes
    ----------
    delay_frames, delay_s
        (T,) int64 and float64: delays in analysed frames, and in s.
    g2, g2_error
        (T, Nd) float64, NaN where undefined.
    n_pairs
        (T,) int64, valid pairs of frames of each delay.
    n_static_used
        (T, Nd) int64, static bins in each mean; -1 where nobody knows.
    static_g2
        (T, Ns) float64, g2 of each static bin; NaN where undefined or unknown.
    q_inv_angstrom
        (Nd,) float64, q of each dynamic bin, 1/Å; NaN where the map has no q.
    labels
        One a dynamic bin, such as ``q = 0.0034 Å⁻¹, phi = 90 deg``.
    recipe
        What made it.
    """

    delay_frames: NDArray[np.int64]
    delay_s: NDArray[np.float64]
    g2: NDArray[np.float64]
    g2_error: NDArray[np.float64]
    n_pairs: NDArray[np.int64]
    n_static_used: NDArray[np.int64]
    static_g2: NDArray[np.float64]
    q_inv_angstrom: NDArray[np.float64]
    labels: tuple[str, ...]
    recipe: Recipe

    @property
    def few_pairs(self) -> NDArray[np.bool_]:
        """(T,) bool, delays with fewer than 4 pairs of frames: g2 rests on a few moments there, and no fit has it."""
        return self.n_pairs < MIN_PAIRS

    @property
    def run(self) -> str:
        """Name of the run."""
        raise NotImplementedError

    def fit(self, kind: FitKind = "single", *, bounds: Bounds | None = None) -> list[BinFit]:
        """Fit a law to g2 of every dynamic bin; see :func:`xpcs_assets.results.fit.fit_g2`.

        Parameters
        ----------
        kind
            ``single``, ``stretched``, ``double`` or ``double-stretched``; :mod:`xpcs_assets.results.fit_laws` says
            what they are.
        bounds
            Limits of the parameters.
        """
        from xpcs_assets.results.fit import fit_bins

        return fit_bins(self.delay_s, self.g2, self.g2_error, self.n_pairs, kind=kind, bounds=bounds)

    def fit_tau_q(self, fits: Sequence[BinFit] | None = None, *, slow: bool = False) -> PowerLaw | None:
        """Fit tau = a q**b through the good fits; None where fewer than 3 bins have one and a q.

        ``slow`` takes the slower time of double laws.
        """
        from xpcs_assets.results.power_law import fit_power_law

        return fit_power_law(self.q_inv_angstrom, self.fit() if fits is None else fits, slow=slow)

    def plot(self, fits: Sequence[BinFit] | None = None) -> Figure:
        """Draw g2 of all dynamic bins with fits and error bars."""
        from xpcs_assets.plot.figures import g2_grid

        return g2_grid(self, self.fit() if fits is None else fits)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row a delay and dynamic bin: ``bin`` (from 1), ``label``, q, delay, g2 and its error. Needs pandas."""
        import pandas as pd

        n_delays, n_bins = self.g2.shape

        def by_bin(values: Sequence[object] | NDArray[np.generic]) -> NDArray[np.generic]:
            return np.repeat(np.asarray(values), n_delays)

        return pd.DataFrame(
            {
                "bin": by_bin(np.arange(1, n_bins + 1)),
                "label": by_bin(self.labels),
                "q_inv_angstrom": by_bin(self.q_inv_angstrom),
                "delay_frames": np.tile(self.delay_frames, n_bins),
                "delay_s": np.tile(self.delay_s, n_bins),
                "n_pairs": np.tile(self.n_pairs, n_bins),
                "few_pairs": np.tile(self.few_pairs, n_bins),
                "g2": self.g2.T.ravel(),
                "g2_error": self.g2_error.T.ravel(),
                "n_static_used": self.n_static_used.T.ravel(),
            }
        )

    def to_csv(self, path: str | Path) -> None:
        """Write delay, g2 and error of every dynamic bin as columns; units and provenance are in the header."""
        bins = [f"{column}_{number}" for number in range(1, self.g2.shape[1] + 1) for column in ("g2", "g2_error")]
        header = [
            *self._origin(),
            f"recipe: {self.recipe.digest}",
            f"engine: {self.recipe.engine}",
            "delay_frames: analysed frames; delay_s: s; g2, g2_error: no unit, nan where undefined",
            f"few_pairs: 1 where n_pairs is under {MIN_PAIRS}: g2 rests on a few moments, and no fit has it",
            *(f"bin {number}: {label}" for number, label in enumerate(self.labels, start=1)),
        ]
        columns = np.stack([self.g2, self.g2_error], axis=2).reshape(len(self.delay_s), -1)
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            file.writelines(f"# {line}\n" for line in header)
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["delay_frames", "delay_s", "n_pairs", "few_pairs", *bins])
            for index in range(len(self.delay_s)):
                values = [repr(float(value)) for value in columns[index]]
                delay = [int(self.delay_frames[index]), repr(float(self.delay_s[index]))]
                rows.writerow([*delay, int(self.n_pairs[index]), int(self.few_pairs[index]), *values])

    def _origin(self) -> list[str]:
        """Lines of a file's header that say what this was made of."""
        return [f"run: {self.run}"]
