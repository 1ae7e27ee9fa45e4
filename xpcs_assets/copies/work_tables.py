"""The tables of work that others do for us: jobs at back ends, transfers between places.

What their columns mean is said at the values that the books give out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from xpcs_assets.copies.database import Base, Moment, Words
from xpcs_assets.copies.tables import Key


class JobRow(Base):
    """A job at a back end."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("jobs_by_state", "beamline", "state", "changed_at"),
        Index("jobs_by_key", "beamline", "analysis_key", "version"),
    )

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    beamline: Mapped[str] = mapped_column(String(96))
    analysis_key: Mapped[str] = mapped_column(Key)
    version: Mapped[int] = mapped_column(Integer)
    task: Mapped[str] = mapped_column(String(160))
    backend: Mapped[str] = mapped_column(String(96))
    backend_id: Mapped[str] = mapped_column(Words)
    attempt: Mapped[int] = mapped_column(Integer)
    rung: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Words)
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    made_at: Mapped[datetime] = mapped_column(Moment)
    changed_at: Mapped[datetime] = mapped_column(Moment)
    next_at: Mapped[datetime] = mapped_column(Moment)


class TransferRow(Base):
    """A transfer of a run's files between two places."""

    __tablename__ = "transfers"
    __table_args__ = (
        Index("transfers_by_state", "beamline", "state", "changed_at"),
        Index("transfers_by_run", "beamline", "run_key", "version"),
    )

    submission: Mapped[str] = mapped_column(String(64), primary_key=True)
    beamline: Mapped[str] = mapped_column(String(96))
    run_key: Mapped[str] = mapped_column(Key)
    version: Mapped[int] = mapped_column(Integer)
    purpose: Mapped[str] = mapped_column(String(32))
    source: Mapped[str] = mapped_column(String(96))
    target: Mapped[str] = mapped_column(String(96))
    task: Mapped[str] = mapped_column(Words)
    attempt: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Words)
    bytes_total: Mapped[int] = mapped_column(BigInteger)
    bytes_moved: Mapped[int] = mapped_column(BigInteger)
    made_at: Mapped[datetime] = mapped_column(Moment)
    changed_at: Mapped[datetime] = mapped_column(Moment)
    next_at: Mapped[datetime] = mapped_column(Moment)
