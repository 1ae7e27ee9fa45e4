"""How true the stated error bars are: the scatter of g2 over many independent repeats, over the error stated for it.

    python benchmarks/errors.py [--repeats 60] [--seeds 2] [--limits] [--json FILE]

Independent pixels of a known law (gamma-autoregressive speckle, Poisson counts) go straight into the engine; each
dynamic bin is a repeat with pixels of its own. A ratio of 1 is an error bar that is right, 2 one that is half of what
it should be. Ratios are root mean squares over the repeats, pooled over the delays of a range; bias is the mean of g2
less its exact expectation, in units of the true scatter, and pull the same weighted by the stated errors. A minute of
CPU time, no files, no site.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.delays import MIN_PAIRS, Plan
from xpcs_assets.testing.replicates import Law, Repeats, repeat

SLOW, FAST = 50.0, 2.0
CASES = [Law(photons, tau_frames) for photons in (2, 20, 1500) for tau_frames in (SLOW, FAST)]
_BRIGHT = Law(1500, SLOW)
LIMITS = [
    *(replace(_BRIGHT, n_static=400 // pixels, pixels=pixels) for pixels in (1, 3, 10, 100)),
    *(replace(_BRIGHT, tau_frames=tau, rate_spread=spread) for tau in (SLOW, FAST) for spread in (0.2, 0.3)),
    replace(_BRIGHT, tau_frames=400, photons=20_000),
]


def ranges(plan: Plan) -> dict[str, NDArray[np.bool_]]:
    delay, few, quarter = plan.delay, plan.n_pairs < MIN_PAIRS, plan.n_frames // 4
    return {
        "1 to 8": delay <= 8,
        "10 to 64": (delay > 8) & (delay <= 64),
        "80 to T/4": (delay > 64) & (delay <= quarter),
        "over T/4": (delay > quarter) & ~few,
        f"under {MIN_PAIRS} pairs": few,
    }


def measure(law: Law, repeats: int, seeds: int) -> list[dict[str, object]]:
    runs = [repeat(law, repeats, seed) for seed in range(seeds)]
    rows = []
    for name, chosen in ranges(runs[0].plan).items():
        rows.append(
            {
                **asdict(law),
                "delays": name,
                "influence": pooled(runs, [run.g2.error for run in runs], chosen),
                "boost": pooled(runs, [run.g2.error_boost for run in runs], chosen),
                "bias": bias(runs, chosen),
                "pull": pull(runs, chosen),
            }
        )
    return rows


def pooled(runs: list[Repeats], errors: list[NDArray[np.float64]], chosen: NDArray[np.bool_]) -> float:
    with np.errstate(divide="ignore"):
        squares = [run.ratio(error, chosen) ** 2 for run, error in zip(runs, errors, strict=True)]
    return float(np.sqrt(np.mean(squares)))


def bias(runs: list[Repeats], chosen: NDArray[np.bool_]) -> float:
    """Mean deviation of the range, each delay in units of its own scatter."""
    deviation = np.concatenate([run.deviation()[chosen] for run in runs], axis=1)
    scatter = deviation.std(axis=1)
    return float((deviation.mean(axis=1)[scatter > 0] / scatter[scatter > 0]).mean())


def pull(runs: list[Repeats], chosen: NDArray[np.bool_]) -> float:
    """Mean deviation as a fit sees it, weighted by the stated errors; each delay in units of its own scatter."""
    deviation = np.concatenate([run.deviation()[chosen] for run in runs], axis=1)
    weight = np.concatenate([run.g2.error[chosen] for run in runs], axis=1) ** -2.0
    return float(((deviation * weight).sum(axis=1) / weight.sum(axis=1) / deviation.std(axis=1)).mean())


def as_table(rows: list[dict[str, object]], keys: tuple[str, ...]) -> str:
    lines = [f"| {' | '.join(keys)} |", "|" + "---|" * len(keys)]
    for row in rows:
        cells = [f"{value:.2f}" if key in ("influence", "boost", "bias", "pull") else f"{value}" for key, value in
                 ((key, row[key]) for key in keys)]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=60, help="repeats of each seed")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--limits", action="store_true", help="also where the rule is at its limits")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    begun = time.process_time()
    rows = [row for law in CASES for row in measure(law, arguments.repeats, arguments.seeds)]
    print(as_table(rows, ("photons", "tau_frames", "delays", "influence", "boost", "bias", "pull")))
    if arguments.limits:
        limits = [row for law in LIMITS for row in measure(law, arguments.repeats, arguments.seeds)]
        shown = (
            "photons",
            "tau_frames",
            "n_static",
            "pixels",
            "rate_spread",
            "delays",
            "influence",
            "boost",
            "bias",
            "pull",
        )
        print("\n" + as_table(limits, shown))
        rows += limits
    processor = platform.processor() or platform.machine()
    print(f"\n{arguments.repeats * arguments.seeds} repeats, {time.process_time() - begun:.0f} CPU s on {processor}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
