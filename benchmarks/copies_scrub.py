"""The rate at which a scrub reads copies again, beside ``sha256sum`` of the same file in the same minutes."""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from xpcs_assets.audit.scope import Scope
from xpcs_assets.audit.scrub import scrub
from xpcs_assets.copies.database import migrate, open_database
from xpcs_assets.copies.ledger import Evidence, Ledger
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.stage.copy import take_manifest

GIB = 1 << 30
_BEAMLINE = "bench"
_DAY_S = 86400.0


def measure_scrub(options: argparse.Namespace) -> dict[str, object]:
    """Scrub and ``sha256sum`` in turn, from the disk and from the cache; seconds of every repeat."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bench = _Bench(Path(folder), int(options.size_gib * GIB), options.files)
        ways: dict[str, Callable[[], None]] = {"scrub": bench.scrub, "sha256sum": bench.sha256sum}
        seconds: dict[str, dict[str, list[float]]] = {}
        for cache in ("cold", "warm"):
            for _ in range(options.repeats):
                for name, way in ways.items():
                    bench.prepare(cache)
                    wall, cpu = time.perf_counter(), _cpu_s()
                    way()
                    found = seconds.setdefault(f"{name}, {cache}", {"wall_s": [], "cpu_s": []})
                    found["wall_s"].append(time.perf_counter() - wall)
                    found["cpu_s"].append(_cpu_s() - cpu)
        print(
            f"\n{options.size_gib:g} GiB in {options.files} files\n\n| what | s wall: median (range) | MB/s | CPU s |"
        )
        print("|---|---|---|---|")
        for name, found in seconds.items():
            wall = found["wall_s"]
            print(
                f"| {name} | {statistics.median(wall):.2f} ({min(wall):.2f} to {max(wall):.2f}) | "
                f"{bench.size_bytes / statistics.median(wall) / 1e6:.0f} | {statistics.median(found['cpu_s']):.2f} |"
            )
        return dict(seconds)


class _Bench:
    """A run in a place, recorded in a ledger of its own; its clock goes on a year with each scrub."""

    def __init__(self, folder: Path, size_bytes: int, files: int) -> None:
        self.folder = folder / "place"
        self.now = datetime(2024, 1, 1, tzinfo=UTC)
        run = self.folder / "A001"
        run.mkdir(parents=True)
        self.paths = [run / f"{number}.imm" for number in range(files)]
        self.size_bytes = 0
        for path in self.paths:
            with path.open("wb") as file:
                for _ in range(size_bytes // files >> 20):
                    self.size_bytes += file.write(os.urandom(1 << 20))
                os.fsync(file.fileno())
        engine = open_database(f"sqlite:///{folder / 'ledger.db'}")
        migrate(engine)
        ledger = Ledger(engine, lambda: self.now)
        place = PosixPlace("disk", self.folder, "disk")
        manifest = take_manifest("A001", run, [path.name for path in self.paths])
        ledger.record_version(_BEAMLINE, "A001", manifest, "A001")
        ledger.record_copy(
            _BEAMLINE, "A001", 1, place="disk", path="A001", failure_domain="disk", evidence=Evidence.READ_BACK
        )
        self.scope = Scope(_BEAMLINE, ledger, {"disk": place})

    def prepare(self, cache: str) -> None:
        """Have the files' pages in the cache, or out of it."""
        for path in self.paths:
            with path.open("rb") as file:
                if cache == "cold":
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                else:
                    while file.read(1 << 24):
                        pass

    def scrub(self) -> None:
        self.now += timedelta(days=365)
        (done,) = scrub(self.scope, _DAY_S)
        if done.size_bytes != self.size_bytes or done.failed:
            raise SystemExit(f"the scrub did not read what it should: {done}")

    def sha256sum(self) -> None:
        subprocess.run(["sha256sum", *map(str, self.paths)], check=True, stdout=subprocess.DEVNULL)


def _cpu_s() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)
