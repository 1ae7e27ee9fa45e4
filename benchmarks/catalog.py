"""What the embedded catalog costs with many runs: ``python benchmarks/catalog.py [--runs N] [--postgres URL]``.

Records of a raw dataset each, with a realistic vocabulary, are put as the steps put them, but many in a transaction;
then each question is timed through the reader. ``--rebuild N`` makes N runs with results on disk and times how fast a
site's catalog is made again from them.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, text

from xpcs_assets.catalog.documents import raw_document, words_of
from xpcs_assets.catalog.embedded import EmbeddedCatalog, raw_pid
from xpcs_assets.catalog.quantities import Range, numbers_of
from xpcs_assets.catalog.query import Search
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.catalog.records import Prepared, describe, put
from xpcs_assets.catalog.roster import Roster
from xpcs_assets.catalog.session import writing
from xpcs_assets.catalog.tables import DocumentRow, RecordRow, made
from xpcs_assets.catalog.viewer import OPERATOR, Viewer
from xpcs_assets.catalog.words import searchable
from xpcs_assets.copies.clock import utc_now
from xpcs_assets.copies.database import migrate, open_database
from xpcs_assets.copies.journal import Journal
from xpcs_assets.describe.groups import GROUPS
from xpcs_assets.describe.record import Entry, Owner, Record
from xpcs_assets.runs.manifest import FileEntry

BEGIN = datetime(2019, 1, 15, tzinfo=UTC)
RUNS_OF_A_PROPOSAL = 200
RUNS_OF_A_SAMPLE = 40
_AT_ONCE = 1000
MATERIALS = (
    "silica", "gold", "latex", "PMMA", "ludox", "lysozyme", "casein", "alginate", "perovskite", "ferrofluid",
    "laponite", "nafion", "gelatin",
)  # fmt: skip
SOLVENTS = ("water", "glycerol", "decalin", "ethanol", "toluene", "buffer", "brine", "hexane")
FORMS = ("gel", "glass", "suspension", "film", "melt", "brush", "emulsion", "foam")
SURNAMES = [f"{a}{b}" for a in ("Ab", "Bro", "Che", "Dal", "Eri", "Fal", "Gar") for b in ("ler", "sson", "mann", "ski")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--postgres", default="", help="URL of an empty database")
    parser.add_argument("--folder", help="where to write, on a local disk; what was filled there before is used again")
    parser.add_argument("--rebuild", type=int, default=0, metavar="N", help="instead: rebuild from N runs on disk")
    parser.add_argument("--json", default="", help="also write the figures here")
    options = parser.parse_args()
    told: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or temporary
        if options.rebuild:
            from catalog_rebuild import rebuild

            told["rebuild"] = rebuild(Path(folder), options.rebuild)
        else:
            file = f"sqlite:///{folder}/site.db"
            told["SQLite"] = one_database("SQLite", file, Path(folder), options.runs, options.repeats)
            if options.postgres:
                copy_rows(file, options.postgres)
                told["PostgreSQL"] = one_database(
                    "PostgreSQL", options.postgres, Path(folder), options.runs, options.repeats
                )
    if options.json:
        Path(options.json).write_text(json.dumps(told, indent=1), "utf-8")


def one_database(name: str, url: str, folder: Path, runs: int, repeats: int) -> dict[str, dict[str, float]]:
    engine = open_database(url, journal=Journal(folder / f"journal of {name}"))
    migrate(engine)
    since_s = time.perf_counter()
    with engine.connect() as connection:
        there = connection.execute(text("SELECT count(*) FROM catalog_records")).scalar()
    if not there:
        fill(engine, runs)
    print(f"\n{name}, {runs} runs put in {time.perf_counter() - since_s:.0f} s, {_size_mb(engine):.0f} MB\n")
    try:
        return measure(engine, runs, repeats)
    finally:
        engine.dispose()


def fill(engine: Engine, runs: int) -> None:
    """Put the runs, many in a transaction; then let the database look at what it has, as it does by itself in time."""
    now = utc_now()
    for start in range(0, runs, _AT_ONCE):
        with writing(engine) as session:
            for record in map(made_record, range(start, min(start + _AT_ONCE, runs))):
                document = raw_document(record, f"/store/b/{record.run_key}/v1/raw")
                content = describe(record, document, None) | {"quality": "complete"}
                words = searchable(words_of(record, document["pid"]))
                taken_at = datetime.fromisoformat(record.taken_at)
                seen_by = Roster().seen_by(record.owner, record.beamline)
                put(session, Prepared.of(content, seen_by, words, numbers_of(record), taken_at), now)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def copy_rows(source: str, target: str) -> None:
    """Give PostgreSQL the rows that SQLite has, which is much faster than putting them once more."""
    old, new = open_database(source), open_database(target)
    migrate(new)
    tables = [*made.sorted_tables, RecordRow.__table__, DocumentRow.__table__]
    tables.sort(key=lambda table: table.name == "catalog_numbers")  # refers to the records
    with old.connect() as reader, writing(new) as session:
        cursor = session.connection().connection.cursor()
        for table in tables:
            names = ", ".join(column.name for column in table.columns)
            rows = reader.exec_driver_sql(f"SELECT {names} FROM {table.name}")  # noqa: S608
            while some := rows.fetchmany(5000):
                lines = ("\t".join(map(_for_copy, row)) for row in some)
                cursor.copy_expert(f"COPY {table.name} ({names}) FROM STDIN", io.StringIO("\n".join(lines) + "\n"))
    with new.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    for engine in (old, new):
        engine.dispose()


def _for_copy(value: object) -> str:
    if value is None:
        return "\\N"
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def made_record(number: int) -> Record:
    """A run: a proposal every 200, a sample every 40, 30 fields, some 25 words."""
    some = random.Random(number)
    proposal, sample_number = number // RUNS_OF_A_PROPOSAL, number // RUNS_OF_A_SAMPLE
    of_sample, of_proposal = random.Random(sample_number), random.Random(-1 - proposal)
    material, solvent, form = (of_sample.choice(each) for each in (MATERIALS, SOLVENTS, FORMS))
    taken_at = BEGIN + timedelta(minutes=38 * number)
    cycle = f"{taken_at.year}-{(taken_at.month - 1) // 4 + 1}"
    who = of_proposal.choice(SURNAMES)
    temperature_k = 280 + sample_number % 60 + some.random()
    sample = f"{material} {form} in {solvent} S{sample_number % 400}"
    experiment = f"{who.lower()}{taken_at:%Y%m}{'abc'[proposal % 3]}"
    run_key = f"{material[0].upper()}{number % 1000:03}_{material}_{temperature_k:.0f}K_att{number % 7:02}_{number:06}"
    fields = [
        Entry("/entry/sample/short_description", sample),
        Entry("/entry/sample/qnw1_temperature", temperature_k, "K"),
        Entry("/entry/instrument/detector_1/detector_name", ("eiger4m", "rigaku3m", "lambda2m")[proposal % 3]),
        Entry("/entry/instrument/detector_1/frame_time", 10.0 ** some.randint(-5, 0), "s"),
        Entry("/entry/instrument/detector_1/distance", 4.0 + proposal % 9, "m"),
        Entry("/entry/instrument/incident_beam/incident_energy", 7.0 + proposal % 5, "keV"),
        Entry("/entry/instrument/attenuator_1/attenuator_transmission", 0.5 ** (number % 7)),
        Entry("/entry/title", f"{who} {form} ageing at {temperature_k:.0f} K, scan {number % 50}"),
        Entry("/entry/user/name", who),
    ]
    fields += [Entry(f"/entry/instrument/motor_{n}/position", some.uniform(-10, 10), "mm") for n in range(21)]
    return Record(
        beamline="b" if proposal % 4 else "b2",
        run_key=run_key,
        version=1,
        source=f"{cycle}/{experiment}/data/{run_key}",
        taken_at=taken_at.isoformat(),
        owner=Owner(str(100_000 + proposal), experiment, (f"p{100_000 + proposal}", "staff"), "2021-06-30"),
        manifest_digest=f"sha256:{number:064x}",
        files=(FileEntry(f"{run_key}.h5", 10**9 + number, f"{number:064x}", number),),
        raw={"format": "eiger", "frames_recorded": 10_000, "rows_px": 2162, "columns_px": 2068},
        groups={name: tuple(fields) if name == GROUPS[0] else () for name in GROUPS},
        others=(),
    )


def measure(engine: Engine, runs: int, repeats: int) -> dict[str, dict[str, float]]:
    """Time each question: median, smallest and largest, in ms of wall time, and the median CPU of this process."""
    some = random.Random(1)
    everybody = CatalogReader(engine, OPERATOR)
    member = CatalogReader(engine, Viewer.of([f"p{100_000 + (runs // RUNS_OF_A_PROPOSAL) // 2}"]))
    others = CatalogReader(engine, Viewer.of(["p1"]))  # what is no longer under embargo, about a third
    catalog = EmbeddedCatalog(engine)
    common, rare = "silica water", f"scan S{runs // RUNS_OF_A_SAMPLE % 400 - 1}"
    ranges = (Range.parse("qnw1_temperature=290..300 K"), Range.parse("frame_time<1 ms"))
    second = everybody.search(Search()).next
    third_run = made_record(runs // 3)

    def upsert() -> object:
        return catalog.put_raw(made_record(some.randrange(runs)), f"/moved/{time.time_ns()}")

    operations: dict[str, Callable[[], object]] = {
        "newest 50": lambda: everybody.search(Search()),
        "the next 50": lambda: everybody.search(Search(after=second)),
        "newest 50 of a member of one proposal": lambda: member.search(Search()),
        "newest 50 of somebody else": lambda: others.search(Search()),
        "newest 50 of one sample": lambda: everybody.search(Search(where={"sample": ["silica gel in water S7"]})),
        "one run by its key": lambda: everybody.search(Search(third_run.run_key)),
        "two common words, newest 50": lambda: everybody.search(Search(common)),
        "two words in every record, newest 50": lambda: everybody.search(Search("scan ageing")),
        "two words, one rare": lambda: everybody.search(Search(rare)),
        "two words that never meet": lambda: everybody.search(Search("silica gold")),
        "two words, of somebody else": lambda: others.search(Search(common)),
        "two ranges, newest 50": lambda: everybody.search(Search(ranges=ranges)),
        "sorted by sample, 50": lambda: everybody.search(Search(sort="sample")),
        "12 facets, all records": lambda: everybody.count(Search()),
        "12 facets, of somebody else": lambda: others.count(Search()),
        "12 facets, of one cycle": lambda: everybody.count(Search(where={"cycle": ["2021-2"]})),
        "12 facets, of two common words": lambda: everybody.count(Search(common)),
        "12 facets, of a word in every record": lambda: everybody.count(Search("scan")),
        "12 facets, of two ranges": lambda: everybody.count(Search(ranges=ranges)),
        "one record": lambda: everybody.get(raw_pid(third_run.beamline, third_run.run_key, 1)),
        "put a record anew": upsert,
        "put a record that is the same": lambda: catalog.put_raw(third_run, "/store/x"),
    }
    print("| Question | median (min to max) in ms | CPU in ms |\n|---|---|---|")
    told = {}
    for name, operation in operations.items():
        operation()
        row = told[name] = timed(operation, repeats)
        print(f"| {name} | {row['median']:.1f} ({row['min']:.1f} to {row['max']:.1f}) | {row['cpu']:.1f} |", flush=True)
    return told


def timed(operation: Callable[[], object], times: int) -> dict[str, float]:
    wall_ms, cpu_ms = [], []
    for _ in range(times):
        cpu_s, since_s = time.process_time(), time.perf_counter()
        operation()
        wall_ms.append((time.perf_counter() - since_s) * 1e3)
        cpu_ms.append((time.process_time() - cpu_s) * 1e3)
    return {
        "median": statistics.median(wall_ms),
        "min": min(wall_ms),
        "max": max(wall_ms),
        "cpu": statistics.median(cpu_ms),
    }


def _size_mb(engine: Engine) -> float:
    asked = "SELECT pg_database_size(current_database())"
    if engine.dialect.name == "sqlite":
        asked = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    with engine.connect() as connection:
        return float(connection.execute(text(asked)).scalar_one()) / 1e6


if __name__ == "__main__":
    main()
