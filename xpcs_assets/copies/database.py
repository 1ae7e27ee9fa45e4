"""Opening, migrating and checking the database that ledger and embedded catalog share, and its transactions.

Both databases keep the same promises: a commit is on the disk; writers queue up before their first statement, see all
that the one before committed, and never fail in the middle; readers see one moment and never wait.

- SQLite runs in WAL mode with full synchronisation, enforced foreign keys and a busy time-out of 30 s; writers begin
  with ``BEGIN IMMEDIATE``.
- PostgreSQL's writers begin by taking one advisory lock of the database, which the server holds until after the commit
  and gives back when the connection breaks. The wait for the lock ends after 30 s, a statement after 60 s. There is no
  limit to how long a transaction may be idle: a file that is slow to go keeps its guard.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    URL,
    BigInteger,
    Connection,
    Dialect,
    Engine,
    Text,
    create_engine,
    event,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.types import TypeDecorator

from xpcs_assets.copies.clock import Clock, boot_time_s, server_clock, utc_now
from xpcs_assets.copies.mounts import shared_file_system
from xpcs_assets.errors import LedgerError

if TYPE_CHECKING:
    from xpcs_assets.copies.journal import Journal

SCHEMA = "0007"
"""The newest migration that this code knows; a test holds it to the files in ``migrations/versions``."""

BUSY_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10
_WRITERS = 0x78706373  # the number of the lock that PostgreSQL's writers queue for: "xpcs"
# A server that is gone is noticed after 15 + 3 x 5 s, and not when the kernel gives up a quarter of an hour later.
_KEEPALIVE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ESCAPE = "\N{SYMBOL FOR ESCAPE}"
_UNSTORABLE = re.compile(f"[\0{_ESCAPE}\ud800-\udfff]")
_ESCAPED = re.compile(f"{_ESCAPE}([0-9A-F]{{4}})")
_WRITE_URL = "Write sqlite:////srv/xpcs/ledger.db or postgresql://user@host/database"
_MIGRATE = "Run `xpcs-assets init` on this site; it brings the ledger up to date and changes no data"


class Base(DeclarativeBase):
    """What every table of the database is declared on."""


class Moment(TypeDecorator[datetime]):
    """An aware time, stored as whole microseconds since 1970 so that every database orders and compares it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Microseconds of an aware time."""
        return None if value is None else microseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """The time, in UTC."""
        return None if value is None else moment_of(value)


def microseconds(moment: datetime) -> int:
    """Whole microseconds of an aware time since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(microseconds_since_1970: int) -> datetime:
    """The time of :func:`microseconds`, in UTC."""
    return _EPOCH + microseconds_since_1970 * _MICROSECOND


class Words(TypeDecorator[str]):
    """Text of any kind, such as a file's name that is no UTF-8 (``surrogateescape``) or holds a NUL.

    Neither database stores those characters: each is written as ``U+241B`` and four hex digits, and read back exactly.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text that the database stores."""
        return value and _UNSTORABLE.sub(lambda found: f"{_ESCAPE}{ord(found[0]):04X}", value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """The text that was given."""
        return value and _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)


def open_database(url: str, *, journal: Journal | None = None, schema: str = "") -> Engine:
    """Open the database at ``url``; nothing is created but the file of an SQLite one.

    An engine stays in the process that opened it: a forked child opens its own.

    Parameters
    ----------
    url
        Such as ``sqlite:////srv/xpcs/ledger.db`` or ``postgresql://user@host/xpcs``.
    journal
        Where facts that the data cannot tell again are also written down; see :mod:`xpcs_assets.copies.keeping`.
    schema
        Of a PostgreSQL database, where it is not the user's own.

    Raises
    ------
    LedgerError
        The URL cannot be read, its driver is not installed, or the folder of the SQLite file does not exist or is on a
        network file system.
    """
    try:
        parsed = make_url("postgresql" + url.removeprefix("postgres") if url.startswith("postgres:") else url)
    except ArgumentError as error:
        raise LedgerError("this is no database URL", remedy=_WRITE_URL) from error
    options = {"xpcs_journal": journal}
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, options)
    if parsed.get_backend_name() == "postgresql":
        return _open_postgresql(parsed, schema, options)
    raise LedgerError(f"the ledger does not work on {parsed.get_backend_name()}", remedy=_WRITE_URL)


