"""Golden runs: what this engine and boost_corr make of them, beside each other and beside float64.

    python benchmarks/golden.py [FOLDER]

FOLDER holds runs with a raw file, a q-map and ``boost_corr_result/*_results.hdf`` (default ../shared/data/golden).
The float64 reference is the plain numpy definition that the tests use, so run this from a checkout. Levels 0 to 4 of
boost_corr multiply in bfloat16, those above in float32: its difference is shown for both.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from xpcs_assets_tests.unit.correlate.reference import Reference
from xpcs_assets_tests.unit.correlate.reference import correlate as in_float64

from xpcs_assets.correlate.worker import main as correlate
from xpcs_assets.engine.delays import MIN_PAIRS, make_plan
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import Events
from xpcs_assets.results.result import Result, open_result

BFLOAT16_LEVELS = 5


@dataclass(frozen=True)
class Compared:
    """A run's result by this engine, by boost_corr and in float64."""

    name: str
    ours: Result
    theirs: Result
    exact: Reference


def compare(folder: Path, scratch: Path) -> Compared:
    (qmap,) = folder.glob("*_qmap.hdf")
    (boost,) = folder.glob("boost_corr_result/*_results.hdf")
    raw = next(path for path in sorted(folder.iterdir()) if path.suffix in (".imm", ".h5", ".000"))
    output = scratch / f"{folder.name}.hdf"
    kind = "both" if "xpcs/twotime" in h5py.File(boost) else "multitau"
    if correlate([str(raw), "--qmap", str(qmap), "--output", str(output), "--type", kind]) != 0:
        raise SystemExit(f"{raw} could not be correlated")
    ours = open_result(output)
    pixel = np.flatnonzero(ours.mask & (ours.dynamic_map > 0))
    counts = counts_of(raw, pixel)
    bins = (bins.ravel()[pixel] for bins in (ours.dynamic_map, ours.static_map))
    return Compared(folder.name, ours, open_result(boost), in_float64(counts, np.ones(len(counts), np.bool_), *bins))


def counts_of(raw: Path, pixel: NDArray[np.int64]) -> NDArray[np.int32]:
    with open_raw(raw) as series:
        counts = np.zeros((series.info.n_recorded, len(pixel)), np.int32)
        column = np.full(series.info.shape[0] * series.info.shape[1], -1)
        column[pixel] = np.arange(len(pixel))
        for chunk in series.chunks(0, series.info.n_recorded):
            if isinstance(chunk, Events):
                used = column[chunk.pixel] >= 0
                counts[chunk.frame[used], column[chunk.pixel[used]]] = chunk.count[used]
            else:
                counts[chunk.begin : chunk.end] = chunk.counts[:, pixel]
    return counts


def rows(run: Compared) -> list[tuple[str, str]]:
    plan = make_plan(len(run.ours.intensity_vs_time[0]))
    low, many = plan.level < BFLOAT16_LEVELS, run.ours.n_pairs >= MIN_PAIRS
    ours, theirs, exact = run.ours.g2, run.theirs.g2, run.exact.g2
    with h5py.File(run.ours.path) as file:
        boost_error = file["/xpcs/multitau/normalized_g2_err_boost"][()]
    ratio = run.ours.g2_error[many] / run.theirs.g2_error[many]
    tau = [fit.tau_s / other.tau_s for fit, other in zip(run.ours.fit(), run.theirs.fit(), strict=True)]
    return [
        ("g2 - float64, this engine", f"{largest(ours - exact):.1e}"),
        ("g2 - float64, boost_corr, levels 0 to 4", f"{largest((theirs - exact)[low]):.1e}"),
        ("g2 - float64, boost_corr, levels from 5", f"{largest((theirs - exact)[~low]):.1e}"),
        ("stated error, influence / boost_corr's, median", f"{np.median(ratio):.3f}"),
        ("stated error, boost rule here / boost_corr's", spread(boost_error[many] / run.theirs.g2_error[many])),
        ("error at the last delay, influence", f"{run.ours.g2_error[-1].min():.1e}"),
        ("error at the last delay, boost_corr", f"{run.theirs.g2_error[-1].min():.1e}"),
        ("tau of a fit, here / boost_corr's", spread(np.array(tau))),
        ("two-time off the diagonal, here - boost_corr", two_time(run)),
    ]


def two_time(run: Compared) -> str:
    with h5py.File(run.ours.path) as ours, h5py.File(run.theirs.path) as theirs:
        maps = theirs.get("xpcs/twotime/correlation_map")
        if maps is None:
            return "none"
        mine = ours["xpcs/twotime/correlation_map"]
        return f"{max(largest(np.triu(mine[name][()] - maps[name][()], 1)) for name in maps):.1e}"


def largest(values: NDArray[np.floating]) -> float:
    return float(np.nanmax(np.abs(values)))


def spread(values: NDArray[np.floating]) -> str:
    return f"{values.min():.3f} to {values.max():.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "golden"
    parser.add_argument("folder", type=Path, nargs="?", default=beside)
    folder = parser.parse_args().folder
    if not folder.is_dir():
        raise SystemExit(f"{folder} is not there: give the folder of the golden runs")
    with tempfile.TemporaryDirectory() as scratch:
        runs = [compare(run, Path(scratch)) for run in sorted(folder.iterdir()) if run.is_dir()]
        tables = [rows(run) for run in runs]
    print(f"| | {' | '.join(run.name for run in runs)} |\n|---|{'---|' * len(runs)}")
    for lines in zip(*tables, strict=True):
        print(f"| {lines[0][0]} | {' | '.join(value for _, value in lines)} |")


if __name__ == "__main__":
    main()
