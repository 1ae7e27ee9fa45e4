"""Speed of the correlation worker on the CPU: whole processes, start included, on runs of its own making.

    python benchmarks/correlation.py [--only SET ...] [--bins 36/9 360/36] [--repeat 3] [--folder DIR] [--small]
                                     [--peers PYTHON] [--json FILE]

Makes each set once in the folder (same seed, same bytes), runs `xpcs-assets correlate` once to warm the compile cache
and the page cache and then `--repeat` times, and prints a Markdown table of medians: wall and CPU seconds and peak
memory of the process as the operating system counts them, the seconds of each phase from the worker's report, events
or pixel-frames a second, CPU nanoseconds for each. The digest of the raw file is handed over, as a site does it.

`--peers` names a Python that has scikit-beam (a throw-away virtual environment will do); it correlates the first frames
of the dense set, in turn with the worker, and its CPU time a frame, reading left out, is compared with the worker's
whole one. boost_corr's algorithm is measured by `gpu.py`. `--small` runs everything in seconds: its times mean nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.qmaps.qmap import write_qmap
from xpcs_assets.qmaps.rings import ring_partition
from xpcs_assets.readers import rigaku, rigaku3m
from xpcs_assets.testing.writers import DATASET, AcquisitionFacts, write_metadata

SEED = 20261121
PIXEL_SIZE_M, DISTANCE_M, ENERGY_KEV = 76e-6, 10.0, 10.0
EVENTS_AT_ONCE = 4_000_000
PEER_FRAMES = 200


@dataclass(frozen=True)
class Set:
    """A run to be made: detector, frames, and counts a pixel and frame."""

    name: str
    shape: tuple[int, int]
    frames: int
    mean: float
    write: Callable[[Path, Set], list[Path]]
    sparse: bool


def brightness(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Relative intensity of each pixel, of mean 1: three times as bright in the middle as at the edge."""
    y, x = np.indices(shape)
    distance = np.hypot(y - shape[0] / 2, x - shape[1] / 2)
    intensity = 3 - 2 * distance / distance.max()
    return np.asarray(intensity / intensity.mean()).ravel()


def words(made: Set, shape: tuple[int, int], seed: int) -> Iterator[NDArray[np.uint64]]:
    """Words of a Rigaku file: Poisson photons, a pixel at most once in a frame."""
    random = np.random.default_rng(seed)
    n_pixels = shape[0] * shape[1]
    rate = made.mean * brightness(shape)
    step = max(1, int(EVENTS_AT_ONCE / rate.sum()))
    for begin in range(0, made.frames, step):
        n_frames = min(step, made.frames - begin)
        pixel = np.repeat(np.arange(n_pixels), random.poisson(rate * n_frames))
        key, count = np.unique(random.integers(0, n_frames, pixel.size) * n_pixels + pixel, return_counts=True)
        frame = (key // n_pixels + begin).astype(np.uint64)
        yield frame << rigaku.FRAME_SHIFT | (key % n_pixels).astype(np.uint64) << 16 | count.astype(np.uint64)


def write_500k(folder: Path, made: Set) -> list[Path]:
    path = folder / f"{made.name}.bin"
    with path.open("wb") as file:
        for part in words(made, rigaku.SHAPE, SEED):
            file.write(part.tobytes())
    return [path]


def write_3m(folder: Path, made: Set) -> list[Path]:
    paths = [folder / f"{made.name}.bin.00{module}" for module in range(rigaku3m.N_MODULES)]
    for module, path in enumerate(paths):
        with path.open("wb") as file:
            for part in words(made, rigaku.SHAPE, SEED + module):
                file.write(part.tobytes())
    return paths[:1]


def write_frames(folder: Path, made: Set) -> list[Path]:
    """Frames as 8-ID's detectors write them: one a chunk, bitshuffle with lz4."""
    random = np.random.default_rng(SEED)
    rate = made.mean * brightness(made.shape).reshape(made.shape)
    path = folder / f"{made.name}.h5"
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset(
            DATASET,
            (made.frames, *made.shape),
            np.uint16,
            chunks=(1, *made.shape),
            **hdf5plugin.Bitshuffle(cname="lz4"),
        )
        for number in range(made.frames):
            data[number] = random.poisson(rate)
    return [path]


def write_stack(folder: Path, made: Set) -> list[Path]:
    """One array of bytes, (frames, rows, columns)."""
    random = np.random.default_rng(SEED)
    path = folder / f"{made.name}.npy"
    stack = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(made.frames, *made.shape))
    rate = made.mean * brightness(made.shape).reshape(made.shape)
    for begin in range(0, made.frames, 10_000):
        part = stack[begin : begin + 10_000]
        part[:] = random.poisson(rate, part.shape)
    stack.flush()
    path.with_suffix(".json").write_text(json.dumps({"frame_time_s": 1e-5, "energy_kev": ENERGY_KEV}))
    return [path]


