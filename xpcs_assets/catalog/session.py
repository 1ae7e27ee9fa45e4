"""Transactions of the embedded catalog: of the database that it shares with the ledger, with its own errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from xpcs_assets.copies import database
from xpcs_assets.errors import CatalogError, LedgerError


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A transaction that only reads.

    Raises
    ------
    CatalogError
        The database did not answer.
    """
    with _told(), database.reading(engine) as session:
        yield session


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A transaction that writes, as a whole or not at all.

    Raises
    ------
    CatalogError
        The database did not take it.
    """
    with _told(), database.writing(engine) as session:
        yield session


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except LedgerError as error:
        what = error.what.replace("the ledger", "the catalog")
        raise CatalogError(what, where=error.where, remedy=error.remedy) from error
