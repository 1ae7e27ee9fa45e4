"""What is to be moved between two places, which service does it, and whether it has arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Errand, RunVersion, Transfer
from xpcs_assets.errors import CopyError, SettingsError
from xpcs_assets.places.globus import GlobusPlace
from xpcs_assets.places.place import Place, Presence
from xpcs_assets.places.transfer import Item, Transfers
from xpcs_assets.runs.manifest import FileEntry

STAGE, COPY = "stage", "copy"
"""What a transfer is for."""
_LEASE_LENGTH = 32  # in the ledger
LOOK_S = 10.0
"""How long an answer is waited for by who may not take its time."""


def lease_of(purpose: str, target: str) -> str:
    """What the run's lease is called while such work is done: who holds it is alone with it."""
    return STAGE if purpose == STAGE else f"copy to {target}"[:_LEASE_LENGTH]


@dataclass(frozen=True)
class Move:
    """What is to be moved: the files of a version, from a folder of one place to a folder of another.

    Attributes
    ----------
    version
        Whose files.
    purpose
        :data:`STAGE` or :data:`COPY`.
    source, source_folder, target, target_folder
        From where and to where; folders are relative to the places' roots.
    """

    version: RunVersion
    purpose: str
    source: Place
    source_folder: str
    target: Place
    target_folder: str

    @property
    def errand(self) -> Errand:
        """What its transfers are written down under."""
        of = self.version
        return Errand(of.beamline, of.run_key, of.version, self.purpose, self.source.name, self.target.name)

    def at_target(self, entry: FileEntry) -> str:
        """Where a file arrives."""
        return str(PurePosixPath(self.target_folder) / entry.path)

    def lacking(self, renew: Callable[[int], None]) -> dict[str, str]:
        """See :func:`lacking_at`."""
        return lacking_at(self.target, self.target_folder, self.version.manifest.files, renew)

    def item(self, entry: FileEntry) -> Item:
        """A file as the service is told of it."""
        source = str(PurePosixPath(self.source_folder) / entry.path)
        return Item(source, self.at_target(entry), entry.size_bytes, entry.sha256)


@dataclass(frozen=True)
class Waits:
    """It is not done yet, and why."""

    reason: str


@dataclass(frozen=True)
class Arrived:
    """Every file was read at the target just now and is right.

    Attributes
    ----------
    bytes_moved
        What had to be brought.
    came_from
        The places they were brought from.
    transfer
        What brought them; None where nothing had to be brought, or no service did it.
    """

    bytes_moved: int
    came_from: tuple[str, ...]
    transfer: Transfer | None = None

    def seconds(self, now: datetime, here_s: float) -> float:
        """How long it took: since its transfer was written down, or ``here_s`` where no service moved anything."""
        return (now - self.transfer.made_at).total_seconds() if self.transfer is not None else here_s


def goes_by_transfer(beamline: OpenBeamline, source: Place, target: Place) -> bool:
    """Whether a service moves files between two places without us."""
    both = isinstance(source, GlobusPlace) and isinstance(target, GlobusPlace)
    return both and beamline.site.settings.globus is not None


@contextmanager
def transfers_between(
    beamline: OpenBeamline, source: Place, target: Place, *, patient: bool = True
) -> Iterator[Transfers]:
    """The service that moves files between two places, its connections closed at the end.

    Parameters
    ----------
    patient
        Whether it may take its time; else each request is made once, and waits :data:`LOOK_S` at most.

    Raises
    ------
    SettingsError
        There is none for these two, or the site names no way to log in.
    """
    if not (isinstance(source, GlobusPlace) and isinstance(target, GlobusPlace)):
        raise SettingsError(
            f"no service moves files from {source.name!r} to {target.name!r}",
            where=beamline.name,
            remedy="Have both places of kind globus",
        )
    from xpcs_assets.places import globus_site
    from xpcs_assets.places.globus_transfer import GlobusTransfers

    if patient:
        service = globus_site.transfers_between(beamline.site, source, target)
    else:
        account = globus_site.account_of(beamline.site)
        account = replace(account, timeout_s=min(account.timeout_s, LOOK_S), tries=1)
        service = GlobusTransfers(account, source.collection, target.collection)
    with closing(service):
        yield service


def lacking_at(place: Place, folder: str, entries: Iterable[FileEntry], renew: Callable[[int], None]) -> dict[str, str]:
    """Read what is in a folder of a place: why each file that is not right there is not, by its path in the manifest.

    Raises
    ------
    CopyError
        The place cannot be asked.
    """
    lacking = {}
    for entry in entries:
        renew(0)
        path = str(PurePosixPath(folder) / entry.path)
        found = place.stat(path)
        if found.presence is Presence.UNKNOWN:
            raise CopyError(f"what is there is not known: {found.reason}", where=f"{place.name}:{path}")
        why = "it is not there"
        if found.presence is Presence.YES:
            why = entry.differs(place.digest(path, entry.kinds))
        if why:
            lacking[entry.path] = why
    return lacking
