"""Putting a run's files into an archive: raw data once, results as they come; a bundle counts when it was read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from xpcs_assets.archive.bundle import BundleContent, BundlePlan, plan_bundles, read_bundle
from xpcs_assets.copies.ledger import BundleRun, Evidence, Ledger
from xpcs_assets.errors import NotVerifiedError
from xpcs_assets.places import files, reading
from xpcs_assets.places.place import Presence
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.runs.manifest import Manifest, resolve_under

RAW = "raw"
RESULTS = "results"


@dataclass(frozen=True)
class Bundling:
    """How files are put together.

    Attributes
    ----------
    alone_over_bytes
        A bigger file has a bundle of its own.
    up_to_bytes
        Largest sum of file sizes in a bundle of several.
    """

    alone_over_bytes: int = 65_000_000_000
    up_to_bytes: int = 2_000_000_000_000


@dataclass(frozen=True)
class ReadBack:
    """A bundle that was read back from the archive and is what it should be."""

    plan: BundlePlan
    found: BundleContent

    @property
    def index_digest(self) -> str:
        """``sha256:`` of the member index."""
        return f"sha256:{sha256(self.found.index).hexdigest()}"


@dataclass(frozen=True)
class Deposited:
    """What lies in the archive now, all of it read back.

    Attributes
    ----------
    place, folder, failure_domain
        Where: the archive's name, the folder relative to its root, what is lost with it.
    bundles
        Each one with what was found in it.
    written
        Bundles that were not there before.
    evidence
        How it was verified.
    """

    place: str
    folder: str
    failure_domain: str
    bundles: tuple[ReadBack, ...]
    written: int
    evidence: Evidence = Evidence.READ_BACK

    @property
    def members(self) -> int:
        """Files in all bundles."""
        return sum(len(bundle.found.members) for bundle in self.bundles)

    @property
    def size_bytes(self) -> int:
        """Bytes of all bundles."""
        return sum(bundle.found.size_bytes for bundle in self.bundles)


def archive_folder(beamline: str, run_key: str, version: int, content: str) -> str:
    """Where bundles of one content of a version lie, relative to the archive's root."""
    return f"{beamline}/{run_key}/v{version}/{content}"


def deposit(
    place: TapePlace,
    beamline: str,
    version: int,
    content: str,
    manifest: Manifest,
    root: Path,
    bundling: Bundling | None = None,
    *,
    on_bytes: Callable[[int], None] = lambda size_bytes: None,
) -> Deposited:
    """Put the files of ``manifest`` below ``root`` into the archive, and read all of it back.

    What is in the archive already is only read back. Done again, or after a crash, it gives the same bundles.

    Parameters
    ----------
    content
        :data:`RAW` or :data:`RESULTS`.
    manifest
        The files, as hashed when they were taken: the run's, or those of one recipe's results. Another recipe's
        results, or other bytes, are new bundles beside the old.
    root
        Their folder.
    on_bytes
        Called with the length of each piece that was written or read back, to show progress and renew a lease.

    Raises
    ------
    NotVerifiedError
        A file is not what the manifest says, or what came back from the archive is not what should be there.
    ConflictingBytesError, NoRoomError, CopyError
        As :func:`xpcs_assets.places.files.write_file_safely`.
    """
    size = bundling or Bundling()
    folder = archive_folder(beamline, manifest.run_key, version, content)
    plans = plan_bundles(
        beamline,
        version,
        content,
        manifest,
        alone_over_bytes=size.alone_over_bytes,
        up_to_bytes=size.up_to_bytes,
    )
    files.sweep_partials(place.path(folder), place.calls)
    bundles, written = [], 0
    for plan in plans:
        written += _write(place, folder, plan, root, on_bytes)
        bundles.append(_read_back(place, folder, plan, on_bytes))
    return Deposited(place.name, folder, place.failure_domain, tuple(bundles), written)


def record_deposit(ledger: Ledger, deposited: Deposited) -> None:
    """Tell the ledger of the bundles that :func:`deposit` read back, and of the copy that bundles of raw data are."""
    for bundle in deposited.bundles:
        plan, found = bundle.plan, bundle.found
        ledger.record_bundle(
            plan.beamline,
            [BundleRun(plan.run_key, plan.version)],
            place=deposited.place,
            name=f"{deposited.folder}/{plan.name}",
            content=plan.content,
            size_bytes=found.size_bytes,
            sha256=found.sha256,
            index_digest=bundle.index_digest,
            members=found.members,
            evidence=deposited.evidence,
        )
    first = deposited.bundles[0].plan if deposited.bundles else None
    if first is not None and first.content == RAW:
        ledger.record_copy(
            first.beamline,
            first.run_key,
            first.version,
            place=deposited.place,
            path=deposited.folder,
            failure_domain=deposited.failure_domain,
            evidence=deposited.evidence,
        )


def _write(place: TapePlace, folder: str, plan: BundlePlan, root: Path, on_bytes: Callable[[int], None]) -> bool:
    """Whether the bundle was not there before."""
    name = f"{folder}/{plan.name}"
    is_new = place.stat(name).presence is not Presence.YES
    if is_new:
        chunks = plan.chunks(lambda path: _member(root, path, place))
        is_new = not place.put(name, _counted(chunks, on_bytes)).already_there
    index = plan.index
    place.put(f"{name}.index.json", [index], sha256=sha256(index).hexdigest())
    return is_new


def _read_back(place: TapePlace, folder: str, plan: BundlePlan, on_bytes: Callable[[int], None]) -> ReadBack:
    name = f"{folder}/{plan.name}"
    found = read_bundle(_counted(place.read(name), on_bytes), where=f"{place.name}:{name}")
    if found.members != plan.members or found.index != plan.index:
        raise NotVerifiedError(
            "what came back from the archive is not what was put there",
            where=f"{place.name}:{name}",
            remedy="The run's other copies stay; have the archive looked at, then archive again",
        )
    return ReadBack(plan, found)


def _member(root: Path, path: str, place: TapePlace) -> Iterator[bytes]:
    with reading.open_regular(resolve_under(root, path), place.calls) as descriptor:
        yield from reading.chunks_of(descriptor, place.calls)


def _counted(chunks: Iterator[bytes], on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    for chunk in chunks:
        on_bytes(len(chunk))
        yield chunk
