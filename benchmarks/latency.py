"""Seconds from a run's last byte to its g2 in Dagster, and light runs per minute.

    python benchmarks/latency.py [--runs 10] [--burst 40] [--json FILE]

Starts a site of its own (webserver, daemon and code location on loopback, quiet time 1 s), drops small simulated runs
into its detector folder one at a time, then a burst at once. The g2 is there when Dagster's event log holds the
materialisation of `correlation`; a run is done when `result_entry` is materialised. Times are of one machine's clock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

from dagster import AssetKey, DagsterInstance

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.new_site import init
from xpcs_assets.orchestrate import adapter
from xpcs_assets.orchestrate.processes import Services
from xpcs_assets.site import Site
from xpcs_assets.testing.simulate import SimulatedRun, simulate

LIMIT_S = 120.0


def make_site(home: Path) -> Site:
    init(home)
    for file, old, new in (
        ("beamlines/xpcs.yaml", "quiet: 5 s", "quiet: 1 s"),
        ("site.yaml", "port: 3000", "port: 0"),
    ):
        path = home / file
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    return Site(home)


def small_run(aside: Path, seed: int) -> SimulatedRun:
    return simulate(aside, format="imm", frames=600, shape=(96, 128), seed=seed)


def drop(beamline: OpenBeamline, run: SimulatedRun) -> float:
    run.folder.rename(beamline.source_root / run.name)
    return time.time()


def materialised_at(instance: DagsterInstance, asset: str, keys: list[str], since: float) -> dict[str, float]:
    """When each run's asset was materialised, s since 1970."""
    found: dict[str, float] = {}
    while len(found) < len(keys):
        if time.time() - since > LIMIT_S + 4 * len(keys):
            raise SystemExit(f"{len(keys) - len(found)} of {len(keys)} runs did not come")
        for key in keys:
            event = None if key in found else adapter.newest(instance, AssetKey(["xpcs", asset]), key)
            if event is not None:
                found[key] = event.timestamp
        time.sleep(0.1 if len(keys) == 1 else 0.5)
    return found


def measure(home: Path, runs: int, burst: int) -> dict[str, object]:
    site = make_site(home)
    beamline = OpenBeamline(site, site.beamlines["xpcs"])
    made = [small_run(home / "aside", seed) for seed in range(1, runs + burst + 2)]
    with Services(site), DagsterInstance.from_config(str(site.dagster_home)) as instance:
        latencies: list[float] = []
        for number, run in enumerate(made[: runs + 1]):
            at = drop(beamline, run)
            seen = materialised_at(instance, "correlation", [run.name], at)[run.name] - at
            materialised_at(instance, "result_entry", [run.name], at)
            if number:  # the first warms caches
                latencies.append(seen)
                print(f"run {number:3d}: g2 after {seen:5.2f} s", file=sys.stderr)
        rate = None
        if burst:
            at = time.time()
            for run in made[runs + 1 :]:
                drop(beamline, run)
            done = materialised_at(instance, "result_entry", [run.name for run in made[runs + 1 :]], at)
            rate = 60 * burst / (max(done.values()) - at)
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "runs": runs,
        "seconds_to_g2_median": round(statistics.median(latencies), 2),
        "seconds_to_g2_min": round(min(latencies), 2),
        "seconds_to_g2_max": round(max(latencies), 2),
        "burst": burst,
        "runs_per_minute": None if rate is None else round(rate, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="runs one at a time")
    parser.add_argument("--burst", type=int, default=40, help="runs at once; 0 leaves the burst out")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xpcs-assets-latency-") as folder:
        figures = measure(Path(folder) / "site", arguments.runs, arguments.burst)
    text = json.dumps(figures, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
