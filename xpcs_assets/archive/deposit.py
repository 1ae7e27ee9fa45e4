"""Putting bundles into an archive; a bundle counts when it was read back and is what it should be.

What is there already is only read back. Done again, or after a crash, the same bundles come out. What has a bundle's
name, or its index's, and is something else stays where it is: the files go into a bundle of the next name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from xpcs_assets.archive.bundle import RAW, BundleContent, Plan, plan_bundles, read_bundle
from xpcs_assets.archive.index import INDEX_SUFFIX
from xpcs_assets.copies.ledger import Evidence, Ledger
from xpcs_assets.errors import ConflictingBytesError, NotVerifiedError, UnderWayError
from xpcs_assets.places import reading
from xpcs_assets.places.hpss import ArchivePlace
from xpcs_assets.places.place import Place
from xpcs_assets.runs.manifest import Manifest

OnBytes = Callable[[int], None]
OpenMember = Callable[[str], Iterable[bytes]]


@dataclass(frozen=True)
class Bundling:
    """How files are put together.

    Attributes
    ----------
    alone_over_bytes
        A bigger file has a bundle of its own.
    up_to_bytes
        Longest bundle of several files.
    """

    alone_over_bytes: int = 65_000_000_000
    up_to_bytes: int = 2_000_000_000_000


@dataclass(frozen=True)
class ReadBack:
    """A bundle that was read back from the archive and is what it should be."""

    plan: Plan
    found: BundleContent


@dataclass(frozen=True)
class Deposited:
    """What lies in the archive now, all of it read back.

    Attributes
    ----------
    place, failure_domain
        Where: the archive's name, and what is lost with it.
    bundles
        Each one with what was found in it.
    written
        Bundles that were not there before.
    damaged
        Paths of what was there under the names of these bundles and is something else: bundles that could not be read
        back, indexes of other bytes. It stays, and does not count.
    evidence
        How it was verified.
    under_way
        Why not all of the bundles are there yet, where a job still puts one there; who has recorded these raises it.
    """

    place: str
    failure_domain: str
    bundles: tuple[ReadBack, ...]
    written: int
    damaged: tuple[str, ...] = ()
    evidence: Evidence = Evidence.READ_BACK
    under_way: UnderWayError | None = None

    @property
    def members(self) -> int:
        """Files in all bundles."""
        return sum(len(bundle.found.members) for bundle in self.bundles)

    @property
    def size_bytes(self) -> int:
        """Bytes of all bundles."""
        return sum(bundle.found.size_bytes for bundle in self.bundles)


def deposit(
    place: ArchivePlace,
    beamline: str,
    version: int,
    content: str,
    manifest: Manifest,
    root: Path,
    bundling: Bundling | None = None,
    *,
    skip: Collection[str] = (),
    spoilt: Collection[str] = (),
    on_bytes: OnBytes = lambda size_bytes: None,
) -> Deposited:
    """Put the files of ``manifest`` below ``root`` into the archive in bundles of their own, and read them back.

    Parameters
    ----------
    content
        ``raw`` or ``results``.
    manifest
        The files, as hashed when they were taken: the run's, or those of one recipe's results. Another recipe's
        results, or other bytes, are new bundles beside the old.
    root
        Their folder.
    skip
        Paths of bundles that were read back before and are neither written nor read now.
    spoilt, on_bytes
        See :func:`deposit_plans`.

    Raises
    ------
    NotVerifiedError, NoRoomError, CopyError
        See :func:`deposit_plans`.
    """
    size = bundling or Bundling()
    plans = plan_bundles(
        beamline,
        version,
        content,
        manifest,
        alone_over_bytes=size.alone_over_bytes,
        up_to_bytes=size.up_to_bytes,
    )

    def open_member(path: str) -> Iterator[bytes]:
        return file_chunks(root, path, place)

    wanted = [plan for plan in plans if plan.path not in skip]
    return deposit_plans(place, wanted, open_member, spoilt=spoilt, on_bytes=on_bytes)


def deposit_plans(
    place: ArchivePlace,
    plans: Collection[Plan],
    open_member: OpenMember,
    *,
    spoilt: Collection[str] = (),
    on_bytes: OnBytes = lambda size_bytes: None,
) -> Deposited:
    """Write the bundles that are not there, and read back all of them.

    Parameters
    ----------
    open_member
        Gives the bytes of a member by its path in the bundle.
    spoilt
        Paths of bundles that are known to be gone or damaged. Their names are taken for ever: their files are
        bundled again under another name.
    on_bytes
        Called with the length of each piece that was written or read back, to show progress and renew a lease.

    Raises
    ------
    SourceDiffersError
        A file is not what its manifest says.
    NotVerifiedError
        What was written just now came back as something else, twice.
    UnderWayError
        A job puts the first of them there, and is not done yet.
    NoRoomError, CopyError
        As :func:`xpcs_assets.places.files.write_file_safely`.
    """
    bundles: list[ReadBack] = []
    damaged: list[str] = []
    written = 0
    under_way: UnderWayError | None = None
    for folder in sorted({plan.folder for plan in plans}):
        place.sweep(folder)
    for plan in plans:
        try:
            done, is_new, bad = _settle(place, plan, open_member, spoilt, on_bytes)
        except UnderWayError as error:  # one at a time: scratch need not hold them all
            under_way = error
            break
        bundles.append(done)
        damaged += bad
        written += is_new
    if under_way is not None and not bundles:
        raise under_way
    place.settle(bundle.plan.path for bundle in bundles)
    return Deposited(place.name, place.failure_domain, tuple(bundles), written, tuple(damaged), under_way=under_way)


def record_deposit(ledger: Ledger, deposited: Deposited) -> None:
    """Tell the ledger of the bundles that were read back, and of the copies that bundles of raw data are.

    The path of a copy is the folder of its bundles, or the very bundle where that has files of other runs too.
    """
    copies: dict[tuple[str, int], tuple[str, str]] = {}
    for bundle in deposited.bundles:
        plan, found = bundle.plan, bundle.found
        ledger.record_bundle(
            plan.beamline,
            plan.runs,
            place=deposited.place,
            name=plan.path,
            content=plan.content,
            size_bytes=found.size_bytes,
            sha256=found.sha256,
            index_digest=found.index_digest,
            members=found.members,
            evidence=deposited.evidence,
        )
        if plan.content == RAW and deposited.under_way is None:  # half a copy is none
            copies |= {
                (run.run_key, run.version): (plan.beamline, plan.path if run.prefix else plan.folder)
                for run in plan.runs
            }
    for (run_key, version), (beamline, path) in copies.items():
        ledger.record_copy(
            beamline,
            run_key,
            version,
            place=deposited.place,
            path=path,
            failure_domain=deposited.failure_domain,
            evidence=deposited.evidence,
        )


def file_chunks(root: Path, path: str, place: ArchivePlace) -> Iterator[bytes]:
    """The bytes of a staged file that is bundled; a link on the way is refused."""
    with reading.open_inside(root, path, place.calls) as descriptor:
        yield from reading.chunks_of(descriptor, place.calls)


def read_twice(
    place: Place, path: str, kinds: Collection[str], on_bytes: OnBytes = lambda size_bytes: None
) -> BundleContent:
    """Read a bundle, and once more if it seems damaged: one read that differs says nothing about the tape.

    Raises
    ------
    NotVerifiedError
        It seemed damaged both times.
    NotFoundError, CopyError
        It is not there, or cannot be read.
    """
    where = f"{place.name}:{path}"
    try:
        return read_bundle(_counted(place.read(path), on_bytes), where=where, also=kinds)
    except NotVerifiedError:
        return read_bundle(_counted(place.read(path), on_bytes), where=where, also=kinds)


def _settle(
    place: ArchivePlace, plan: Plan, open_member: OpenMember, spoilt: Collection[str], on_bytes: OnBytes
) -> tuple[ReadBack, bool, list[str]]:
    """The bundle read back, whether it is new, and what else was found under the names that it could have had."""
    others: list[str] = []
    while True:
        while plan.path in spoilt:
            plan = replace(plan, again=plan.again + 1)
        try:  # a source that differs ends it here
            chunks = _counted(plan.chunks(open_member), on_bytes)
            is_new = place.put_bundle(plan.path, chunks, plan.path + INDEX_SUFFIX, plan.index)
        except ConflictingBytesError as error:
            others.append(plan.path + (INDEX_SUFFIX if error.where.endswith(INDEX_SUFFIX) else ""))
            plan = replace(plan, again=plan.again + 1)
            continue
        try:
            return _read_back(place, plan, on_bytes), is_new, others
        except NotVerifiedError:
            if is_new:  # the next attempt finds it there, and takes another name
                raise
            others.append(plan.path)
            plan = replace(plan, again=plan.again + 1)


def _read_back(place: ArchivePlace, plan: Plan, on_bytes: OnBytes) -> ReadBack:
    found = read_twice(place, plan.path, plan.kinds, on_bytes)
    sound = found.members == plan.members and found.index == plan.index
    if not sound or any(found.also[e.path].get(kind) != value for e in plan.entries for kind, value in e.also):
        raise NotVerifiedError(
            "what came back from the archive is not what was put there",
            where=f"{place.name}:{plan.path}",
            remedy="The run's other copies stay; have the archive looked at, then archive again",
        )
    return ReadBack(plan, found)


def _counted(chunks: Iterable[bytes], on_bytes: OnBytes) -> Iterator[bytes]:
    for chunk in chunks:
        if chunk:  # the padding of a member may be none
            on_bytes(len(chunk))
        yield chunk
