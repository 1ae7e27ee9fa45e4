"""Opening, migrating and the transactions of the database."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, text
from sqlalchemy.schema import SchemaItem

from xpcs_assets.copies import database, tables
from xpcs_assets.copies.clock import utc_now
from xpcs_assets.copies.database import (
    SCHEMA,
    check_schema,
    clock_of,
    migrate,
    open_database,
    reading,
    schema_of,
    writing,
)
from xpcs_assets.copies.journal import Journal
from xpcs_assets.copies.ledger import BundleRun, Ledger
from xpcs_assets.errors import LedgerError
from xpcs_assets.runs.manifest import FileEntry, Manifest

MIGRATIONS = Path(database.__file__).with_name("migrations")


def set_schema(ledger: Ledger, number: str) -> None:
    with writing(ledger.engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = :number"), {"number": number})


def test_the_newest_migration_is_the_schema_that_the_code_names() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA]


def test_no_migration_goes_back() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    steps = list(ScriptDirectory.from_config(config).walk_revisions())
    assert len(steps) == int(SCHEMA)
    for step in steps:
        with pytest.raises(LedgerError, match=r"never taken back"):
            step.module.downgrade()


def test_migrating_makes_the_very_tables_that_are_declared(ledger: Ledger) -> None:
    declared = {
        row.__tablename__
        for row in vars(tables).values()
        if isinstance(row, type) and row.__module__ == tables.__name__
    }

    def is_mine(item: SchemaItem, _name: object, kind: str, _reflected: object, _other: object) -> bool:
        return (item if kind == "table" else item.table).name in declared  # type: ignore[attr-defined]

    with ledger.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_mine})
        assert compare_metadata(context, database.Base.metadata) == []
    assert {"arrivals", "copies", "removals"} <= declared


def test_migrating_twice_changes_nothing(ledger: Ledger) -> None:
    ledger.note("b", "r", "step", "kept")
    migrate(ledger.engine)
    check_schema(ledger.engine)
    assert [event.what for event in ledger.timeline("b", "r")] == ["kept"]


def test_an_empty_database_says_that_it_must_be_made(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'new.db'}")
    assert schema_of(engine) is None
    with pytest.raises(LedgerError, match=r"no tables yet.*xpcs-assets init"):
        check_schema(engine)
    engine.dispose()


def test_an_empty_database_beside_a_journal_with_lines_is_a_lost_ledger_and_stays_empty(tmp_path: Path) -> None:
    url, journal = f"sqlite:///{tmp_path / 'ledger.db'}", Journal(tmp_path / "journal")
    engine = open_database(url, journal=journal)
    migrate(engine)
    Ledger(engine).hold("b", "r", "a paper", "a scientist")
    engine.dispose()
    (tmp_path / "ledger.db").unlink()
    engine = open_database(url, journal=journal)
    for refusing in (check_schema, migrate):
        with pytest.raises(LedgerError, match=r"the ledger that was here is gone.*xpcs-assets rebuild"):
            refusing(engine)
    assert schema_of(engine) is None
    engine.dispose()


def test_an_older_database_says_to_migrate(ledger: Ledger) -> None:
    set_schema(ledger, "0000")
    with pytest.raises(LedgerError, match=r"schema 0000.*xpcs-assets init"):
        check_schema(ledger.engine)


def test_f60_a_newer_database_is_refused_and_not_migrated(ledger: Ledger) -> None:
    set_schema(ledger, "9999")
    for refusing in (check_schema, migrate):
        with pytest.raises(LedgerError, match=r"9999, newer than.*Update xpcs-assets"):
            refusing(ledger.engine)
    assert schema_of(ledger.engine) == "9999"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"not-there.*folder does not exist"):
        open_database(f"sqlite:///{tmp_path / 'not-there' / 'ledger.db'}")


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(LedgerError, match="no database URL"):
        open_database("ledger.db")


def test_sqlite_is_durable_and_checks_references(sqlite_ledger: Ledger) -> None:
    with sqlite_ledger.engine.connect() as connection:
        asked = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert asked == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger) -> None:
    def half() -> None:
        with writing(ledger.engine) as session:
            session.execute(text("INSERT INTO leases VALUES ('b', 'r', 'p', 'h', 1, 0)"))
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert ledger.leases("b", "r") == ()
    with reading(ledger.engine) as session:
        assert session.execute(text("SELECT count(*) FROM leases")).scalar() == 0


def test_f05_a_full_disk_under_the_ledger_is_an_error_and_nothing_is_half_done(sqlite_ledger: Ledger) -> None:
    with sqlite_ledger.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(LedgerError, match=r"full.*has room"):
        sqlite_ledger.note("b", "r", "step", "x" * 1_000_000)
    assert sqlite_ledger.timeline("b", "r") == ()


def test_a_damaged_file_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 1000)
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with pytest.raises(LedgerError, match="not a database"):
        check_schema(engine)
    engine.dispose()


def test_writers_of_many_threads_wait_for_each_other(ledger: Ledger) -> None:
    threads = [
        threading.Thread(target=lambda: [ledger.note("b", "r", "step", "line") for _ in range(10)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.timeline("b", "r")) == 40


def test_a_writer_locks_others_out_before_it_writes_and_readers_go_on(sqlite_ledger: Ledger) -> None:
    sqlite_ledger.note("b", "r", "step", "before")
    with closing(sqlite3.connect(sqlite_ledger.engine.url.database or "", timeout=0)) as other:
        with writing(sqlite_ledger.engine) as session:
            session.execute(text("SELECT 1"))
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            assert other.execute("SELECT what FROM events").fetchall() == [("before",)]
        with reading(sqlite_ledger.engine) as session:
            session.execute(text("SELECT count(*) FROM events"))
            other.execute("BEGIN IMMEDIATE")


def test_checking_the_schema_does_not_import_alembic(ledger: Ledger) -> None:
    code = (
        "import sys; from xpcs_assets.copies.database import check_schema, open_database; "
        "check_schema(open_database(sys.argv[1])); sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, ledger.engine.url.render_as_string(hide_password=False)], check=True)


def test_names_that_are_no_text_come_back_exactly(ledger: Ledger) -> None:
    odd = "NUL \0, bytes \udcff\udc80, the mark \N{SYMBOL FOR ESCAPE} and \N{SYMBOL FOR ESCAPE}00FF"
    ledger.note("b", "r", "step", odd, {"file": odd})
    ledger.note_arrival("b", "r", source=odd, fingerprint=odd, state="waiting", reason=odd)
    (line,) = ledger.timeline("b", "r")
    assert (line.what, line.detail) == (odd, {"file": odd})
    arrival = ledger.arrival("b", "r")
    assert arrival is not None
    assert (arrival.source, arrival.reason) == (odd, odd)
    assert ledger.note_arrival("b", "r", source=odd, fingerprint=odd, state="waiting", reason=odd) == arrival


def test_f18_a_run_s_file_whose_name_is_no_utf8_is_carried_by_its_manifest(ledger: Ledger) -> None:
    manifest = Manifest.of("r", [FileEntry("a\udcff.imm", 1, "0" * 64), FileEntry("new\nline", 1, "1" * 64)])
    ledger.record_version("b", "r", manifest, "/d/r\udcff")
    found = ledger.version("b", "r", 1)
    assert (found.manifest, found.source) == (manifest, "/d/r\udcff")


def test_writers_queue_and_see_what_the_one_before_wrote(url: str) -> None:
    """Two connections raise one number 50 times each; nothing is lost."""

    def raise_it() -> None:
        engine = open_database(url)
        for _ in range(25):
            with writing(engine) as session:
                row = session.scalars(select(tables.LedgerRow)).one()
                row.journal_number += 1
        engine.dispose()

    threads = [threading.Thread(target=raise_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine = open_database(url)
    with reading(engine) as session:
        assert session.scalars(select(tables.LedgerRow.journal_number)).one() == 50
    engine.dispose()


def test_a_reader_sees_one_moment(ledger: Ledger, url: str) -> None:
    ledger.note("b", "r", "step", "before")
    other = open_database(url)
    with reading(ledger.engine) as session:
        count = text("SELECT count(*) FROM events")
        assert session.execute(count).scalar() == 1
        Ledger(other).note("b", "r", "step", "meanwhile")
        assert session.execute(count).scalar() == 1
    other.dispose()


def test_f59_a_writer_that_waits_too_long_is_told_and_readers_keep_working(
    ledger: Ledger, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    other = open_database(url)
    with writing(ledger.engine) as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(LedgerError, match=r"lock.*Another writer has it"):
            Ledger(other).note("b", "r", "step", "never")
        assert Ledger(other).timeline("b", "r") == ()
    Ledger(other).note("b", "r", "step", "now")
    assert len(ledger.timeline("b", "r")) == 1
    other.dispose()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_postgresql_lets_nobody_write_in_a_transaction_that_reads(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="read-only"), reading(ledger.engine) as session:
        session.execute(text("UPDATE ledger SET journal_number = 5"))


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_connection_that_broke_is_told_and_the_next_one_works(ledger: Ledger) -> None:
    kill = text("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(LedgerError, match="server runs and can be reached"), writing(ledger.engine) as session:
        session.execute(kill)
    ledger.note("b", "r", "step", "on")
    assert len(ledger.timeline("b", "r")) == 1


@pytest.mark.parametrize("name", ["postgresql", "postgres"])
def test_a_server_that_is_not_there_is_told_without_the_password(name: str, tmp_path: Path) -> None:
    engine = open_database(f"{name}://user:secret@/db?host={tmp_path}")
    with pytest.raises(LedgerError, match=r"postgresql.*server runs and can be reached") as raised:
        check_schema(engine)
    assert "secret" not in str(raised.value)


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(LedgerError, match=r"driver for PostgreSQL.*xpcs-assets\[postgres\]"):
        open_database("postgresql://user@host/db")


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(LedgerError, match=r"does not work on mysql.*postgresql://"):
        open_database("mysql://user@host/db")


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_i18_ages_are_judged_by_the_server_s_clock(ledger: Ledger) -> None:
    clock = clock_of(ledger.engine)
    before = clock()
    assert abs(before - utc_now()) < timedelta(minutes=5)
    assert clock() > before
    assert clock.__name__ != utc_now.__name__


def test_on_sqlite_this_machine_s_clock_is_the_one(sqlite_ledger: Ledger) -> None:
    assert clock_of(sqlite_ledger.engine) is utc_now


def test_a_ledger_of_the_schema_before_keeps_its_bundles(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'old.db'}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.execution_options(xpcs_writes=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(
            text("INSERT INTO bundles VALUES ('tape', 'r.tar', 'b', 'r', 1, 'raw', 9, '1', 'i', 'size', 5, 6)")
        )
        connection.execute(text("INSERT INTO bundle_members VALUES ('tape', 'r.tar', 'a', 512, 1, '0')"))
    migrate(engine)
    ledger = Ledger(engine)
    (bundle,) = ledger.bundles("b", "r", 1)
    assert (bundle.name, bundle.size_bytes, bundle.runs) == ("r.tar", 9, (BundleRun("r", 1),))
    assert [member.path for member in ledger.members("tape", "r.tar")] == ["a"]
    engine.dispose()
