"""Stage a run of a beamline: from its newest version to a verified copy in the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from xpcs_assets.archive.retrieve import restage, source_is_gone
from xpcs_assets.arrive.candidates import locate
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import RunVersion
from xpcs_assets.errors import SettingsError
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.stage.copy import Staged, record_staged, stage_run


@dataclass(frozen=True)
class StagedRun:
    """A staged copy: which version, where, and what was moved."""

    version: RunVersion
    folder: VersionFolder
    staged: Staged


def stage(beamline: OpenBeamline, key: str) -> StagedRun:
    """Copy the newest version of run ``key`` to the staging place, hashed on the way and read back.

    When the source says that it no longer has the run's files, they come out of the archive.

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
    root = beamline.source_root
    source = locate(beamline.settings, root, root / version.source).folder
    if source_is_gone(beamline, version, source):
        return StagedRun(version, folder, restage(beamline, version))
    with beamline.working(version.run_key, "stage") as renew:
        staged = stage_run(
            version.manifest, source, folder, place, together=beamline.settings.pipeline.stage.together, on_bytes=renew
        )
        renew(0)
        record_staged(beamline.ledger, folder, place)
    return StagedRun(version, folder, staged)
