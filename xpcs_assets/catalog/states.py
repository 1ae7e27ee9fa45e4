"""The state and quality of a dataset, from facts alone: verified copies, archives, the result's file, its checks.

That a Dagster run has ended says nothing here. The database keeps the state in a column of the records, brought up to
date by triggers in the very transaction that changes a fact (the migration ``v0004_search`` holds the same rules in
SQL): so it is right whoever writes the fact, and a search can filter and count by it without looking at every copy.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum

from xpcs_assets.copies.copy_book import Copy, CopyState


class DatasetState(StrEnum):
    """Where a dataset stands; the first five are of raw data, the others of results."""

    UNVERIFIED = "unverified"
    """No copy is known that was verified."""
    STAGED = "staged"
    """A verified copy can be opened at once."""
    ARCHIVED = "archived"
    """So it can, and a verified copy lies in an archive."""
    PRUNED = "pruned"
    """It lies in an archive only, and is to be retrieved first."""
    LOST = "lost"
    """There were copies, and none is there."""
    ANALYSED = "analysed"
    """The result was opened and judged."""
    QUARANTINED = "quarantined"
    """Its quality says that it must not be used unseen."""
    DIFFERS = "differs"
    """An audit found its file gone, damaged or another one."""


class DatasetQuality(StrEnum):
    """What is thought of a dataset; the first two are of raw data that no check spoke against."""

    COMPLETE = "complete"
    """The description has what it should have."""
    INCOMPLETE = "incomplete"
    """Something is missing in it."""
    GOOD = "good"
    """A result that every check passed."""
    DOUBTFUL = "doubtful"
    """A check warned."""
    QUARANTINED = "quarantined"
    """A check failed: not to be used unseen."""


def raw_state(copies: Sequence[Copy], archives: Collection[str], weak: Collection[str] = ()) -> DatasetState:
    """The state of a run's raw data.

    Parameters
    ----------
    copies
        Of the version, all that the ledger knows.
    archives
        The places with bundles of its raw data.
    weak
        Those of them where some bundle is not known by evidence that counts.
    """
    there = [copy for copy in copies if copy.state is CopyState.PRESENT]
    good = {copy.place for copy in there if copy.evidence.counts}
    on_disk = not good <= set(archives)
    if good & (set(archives) - set(weak)):
        return DatasetState.ARCHIVED if on_disk else DatasetState.PRUNED
    if on_disk:
        return DatasetState.STAGED
    return DatasetState.LOST if copies and not there else DatasetState.UNVERIFIED


def derived_state(*, differs: bool, quarantined: bool) -> DatasetState:
    """The state of a result, which was opened when it was recorded."""
    if differs:
        return DatasetState.DIFFERS
    return DatasetState.QUARANTINED if quarantined else DatasetState.ANALYSED
