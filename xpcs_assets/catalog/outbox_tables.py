"""The tables of the outbox. What their columns mean is said at the values that ``outbox`` gives out.

They can be thrown away: what every catalog is to be told follows from the embedded catalog's records, and telling it
again changes nothing there.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from xpcs_assets.copies.database import Base, Moment, Words
from xpcs_assets.copies.tables import Digest, Key, Pid


class OutboxRow(Base):
    """Something that a catalog outside the site was told, or is to be told."""

    __tablename__ = "catalog_outbox"
    __table_args__ = (
        UniqueConstraint("catalog", "pid", "what"),
        Index("catalog_outbox_by_turn", "beamline", "catalog", "state", "next_at"),
        Index("catalog_outbox_by_run", "beamline", "run_key", "version"),
        Index("catalog_outbox_by_look", "beamline", "catalog", "state", "seen_at"),
        Index("catalog_outbox_by_change", "beamline", "catalog", "again_at"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    catalog: Mapped[str] = mapped_column(String(96))
    pid: Mapped[str] = mapped_column(Pid)
    what: Mapped[str] = mapped_column(String(16))
    beamline: Mapped[str] = mapped_column(String(96))
    run_key: Mapped[str] = mapped_column(Key)
    version: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str] = mapped_column(Digest)
    revision: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    pid_there: Mapped[str] = mapped_column(Words)
    attempts: Mapped[int] = mapped_column(Integer)
    error: Mapped[str] = mapped_column(Words)
    wanted_at: Mapped[datetime] = mapped_column(Moment)
    next_at: Mapped[datetime] = mapped_column(Moment)
    seen_at: Mapped[datetime | None] = mapped_column(Moment)
    rules: Mapped[str] = mapped_column(Digest)
    again_at: Mapped[datetime | None] = mapped_column(Moment)
    holder: Mapped[str] = mapped_column(Words)
    fencing: Mapped[int] = mapped_column(BigInteger)
    held_until: Mapped[datetime] = mapped_column(Moment)


class ReachRow(Base):
    """Whether a catalog answers."""

    __tablename__ = "catalog_reach"

    catalog: Mapped[str] = mapped_column(String(96), primary_key=True)
    down_since: Mapped[datetime | None] = mapped_column(Moment)
    attempts: Mapped[int] = mapped_column(Integer)
    error: Mapped[str] = mapped_column(Words)
    next_at: Mapped[datetime] = mapped_column(Moment)
    answered_at: Mapped[datetime | None] = mapped_column(Moment)
