"""What the books of the ledger share: engine and clock, and how a row becomes a plain value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from sqlalchemy import Engine

from xpcs_assets.copies.clock import Clock, utc_now
from xpcs_assets.copies.database import Base

Value = TypeVar("Value")


@dataclass(frozen=True)
class Book:
    """One topic of the ledger.

    Attributes
    ----------
    engine
        From :func:`xpcs_assets.copies.database.open_database`.
    clock
        Wall time.
    """

    engine: Engine
    clock: Clock = utc_now


def value_of(kind: type[Value], row: Base, /, **through: Callable[[Any], Any]) -> Value:
    """The frozen value ``kind`` with the columns of ``row``, some of them passed through a type."""
    content = {item.name: getattr(row, item.name) for item in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: through[name](value) if name in through else value for name, value in content.items()})
