"""The embedded catalog's tables. What their columns mean is said at the values that ``embedded`` gives out.

Records can be thrown away and made anew from the data. What a person writes cannot: that is in a table of the ledger
(``copies.tables.NoteRow``) without reference to the records.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from xpcs_assets.copies.database import Base, Moment
from xpcs_assets.copies.tables import Digest, Key, Pid


class RecordRow(Base):
    """A raw or derived dataset."""

    __tablename__ = "catalog_records"
    __table_args__ = (
        Index("catalog_records_by_time", "beamline", "created_at", "pid"),
        Index("catalog_records_by_run", "beamline", "run_key", "version"),
        Index("catalog_records_by_proposal", "proposal", "created_at"),
    )

    pid: Mapped[str] = mapped_column(Pid, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    beamline: Mapped[str] = mapped_column(String(96))
    run_key: Mapped[str] = mapped_column(Key)
    analysis_key: Mapped[str] = mapped_column(Key)
    version: Mapped[int] = mapped_column(Integer)
    proposal: Mapped[str] = mapped_column(Text)
    experiment: Mapped[str] = mapped_column(Text)
    owner_group: Mapped[str] = mapped_column(Text)
    access_groups: Mapped[list[str]] = mapped_column(JSON)
    embargo_until: Mapped[str] = mapped_column(String(40))
    sample: Mapped[str] = mapped_column(Text)
    detector: Mapped[str] = mapped_column(Text)
    qmap_digest: Mapped[str] = mapped_column(Digest)
    recipe_digest: Mapped[str] = mapped_column(Digest)
    state: Mapped[str] = mapped_column(String(16))
    quality: Mapped[dict[str, Any]] = mapped_column(JSON)
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    words: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Digest)
    created_at: Mapped[datetime] = mapped_column(Moment)
    recorded_at: Mapped[datetime] = mapped_column(Moment)
    updated_at: Mapped[datetime] = mapped_column(Moment)
