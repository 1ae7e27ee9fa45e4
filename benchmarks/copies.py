"""What the care of copies costs: staging beside ``cp`` and ``sha256sum`` on the same disk in the same minutes.

    python benchmarks/copies.py ledger [--postgres URL] [--runs 100000] [--json FILE]
    python benchmarks/copies.py scrub [--folder FOLDER] [--size-gib 1] [--files 4] [--repeats 5] [--json FILE]
    python benchmarks/copies.py staging [--folder FOLDER] [--size-gib 1] [--repeats 5] [--json FILE]

Each way is measured in turn with the others, so that a disk that others use as well is as slow for all of them; medians
are printed, with the smallest and largest. *cold*: the source's pages were dropped from the cache before. *warm*: they
are there, as right after a detector has written them. What is read from the device is taken from ``/proc/self/io``: it
tells whether the read-back went to the disk or to the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from copies_ledger import ledger
from copies_scrub import measure_scrub

from xpcs_assets.places import pouring
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.stage.copy import stage_run, take_manifest

GIB = 1 << 30
CACHES = ("cold", "warm")
SMALL_FILES = {"2000 files of 16 KiB": (2000, 16 << 10), "64 files of 16 MiB": (64, 16 << 20)}
TOGETHER = (1, 2, 4)


@dataclass
class Measured:
    """Seconds of every repeat: wall, and CPU of the process and those it started."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    read_bytes: list[int] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        """The middle one of the wall times."""
        return statistics.median(self.wall_s)

    def row(self, name: str, size_bytes: int) -> str:
        """A line of the table under :data:`HEADER`."""
        rate = size_bytes / self.median_s / 1e6
        spread = f"{min(self.wall_s):.2f} to {max(self.wall_s):.2f}"
        read = f"{statistics.median(self.read_bytes) / size_bytes:.2f}"
        return (
            f"| {name} | {self.median_s:.2f} ({spread}) | {rate:.0f} | {statistics.median(self.cpu_s):.2f} | {read} |"
        )


HEADER = "| what | s wall: median (range) | MB/s | CPU s | read from the device / size |\n|---|---|---|---|---|"


@contextmanager
def timed(into: Measured) -> Iterator[None]:
    before, cpu, read = time.perf_counter(), _cpu_s(), _read_bytes()
    yield
    into.wall_s.append(time.perf_counter() - before)
    into.cpu_s.append(_cpu_s() - cpu)
    into.read_bytes.append(_read_bytes() - read)


def _cpu_s() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


def _read_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()  # children that were waited for are counted in
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def fill(folder: Path, count: int, size_bytes: int) -> list[str]:
    """Make files of bytes that no disk can press together; their names."""
    names = []
    for number in range(count):
        name = f"{number % 16:02d}/{number:05d}.bin" if count > 1 else "big.bin"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("wb") as file:
            for at in range(0, size_bytes, 16 << 20):
                file.write(os.urandom(min(16 << 20, size_bytes - at)))
            os.fsync(file.fileno())
        names.append(name)
    return names


def set_cache(folder: Path, names: Sequence[str], cache: str) -> None:
    for name in names:
        with (folder / name).open("rb") as file:
            if cache == "cold":
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while file.read(16 << 20):
                    pass


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


class Bench:
    """One set of files below a folder, and ways to copy it."""

    def __init__(self, folder: Path, count: int, size_bytes: int) -> None:
        self.source = folder / "source"
        self.goal = folder / "goal"
        self.source.mkdir()
        self.names = fill(self.source, count, size_bytes)
        self.size_bytes = count * size_bytes
        self.manifest: Manifest = take_manifest("run", self.source, self.names)

    def clear(self) -> None:
        """Nothing at the goal, and nothing of it left to be written."""
        shutil.rmtree(self.goal, ignore_errors=True)
        self.goal.mkdir()
        os.sync()

    def measure(self, ways: dict[str, Callable[[], None]], cache: str, repeats: int) -> dict[str, Measured]:
        """Every way ``repeats`` times, each round in another order: what ran before leaves its traces in memory."""
        measured = {name: Measured() for name in ways}
        for repeat in range(repeats):
            for name, way in Random(repeat).sample(list(ways.items()), len(ways)):
                self.clear()
                set_cache(self.source, self.names, cache)
                with timed(measured[name]):
                    way()
        return measured

    def stage(self, together: int = 1, *, behind: bool = True) -> None:
        """Stage all files; ``behind`` False reads back when all is written, as small files are."""
        block_bytes = pouring.BLOCK_BYTES
        pouring.BLOCK_BYTES = block_bytes if behind else 1 << 62
        try:
            target = VersionFolder(self.goal, "bench", "run", 1)
            stage_run(self.manifest, self.source, target, PosixPlace("goal", self.goal), together=together)
        finally:
            pouring.BLOCK_BYTES = block_bytes

    def copy(self) -> None:
        """What a person does."""
        run("cp", "-r", self.source, self.goal / "copied")

    def copy_to_disk(self) -> None:
        """What a careful person does."""
        self.copy()
        run("sync", *[self.goal / "copied" / name for name in self.names])

    def digest(self, program: Sequence[str], root: Path) -> None:
        """Hash all files below a folder."""
        run(*program, *[root / name for name in self.names])

    def copy_and_digest(self, program: Sequence[str]) -> None:
        """The two in turn."""
        self.copy()
        self.digest(program, self.goal / "copied")


def one_big_file(folder: Path, size_bytes: int, repeats: int) -> dict[str, dict[str, Measured]]:
    bench = Bench(folder, 1, size_bytes)
    ways: dict[str, Callable[[], None]] = {
        "staging": bench.stage,
        "staging, read back only when written": lambda: bench.stage(behind=False),
        "cp": bench.copy,
        "cp, then sync": bench.copy_to_disk,
    }
    for program in (("sha256sum",), ("openssl", "dgst", "-sha256")):
        if shutil.which(program[0]):
            name = program[0] if len(program) == 1 else "openssl sha256"
            ways[name] = lambda program=program: bench.digest(program, bench.source)  # type: ignore[misc]
            ways[f"cp, then {name} of the copy"] = lambda program=program: bench.copy_and_digest(program)  # type: ignore[misc]
    outcome = {}
    for cache in CACHES:
        measured = bench.measure(ways, cache, repeats)
        outcome[f"one file of {size_bytes / GIB:g} GiB, {cache}"] = measured
        print(f"\none file of {size_bytes / GIB:g} GiB, source {cache}\n\n{HEADER}")
        for name, found in measured.items():
            print(found.row(name, bench.size_bytes))
        print_ratios(measured)
    return outcome


def print_ratios(measured: dict[str, Measured]) -> None:
    ours = measured["staging"].median_s
    for name in ("sha256sum", "openssl sha256"):
        if name in measured:
            in_turn = measured[f"cp, then {name} of the copy"].median_s
            slower = max(measured["cp"].median_s, measured[name].median_s)
            print(
                f"staging beside cp and {name}: {in_turn / ours:.2f} x the two in turn, "
                f"{slower / ours:.2f} x the slower one alone"
            )


def many_files(folder: Path, name: str, repeats: int) -> dict[str, dict[str, Measured]]:
    bench = Bench(folder, *SMALL_FILES[name])
    ways: dict[str, Callable[[], None]] = {
        f"staging, {together} together": lambda together=together: bench.stage(together)  # type: ignore[misc]
        for together in TOGETHER
    }
    ways["cp, then sync"] = bench.copy_to_disk
    ways["cp, then sha256sum of the copy"] = lambda: bench.copy_and_digest(("sha256sum",))
    measured = bench.measure(ways, "warm", repeats)
    print(f"\n{name}, source warm\n\n{HEADER}")
    for way, found in measured.items():
        print(found.row(way, bench.size_bytes))
    return {name: measured}


def staging(options: argparse.Namespace) -> dict[str, object]:
    outcome: dict[str, dict[str, Measured]] = {}
    parts: list[Callable[[Path], dict[str, dict[str, Measured]]]] = [
        lambda folder: one_big_file(folder, int(options.size_gib * GIB), options.repeats)
    ]
    parts += [lambda folder, name=name: many_files(folder, name, options.repeats) for name in SMALL_FILES]  # type: ignore[misc]
    for part in parts:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            outcome |= part(Path(folder))
    return {case: {way: vars(found) for way, found in ways.items()} for case, ways in outcome.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("staging", help="copying, hashing and reading back")
    part.add_argument("--folder", type=Path, help="on the disk to measure; the temporary folder when left out")
    part.add_argument("--size-gib", type=float, default=1.0, help="of the big file")
    part.add_argument("--repeats", type=int, default=5)
    part.set_defaults(measure=staging)
    part = parts.add_parser("ledger", help="the ledger's operations with many runs")
    part.add_argument("--folder", type=Path, help="where the SQLite file is made; the temporary folder when left out")
    part.add_argument("--postgres", help="URL of an empty PostgreSQL database to measure as well")
    part.add_argument("--runs", type=int, default=100_000)
    part.add_argument("--repeats", type=int, default=10)
    part.set_defaults(measure=ledger)
    part = parts.add_parser("scrub", help="reading copies again")
    part.add_argument("--folder", type=Path, help="on the disk to measure; the temporary folder when left out")
    part.add_argument("--size-gib", type=float, default=1.0, help="of all files together")
    part.add_argument("--files", type=int, default=4)
    part.add_argument("--repeats", type=int, default=5)
    part.set_defaults(measure=measure_scrub)
    for part in parts.choices.values():
        part.add_argument("--json", type=Path, help="write every figure here")
    options = parser.parse_args()
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    figures = options.measure(options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
