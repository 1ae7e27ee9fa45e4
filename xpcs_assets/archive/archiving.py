"""Archive what a run has: its raw data once, each recipe's result as it comes. Nothing in the archive is replaced.

What the ledger has as read back is neither written nor read again; the archive is only asked whether it is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xpcs_assets.archive.bundle import RAW, RESULTS
from xpcs_assets.archive.deposit import Bundling, Deposited, deposit, record_deposit
from xpcs_assets.archive.fixity import check_there, folder_of, holds, reread_bundle
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.beside import write_note
from xpcs_assets.copies.ledger import Bundle, CopyState, RunVersion
from xpcs_assets.errors import NotFoundError, NotVerifiedError, SettingsError
from xpcs_assets.places.hpss import ArchivePlace
from xpcs_assets.runs.folders import PARTIAL_SUFFIX, VersionFolder
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.stage.copy import take_manifest


@dataclass(frozen=True)
class Archived:
    """What of a run lies in the archive now.

    Attributes
    ----------
    version
        The run's newest version.
    place
        The archive.
    bundles
        Every bundle there that holds files of the run and counts, in the order they were written.
    files
        How many files of the run are in them.
    written
        Bundles that were not there before.
    read_bytes
        How much was read back just now.
    damaged
        Paths of bundles that were found damaged, and of indexes of other bytes; the files are in other bundles now.
    """

    version: RunVersion
    place: str
    bundles: tuple[Bundle, ...]
    files: int
    written: int
    read_bytes: int
    damaged: tuple[str, ...]

    @property
    def results(self) -> tuple[Bundle, ...]:
        """The bundles of results."""
        return tuple(bundle for bundle in self.bundles if bundle.content == RESULTS)


def archive(beamline: OpenBeamline, key: str) -> Archived:
    """Put every staged version of run ``key`` and its results into the archive, and read back what is new there.

    Raises
    ------
    NotFoundError
        The run was never taken, is not staged, or the beamline has no archive.
    NotVerifiedError
        What came back is not what was put there; or a bundle that was read back before is gone or has another size.
    CopyError
        Something could not be read or written, or the archive cannot be asked.
    """
    return _archive(beamline, key, with_raw=True)


def archive_results(beamline: OpenBeamline, key: str) -> Archived:
    """Put the results of run ``key`` into the archive, while its raw data wait for those of others.

    Raises
    ------
    NotFoundError, NotVerifiedError, CopyError
        As :func:`archive`.
    """
    return _archive(beamline, key, with_raw=False)


@dataclass
class Archivist:
    """Work on the archive of a beamline, and what it has done so far.

    Attributes
    ----------
    beamline, place
        Whose archive, and where.
    on_bytes
        Told of bytes moved; of none before the ledger is told of a deposit.
    done
        What was written or read back.
    """

    beamline: OpenBeamline
    place: ArchivePlace
    on_bytes: Callable[[int], None] = lambda size_bytes: None
    done: list[Deposited] = field(default_factory=list)

    @classmethod
    def of(cls, beamline: OpenBeamline) -> Archivist:
        """The one of a beamline.

        Raises
        ------
        NotFoundError, SettingsError
            It has no archive, or a place that is none.
        """
        settings = beamline.settings.pipeline.archive
        if settings is None:
            raise NotFoundError("this beamline has no archive step", where=beamline.name)
        place = beamline.place(settings.to)
        if not isinstance(place, ArchivePlace):
            raise SettingsError(f"{place.name!r} is no archive", remedy="Archive to a place of kind tape or hpss")
        return cls(beamline, place)

    @property
    def bundling(self) -> Bundling:
        """How files are put together."""
        settings = self.beamline.settings.pipeline.archive
        return Bundling() if settings is None else Bundling(settings.bundle.alone_over, settings.bundle.up_to)

    def holds_raw(self, version: RunVersion) -> bool:
        """Whether the raw data of a version lie in the archive, read back; mends what the ledger says of the copy.

        A copy that the ledger has as lost or bad is read again.

        Raises
        ------
        NotVerifiedError, CopyError
            See :func:`archive`.
        """
        ledger = self.beamline.ledger
        if self._present(version) is False:
            for bundle in self._sound(version, RAW):
                reread_bundle(ledger, self.place, bundle, on_bytes=self.on_bytes)
        found = self._copy_of(version)
        if found is None:
            return False
        path, bundles = found
        for bundle in bundles:
            check_there(ledger, self.place, bundle)
        if not self._present(version):
            ledger.record_copy(
                version.beamline,
                version.run_key,
                version.version,
                place=self.place.name,
                path=path,
                failure_domain=self.place.failure_domain,
                evidence=bundles[0].evidence,
                verified_at=min(bundle.verified_at for bundle in bundles),
            )
        return True

    def put(self, version: RunVersion, content: str, manifest: Manifest, root: Path) -> None:
        """Put files of a version into bundles of their own; those that were read back before are left alone."""
        sound = [bundle.name for bundle in self._sound(version, content)]
        self.record(
            deposit(
                self.place,
                version.beamline,
                version.version,
                content,
                manifest,
                root,
                self.bundling,
                skip=sound,
                spoilt=self.spoilt(version, content),
                on_bytes=self.on_bytes,
            )
        )

    def record(self, deposited: Deposited) -> None:
        """Tell the ledger, and the notes beside the manifests, of what was deposited.

        UnderWayError when there is more to come.
        """
        self.on_bytes(0)  # who has lost the lease meanwhile stops here
        record_deposit(self.beamline.ledger, deposited)
        root = self.beamline.root(self.beamline.settings.pipeline.stage.to)
        runs = {(run.run_key, run.version) for bundle in deposited.bundles for run in bundle.plan.runs}
        for run_key, version in sorted(runs):
            write_note(self.beamline.engine, VersionFolder(root, self.beamline.name, run_key, version))
        self.done.append(deposited)
        if deposited.under_way is not None:
            raise deposited.under_way

    def put_results(self, version: RunVersion) -> None:
        """Put what the archive lacks of a version's results into it.

        Raises
        ------
        NotVerifiedError
            A result file is not the one that was recorded, or is gone and was never archived.
        """
        ledger, sound = self.beamline.ledger, self._sound(version, RESULTS)
        for bundle in sound:
            check_there(ledger, self.place, bundle)
        archived = {member.sha256 for bundle in sound for member in ledger.members(bundle.place, bundle.name)}
        for root, recorded in _results(self.beamline, version).items():
            manifest = _manifest_of(version, root)
            _refuse_other_results(manifest, root, recorded, archived)
            if not holds(ledger, sound, version.run_key, version.version, manifest):
                self.put(version, RESULTS, manifest, root)

    def spoilt(self, version: RunVersion, content: str) -> list[str]:
        """Paths of bundles that are known to be gone or damaged: their names are not used again."""
        return [bundle.name for bundle in self._bundles(version, content) if not bundle.evidence.counts]

    def _bundles(self, version: RunVersion, content: str) -> tuple[Bundle, ...]:
        known = self.beamline.ledger.bundles(version.beamline, version.run_key, version.version)
        return tuple(bundle for bundle in known if (bundle.place, bundle.content) == (self.place.name, content))

    def _sound(self, version: RunVersion, content: str) -> list[Bundle]:
        return [bundle for bundle in self._bundles(version, content) if bundle.evidence.counts]

    def _present(self, version: RunVersion) -> bool | None:
        """Whether the ledger's copy here counts; None when it has none."""
        copies = self.beamline.ledger.copies(version.beamline, version.run_key, version.version)
        states = {copy.state for copy in copies if copy.place == self.place.name}
        return CopyState.PRESENT in states if states else None

    def _copy_of(self, version: RunVersion) -> tuple[str, list[Bundle]] | None:
        """Path and bundles of a whole copy of the raw data that was read back: a gathered bundle, or a folder."""
        by_path: dict[str, list[Bundle]] = {}
        for bundle in self._sound(version, RAW):
            gathered = any(run.prefix for run in bundle.runs)
            by_path.setdefault(bundle.name if gathered else folder_of(bundle), []).append(bundle)
        for path, bundles in by_path.items():
            if holds(self.beamline.ledger, bundles, version.run_key, version.version, version.manifest):
                return path, bundles
        return None


