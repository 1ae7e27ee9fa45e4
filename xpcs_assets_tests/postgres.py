"""A PostgreSQL server for tests: the one that ``XPCS_TEST_POSTGRES_DSN`` names, or a private one, one a process.

The private one listens on a Unix socket only, writes nothing safely (its disk is thrown away) and ends with the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import count
from pathlib import Path

from sqlalchemy import URL, create_engine, make_url

from xpcs_assets.copies.database import migrate, open_database
from xpcs_assets_tests import at_the_end

DSN = "XPCS_TEST_POSTGRES_DSN"
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB", "listen_addresses=")
_numbers = count(1)


def why_missing() -> str:
    """Why there can be no server here; empty when there can be one."""
    if os.environ.get(DSN):
        return ""
    if _binaries() is None:
        return f"no PostgreSQL here: install it (initdb, pg_ctl), or name a server by {DSN}"
    if os.geteuid() == 0 and (shutil.which("runuser") is None or not _has_user("postgres")):
        return "PostgreSQL does not run as root, and there is no user postgres to run it as"
    return ""


@cache
def server() -> URL:
    """The server, at its maintenance database. The user may make databases."""
    if dsn := os.environ.get(DSN):
        return make_url(dsn).set(drivername="postgresql+psycopg2")
    return _start()


@contextmanager
def database(*, empty: bool = False) -> Iterator[str]:
    """The URL of a fresh database, migrated unless ``empty``; it is dropped at the end."""
    name = f"xpcs_test_{os.getpid()}_{next(_numbers)}"
    make(name, template="template0" if empty else _template())
    try:
        yield at(name)
    finally:
        drop(name)


def at(name: str) -> str:
    """The URL of a database of the server."""
    return server().set(drivername="postgresql", database=name).render_as_string(hide_password=False)


def make(name: str, *, template: str) -> None:
    """Make a database like another, to which nobody may be connected."""
    _administer(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')


def drop(name: str) -> None:
    """Throw a database away, whoever is connected."""
    _administer(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@cache
def _template() -> str:
    """A migrated database to copy: migrating takes longer than most tests."""
    name = f"xpcs_test_{os.getpid()}_template"
    make(name, template="template0")
    if os.environ.get(DSN):
        at_the_end.end(partial(drop, name))
    engine = open_database(at(name))
    migrate(engine)
    engine.dispose()
    return name


def _administer(statement: str) -> None:
    engine = create_engine(server(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def _start() -> URL:
    folder = Path(tempfile.mkdtemp(prefix="xpcs-pg-"))
    binaries = _binaries()
    if binaries is None:
        raise RuntimeError(why_missing())
    command = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if command:
        shutil.chown(folder, "postgres")
    settings = " ".join(f"-c {setting}" for setting in (*_FAST, f"unix_socket_directories={folder}"))
    data, quiet = str(folder / "data"), {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "cwd": folder}
    made = [str(binaries / "initdb"), "-D", data, "-U", "test", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
    subprocess.run([*command, *made], check=True, **quiet)  # type: ignore[call-overload]
    control = [*command, str(binaries / "pg_ctl"), "-D", data, "-w"]
    subprocess.run([*control, "-l", str(folder / "log"), "-o", settings, "start"], check=True, **quiet)  # type: ignore[call-overload]

    def stop() -> None:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, **quiet)  # type: ignore[call-overload]
        shutil.rmtree(folder, ignore_errors=True)

    at_the_end.end(stop)
    return URL.create("postgresql+psycopg2", "test", database="postgres", query={"host": str(folder)})


def _binaries() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(installed, key=lambda path: float(path.parts[-3]), default=None)
    return newest and newest.parent


def _has_user(name: str) -> bool:
    import pwd

    return any(entry.pw_name == name for entry in pwd.getpwall())
