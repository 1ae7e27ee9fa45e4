"""What the ledger's operations cost with many runs: the subcommand ``ledger`` of ``benchmarks/copies.py``.

The database is filled through SQLAlchemy's core, below the books; then each operation is timed through them, as the
steps call it. A tenth of the runs is what the warm-up before each operation asks for.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, text

from xpcs_assets.copies.database import migrate, open_database, writing
from xpcs_assets.copies.journal import Journal
from xpcs_assets.copies.keeping import advance_numbers
from xpcs_assets.copies.ledger import Evidence, Ledger
from xpcs_assets.copies.pending import unarchived
from xpcs_assets.copies.tables import BundleRow, BundleRunRow, CopyRow, MemberRow, ResultRow, VersionRow
from xpcs_assets.prune.plan import plan_place
from xpcs_assets.runs.manifest import FileEntry, Manifest
from xpcs_assets.runs.retention import Retention

BEAMLINE = "b"
PLACES = ("detector", "disk", "second", "mirror", "tape")
ELIGIBLE = 1000
KEEP_S = 30 * 86400.0
NOW = datetime(2026, 1, 1, tzinfo=UTC)
_AT_ONCE = 2000


def ledger(options: argparse.Namespace) -> dict[str, object]:
    """Time the operations on every database that was asked for."""
    told: dict[str, object] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        urls = {"SQLite": f"sqlite:///{folder}/ledger.db"}
        urls |= {"PostgreSQL": options.postgres} if options.postgres else {}
        for name, url in urls.items():
            engine = open_database(url, journal=Journal(Path(folder) / f"journal of {name}"))
            since_s = time.perf_counter()
            migrate(engine)
            fill(engine, options.runs)
            print(f"\n{name}, {options.runs} runs with {len(PLACES)} copies each")
            print(f"filled in {time.perf_counter() - since_s:.0f} s\n")
            told[name] = measure(engine, options.runs, options.repeats)
            engine.dispose()
    return told


def fill(engine: Engine, runs: int) -> None:
    """Runs with a version, five copies, a result and a bundle of two members each; the last thousand lack the archive.

    The copies on disk of the first thousand are older than their place keeps them.
    """
    for table, rows in (
        (VersionRow, versions(runs)),
        (CopyRow, copies(runs)),
        (ResultRow, results(runs)),
        (BundleRow, bundles(runs)),
        (BundleRunRow, bundle_runs(runs)),
        (MemberRow, members(runs)),
    ):
        put(engine, table.__table__, rows)  # type: ignore[arg-type]
    with writing(engine) as session:
        advance_numbers(session)
    with engine.connect() as connection:
        connection.execute(text("ANALYZE"))
        connection.commit()


def put(engine: Engine, table: Table, rows: Iterator[dict[str, Any]]) -> None:
    while some := list(islice(rows, _AT_ONCE)):
        with writing(engine) as session:
            session.execute(table.insert(), some)


def key(number: int) -> str:
    return f"A{number:06}_sample_{number % 97}"


def digest(number: int, what: str) -> str:
    return sha256(f"{number} {what}".encode()).hexdigest()


def manifest(number: int) -> Manifest:
    entries = [FileEntry(name, 10**6 + number, digest(number, name), number) for name in ("raw.imm", "m.hdf")]
    return Manifest.of(key(number), entries)


def recorded(number: int) -> datetime:
    days = 40 if number < ELIGIBLE else 20
    return NOW - timedelta(days=days, seconds=-number)


def versions(runs: int) -> Iterator[dict[str, Any]]:
    for number in range(runs):
        files = manifest(number)
        yield {
            "beamline": BEAMLINE,
            "run_key": key(number),
            "version": 1,
            "manifest_digest": files.digest,
            "manifest": files.to_json(),
            "source": key(number),
            "owner": {"proposal": str(number // 100)},
            "taken_at": recorded(number),
        }


def copies(runs: int) -> Iterator[dict[str, Any]]:
    for number in range(runs):
        for place in PLACES if number < runs - ELIGIBLE else PLACES[:-1]:
            yield {
                "beamline": BEAMLINE,
                "run_key": key(number),
                "version": 1,
                "place": place,
                "path": f"{BEAMLINE}/{key(number)}/v1/raw",
                "failure_domain": f"room of {place}",
                "state": "present",
                "reason": "",
                "evidence": Evidence.READ_BACK.value,
                "recorded_at": recorded(number),
                "verified_at": recorded(number),
            }


def results(runs: int) -> Iterator[dict[str, Any]]:
    for number in range(runs):
        yield {
            "beamline": BEAMLINE,
            "analysis_key": key(number),
            "run_key": key(number),
            "version": 1,
            "recipe_digest": "sha256:recipe",
            "path": f"{BEAMLINE}/{key(number)}/v1/results/r/x.hdf",
            "result_digest": f"sha256:{digest(number, 'result')}",
            "report": {"recipe": {"qmap_digest": "sha256:q"}, "seconds": {"total": 1.5}},
            "promoted": True,
            "recorded_at": recorded(number),
        }


def bundles(runs: int) -> Iterator[dict[str, Any]]:
    for number in range(runs - ELIGIBLE):
        yield {
            "place": "tape",
            "name": f"{key(number)}.tar",
            "beamline": BEAMLINE,
            "content": "raw",
            "size_bytes": 2 * 10**6,
            "sha256": digest(number, "bundle"),
            "index_digest": "sha256:index",
            "evidence": Evidence.READ_BACK.value,
            "recorded_at": recorded(number),
            "verified_at": recorded(number),
        }


def bundle_runs(runs: int) -> Iterator[dict[str, Any]]:
    for number in range(runs - ELIGIBLE):
        of = {"beamline": BEAMLINE, "run_key": key(number), "version": 1, "prefix": ""}
        yield {"place": "tape", "bundle": f"{key(number)}.tar", **of}


def members(runs: int) -> Iterator[dict[str, Any]]:
    for number in range(runs - ELIGIBLE):
        for place, name in enumerate(("raw.imm", "m.hdf", "result")):
            yield {
                "place": "tape",
                "bundle": f"{key(number)}.tar",
                "path": name,
                "offset_bytes": 512 + place * 10**6,
                "size_bytes": 10**6,
                "sha256": digest(number, name),
            }


def measure(engine: Engine, runs: int, repeats: int) -> dict[str, dict[str, float]]:
    """Time each operation; milliseconds: median, smallest, largest, and CPU of this process."""
    book = Ledger(engine, lambda: NOW)
    some = random.Random(1)
    retention = Retention(keep_for_s=KEEP_S, min_copies=2, at_most_copies=10**6, at_most_share=1.0)

    def any_key() -> str:
        return key(some.randrange(runs))

    def record() -> object:
        run_key = any_key()
        return book.record_copy(
            BEAMLINE,
            run_key,
            1,
            place="disk",
            path=f"{BEAMLINE}/{run_key}/v1/raw",
            failure_domain="room of disk",
            evidence=Evidence.READ_BACK,
            verified_at=NOW,
        )

    def planned() -> object:
        plan = plan_place(
            book,
            BEAMLINE,
            "disk",
            retention,
            lambda copies: frozenset((copy.run_key, copy.version) for copy in copies),
            usage=None,
        )
        if len(plan.goes) < ELIGIBLE * 0.9:
            raise RuntimeError(f"the plan has {len(plan.goes)} copies")
        return plan

    operations: dict[str, tuple[int, Callable[[], object]]] = {
        "copies of a run": (repeats * 20, lambda: book.copies(BEAMLINE, any_key(), 1)),
        "latest version of a run": (repeats * 20, lambda: book.latest(BEAMLINE, any_key())),
        "the 50 newest runs": (repeats, lambda: book.runs(BEAMLINE, limit=50)),
        "record a copy": (repeats * 5, record),
        "note an event": (repeats * 5, lambda: book.note(BEAMLINE, any_key(), "step", "done")),
        "what is not archived": (
            repeats,
            lambda: unarchived(engine, BEAMLINE, staged_in="disk", archive="tape"),
        ),
        f"plan {ELIGIBLE} eligible copies": (repeats, planned),
    }
    print("| Operation | median (min to max) in ms | CPU in ms |\n|---|---|---|")
    told = {}
    for name, (times, operation) in operations.items():
        operation()
        told[name] = timed(operation, times)
        row = told[name]
        print(f"| {name} | {row['median']:.2f} ({row['min']:.2f} to {row['max']:.2f}) | {row['cpu']:.2f} |")
    return told


def timed(operation: Callable[[], object], times: int) -> dict[str, float]:
    wall_ms, cpu_ms = [], []
    for _ in range(times):
        cpu_s, since_s = _cpu_s(), time.perf_counter()
        operation()
        wall_ms.append((time.perf_counter() - since_s) * 1e3)
        cpu_ms.append((_cpu_s() - cpu_s) * 1e3)
    return {
        "median": statistics.median(wall_ms),
        "min": min(wall_ms),
        "max": max(wall_ms),
        "cpu": statistics.median(cpu_ms),
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