SETS = (
    Set("sparse-0.1", rigaku.SHAPE, 100_000, 1e-3, write_500k, sparse=True),
    Set("sparse-0.01", rigaku.SHAPE, 100_000, 1e-4, write_500k, sparse=True),
    Set("sparse-1", rigaku.SHAPE, 10_000, 1e-2, write_500k, sparse=True),
    Set("dense", (512, 512), 2_000, 1.5, write_frames, sparse=False),
    Set("sparse-3m", rigaku3m.SHAPE, 20_000, 1e-3, write_3m, sparse=True),
    Set("long", (64, 64), 1_000_000, 0.5, write_stack, sparse=False),
)


@dataclass(frozen=True)
class Run:
    """A set on disk."""

    made: Set
    raw: list[Path]
    metadata: Path

    @property
    def n_events(self) -> int:
        """Events of the files; 0 for frames."""
        files = self.raw[0].parent.glob(f"{self.made.name}.bin*") if self.made.sparse else ()
        return sum(path.stat().st_size // rigaku.WORD_BYTES for path in files)


def make(folder: Path, made: Set) -> Run:
    folder = folder / f"{made.name}-{made.frames}"
    metadata = folder / f"{made.name}_metadata.hdf"
    if metadata.exists():
        return Run(
            made, sorted(path for path in folder.iterdir() if path.suffix in (".bin", ".000", ".h5", ".npy")), metadata
        )
    folder.mkdir(parents=True, exist_ok=True)
    raw = made.write(folder, made)
    centre = (made.shape[0] / 2, made.shape[1] / 2)
    facts = AcquisitionFacts("d", made.frames, 1e-5, 1e-5, ENERGY_KEV, centre, PIXEL_SIZE_M, DISTANCE_M, "2026-11-21")
    write_metadata(metadata, facts)
    return Run(made, raw, metadata)


def make_qmap(folder: Path, made: Set, n_static: int, n_dynamic: int) -> tuple[Path, int]:
    """The q-map's file, and how many pixels it analyses."""
    path = folder / f"qmap-{made.shape[0]}x{made.shape[1]}-{n_static}-{n_dynamic}.hdf"
    y, x = np.indices(made.shape)
    centre = (made.shape[0] / 2, made.shape[1] / 2)
    mask = np.hypot(y - centre[0], x - centre[1]) > min(made.shape) / 40
    write_qmap(
        path, ring_partition(made.shape, centre, PIXEL_SIZE_M, DISTANCE_M, ENERGY_KEV, mask, n_dynamic, n_static)
    )
    return path, int(mask.sum())


def timed(command: list[str], cwd: Path) -> dict[str, float]:
    """Wall and CPU seconds and peak memory of a process, by the operating system; it must succeed."""
    log = cwd / "output.log"
    with log.open("w") as out:
        began_s = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    return {"wall_s": wall_s, "cpu_s": used.ru_utime + used.ru_stime, "peak_mib": used.ru_maxrss / 1024}


def digests(raw: list[Path]) -> list[str]:
    """Options that hand the raw files' digests over; the worker hashes them otherwise."""
    options = []
    for path in raw:
        with path.open("rb") as file:
            options += ["--raw-digest", hashlib.file_digest(file, "sha256").hexdigest()]
    return options


def worker(run: Run, qmap: Path, scratch: Path, known: list[str]) -> dict[str, float]:
    output = scratch / "result.hdf"
    command = [sys.executable, "-m", "xpcs_assets.correlate", *map(str, run.raw), "--qmap", str(qmap)]
    command += ["--output", str(output), "--metadata", str(run.metadata), "--overwrite", "--progress", "none"]
    command += ["--device", "cpu", "--frames", str(run.made.frames), *known]
    figures = timed(command, scratch)
    report = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    return figures | {f"{phase}_s": seconds for phase, seconds in report["seconds"].items()}


SKBEAM = """
import sys, time, h5py, hdf5plugin, numpy as np
from skbeam.core.correlation import multi_tau_auto_corr
n = int(sys.argv[4])
with h5py.File(sys.argv[1]) as f: frames = f[sys.argv[3]][:n]
with h5py.File(sys.argv[2]) as f: labels = f["/qmap/dynamic_roi_map"][:].astype(int)
began = time.process_time()
multi_tau_auto_corr(max(2, int(np.log2(n / 8)) + 1), 8, labels, frames)
print("SECONDS", time.process_time() - began, len(frames))
"""
PEERS = {"skbeam": SKBEAM}


def peer(python: str, script: str, run: Run, qmap: Path) -> float:
    """CPU seconds a frame that a peer needs to correlate."""
    n_frames = min(PEER_FRAMES, run.made.frames)
    command = [python, "-c", script, str(run.raw[0]), str(qmap), DATASET, str(n_frames)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("SECONDS")), "")
    if not line:
        raise SystemExit(f"the peer failed:\n{done.stderr[-2000:]}")
    _, seconds, frames = line.split()
    return float(seconds) / int(frames)