def staged_versions(beamline: OpenBeamline, latest: RunVersion) -> list[RunVersion]:
    """The versions that are staged, the latest last: one that was superseded early is archived all the same."""
    known = [one for one in beamline.ledger.versions(beamline.name, latest.run_key) if one.version != latest.version]
    return [*(one for one in known if beamline.staged(one).manifest.exists()), latest]


def _archive(beamline: OpenBeamline, key: str, *, with_raw: bool) -> Archived:
    work = Archivist.of(beamline)
    latest = beamline.latest(key)
    folder = beamline.staged(latest)
    if not folder.manifest.exists():
        raise NotFoundError("the run is not staged", where=folder.path, remedy="Materialise staged_copy first")
    with beamline.working(latest.run_key, "archive") as work.on_bytes:
        for version in staged_versions(beamline, latest):
            if with_raw and not work.holds_raw(version):
                work.put(version, RAW, version.manifest, beamline.staged(version).raw)
            work.put_results(version)
    known = beamline.ledger.bundles(beamline.name, latest.run_key)
    bundles = tuple(bundle for bundle in known if bundle.place == work.place.name and bundle.evidence.counts)
    return Archived(
        version=latest,
        place=work.place.name,
        bundles=bundles,
        files=sum(_files_of(beamline, bundle, latest.run_key) for bundle in bundles),
        written=sum(part.written for part in work.done),
        read_bytes=sum(part.size_bytes for part in work.done),
        damaged=tuple(name for part in work.done for name in part.damaged),
    )


