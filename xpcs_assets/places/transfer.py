"""Moving a run's files from one place to another by a service that does it without us, such as Globus.

A transfer has an id of ours before it is begun, which is stored first: after any restart it is found again and never
begun twice. Its end is believed for nothing but itself: whoever asked for it reads and hashes what arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class TransferPhase(StrEnum):
    """Where a transfer is in its life."""

    ACTIVE = "active"
    PAUSED = "paused"
    """It waits for a person: consent, credentials, a pause rule, a quota."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class Item:
    """One file to move. Paths are relative to the places' roots; ``sha256`` is what must arrive, 64 hex digits."""

    source: str
    target: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class TransferSeen:
    """What a service says of a transfer.

    Attributes
    ----------
    phase
        Where it is in its life.
    reason
        In words: its faults, what it waits for, why it failed.
    bytes_moved, files_skipped
        As the service counts them.
    """

    phase: TransferPhase
    reason: str = ""
    bytes_moved: int = 0
    files_skipped: int = 0


class Transfers(Protocol):
    """A service that moves files between two places.

    All calls raise :class:`~xpcs_assets.errors.UnreachableError` when no answer came, and
    :class:`~xpcs_assets.errors.CopyError` when the service refuses; its remedy names the consent or right that lacks.
    """

    def new_submission(self) -> str:
        """An id to begin a transfer with; to be stored before :meth:`begin`."""

    def begin(self, submission: str, label: str, items: Sequence[Item]) -> str:
        """Begin a transfer, or find the one that was begun with this submission; the service's id of it."""

    def look(self, task: str) -> TransferSeen:
        """How it goes."""

    def cancel(self, task: str) -> None:
        """End it; one that has ended is no error."""
