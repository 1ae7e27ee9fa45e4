"""Opening, migrating and the transactions of the database."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.schema import SchemaItem

from xpcs_assets.copies import database, tables
from xpcs_assets.copies.database import SCHEMA, check_schema, migrate, open_database, reading, schema_of, writing
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.errors import LedgerError

MIGRATIONS = Path(database.__file__).with_name("migrations")


def set_schema(ledger: Ledger, number: str) -> None:
    with writing(ledger.engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = :number"), {"number": number})


def test_the_newest_migration_is_the_schema_that_the_code_names() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA]


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


def test_sqlite_is_durable_and_checks_references(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
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


def test_f05_a_full_disk_under_the_ledger_is_an_error_and_nothing_is_half_done(ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(LedgerError, match=r"full.*has room"):
        ledger.note("b", "r", "step", "x" * 1_000_000)
    assert ledger.timeline("b", "r") == ()


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


def test_a_writer_locks_others_out_before_it_writes_and_readers_go_on(ledger: Ledger) -> None:
    ledger.note("b", "r", "step", "before")
    with closing(sqlite3.connect(ledger.engine.url.database or "", timeout=0)) as other:
        with writing(ledger.engine) as session:
            session.execute(text("SELECT 1"))
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            assert other.execute("SELECT what FROM events").fetchall() == [("before",)]
        with reading(ledger.engine) as session:
            session.execute(text("SELECT count(*) FROM events"))
            other.execute("BEGIN IMMEDIATE")


def test_another_kind_of_database_is_opened_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "create_engine", lambda url, **options: (url.get_backend_name(), options))
    assert open_database("postgresql://host/db") == ("postgresql", {"pool_pre_ping": True})


def test_checking_the_schema_does_not_import_alembic(ledger: Ledger) -> None:
    code = (
        "import sys; from xpcs_assets.copies.database import check_schema, open_database; "
        "check_schema(open_database(sys.argv[1])); sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(ledger.engine.url)], check=True)
