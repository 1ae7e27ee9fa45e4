"""Stage a run of a beamline: from its newest version to a verified copy in the ledger."""

from __future__ import annotations

import time
from dataclasses import dataclass

from xpcs_assets.archive.retrieve import restage, source_is_gone
from xpcs_assets.arrive.candidates import candidate_at
from xpcs_assets.arrive.source import source_of
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import RunVersion
from xpcs_assets.errors import SettingsError
from xpcs_assets.places.place import Place
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.stage.copy import Staged, complete, inside, record_staged
from xpcs_assets.stage.further_transfer import bring, settle
from xpcs_assets.stage.moves import STAGE, Move, Waits, goes_by_transfer, lease_of


@dataclass(frozen=True)
class StagedRun:
    """A staged copy: which version, where, and what was moved."""

    version: RunVersion
    folder: VersionFolder
    staged: Staged


def stage(beamline: OpenBeamline, key: str) -> StagedRun | Waits:
    """Copy the newest version of run ``key`` to the staging place, hashed on the way and read back.

    When the source says that it no longer has the run's files, they come out of the archive. Where a service moves them
    from one to the other, it is begun or followed, and what it has brought is read.

    Raises
    ------
    NotFoundError, CopyError, RefusedError
        The run was never taken; a file changed, does not fit or cannot be verified; another worker is at it.
    """
    version = beamline.latest(key)
    folder = beamline.staged(version)
    place = beamline.place(beamline.settings.pipeline.stage.to)
    if not isinstance(place, PosixPlace):
        raise SettingsError(f"{place.name!r} is no folder to stage to", remedy="Stage to a place of kind posix")
    source = source_of(beamline)
    source_folder = candidate_at(beamline.settings, source.root, version.source).folder
    if source_is_gone(beamline, version, source_folder.relative_to(source.root)):
        return StagedRun(version, folder, restage(beamline, version))
    watched = beamline.place(beamline.settings.runs.source.watch)
    if goes_by_transfer(beamline, watched, place):
        return _by_transfer(beamline, version, watched, str(source_folder.relative_to(source.root)))
    with beamline.working(version.run_key, lease_of(STAGE, place.name)) as renew:
        together = beamline.settings.pipeline.stage.together
        staged = source.stage(version.manifest, source_folder, folder, place, together=together, on_bytes=renew)
        renew(0)
        record_staged(beamline.ledger, folder, place)
    return StagedRun(version, folder, staged)


def _by_transfer(beamline: OpenBeamline, version: RunVersion, source: Place, source_folder: str) -> StagedRun | Waits:
    began_s = time.monotonic()
    folder, place = beamline.staged(version), beamline.place(beamline.settings.pipeline.stage.to)
    move = Move(version, STAGE, source, source_folder, place, str(inside(folder).raw))
    with beamline.working(version.run_key, lease_of(STAGE, place.name)) as renew:
        came = bring(beamline, move, renew)
        if isinstance(came, Waits):
            return came
        complete(beamline.ledger, version.manifest, folder, place, renew)
        settle(beamline.ledger, came)
    already_there = 0 if came.transfer else len(version.manifest.files)
    seconds = came.seconds(beamline.ledger.clock(), time.monotonic() - began_s)
    return StagedRun(version, folder, Staged(came.bytes_moved, version.manifest.size_bytes, already_there, seconds))