def _open_sqlite(url: URL, options: dict[str, Any]) -> Engine:
    file = Path(url.database or "")
    if url.database and not file.parent.is_dir():
        raise LedgerError("the ledger's folder does not exist", where=file.parent, remedy="Make it, or mount its disk")
    if url.database and (kind := shared_file_system(file.parent)):
        raise LedgerError(
            f"an SQLite file cannot be kept on a file system of kind {kind}, where its locks and its log are not safe",
            where=file,
            remedy="Put it on a disk of this machine, or use PostgreSQL",
        )
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, execution_options=options)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _open_postgresql(url: URL, schema: str, options: dict[str, Any]) -> Engine:
    wait_ms = round(BUSY_TIMEOUT_S * 1000)
    settings = [f"lock_timeout={wait_ms}", f"statement_timeout={2 * wait_ms}", "synchronous_commit=on"]
    settings += [f"search_path={schema}"] if schema else []
    arguments = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": "xpcs-assets",
        "options": " ".join(f"-c {setting}" for setting in settings),
        **_KEEPALIVE,
    }
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg2"),
            connect_args=arguments,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",
            execution_options=options,
        )
    except ImportError as error:
        raise LedgerError(
            "the driver for PostgreSQL is not installed",
            where=_where(url),
            remedy="Install xpcs-assets[postgres] in this environment",
        ) from error
    event.listen(engine, "begin", _begin_postgresql)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A transaction that only reads; readers never wait for a writer."""
    reader = engine
    if engine.dialect.name == "postgresql":  # SQLite's transactions see one moment by themselves
        reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with _told_as_ledger_error(engine), Session(reader, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A transaction that writes: committed as a whole at the end, or not at all when anything is raised."""
    from xpcs_assets.copies import keeping  # it writes rows of tables that are declared on this module's base

    writer = engine.execution_options(xpcs_writes=True)
    journal = writer.get_execution_options()["xpcs_journal"]
    with _told_as_ledger_error(engine), Session(writer, expire_on_commit=False) as session, session.begin():
        if journal is not None:
            keeping.begin(session, journal)
        yield session


def clock_of(engine: Engine) -> Clock:
    """The wall time that a ledger's ages are judged by: the server's, or this machine's for a file.

    Clocks of several machines are never compared: on PostgreSQL all of them ask the same server.
    """
    if engine.dialect.name == "sqlite":
        return utc_now

    def ask() -> datetime:
        with reading(engine) as session:
            now: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return now.astimezone(UTC)

    return server_clock(ask, stopwatch=boot_time_s)


def migrate(engine: Engine) -> str | None:
    """Create the tables or bring them up to date; does nothing to a database that is.

    Returns
    -------
    The schema that was found; None for an empty database.

    Raises
    ------
    LedgerError
        The database cannot be written, newer code has migrated it, or it is empty and has a journal: the ledger that
        the journal belongs to is lost, and an empty one in its place would say that there was never a run.
    """
    found = schema_of(engine)
    if found is not None and found > SCHEMA:
        raise _newer(engine, found)
    if found is None and (lost := _lost(engine)):
        raise lost
    # Alembic costs a fifth of a second: only those who migrate pay.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    writer = engine.execution_options(xpcs_writes=True)
    with _told_as_ledger_error(engine), writer.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # a big table takes its time
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return found


def check_schema(engine: Engine) -> None:
    """Make sure that this code and the database speak of the same tables.

    Raises
    ------
    LedgerError
        The database is empty, older or newer than this code.
    """
    found = schema_of(engine)
    if found is None:
        raise _lost(engine) or LedgerError("the ledger has no tables yet", where=_where(engine.url), remedy=_MIGRATE)
    if found < SCHEMA:
        raise LedgerError(
            f"the ledger is of schema {found}, this program needs {SCHEMA}", where=_where(engine.url), remedy=_MIGRATE
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


def _lost(engine: Engine) -> LedgerError | None:
    """Why an empty database is no new one: there is a journal of the ledger that was here; None when there is none."""
    journal = engine.get_execution_options()["xpcs_journal"]
    if journal is None or journal.first() is None:
        return None
    return LedgerError(
        "the ledger has no tables, but its journal has lines: the ledger that was here is gone",
        where=_where(engine.url),
        remedy="Bring it back, or stop the site and run `xpcs-assets rebuild`: it makes the ledger again",
    )


def _newer(engine: Engine, found: str) -> LedgerError:
    return LedgerError(
        f"the ledger is of schema {found}, newer than the {SCHEMA} of this program",
        where=_where(engine.url),
        remedy="Update xpcs-assets here; this older program will not touch it",
    )


def _where(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return url.database or str(url)
    return url.set(query={}).render_as_string(hide_password=True)


@contextmanager
def _told_as_ledger_error(engine: Engine) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise LedgerError(
            f"the ledger could not be read or written ({cause})",
            where=_where(engine.url),
            remedy=_remedy(engine, cause),
        ) from error


def _remedy(engine: Engine, cause: str) -> str:
    if any(word in cause for word in ("malformed", "not a database", "no such table")):
        return "Stop the site and run `xpcs-assets rebuild`: it makes the ledger again and keeps this file aside"
    if "locked" in cause or "lock timeout" in cause:
        return "Another writer has it; repeat when that is done: nothing was half done"
    if engine.dialect.name == "sqlite":
        return "See that its disk has room and can be written, then repeat: nothing was half done"
    return "See that the database server runs and can be reached, then repeat: it was done as a whole or not at all"


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.isolation_level = None  # the driver must not begin transactions of its own
    cursor = dbapi_connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("xpcs_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("xpcs_writes", False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")
