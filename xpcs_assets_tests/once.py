"""Work beside what is tested, done once a process instead of once a test: thousands of tests repeat it otherwise."""

from __future__ import annotations

import gc
from functools import cache
from typing import Any

import typer.testing
from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

STATEMENTS = 5000


def leave_what_was_collected_alone() -> None:
    """Keep what is there now out of the search for garbage, which goes through modules and tests again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)


def compile_statements_once() -> None:
    """Let all engines of a dialect share their compiled statements; most tests open a database of their own."""
    compiled: LRUCache[Any, Any] = LRUCache(STATEMENTS)

    @event.listens_for(Engine, "engine_connect")
    def share(connection: Connection) -> None:
        if type(connection.dialect) in _ALIKE:
            connection.engine._compiled_cache = compiled

    for dialect in _ALIKE:
        dialect.__eq__ = _alike  # type: ignore[method-assign]
        dialect.__hash__ = _kind  # type: ignore[method-assign]


# Dialects that compile a statement alike in every engine of a process: each talks to one release of its database.
_ALIKE: tuple[type[Dialect], ...] = (SQLiteDialect_pysqlite, PGDialect_psycopg2)


def _alike(one: object, other: object) -> bool:
    return type(one) is type(other)


def _kind(dialect: object) -> int:
    return hash(type(dialect))


def build_commands_once() -> None:
    """Read the signatures of all commands at the first one that a test runs, as a terminal does at each."""
    typer.testing._get_command = cache(typer.testing._get_command)
