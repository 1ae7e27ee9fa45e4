"""The embedded catalog's tables. What their columns mean is said at the values that the catalog gives out.

Records can be thrown away and made anew from the data. What a person writes cannot: that is in tables of the ledger
(``copies.tables.NoteRow`` and ``LabelRow``) without reference to the records.

A record is narrow: it names a row of facets, which many records share, so that counting them costs little. Its
document lies apart. The full text (``catalog_words`` on SQLite, the column ``lexemes`` on PostgreSQL) and the states
are kept in step by the database itself; the migration says how.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.orm import Mapped, mapped_column

from xpcs_assets.copies.database import Base, Moment
from xpcs_assets.copies.tables import Digest, Key, Pid

_Number = BigInteger().with_variant(Integer(), "sqlite")


class RecordRow(Base):
    """A raw or derived dataset."""

    __tablename__ = "catalog_records"
    __table_args__ = (
        Index("catalog_records_by_run", "beamline", "run_key", "version"),
        Index("catalog_records_by_facet", "facet", "state", "number"),
    )

    number: Mapped[int] = mapped_column(_Number, primary_key=True, autoincrement=False)
    pid: Mapped[str] = mapped_column(Pid, unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    beamline: Mapped[str] = mapped_column(String(96))
    run_key: Mapped[str] = mapped_column(Key)
    analysis_key: Mapped[str] = mapped_column(Key)
    version: Mapped[int] = mapped_column(Integer)
    facet: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(Digest)
    created_at: Mapped[datetime] = mapped_column(Moment)
    recorded_at: Mapped[datetime] = mapped_column(Moment)
    updated_at: Mapped[datetime] = mapped_column(Moment)


class DocumentRow(Base):
    """The wide part of a record."""

    __tablename__ = "catalog_documents"

    number: Mapped[int] = mapped_column(
        _Number, ForeignKey("catalog_records.number", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    quality: Mapped[dict[str, Any]] = mapped_column(JSON)
    sparkline: Mapped[dict[str, Any]] = mapped_column(JSON)
    words: Mapped[str] = mapped_column(Text)


TEXT_FACETS = (
    "kind", "beamline", "cycle", "experiment", "proposal", "sample", "detector", "day", "qmap_digest",
    "recipe_digest", "quality",
)  # fmt: skip
"""What records are counted by, but for the state, which is a column of the records."""

# What is made of the records and has nothing of its own; the audit and the rebuild of the ledger need not look at it.
made = MetaData()

facets = Table(
    "catalog_facets",
    made,
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    *(Column(name, Text, nullable=False) for name in (*TEXT_FACETS, "owner_group", "embargo_until")),
    Column("access_groups", JSON, nullable=False),
    Column("own_groups", JSON, nullable=False),
    Column("open_from", Moment),
)
facet_groups = Table(
    "catalog_facet_groups",
    made,
    Column("name", Text, primary_key=True),
    Column("facet", BigInteger, primary_key=True, autoincrement=False),
)
quantities = Table(
    "catalog_quantities",
    made,
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    Column("path", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("si_unit", Text, nullable=False),
    Index("catalog_quantities_by_name", "name"),
)
numbers = Table(
    "catalog_numbers",
    made,
    Column(
        "number",
        BigInteger,
        ForeignKey(RecordRow.__table__.c.number, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("quantity", BigInteger, primary_key=True, autoincrement=False),
    Column("si_value", Double, nullable=False),
    Column("value", Double, nullable=False),
    Index("catalog_numbers_by_value", "quantity", "si_value", "number"),
    sqlite_with_rowid=False,
)
