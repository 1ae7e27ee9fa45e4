"""Speed of the engine on a GPU, beside boost_corr's algorithm on the same card.

    PYTHONPATH=. python benchmarks/gpu.py [--small] [--repeats 5] [--json FILE]

Needs numpy, jax, numba and h5py; with PyTorch it runs the peer too. First every form is compared with a float64
reference, and the script ends there when one differs. Then each case is run once to compile and warm up, and its
median of the repeats is printed. `--small` runs all of it in seconds, on any machine: its times mean nothing.

Cases: dense frames with the data on the card (six levels, which are 63/64 of the work) and from the host's memory;
photon events from the host's memory; two-time from the host's memory. The peer makes events dense, which takes too long
for whole runs: it gets the first frames, and its time is scaled up by their number.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

# Else jax takes most of the card's memory, and the peer has none.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine import blocks_jax, pallas_frames
from xpcs_assets.engine.delays import Plan, make_plan
from xpcs_assets.engine.device import keep_compiled
from xpcs_assets.engine.events_jax import JaxEventsCorrelator
from xpcs_assets.engine.multitau import Correlator
from xpcs_assets.engine.multitau_jax import JaxCorrelator
from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.twotime_jax import products
from xpcs_assets.readers.series import Chunk, Events, Frames

EXACT = 1e-6


@dataclass(frozen=True)
class Sizes:
    """What is measured and checked."""

    dense: tuple[int, int]  # frames, side of the square detector
    sparse: tuple[tuple[int, int, float], ...]  # frames, side, occupancy
    peer_frames: int
    two_time: tuple[int, int, int]  # frames, pixels a dynamic bin, dynamic bins
    checked: tuple[int, int]  # frames, side
    means: dict[str, float]  # counts of what is checked


FULL = Sizes(
    (8192, 512),
    ((100_000, 724, 0.001), (10_000, 724, 0.01)),
    4096,
    (600, 26_668, 9),
    (5000, 24),
    {"dim": 0.4, "bright": 900.0, "16 bits": 30_000.0},
)
SMALL = Sizes((256, 10), ((600, 10, 0.01),), 256, (40, 300, 2), (200, 10), {"dim": 0.4})
STATIC = 4
"""Static bins in a dynamic one."""


def partition_of(side: int, n_dynamic: int = 9) -> Partition:
    static = np.arange(side * side).reshape(side, side) * (n_dynamic * STATIC) // (side * side)
    return Partition.of(static // STATIC + 1, static + 1, np.ones_like(static))


def reference(counts: NDArray[np.generic], plan: Plan, partition: Partition) -> NDArray[np.float64]:
    """g2 of each delay and static bin, (D, n_static), in plain float64."""
    x = counts[:, partition.pixel].astype(np.float64)
    g2 = []
    for level, lag in zip(plan.level.tolist(), plan.lag.tolist(), strict=True):
        n = len(x) >> level
        binned = x[: n << level].reshape(n, 1 << level, -1).sum(axis=1)
        past, future = binned[: n - lag], binned[lag:]
        means = [np.bincount(partition.static, each.mean(axis=0)) for each in (past * future, past, future)]
        n_pixels = np.bincount(partition.static)
        g2.append(n_pixels * means[0] / (means[1] * means[2]))
    return np.array(g2)


def run(correlator: Correlator, chunks: list[Chunk]) -> NDArray[np.float64]:
    for chunk in chunks:
        correlator.push(chunk)
    moments = correlator.finish()
    sums = moments.sums
    with np.errstate(invalid="ignore", divide="ignore"):
        return moments.n_pixels * sums[..., 0] / (sums[..., 1] * sums[..., 2])


def check(n_frames: int, side: int, means: dict[str, float]) -> None:
    """Stop where a form is not exact, for counts of each mean."""
    plan, partition = make_plan(n_frames), partition_of(side)
    for name, mean in means.items():
        counts = np.random.default_rng(1).poisson(mean, (n_frames, side * side))
        counts = counts.astype(np.min_scalar_type(counts.max()))
        expected = reference(counts, plan, partition)
        chunks: list[Chunk] = [Frames(0, counts, np.ones(n_frames, bool))]
        forms: dict[str, Callable[[], Correlator]] = {
            "fused kernel": partial(JaxCorrelator, plan, partition, "pallas"),
            "float64": partial(JaxCorrelator, plan, partition, "xla"),
            "events": partial(JaxEventsCorrelator, plan, partition),
        }
        for form, make in forms.items():
            report_exact(f"{form}, {name}", float(np.max(np.abs(run(make(), chunks) - expected))))
        exact = counts.astype(np.float64)
        whole = exact @ exact.T
        far = np.max(np.abs(products(counts) - whole) / np.maximum(whole, 1))
        report_exact(f"two-time products, {name}", float(far))


def report_exact(what: str, error: float) -> None:
    print(f"  {what}: largest error {error:.1e}")
    if not error <= EXACT:
        raise SystemExit(f"{what} is not exact to {EXACT:g}: nothing is measured")


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time, after one call that compiles and warms up. ``work`` returns only when it is done."""
    work()
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def photons(n_frames: int, n_pixels: int) -> NDArray[np.uint8]:
    """Frames of mean 1.5; 256 of them over and over, since the speed does not depend on what they hold."""
    some = np.random.default_rng(2).poisson(1.5, (256, n_pixels)).astype(np.uint8)
    return np.tile(some, (-(-n_frames // 256), 1))[:n_frames]


def dense_on_card(n_frames: int, side: int) -> Callable[[], object]:
    plan = make_plan(n_frames)
    reach, n_pixels = plan.history, -(-side * side // pallas_frames.PIXELS) * pallas_frames.PIXELS
    upper = tuple(range(plan.delays_per_level + 1, reach + 1))
    lags = (tuple(range(1, reach + 1)), *(upper,) * (pallas_frames.LEVELS - 1))
    frames = jax.device_put(photons(pallas_frames.ROWS, n_pixels))
    pixel, valid = jax.device_put((np.arange(n_pixels, dtype=np.int32), np.ones(pallas_frames.ROWS, bool)))
    keep = jax.device_put(np.ones((pallas_frames.LEVELS, pallas_frames.ROWS // 2), np.int32))
    at, on_gpu = jax.device_put(np.int32(reach)), jax.default_backend() == "gpu"

    def work() -> None:
        buffer = jax.numpy.zeros((reach + pallas_frames.ROWS, n_pixels), np.int16)
        history = jax.numpy.zeros((pallas_frames.LEVELS - 1, reach, n_pixels), np.int16)
        saturated = jax.numpy.zeros(n_pixels, bool)
        with jax.enable_x64(True):  # noqa: FBT003
            G = jax.numpy.zeros((sum(map(len, lags)), n_pixels))
            whole = jax.numpy.zeros((pallas_frames.LEVELS, n_pixels))
        for _ in range(-(-n_frames // pallas_frames.ROWS)):
            buffer, saturated = blocks_jax.load(buffer, saturated, frames, pixel, valid, at)
            total, words, made, _ = pallas_frames.correlate_block(
                buffer, history, keep, lags=lags, n_plain=pallas_frames.LEVELS, interpret=not on_gpu
            )
            buffer = blocks_jax.start_over(buffer)
            with jax.enable_x64(True):  # noqa: FBT003
                G, whole, history = blocks_jax.add_block(G, whole, total, words, made)
        G.block_until_ready()

    return work


def dense_from_host(n_frames: int, side: int) -> Callable[[], object]:
    counts, plan, partition = photons(n_frames, side * side), make_plan(n_frames), partition_of(side)
    valid = np.ones(pallas_frames.ROWS, bool)
    chunks: list[Chunk] = [
        Frames(low, counts[low : low + len(valid)], valid[: n_frames - low]) for low in range(0, n_frames, len(valid))
    ]
    return lambda: run(JaxCorrelator(plan, partition), chunks)


def events_of(n_frames: int, side: int, occupancy: float) -> Events:
    random = np.random.default_rng(3)
    n = random.poisson(occupancy * n_frames * side * side)
    frame = np.sort(random.integers(0, n_frames, n))
    pixel = random.integers(0, side * side, n, np.int32)
    return Events(0, n_frames, frame, pixel, np.ones(n, np.int32), np.ones(n_frames, bool))


def two_time_counts(n_frames: int, n_pixels: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    counts = np.random.default_rng(4).poisson(1.5, (n_frames, n_pixels)).astype(np.uint8)
    return counts, np.arange(STATIC + 1) * n_pixels // STATIC


def two_time(counts: NDArray[np.uint8], edge: NDArray[np.int64]) -> NDArray[np.float64]:
    """C of one dynamic bin: (X_s X_s^T) / (m_s m_s^T), summed over its static bins and divided by its pixels."""
    c2 = np.zeros((len(counts), len(counts)))
    for low, high in pairwise(edge):
        mean = counts[:, low:high].mean(axis=1)
        divisor = np.where(mean > 0, mean, 1.0)
        c2 += products(counts[:, low:high]) / (divisor[:, None] * divisor[None, :])
    return c2 / counts.shape[1]


class Peer:
    """boost_corr's algorithm on the same card; times in seconds for the same work."""

    def __init__(self, repeats: int) -> None:
        import boost_torch
        import torch

        self.boost, self.torch, self.repeats = boost_torch, torch, repeats
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.name = torch.cuda.get_device_name() if self.device == "cuda" else "cpu"

    def check(self) -> None:
        """Stop where its g2 is further off than bfloat16 explains."""
        counts = np.random.default_rng(5).poisson(1.5, (300, 400)).astype(np.uint8)
        sums = self.boost.Dense(5, 400, self.device)
        for low in (0, 100, 160):
            sums.push(self.torch.as_tensor(counts[low : {0: 100, 100: 160, 160: 300}[low]], device=self.device))
        found, x = sums.g2(), counts.astype(np.float64)
        for delay in (1, 8):
            expected = (x[:-delay] * x[delay:]).mean(axis=0) / (x[:-delay].mean(axis=0) * x[delay:].mean(axis=0))
            if np.max(np.abs(found[delay] - expected)) > 0.02:
                raise SystemExit("the peer's algorithm is not what it should be")

    def timed(self, work: Callable[[], object]) -> float:
        """As :func:`seconds`, and the card has finished."""

        def waited() -> None:
            work()
            self.boost.wait(self.device)

        return seconds(waited, self.repeats)

    def dense(self, n_frames: int, side: int, *, on_card: bool) -> float:
        """Dense frames; those on the card are the same 256 over and over."""
        counts, n_levels = photons(n_frames, side * side), make_plan(n_frames).n_levels
        frames = self.torch.as_tensor(counts[:256], device=self.device)

        def work() -> object:
            sums = self.boost.Dense(n_levels, side * side, self.device)
            for low in range(0, n_frames, 256):
                here = frames if on_card else self.torch.as_tensor(counts[low : low + 256], device=self.device)
                sums.push(here)
            return None if on_card else sums.g2()

        return self.timed(work)

    def sparse(self, events: Events, side: int, n_frames: int) -> float:
        """The first ``n_frames`` frames, made dense on the card; scaled to all."""
        n_levels = make_plan(events.end).n_levels

        def work() -> object:
            sums = self.boost.Dense(n_levels, side * side, self.device)
            for low in range(0, n_frames, 256):
                part = slice(*np.searchsorted(events.frame, (low, low + 256)))
                columns = (events.frame[part] - low, events.pixel[part], events.count[part].astype(np.uint8))
                here = [self.torch.as_tensor(column, device=self.device) for column in columns]
                sums.push(self.boost.scattered(*here, 256, side * side))
            return sums.g2()

        return self.timed(work) * events.end / n_frames

    def two_time(self, counts: NDArray[np.uint8], edge: NDArray[np.int64]) -> float:
        """One dynamic bin, from the host's memory and back."""
        return self.timed(lambda: self.boost.two_time(self.torch.as_tensor(counts, device=self.device), edge).cpu())


def measure(sizes: Sizes, repeats: int, peer: Peer | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def add(case: str, ours: float, per: str, n: float, theirs: float | None) -> None:
        row = {"case": case, "seconds": ours, f"ns per {per}": 1e9 * ours / n}
        if theirs is not None:
            row |= {"peer seconds": theirs, "ratio": theirs / ours}
        rows.append(row)
        peer_text = "" if theirs is None else f"; peer {theirs:.4g} s, ratio {theirs / ours:.1f}"
        print(f"  {case}: {ours:.4g} s, {1e9 * ours / n:.4g} ns per {per}{peer_text}", flush=True)

    n_frames, side = sizes.dense
    name = f"dense {side}x{side} x {n_frames}"
    for where, make, on_card in (("on the card", dense_on_card, True), ("from the host", dense_from_host, False)):
        ours = seconds(make(n_frames, side), repeats)
        theirs = peer.dense(n_frames, side, on_card=on_card) if peer else None
        add(f"{name}, {where}", ours, "pixel-frame", n_frames * side * side, theirs)
    for n_frames, side, occupancy in sizes.sparse:
        events, plan, partition = events_of(n_frames, side, occupancy), make_plan(n_frames), partition_of(side)
        ours = seconds(lambda p=plan, q=partition, e=events: run(JaxEventsCorrelator(p, q), [e]), repeats)
        theirs = peer.sparse(events, side, min(n_frames, sizes.peer_frames)) if peer else None
        name = f"sparse {side}x{side} x {n_frames}, {occupancy:.2%}, {len(events.frame) / 1e6:.3g} M events"
        add(name, ours, "event", len(events.frame), theirs)
    n_frames, n_pixels, n_bins = sizes.two_time
    counts, edge = two_time_counts(n_frames, n_pixels)
    ours = n_bins * seconds(lambda: two_time(counts, edge), repeats)
    theirs = n_bins * peer.two_time(counts, edge) if peer else None
    add(f"two-time {n_frames} frames, {n_bins} x {n_pixels} pixels", ours, "pixel and pair of frames",
        n_bins * n_pixels * n_frames**2 / 2, theirs)  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the engine on a GPU")
    parser.add_argument("--small", action="store_true", help="a smoke run of seconds")
    parser.add_argument("--repeats", type=int, default=0, help="5 unless told; 1 with --small")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sizes, repeats = (SMALL, given.repeats or 1) if given.small else (FULL, given.repeats or 5)
    keep_compiled()
    card = jax.devices()[0].device_kind
    print(f"jax {jax.__version__} on {card}" + ("" if jax.default_backend() == "gpu" else ": no GPU"))
    peer = Peer(repeats) if importlib.util.find_spec("torch") else None
    print(f"peer: PyTorch {peer.torch.__version__} on {peer.name}" if peer else "peer: PyTorch is not installed")
    print("exactness")
    check(*sizes.checked, sizes.means)
    if peer:
        peer.check()
    print("speed")
    rows = measure(sizes, repeats, peer)
    if given.json:
        given.json.write_text(json.dumps({"card": card, "small": given.small, "cases": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
