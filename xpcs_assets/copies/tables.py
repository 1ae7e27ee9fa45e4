"""The ledger's tables. What their columns mean is said at the values that the books give out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from xpcs_assets.copies.database import Base, Moment, Words

Key = String(160)  # a run key is 96 characters at most, an analysis key 48 and a tilde more
Digest = String(80)
Pid = String(400)
BundleName = String(400)  # beamline, run key twice, version and content, and a digest
_VERSION = ["beamline", "run_key", "version"]
_VERSION_KEY = [f"run_versions.{name}" for name in _VERSION]


class LedgerRow(Base):
    """Which ledger this is, and how much of its journal it has. One row, made by the migration."""

    __tablename__ = "ledger"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    identity: Mapped[str] = mapped_column(String(64))
    journal_number: Mapped[int] = mapped_column(BigInteger)


class ArrivalRow(Base):
    """What was seen at a source."""

    __tablename__ = "arrivals"
    __table_args__ = (Index("arrivals_by_state", "beamline", "state", "changed_at"),)

    beamline: Mapped[str] = mapped_column(String(96), primary_key=True)
    run_key: Mapped[str] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(Words)
    source: Mapped[str] = mapped_column(Words)
    fingerprint: Mapped[str] = mapped_column(Words)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Words)
    attempt: Mapped[int] = mapped_column(Integer)
    first_seen: Mapped[datetime] = mapped_column(Moment)
    changed_at: Mapped[datetime] = mapped_column(Moment)


class VersionRow(Base):
    """A version of a run."""

    __tablename__ = "run_versions"
    __table_args__ = (
        UniqueConstraint("beamline", "run_key", "manifest_digest"),
        Index("run_versions_by_time", "beamline", "taken_at"),
    )

    beamline: Mapped[str] = mapped_column(String(96), primary_key=True)
    run_key: Mapped[str] = mapped_column(Key, primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    manifest_digest: Mapped[str] = mapped_column(Digest)
    manifest: Mapped[str] = mapped_column(Words)
    source: Mapped[str] = mapped_column(Words)
    owner: Mapped[dict[str, Any]] = mapped_column(JSON)
    taken_at: Mapped[datetime] = mapped_column(Moment)


class CopyRow(Base):
    """A copy of a version in a place."""

    __tablename__ = "copies"
    __table_args__ = (
        UniqueConstraint("beamline", "run_key", "version", "place", "path"),
        ForeignKeyConstraint(_VERSION, _VERSION_KEY),
        Index("copies_by_place", "place", "state", "recorded_at"),
        Index("copies_by_verification", "beamline", "place", "state", "verified_at"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    beamline: Mapped[str] = mapped_column(String(96))
    run_key: Mapped[str] = mapped_column(Key)
    version: Mapped[int] = mapped_column(Integer)
    place: Mapped[str] = mapped_column(String(96))
    path: Mapped[str] = mapped_column(Words)
    failure_domain: Mapped[str] = mapped_column(Words)
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Words)
    evidence: Mapped[str] = mapped_column(String(32))
    recorded_at: Mapped[datetime] = mapped_column(Moment)
    verified_at: Mapped[datetime] = mapped_column(Moment)


class ResultRow(Base):
    """A result file of a run under an analysis key."""

    __tablename__ = "results"
    __table_args__ = (
        UniqueConstraint("beamline", "analysis_key", "version", "recipe_digest", "result_digest"),
        ForeignKeyConstraint(_VERSION, _VERSION_KEY),
        Index("results_by_run", "beamline", "run_key", "version"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    beamline: Mapped[str] = mapped_column(String(96))
    analysis_key: Mapped[str] = mapped_column(Key)
    run_key: Mapped[str] = mapped_column(Key)
    version: Mapped[int] = mapped_column(Integer)
    recipe_digest: Mapped[str] = mapped_column(Digest)
    path: Mapped[str] = mapped_column(Words)
    result_digest: Mapped[str] = mapped_column(Digest)
    report: Mapped[dict[str, Any]] = mapped_column(JSON)
    promoted: Mapped[bool] = mapped_column(Boolean)
    recorded_at: Mapped[datetime] = mapped_column(Moment)


class BundleRow(Base):
    """A bundle in an archive; its name is taken for ever."""

    __tablename__ = "bundles"

    place: Mapped[str] = mapped_column(String(96), primary_key=True)
    name: Mapped[str] = mapped_column(BundleName, primary_key=True)
    beamline: Mapped[str] = mapped_column(String(96))
    content: Mapped[str] = mapped_column(String(16))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(Digest)
    index_digest: Mapped[str] = mapped_column(Digest)
    evidence: Mapped[str] = mapped_column(String(32))
    recorded_at: Mapped[datetime] = mapped_column(Moment)
    verified_at: Mapped[datetime] = mapped_column(Moment)


class BundleRunRow(Base):
    """A run of which a bundle holds files; several in one that was gathered."""

    __tablename__ = "bundle_runs"
    __table_args__ = (
        ForeignKeyConstraint(["place", "bundle"], ["bundles.place", "bundles.name"]),
        Index("bundle_runs_by_run", "beamline", "run_key", "version"),
    )

    place: Mapped[str] = mapped_column(String(96), primary_key=True)
    bundle: Mapped[str] = mapped_column(BundleName, primary_key=True)
    beamline: Mapped[str] = mapped_column(String(96), primary_key=True)
    run_key: Mapped[str] = mapped_column(Key, primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    prefix: Mapped[str] = mapped_column(Words)


class MemberRow(Base):
    """A file inside a bundle."""

    __tablename__ = "bundle_members"
    __table_args__ = (
        ForeignKeyConstraint(["place", "bundle"], ["bundles.place", "bundles.name"]),
        Index("bundle_members_by_digest", "sha256", "place"),
    )

    place: Mapped[str] = mapped_column(String(96), primary_key=True)
    bundle: Mapped[str] = mapped_column(BundleName, primary_key=True)
    path: Mapped[str] = mapped_column(Words, primary_key=True)
    offset_bytes: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(Digest)


class HoldRow(Base):
    """A word that a run stays."""

    __tablename__ = "holds"
    __table_args__ = (Index("holds_by_run", "beamline", "run_key"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    beamline: Mapped[str] = mapped_column(String(96))
    run_key: Mapped[str] = mapped_column(Key)
    reason: Mapped[str] = mapped_column(Words)
    set_by: Mapped[str] = mapped_column(Words)
    set_at: Mapped[datetime] = mapped_column(Moment)
    released_by: Mapped[str | None] = mapped_column(Words)
    released_at: Mapped[datetime | None] = mapped_column(Moment)


class LeaseRow(Base):
    """Who works on a run; kept after release so that fencing numbers never come back."""

    __tablename__ = "leases"

    beamline: Mapped[str] = mapped_column(String(96), primary_key=True)
    run_key: Mapped[str] = mapped_column(Key, primary_key=True)
    purpose: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str] = mapped_column(Words)
    fencing: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime] = mapped_column(Moment)


class RemovalRow(Base):
    """A line about a removal: intent, tombstone or outcome. Append-only."""

    __tablename__ = "removals"
    __table_args__ = (
        Index("removals_by_run", "beamline", "run_key", "version"),
        Index("removals_by_place", "beamline", "place", "kind", "at"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    intent: Mapped[int | None] = mapped_column(ForeignKey("removals.id"))
    beamline: Mapped[str] = mapped_column(String(96))
    run_key: Mapped[str] = mapped_column(Key)
    version: Mapped[int] = mapped_column(Integer)
    place: Mapped[str] = mapped_column(String(96))
    path: Mapped[str] = mapped_column(Words)
    removed_by: Mapped[str] = mapped_column(Words)
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[datetime] = mapped_column(Moment)


class EventRow(Base):
    """A line of a run's timeline. Append-only."""

    __tablename__ = "events"
    __table_args__ = (Index("events_by_run", "beamline", "run_key", "id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    beamline: Mapped[str] = mapped_column(String(96))
    run_key: Mapped[str] = mapped_column(Key)
    at: Mapped[datetime] = mapped_column(Moment)
    step: Mapped[str] = mapped_column(String(32))
    what: Mapped[str] = mapped_column(Words)
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)


class PlaceRow(Base):
    """The identity that a place's marker had when the site first met it."""

    __tablename__ = "places"

    beamline: Mapped[str] = mapped_column(String(96), primary_key=True)
    place: Mapped[str] = mapped_column(String(96), primary_key=True)
    identity: Mapped[str] = mapped_column(String(64))
    root: Mapped[str] = mapped_column(Words)
    met_at: Mapped[datetime] = mapped_column(Moment)


class ApprovalRow(Base):
    """A person's word that a list of removals beyond the limits may go. Append-only."""

    __tablename__ = "approvals"
    __table_args__ = (Index("approvals_by_list", "beamline", "place", "list_digest"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    beamline: Mapped[str] = mapped_column(String(96))
    place: Mapped[str] = mapped_column(String(96))
    list_digest: Mapped[str] = mapped_column(Digest)
    copies: Mapped[int] = mapped_column(Integer)
    items: Mapped[list[Any]] = mapped_column(JSON)
    approved_by: Mapped[str] = mapped_column(Words)
    at: Mapped[datetime] = mapped_column(Moment)


class AsideRow(Base):
    """A file that was moved out of its name within its place: into the trash, or because its bytes are bad."""

    __tablename__ = "aside"
    __table_args__ = (
        UniqueConstraint("place", "aside_path"),
        Index("aside_by_run", "beamline", "run_key", "version"),
        Index("aside_by_state", "beamline", "ended", "at"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    beamline: Mapped[str] = mapped_column(String(96))
    run_key: Mapped[str] = mapped_column(Key)
    version: Mapped[int] = mapped_column(Integer)
    place: Mapped[str] = mapped_column(String(96))
    copy_path: Mapped[str] = mapped_column(Words)
    path: Mapped[str] = mapped_column(Words)
    aside_path: Mapped[str] = mapped_column(Words)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    intent: Mapped[int | None] = mapped_column(ForeignKey("removals.id"))
    at: Mapped[datetime] = mapped_column(Moment)
    ended: Mapped[str] = mapped_column(String(16))
    ended_at: Mapped[datetime | None] = mapped_column(Moment)


class FindingRow(Base):
    """Something that an audit found and that does not agree."""

    __tablename__ = "findings"
    __table_args__ = (
        UniqueConstraint("beamline", "place", "kind", "path", "run_key", "version"),
        Index("findings_by_state", "beamline", "state", "kind"),
        Index("findings_by_change", "beamline", "changed_at"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    beamline: Mapped[str] = mapped_column(String(96))
    place: Mapped[str] = mapped_column(String(96))
    kind: Mapped[str] = mapped_column(String(24))
    path: Mapped[str] = mapped_column(Words)
    run_key: Mapped[str] = mapped_column(Key)
    version: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(Words)
    state: Mapped[str] = mapped_column(String(16))
    times_seen: Mapped[int] = mapped_column(Integer)
    first_seen: Mapped[datetime] = mapped_column(Moment)
    last_seen: Mapped[datetime] = mapped_column(Moment)
    changed_at: Mapped[datetime] = mapped_column(Moment)


class AuditRow(Base):
    """One audit or scrub of a place. Append-only."""

    __tablename__ = "audits"
    __table_args__ = (Index("audits_by_place", "beamline", "kind", "place", "id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    beamline: Mapped[str] = mapped_column(String(96))
    kind: Mapped[str] = mapped_column(String(16))
    place: Mapped[str] = mapped_column(String(96))
    outcome: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Words)
    counts: Mapped[dict[str, Any]] = mapped_column(JSON)
    began_at: Mapped[datetime] = mapped_column(Moment)
    ended_at: Mapped[datetime] = mapped_column(Moment)


class ClockRow(Base):
    """What a machine's wall clock said, and how long the machine had run: one line for each start of a machine."""

    __tablename__ = "clocks"

    boot: Mapped[str] = mapped_column(String(64), primary_key=True)
    host: Mapped[str] = mapped_column(Words)
    anchor_at: Mapped[datetime] = mapped_column(Moment)
    anchor_us: Mapped[int] = mapped_column(BigInteger)
    seen_at: Mapped[datetime] = mapped_column(Moment)
    accepted_by: Mapped[str] = mapped_column(Words)


class NoteRow(Base):
    """What a person wrote about a dataset."""

    __tablename__ = "catalog_notes"
    __table_args__ = (Index("catalog_notes_by_pid", "pid", "id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    pid: Mapped[str] = mapped_column(Pid)
    text: Mapped[str] = mapped_column(Words)
    written_by: Mapped[str] = mapped_column(Words)
    written_at: Mapped[datetime] = mapped_column(Moment)


class LabelRow(Base):
    """A tag or mark that a person gave a dataset; it stands until it is ended."""

    __tablename__ = "catalog_labels"
    __table_args__ = (
        Index("catalog_labels_by_pid", "pid", "id"),
        Index("catalog_labels_by_word", "kind", "word", "pid"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    pid: Mapped[str] = mapped_column(Pid)
    kind: Mapped[str] = mapped_column(String(16))
    word: Mapped[str] = mapped_column(Words)
    set_by: Mapped[str] = mapped_column(Words)
    set_at: Mapped[datetime] = mapped_column(Moment)
    ended_by: Mapped[str | None] = mapped_column(Words)
    ended_at: Mapped[datetime | None] = mapped_column(Moment)
