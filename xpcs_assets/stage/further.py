"""Send a run's raw data to further places: each a copy that was read there, and counts like any other.

Between two collections of Globus the files are moved by its service (:mod:`xpcs_assets.stage.further_transfer`);
everywhere else they are read here and written there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from xpcs_assets.archive.retrieve import ALREADY_THERE, Fetch, sources
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Copy, RunVersion
from xpcs_assets.errors import NotVerifiedError
from xpcs_assets.places.place import Place
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.stage.copy import complete, inside
from xpcs_assets.stage.further_transfer import (
    COPY,
    Arrived,
    Move,
    Waits,
    bring,
    goes_by_transfer,
    lacking_at,
    settle,
)

_PURPOSE_LENGTH = 32  # of a lease, in the ledger
_NAMED = 3


@dataclass(frozen=True)
class FurtherCopy:
    """A copy in a further place.

    Attributes
    ----------
    version
        Whose files.
    place, path
        Where they are.
    came_from
        The place they were taken from; several, if not all could be had from the best one; none, if all were there.
    bytes_moved, seconds
        What had to be sent; the time that this took, or in which it was read if a service sent it.
    """

    version: RunVersion
    place: str
    path: str
    came_from: tuple[str, ...]
    bytes_moved: int
    seconds: float


def copy_further(beamline: OpenBeamline, key: str, name: str) -> FurtherCopy | Waits:
    """Bring the newest version of run ``key`` to the place ``name``, read it there, and tell the ledger.

    What is there and right is not sent again. Files are taken from the staged copy; those that are wrong there, from
    another one.

    Raises
    ------
    NotVerifiedError
        Some files could not be had from any copy, or are not at the place as they were sent.
    ConflictingBytesError, NoRoomError, CopyError
        Other bytes have a name there; it is full; it cannot be asked.
    NotFoundError, RefusedError
        The run was never taken; another worker is at it.
    """
    began_s = time.monotonic()
    version, target = beamline.latest(key), beamline.place(name)
    staged = beamline.staged(version)
    folder = inside(staged)
    with beamline.working(version.run_key, f"copy to {name}"[:_PURPOSE_LENGTH]) as renew:
        copy = _source(beamline, version, name)
        source = beamline.place(copy.place) if copy is not None else None
        if copy is not None and source is not None and goes_by_transfer(beamline, source, target):
            move = Move(version, COPY, source, copy.path, target, folder.raw.as_posix())
            came = bring(beamline, move, renew)
        else:
            came = _send(beamline, version, target, folder, renew)
        if isinstance(came, Waits):
            return came
        complete(beamline.ledger, version.manifest, staged, target, renew)
        settle(beamline.ledger, came)
    seconds = time.monotonic() - began_s
    return FurtherCopy(version, name, str(folder.raw), came.came_from, came.bytes_moved, seconds)


def _source(beamline: OpenBeamline, version: RunVersion, target: str) -> Copy | None:
    """The copy to take the files from: that of a transfer under way, else the best one that can be asked now."""
    others = [copy for copy in sources(beamline, version) if copy.place != target]
    under_way = {
        each.source
        for each in beamline.ledger.transfers_of(beamline.name, version.run_key, version.version)
        if each.is_under_way and (each.purpose, each.target) == (COPY, target)
    }
    for copy in others:
        if copy.place in under_way:
            return copy
    return next((copy for copy in others if copy.is_sound and _has_files(beamline.place(copy.place))), None)


def _has_files(place: Place) -> bool:
    return not place.holds_bundles and not place.why_unavailable()


def _send(
    beamline: OpenBeamline, version: RunVersion, target: Place, folder: VersionFolder, renew: Callable[[int], None]
) -> Arrived:
    """Read the files here, write them there, and read them there once more, whatever the place says of its writing."""
    if isinstance(target, PosixPlace):
        target.sweep(str(folder.path))
    entries = version.manifest.files
    work = Fetch(beamline, version, target, str(folder.raw), renew)
    work.fetch(entries)
    wrong = work.missing or lacking_at(target, str(folder.raw), entries, renew)
    if wrong:
        named = "; ".join(f"{path}: {why}" for path, why in list(wrong.items())[:_NAMED])
        raise NotVerifiedError(
            f"{len(wrong)} of {len(entries)} files could not be had from any copy, or came out wrong: {named}",
            where=f"{target.name}:{folder.raw}",
            remedy="Bring back a place that has them, or have the target looked at; then repeat",
        )
    origins = sorted({origin for origin in work.came_from.values() if origin != ALREADY_THERE})
    return Arrived(work.moved, tuple(origins))
