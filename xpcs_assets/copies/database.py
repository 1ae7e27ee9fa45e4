"""Opening, migrating and checking the database that ledger and embedded catalog share, and its transactions.

SQLite runs in WAL mode with full synchronisation (a commit is on the disk), enforced foreign keys and a busy time-out
of 30 s. Writers begin with ``BEGIN IMMEDIATE``: they queue up at the start and never fail in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Connection, Dialect, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.types import TypeDecorator

from xpcs_assets.errors import LedgerError

SCHEMA = "0003"
"""The newest migration that this code knows; a test holds it to the files in ``migrations/versions``."""

BUSY_TIMEOUT_S = 30.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MIGRATE = "Run `xpcs-assets init` on this site; it brings the ledger up to date and changes no data"


class Base(DeclarativeBase):
    """What every table of the database is declared on."""


class Moment(TypeDecorator[datetime]):
    """An aware time, stored as whole microseconds since 1970 so that every database orders and compares it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Microseconds of an aware time."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """The time, in UTC."""
        return None if value is None else _EPOCH + value * _MICROSECOND


def open_database(url: str) -> Engine:
    """Open the database at ``url``, such as ``sqlite:////srv/xpcs/ledger.db``; nothing is created but the file.

    An engine stays in the process that opened it: a forked child opens its own.

    Raises
    ------
    LedgerError
        The URL cannot be read, or the folder of the SQLite file does not exist.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise LedgerError("this is no database URL", remedy="Write sqlite:////srv/xpcs/ledger.db") from error
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    file = Path(parsed.database or "")
    if parsed.database and not file.parent.is_dir():
        raise LedgerError("the ledger's folder does not exist", where=file.parent, remedy="Make it, or mount its disk")
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A transaction that only reads; readers never wait for a writer."""
    with _told_as_ledger_error(engine), Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A transaction that writes: committed as a whole at the end, or not at all when anything is raised."""
    writer = engine.execution_options(xpcs_writes=True)
    with _told_as_ledger_error(engine), Session(writer, expire_on_commit=False) as session, session.begin():
        yield session


def migrate(engine: Engine) -> None:
    """Create the tables or bring them up to date; does nothing to a database that is.

    Raises
    ------
    LedgerError
        The database cannot be written, or newer code has migrated it.
    """
    found = schema_of(engine)
    if found is not None and found > SCHEMA:
        raise _newer(engine, found)
    # Alembic costs a fifth of a second: only those who migrate pay.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    writer = engine.execution_options(xpcs_writes=True)
    with _told_as_ledger_error(engine), writer.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check_schema(engine: Engine) -> None:
    """Make sure that this code and the database speak of the same tables.

    Raises
    ------
    LedgerError
        The database is empty, older or newer than this code.
    """
    found = schema_of(engine)
    if found is None:
        raise LedgerError("the ledger has no tables yet", where=_where(engine), remedy=_MIGRATE)
    if found < SCHEMA:
        raise LedgerError(
            f"the ledger is of schema {found}, this program needs {SCHEMA}", where=_where(engine), remedy=_MIGRATE
        )
    if found > SCHEMA:
        raise _newer(engine, found)


def schema_of(engine: Engine) -> str | None:
    """The migration the database is at; None before the first."""
    with _told_as_ledger_error(engine), engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)


def _newer(engine: Engine, found: str) -> LedgerError:
    return LedgerError(
        f"the ledger is of schema {found}, newer than the {SCHEMA} of this program",
        where=_where(engine),
        remedy="Update xpcs-assets here; this older program will not touch it",
    )


def _where(engine: Engine) -> str:
    return engine.url.database or engine.url.render_as_string(hide_password=True)


@contextmanager
def _told_as_ledger_error(engine: Engine) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise LedgerError(
            f"the ledger could not be read or written ({cause})",
            where=_where(engine),
            remedy="See that its disk has room and can be written, then repeat: nothing was half done",
        ) from error


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.isolation_level = None  # the driver must not begin transactions of its own
    cursor = dbapi_connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("xpcs_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
