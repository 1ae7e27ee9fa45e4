"""Archive what a run has: its raw data once, each recipe's result as it comes. Nothing in the archive is replaced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xpcs_assets.archive.deposit import RAW, RESULTS, Bundling, Deposited, deposit, record_deposit
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import RunVersion
from xpcs_assets.errors import NotFoundError, SettingsError
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.runs.folders import PARTIAL_SUFFIX
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.stage.copy import take_manifest


@dataclass(frozen=True)
class Archived:
    """What of a run lies in the archive now: its raw data, and its results if it has any."""

    version: RunVersion
    raw: tuple[Deposited, ...]
    results: tuple[Deposited, ...]

    @property
    def parts(self) -> tuple[Deposited, ...]:
        """All of it."""
        return (*self.raw, *self.results)


def archive(beamline: OpenBeamline, key: str) -> Archived:
    """Put every staged version of run ``key`` and its results into the archive, and read all of it back.

    Raises
    ------
    NotFoundError
        The run was never taken, is not staged, or the beamline has no archive.
    CopyError
        Something could not be written, or what came back is not what was put there.
    """
    settings = beamline.settings.pipeline.archive
    if settings is None:
        raise NotFoundError("this beamline has no archive step", where=beamline.name)
    version = beamline.latest(key)
    folder = beamline.staged(version)
    if not folder.manifest.exists():
        raise NotFoundError("the run is not staged", where=folder.path, remedy="Materialise staged_copy first")
    place = beamline.place(settings.to)
    if not isinstance(place, TapePlace):
        raise SettingsError(f"{place.name!r} is no archive", remedy="Archive to a place of kind tape")
    bundling = Bundling(settings.bundle.alone_over, settings.bundle.up_to)
    with beamline.working(version.run_key, "archive") as renew:

        def put(of: RunVersion, content: str, manifest: Manifest, root: Path) -> Deposited:
            done = deposit(place, beamline.name, of.version, content, manifest, root, bundling, on_bytes=renew)
            record_deposit(beamline.ledger, done)
            return done

        raw: list[Deposited] = []
        results: list[Deposited] = []
        for one in _staged_versions(beamline, version):
            raw.append(put(one, RAW, one.manifest, beamline.staged(one).raw))
            results += [put(one, RESULTS, manifest, root) for manifest, root in _results(beamline, one)]
    return Archived(version, tuple(raw), tuple(results))


def _staged_versions(beamline: OpenBeamline, latest: RunVersion) -> list[RunVersion]:
    """The versions that are staged, the latest last: one that was superseded early is archived all the same."""
    known = [one for one in beamline.ledger.versions(beamline.name, latest.run_key) if one.version != latest.version]
    return [*(one for one in known if beamline.staged(one).manifest.exists()), latest]


def _results(beamline: OpenBeamline, version: RunVersion) -> Iterator[tuple[Manifest, Path]]:
    """Each recipe's folder that the ledger knows a result in, with what is in it now."""
    folder = beamline.staged(version)
    known = beamline.ledger.results(beamline.name, version.run_key, version=version.version)
    for root in sorted({(folder.root / result.path).parent for result in known}):
        names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
        kept = [name for name in names if not name.endswith((".lock", PARTIAL_SUFFIX))]
        yield take_manifest(version.run_key, root, sorted(kept)), root