def installed(python: str, name: str) -> bool:
    return subprocess.run([python, "-c", f"import {name}"], capture_output=True, check=False).returncode == 0


def measure(run: Run, bins: str, repeats: int, folder: Path, peers: str) -> dict[str, Any]:
    n_static, n_dynamic = (int(number) for number in bins.split("/"))
    names = [
        name
        for name in PEERS
        if peers and not run.made.sparse and run.raw[0].suffix == ".h5" and installed(peers, name)
    ]
    known = digests(run.raw)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        qmap, n_pixels = make_qmap(Path(scratch), run.made, n_static, n_dynamic)
        worker(run, qmap, Path(scratch), known)
        own, theirs = [], {name: [] for name in names}
        for _ in range(repeats):
            own.append(worker(run, qmap, Path(scratch), known))
            for name in names:
                theirs[name].append(peer(peers, PEERS[name], run, qmap))
    median = {key: statistics.median(one[key] for one in own) for key in own[0]}
    per_frame_s = median["cpu_s"] / run.made.frames
    return {
        "set": run.made.name,
        "bins": bins,
        "frames": run.made.frames,
        "pixels": n_pixels,
        "events": run.n_events,
        **median,
        "wall_all_s": [round(one["wall_s"], 3) for one in own],
        "ratios": {name: statistics.median(of) / per_frame_s for name, of in theirs.items()},
    }


def row(found: dict[str, Any]) -> str:
    work = found["events"] or found["pixels"] * found["frames"]
    phases = ", ".join(
        f"{key.removesuffix('_s')} {value:.2f}"
        for key, value in found.items()
        if key.endswith("_s") and key not in ("wall_s", "cpu_s", "wall_all_s")
    )
    ratios = ", ".join(f"{name} {ratio:.0f}x" for name, ratio in found["ratios"].items()) or "-"
    unit = "M events" if found["events"] else "M pixel-frames"
    return (
        f"| {found['set']} | {found['bins']} | {work / 1e6:.1f} {unit} | {found['wall_s']:.2f} | {found['cpu_s']:.2f} "
        f"| {phases} | {work / found['wall_s'] / 1e6:.0f} M/s | {found['cpu_s'] / work * 1e9:.2f} "
        f"| {found['peak_mib']:.0f} | {ratios} |"
    )


def machine() -> str:
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{names[0] if names else platform.processor()}, {len(os.sched_getaffinity(0))} cores, load {load}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the correlation worker on the CPU.")
    parser.add_argument("--only", nargs="+", choices=[made.name for made in SETS], default=[made.name for made in SETS])
    parser.add_argument("--bins", nargs="+", default=["36/9", "360/36"], metavar="STATIC/DYNAMIC")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the sets are kept (default: a temporary folder)")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--peers", default="", metavar="PYTHON", help="a Python with scikit-beam")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        print(f"{machine()}\n")
        print("| set | bins | work | wall s | CPU s | phases, s | speed | CPU ns each | peak MiB | peers' CPU |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for made in (made for made in SETS if made.name in arguments.only):
            if arguments.small:
                made = Set(made.name, made.shape, made.frames // 100, made.mean, made.write, sparse=made.sparse)
            run = make(folder, made)
            for bins in arguments.bins:
                found.append(measure(run, bins, arguments.repeat, folder, arguments.peers))
                print(row(found[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "sets": found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
