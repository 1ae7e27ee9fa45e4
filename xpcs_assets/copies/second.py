"""A second database beside the one that a site uses, to make a ledger in and then let it take the first one's place.

The first one is never deleted. On SQLite it stays as a file beside the new one, ``ledger.db.kept-<time>``; on
PostgreSQL its tables stay in a schema ``kept_<time>`` of the same database.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, make_url

from xpcs_assets.copies.database import migrate, open_database, writing
from xpcs_assets.errors import LedgerError

_BESIDE = "xpcs_rebuilding"
_FUNCTIONS = ("append_only", "catalog_state_of_run", "catalog_state_of_bundle")  # what the migrations make
_SIDE_FILES = ("-wal", "-shm")


class SecondDatabase(ABC):
    """An empty, migrated database beside that at ``url``; what an earlier, unfinished one left is thrown away.

    Attributes
    ----------
    url
        Of the first database.
    now
        Names what is kept.
    taken
        Whether it has taken the first one's place.
    """

    def __init__(self, url: str, now: datetime) -> None:
        self.url = url
        self.now = now
        self.taken = False
        self.discard()
        migrate(self.engine)

    @cached_property
    def engine(self) -> Engine:
        """The second database; without journal."""
        return self._open()

    @abstractmethod
    def _open(self) -> Engine: ...

    @abstractmethod
    def discard(self) -> None:
        """Throw the second database away."""

    def take_over(self) -> str:
        """Put the second database in the place of the first; where the first one is kept, empty if there was none.

        Raises
        ------
        LedgerError
            It could not be done; both are there.
        """
        self.engine.dispose()
        kept = self._swap()
        self.taken = True
        return kept

    @abstractmethod
    def _swap(self) -> str: ...


def second_database(url: str, now: datetime) -> SecondDatabase:
    """A second database of the kind that ``url`` is of.

    Raises
    ------
    LedgerError
        It cannot be made.
    """
    kind = _SecondFile if make_url(url).get_backend_name() == "sqlite" else _SecondSchema
    return kind(url, now)


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None for another kind."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


class _SecondFile(SecondDatabase):
    @property
    def _first(self) -> Path:
        return Path(make_url(self.url).database or "")

    @property
    def _second(self) -> Path:
        return self._first.with_name(f"{self._first.name}.rebuilding")

    def _open(self) -> Engine:
        return open_database(f"sqlite:///{self._second}")

    def discard(self) -> None:
        self.__dict__.pop("engine", None)
        for suffix in ("", *_SIDE_FILES):
            self._second.with_name(self._second.name + suffix).unlink(missing_ok=True)

    def _swap(self) -> str:
        kept = self._first.with_name(f"{self._first.name}.kept-{self.now:%Y%m%dT%H%M%S%f}")
        try:
            there = self._first.exists() and self._first.stat().st_size > 0
            if there:
                kept.hardlink_to(self._first)
            for suffix in _SIDE_FILES:  # a log must never be read into a database that it is not of
                with suppress(FileNotFoundError):
                    self._first.with_name(self._first.name + suffix).rename(kept.with_name(kept.name + suffix))
            self._second.replace(self._first)
            _sync(self._first.parent)
        except OSError as error:
            raise LedgerError(
                f"the new ledger could not take the old one's place ({error.strerror})",
                where=self._second,
                remedy="Both are there; see that the folder can be written, then repeat",
            ) from error
        return str(kept) if there else ""


class _SecondSchema(SecondDatabase):
    def _open(self) -> Engine:
        return open_database(self.url, schema=_BESIDE)

    def discard(self) -> None:
        self.__dict__.pop("engine", None)
        with _administering(self.url) as connection:
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {_BESIDE} CASCADE")
            connection.exec_driver_sql(f"CREATE SCHEMA {_BESIDE}")

    def _swap(self) -> str:
        kept = f"kept_{self.now:%Y%m%dt%H%M%S%f}"
        with _administering(self.url) as connection:
            own = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
            ours = set(inspect(connection).get_table_names(schema=_BESIDE))  # what the migrations make
            there = sorted(ours.intersection(inspect(connection).get_table_names(schema=own)))
            if there:
                connection.exec_driver_sql(f"CREATE SCHEMA {kept}")
            for table in there:
                connection.exec_driver_sql(f'ALTER TABLE "{own}"."{table}" SET SCHEMA {kept}')
            for function in _FUNCTIONS:
                if connection.exec_driver_sql(f"SELECT to_regproc('{own}.{function}')").scalar() is not None:
                    connection.exec_driver_sql(f'ALTER FUNCTION "{own}".{function}() SET SCHEMA {kept}')
            for table in sorted(ours):
                connection.exec_driver_sql(f'ALTER TABLE {_BESIDE}."{table}" SET SCHEMA "{own}"')
            for function in _FUNCTIONS:
                connection.exec_driver_sql(f'ALTER FUNCTION {_BESIDE}.{function}() SET SCHEMA "{own}"')
            connection.exec_driver_sql(f"DROP SCHEMA {_BESIDE}")
        return f"schema {kept} of the database" if there else ""


@contextmanager
def _administering(url: str) -> Iterator[Connection]:
    """One transaction over all of it: PostgreSQL changes schemas as a whole or not at all."""
    engine = open_database(url)
    try:
        with writing(engine) as session:
            yield session.connection()
    finally:
        engine.dispose()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
