"""Send a run's raw data to further places: each a copy that was read there, and counts like any other.

Between two collections of Globus the files are moved by its service (:mod:`xpcs_assets.stage.further_transfer`), from a
folder of this machine to another machine by rsync; everywhere else they are read here and written there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xpcs_assets.archive.retrieve import ALREADY_THERE, Fetch, sources
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Copy, RunVersion
from xpcs_assets.errors import ConflictingBytesError, NotFoundError, NotVerifiedError
from xpcs_assets.places.place import Place
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.ssh import SshPlace
from xpcs_assets.places.ssh_rsync import RSYNC_LIMIT_S, push
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.stage.copy import complete, inside
from xpcs_assets.stage.further_transfer import bring, settle
from xpcs_assets.stage.moves import COPY, Arrived, Move, Waits, goes_by_transfer, lacking_at, lease_of
from xpcs_assets.stage.side_by_side import while_renewing

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
        What had to be sent; the time that this took, with a service from the moment its transfer was written down.
    """

    version: RunVersion
    place: str
    path: str
    came_from: tuple[str, ...]
    bytes_moved: int
    seconds: float

    @property
    def rate_bytes_per_s(self) -> float:
        """Of what was sent; 0 when nothing was."""
        return self.bytes_moved / self.seconds if self.bytes_moved and self.seconds > 0 else 0.0


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
    with beamline.working(version.run_key, lease_of(COPY, name)) as renew:
        best = _best(beamline, version, name)
        if best is not None and goes_by_transfer(beamline, best[0], target):
            came = bring(beamline, Move(version, COPY, best[0], best[1].path, target, str(folder.raw)), renew)
        else:
            came = _send(beamline, version, best, target, folder, renew)
        if isinstance(came, Waits):
            return came
        complete(beamline.ledger, version.manifest, staged, target, renew)
        settle(beamline.ledger, came)
    seconds = came.seconds(beamline.ledger.clock(), time.monotonic() - began_s)
    return FurtherCopy(version, name, str(folder.raw), came.came_from, came.bytes_moved, seconds)


def _best(beamline: OpenBeamline, version: RunVersion, target: str) -> tuple[Place, Copy] | None:
    """The copy to take the files from: that of a transfer that was begun, else the best one that can be asked now."""
    others = [copy for copy in sources(beamline, version) if copy.place != target]
    under_way = {
        each.source
        for each in beamline.ledger.transfers_of(beamline.name, version.run_key, version.version)
        if each.is_under_way and each.task and (each.purpose, each.target) == (COPY, target)
    }
    for copy in others:
        place = beamline.place(copy.place)
        if copy.place in under_way or (not under_way and copy.is_sound and _has_files(place)):
            return place, copy
    return None


def _has_files(place: Place) -> bool:
    return not place.holds_bundles and not place.why_unavailable()


def _send(
    beamline: OpenBeamline,
    version: RunVersion,
    best: tuple[Place, Copy] | None,
    target: Place,
    folder: VersionFolder,
    renew: Callable[[int], None],
) -> Arrived:
    """Write the files there, and read them there once more, whatever the place says of its writing."""
    if isinstance(target, PosixPlace):
        target.sweep(str(folder.path))
    entries = version.manifest.files
    pushed = 0
    if best is not None and isinstance(best[0], PosixPlace) and isinstance(target, SshPlace):
        pushed = _push(best[0].root / best[1].path, version, target, str(folder.raw), renew)
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
    if pushed and best is not None:
        origins = sorted({*origins, best[0].name})
    return Arrived(pushed + work.moved, tuple(origins))


def _push(source: Path, version: RunVersion, target: SshPlace, folder: str, renew: Callable[[int], None]) -> int:
    """What rsync can bring in one go, bytes.

    What it cannot, such as a file that is wrong here or whose name is taken there, is told of each file by who comes
    next.
    """
    try:
        return while_renewing(lambda: push(target, source, version.manifest.files, folder, RSYNC_LIMIT_S), renew)
    except (ConflictingBytesError, NotFoundError, NotVerifiedError):
        return 0
