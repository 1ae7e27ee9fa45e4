"""The ledger: all books over one database. Its values are plain; no object of the database leaves it.

The ledger is a memory, never a proof: it tells where to look. A deletion asks the places themselves (``prune.proof``).
"""

from __future__ import annotations

from dataclasses import dataclass

from xpcs_assets.copies.approvals import Approval, ApprovalBook
from xpcs_assets.copies.arrivals import Arrival, ArrivalBook, ArrivalState
from xpcs_assets.copies.aside_book import Aside, AsideBook, AsideEnd, AsideKind, ToAside
from xpcs_assets.copies.audit_book import AuditBook, AuditLine, AuditOutcome, Finding, FindingKind, FindingState
from xpcs_assets.copies.bundle_book import Bundle, BundleBook, BundleRun, Member
from xpcs_assets.copies.clock import Clock, Stopwatch, boot_time_s, utc_now
from xpcs_assets.copies.clock_book import ClockBook
from xpcs_assets.copies.copy_book import Copy, CopyBook, CopyState, Evidence
from xpcs_assets.copies.job_book import BookedJob, JobBook, JobState
from xpcs_assets.copies.leases import Hold, Lease, LeaseBook
from xpcs_assets.copies.overview import OverviewBook, Seen
from xpcs_assets.copies.owner_book import Owned, OwnerBook
from xpcs_assets.copies.pauses import Pause, PauseBook
from xpcs_assets.copies.place_book import KnownPlace, PlaceBook
from xpcs_assets.copies.qmap_book import QmapBook, QmapVersion
from xpcs_assets.copies.removals import Removal, RemovalBook, RemovalKind
from xpcs_assets.copies.transfer_book import Errand, Transfer, TransferBook, TransferState
from xpcs_assets.copies.versions import Event, Result, RunVersion, VersionBook

__all__ = [
    "Approval",
    "Arrival",
    "ArrivalState",
    "Aside",
    "AsideEnd",
    "AsideKind",
    "AuditLine",
    "AuditOutcome",
    "BookedJob",
    "Bundle",
    "BundleRun",
    "Clock",
    "Copy",
    "CopyState",
    "Errand",
    "Event",
    "Evidence",
    "Finding",
    "FindingKind",
    "FindingState",
    "Hold",
    "JobState",
    "KnownPlace",
    "Lease",
    "Ledger",
    "Member",
    "Owned",
    "Pause",
    "QmapVersion",
    "Removal",
    "RemovalKind",
    "Result",
    "RunVersion",
    "Seen",
    "Stopwatch",
    "ToAside",
    "Transfer",
    "TransferState",
    "boot_time_s",
    "utc_now",
]


@dataclass(frozen=True)
class Ledger(
    ArrivalBook,
    VersionBook,
    OwnerBook,
    CopyBook,
    BundleBook,
    LeaseBook,
    RemovalBook,
    AuditBook,
    ApprovalBook,
    AsideBook,
    ClockBook,
    OverviewBook,
    PlaceBook,
    PauseBook,
    QmapBook,
    TransferBook,
    JobBook,
):
    """Runs, copies, results, q-maps, holds, leases, removals, jobs and transfers of a site.

    >>> from xpcs_assets.copies.database import migrate, open_database
    >>> engine = open_database("sqlite://")
    >>> migrate(engine)
    >>> Ledger(engine).runs("beamline-1")
    ()
    >>> engine.dispose()
    """
