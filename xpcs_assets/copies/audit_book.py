"""The book of findings and audits: what does not agree, since when, and which place was asked when, with what outcome.

Whoever looks after copies writes here; a finding changes nothing by itself. Audits are only ever added.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import select

from xpcs_assets.copies.book import Book, value_of
from xpcs_assets.copies.database import reading, writing
from xpcs_assets.copies.keeping import keep
from xpcs_assets.copies.tables import AuditRow, FindingRow, VersionRow
from xpcs_assets.errors import RefusedError
from xpcs_assets.runs.manifest import Manifest


class FindingKind(StrEnum):
    """What does not agree."""

    BAD = "bad"
    """A file holds other bytes than its manifest says."""
    LOST = "lost"
    """A file that the ledger counts on is not there."""
    UNREADABLE = "unreadable"
    """A file is there and cannot be read."""
    SIZE = "size differs"
    DARK = "dark"
    """A file that nothing knows of."""
    NO_GOOD_COPY = "no good copy"
    """No copy of a version is known to be good: the alarm."""
    UNTAKEN = "never taken"
    """A run lies complete at its source and was never taken."""
    UNCATALOGUED = "not in the catalog"
    UNTOLD = "catalog not told"
    """A catalog outside the site refused a dataset, or has not been told of it for long."""
    UNRECORDED = "unrecorded copy"
    """A manifest lies beside data of which the ledger knows nothing."""
    UNKNOWN_BUNDLE = "unknown bundle"
    LOST_BUNDLE = "lost bundle"
    BAD_BUNDLE = "bad bundle"
    UNKNOWN_ASIDE = "unknown file aside"
    """A file was set aside of which the ledger knows nothing."""
    MANIFEST = "damaged manifest"
    """The manifest of a version, in the ledger or beside a copy, is not what its own digest says."""
    RESULT_DIFFERS = "result differs"
    """A result file was made of another recipe, q-map or engine than the ledger says, or does not open."""
    ACCESS = "access differs"
    """Other people may read a copy than should, and that could not be set."""
    PARKED = "parked"
    """A run whose steps failed too often to be asked for again."""


class FindingState(StrEnum):
    """Where a finding stands."""

    NOTICED = "noticed"
    """Seen, and not called by its name yet: it must be seen again, later."""
    OPEN = "open"
    CLOSED = "closed"
    """It has gone, by itself or because it was mended."""


@dataclass(frozen=True)
class Finding:
    """Something that does not agree.

    Attributes
    ----------
    beamline, place, kind, path
        What, and where: the path is relative to the place's root; place and path may be empty.
    run_key, version
        Of which run; empty and 0 for a file that nothing knows of.
    reason
        In words.
    state, times_seen
        Where it stands, and how many looks in a row have seen it.
    first_seen, last_seen, changed_at
        The first and the last of those looks; when the state last changed.
    """

    beamline: str
    place: str
    kind: FindingKind
    path: str
    run_key: str
    version: int
    reason: str
    state: FindingState
    times_seen: int
    first_seen: datetime
    last_seen: datetime
    changed_at: datetime


class AuditOutcome(StrEnum):
    """How a look at a place ended."""

    DONE = "done"
    PART = "part"
    """Its time was over before its share was read; the next one goes on."""
    UNAVAILABLE = "unavailable"
    """The place could not be asked: nothing is concluded."""
    STOPPED = "stopped"
    """More was dark or lost than the settings allow: nothing was recorded, a person is asked."""


@dataclass(frozen=True)
class AuditLine:
    """One look at a place: an audit or a scrub, its outcome, what was counted, and when."""

    beamline: str
    kind: str
    place: str
    outcome: AuditOutcome
    reason: str
    counts: Mapping[str, Any]
    began_at: datetime
    ended_at: datetime


class AuditBook(Book):
    """Findings and audits."""

    def see_finding(
        self,
        beamline: str,
        kind: FindingKind,
        *,
        place: str = "",
        path: str = "",
        run_key: str = "",
        version: int = 0,
        reason: str,
        open_after_s: float = 0.0,
    ) -> Finding:
        """Note that something does not agree; the same again is seen once more, and one that was closed begins anew.

        Parameters
        ----------
        open_after_s
            It is only noticed until a second look, so much later than the first, sees it too, s.
        """
        now = self.clock()
        with writing(self.engine) as session:
            row = session.scalar(_one(beamline, kind, place, path, run_key, version))
            if row is None:
                row = FindingRow(
                    beamline=beamline, place=place, kind=kind.value, path=path, run_key=run_key, version=version
                )
                session.add(row)
                row.state = FindingState.CLOSED.value
            if row.state == FindingState.CLOSED:
                row.state, row.changed_at = FindingState.NOTICED.value, now
                row.first_seen, row.times_seen = now, 0
            row.times_seen += 1
            row.last_seen, row.reason = now, reason
            long_enough = now - row.first_seen >= timedelta(seconds=open_after_s)
            if row.state == FindingState.NOTICED and long_enough and (open_after_s == 0 or row.times_seen > 1):
                row.state, row.changed_at = FindingState.OPEN.value, now
            session.flush()
            return _finding(row)

    def close_findings(
        self,
        beamline: str,
        kinds: Collection[FindingKind],
        *,
        place: str | None = None,
        path: str | None = None,
        run_key: str | None = None,
        version: int | None = None,
        seen_before: datetime | None = None,
    ) -> tuple[Finding, ...]:
        """Close what stands of these kinds, and is not given otherwise; those that were closed.

        Parameters
        ----------
        seen_before
            Only findings that were last seen before this: those that a look begun then did not see.
        """
        query = select(FindingRow).where(
            FindingRow.beamline == beamline,
            FindingRow.kind.in_([kind.value for kind in kinds]),
            FindingRow.state != FindingState.CLOSED.value,
        )
        for column, wanted in (
            (FindingRow.place, place),
            (FindingRow.path, path),
            (FindingRow.run_key, run_key),
            (FindingRow.version, version),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        if seen_before is not None:
            query = query.where(FindingRow.last_seen < seen_before)
        with writing(self.engine) as session:
            rows = session.scalars(query).all()
            for row in rows:
                row.state, row.changed_at = FindingState.CLOSED.value, self.clock()
            session.flush()
            return tuple(_finding(row) for row in rows)

    def findings(
        self,
        beamline: str,
        *,
        states: Collection[FindingState] = (FindingState.OPEN,),
        kinds: Collection[FindingKind] | None = None,
        run_key: str | None = None,
        changed_since: datetime | None = None,
    ) -> tuple[Finding, ...]:
        """Findings, the oldest first; ``changed_since`` leaves out those whose state last changed before it."""
        query = select(FindingRow).where(
            FindingRow.beamline == beamline, FindingRow.state.in_([state.value for state in states])
        )
        if kinds is not None:
            query = query.where(FindingRow.kind.in_([kind.value for kind in kinds]))
        if run_key is not None:
            query = query.where(FindingRow.run_key == run_key)
        if changed_since is not None:
            query = query.where(FindingRow.changed_at >= changed_since)
        with reading(self.engine) as session:
            rows = session.scalars(query.order_by(FindingRow.first_seen, FindingRow.id))
            return tuple(_finding(row) for row in rows)

    def restore_manifest(self, beamline: str, run_key: str, version: int, manifest: Manifest) -> None:
        """Write a version's manifest anew where the ledger's own was damaged.

        Raises
        ------
        RefusedError
            It is not the manifest that the version was recorded with.
        """
        with writing(self.engine) as session:
            row = session.get(VersionRow, (beamline, run_key, version))
            if row is None or (row.manifest_digest, run_key) != (manifest.digest, manifest.run_key):
                raise RefusedError(
                    "it is not the manifest of this version",
                    where=f"{beamline}/{run_key}/v{version}",
                    remedy="Only a manifest with the recorded digest is taken; look at the run's copies",
                )
            row.manifest = manifest.to_json()

    def record_audit(
        self,
        beamline: str,
        kind: str,
        place: str,
        outcome: AuditOutcome,
        *,
        began_at: datetime,
        reason: str = "",
        counts: Mapping[str, Any] | None = None,
    ) -> AuditLine:
        """Add a line about a look at a place that ends now."""
        row = AuditRow(
            beamline=beamline,
            kind=kind,
            place=place,
            outcome=outcome.value,
            reason=reason,
            counts=dict(counts or {}),
            began_at=began_at,
            ended_at=self.clock(),
        )
        with writing(self.engine) as session:
            session.add(row)
            keep(session, row)
            keep(session, row)
            session.flush()
            return value_of(AuditLine, row, outcome=AuditOutcome)

    def audits(
        self, beamline: str, kind: str, place: str | None = None, *, limit: int | None = None
    ) -> tuple[AuditLine, ...]:
        """Looks of a kind, of one place when given, the last one first."""
        query = select(AuditRow).where(AuditRow.beamline == beamline, AuditRow.kind == kind)
        if place is not None:
            query = query.where(AuditRow.place == place)
        with reading(self.engine) as session:
            rows = session.scalars(query.order_by(AuditRow.id.desc()).limit(limit))
            return tuple(value_of(AuditLine, row, outcome=AuditOutcome) for row in rows)


def _one(beamline: str, kind: FindingKind, place: str, path: str, run_key: str, version: int) -> Any:
    return select(FindingRow).where(
        FindingRow.beamline == beamline,
        FindingRow.kind == kind.value,
        FindingRow.place == place,
        FindingRow.path == path,
        FindingRow.run_key == run_key,
        FindingRow.version == version,
    )


def _finding(row: FindingRow) -> Finding:
    return value_of(Finding, row, kind=FindingKind, state=FindingState)