def _files_of(beamline: OpenBeamline, bundle: Bundle, run_key: str) -> int:
    prefixes = [run.prefix for run in bundle.runs if run.run_key == run_key]
    return sum(len(beamline.ledger.members(bundle.place, bundle.name, prefix)) for prefix in prefixes)


def _results(beamline: OpenBeamline, version: RunVersion) -> dict[Path, dict[str, str]]:
    """Each recipe's folder that the ledger knows a result in: sha256 of the newest one under each file name."""
    folder = beamline.staged(version)
    found: dict[Path, dict[str, str]] = {}
    for result in beamline.ledger.results(beamline.name, version.run_key, version=version.version):  # the newest first
        path = folder.root / result.path
        found.setdefault(path.parent, {}).setdefault(path.name, result.result_digest.removeprefix("sha256:"))
    return dict(sorted(found.items()))


def _manifest_of(version: RunVersion, root: Path) -> Manifest:
    """What is in a recipe's folder now."""
    names = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    kept = [name for name in names if not name.endswith((".lock", PARTIAL_SUFFIX))]
    return take_manifest(version.run_key, root, sorted(kept))


def _refuse_other_results(
    manifest: Manifest, root: Path, recorded: Mapping[str, str], archived: Collection[str]
) -> None:
    """Refuse to archive a result file that rotted since it was recorded, or to pass over one that was lost."""
    found = {entry.path: entry.sha256 for entry in manifest.files}
    for name, digest in recorded.items():
        if name in found and found[name] != digest:
            what = "the result file is not the one that was recorded"
        elif name not in found and digest not in archived:
            what = "the result file is gone, and was not archived"
        else:
            continue
        raise NotVerifiedError(
            what, where=root / name, remedy="Move away what is there and materialise correlation again"
        )
