"""Small runs that wait for each other, to be one bundle: which ones, until when, and making it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from xpcs_assets.archive.archiving import Archivist
from xpcs_assets.archive.bundle import RAW, GatheredPlan, member_bytes
from xpcs_assets.archive.deposit import deposit_plans, file_chunks
from xpcs_assets.archive.index import run_prefix
from xpcs_assets.arrive.candidates import fields_of
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import RunVersion
from xpcs_assets.copies.pending import unarchived
from xpcs_assets.copies.versions import WAITS as TAKES_ITS_TIME
from xpcs_assets.errors import RefusedError, UnderWayError, XpcsAssetsError
from xpcs_assets.settings import Bundling, Gather

WAITS = "waits for others to be archived with"
_TOGETHER = "together"


@dataclass(frozen=True)
class Waiting:
    """A version whose raw data wait for those of other runs; ``since`` is when it was staged."""

    version: RunVersion
    since: datetime


def waiting(beamline: OpenBeamline) -> tuple[Waiting, ...]:
    """Staged versions that wait to be gathered, the oldest first."""
    settings = beamline.settings.pipeline
    if settings.archive is None or settings.archive.bundle.gather is None:
        return ()
    found = unarchived(beamline.engine, beamline.name, staged_in=settings.stage.to, archive=settings.archive.to)
    lacking = [
        Waiting(beamline.ledger.version(beamline.name, item.run_key, item.version), item.since)
        for item in found
        if not item.what
    ]
    return tuple(each for each in lacking if is_gathered(settings.archive.bundle, each.version))


def is_gathered(bundling: Bundling, version: RunVersion) -> bool:
    """Whether a version is small enough to be bundled with others."""
    files = version.manifest.files
    small = bundling.gather is not None and version.manifest.size_bytes < bundling.gather.under
    return small and bool(files) and all(member_bytes(entry) <= bundling.alone_over for entry in files)


def waits(beamline: OpenBeamline, version: RunVersion) -> bool:
    """Whether the raw data of a version wait for those of others now."""
    settings = beamline.settings.pipeline
    if settings.archive is None or not is_gathered(settings.archive.bundle, version):
        return False
    pending = unarchived(beamline.engine, beamline.name, staged_in=settings.stage.to, archive=settings.archive.to)
    return any((item.run_key, item.version, item.what) == (version.run_key, version.version, "") for item in pending)


def due(beamline: OpenBeamline, is_free: Callable[[str], bool] = lambda run_key: True) -> list[list[str]]:
    """Runs that are to be bundled together now: enough of them, or the oldest has waited long enough.

    Parameters
    ----------
    is_free
        Whether a run can be archived now; one that cannot stays for a later gathering.
    """
    settings = beamline.settings.pipeline.archive
    gather = settings.bundle.gather if settings is not None else None
    if gather is None:
        return []
    ready = (each for each in waiting(beamline) if is_free(each.version.run_key))
    together: list[list[str]] = []
    for alike in _alike(beamline, gather, ready).values():
        for group in _until(alike, gather):
            since = min(each.since for each in group)
            size_bytes = sum(each.version.manifest.size_bytes for each in group)
            if size_bytes >= gather.until or beamline.ledger.clock() - since >= timedelta(seconds=gather.wait):
                together.append(list(dict.fromkeys(each.version.run_key for each in group)))
    return together


def begun(beamline: OpenBeamline) -> list[list[str]]:
    """Runs whose bundle a job puts into the archive now: until that has ended they stay together, without others."""
    archive = beamline.settings.pipeline.archive
    if archive is None or beamline.settings.places[archive.to].kind != "hpss":
        return []
    found = (_together(beamline, each.version.run_key) for each in waiting(beamline))
    return [list(together) for together in dict.fromkeys(found) if together]


def keep_together(beamline: OpenBeamline, run_keys: Sequence[str], error: UnderWayError) -> None:
    """Remember that these runs wait for the job of one bundle."""
    for run_key in run_keys:
        if _together(beamline, run_key) != tuple(run_keys):
            detail = {"partition": run_key, _TOGETHER: list(run_keys)}
            beamline.ledger.note(beamline.name, run_key, "archive", f"{TAKES_ITS_TIME}{error.what}", detail)


def _refuse_without(beamline: OpenBeamline, left_out: Mapping[str, XpcsAssetsError]) -> None:
    """Have runs that wait for a job wait for those left out as well: without them they would be another bundle."""
    for run_key, error in left_out.items():
        if _together(beamline, run_key):
            raise UnderWayError(error.what, where=error.where, remedy=error.remedy) from error


def _together(beamline: OpenBeamline, run_key: str) -> tuple[str, ...]:
    """The runs that a run waits with for a job; none once archiving has ended in another way."""
    together: tuple[str, ...] = ()
    for event in beamline.ledger.timeline(beamline.name, run_key):
        if event.step == "archive":
            waits_on = event.what.startswith(TAKES_ITS_TIME)
            together = tuple(event.detail.get(_TOGETHER, together)) if waits_on else ()
    return together


@dataclass(frozen=True)
class Gathered:
    """What came of gathering, by run key.

    Attributes
    ----------
    failed
        Why a run was left out.
    damaged
        Paths of bundles with files of a run that were there, unknown to the ledger, and could not be read back; and of
        indexes of other bytes.
    """

    failed: dict[str, XpcsAssetsError] = field(default_factory=dict)
    damaged: dict[str, list[str]] = field(default_factory=dict)


def gather_runs(beamline: OpenBeamline, run_keys: Iterable[str]) -> Gathered:
    """Put the waiting raw data of runs into the archive, those alike in one bundle, and read it back.

    A run that another works on, or whose own file is not what its manifest says, is left out and keeps nobody else.

    Raises
    ------
    NotFoundError
        The beamline has no archive.
    UnderWayError
        A job puts the bundle there, and is not done yet; or one of the runs that wait for it is worked on.
    NotVerifiedError, NoRoomError, CopyError
        The bundle could not be written or read back.
    """
    work = Archivist.of(beamline)
    settings = beamline.settings.pipeline.archive
    gather = settings.bundle.gather if settings is not None else None
    gathered = Gathered()
    if gather is None:
        return gathered
    with ExitStack() as leases:
        renew: list[Callable[[int], None]] = []
        held: set[str] = set()
        for run_key in sorted(set(run_keys)):
            try:
                renew.append(leases.enter_context(beamline.working(run_key, "archive")))
            except RefusedError as error:
                gathered.failed[run_key] = error
            else:
                held.add(run_key)

        _refuse_without(beamline, gathered.failed)

        def on_bytes(size_bytes: int) -> None:
            for each in renew:
                each(size_bytes)

        work.on_bytes = on_bytes
        ready = (each for each in waiting(beamline) if each.version.run_key in held)
        for by, alike in _alike(beamline, gather, ready).items():
            gathered.failed.update(_bundle(work, by, [each.version for each in alike]))
    for done in work.done:
        for run_key in {run.run_key for bundle in done.bundles for run in bundle.plan.runs}:
            gathered.damaged.setdefault(run_key, []).extend(done.damaged)
    return gathered


def _bundle(work: Archivist, by: tuple[str, ...], alike: Sequence[RunVersion]) -> dict[str, XpcsAssetsError]:
    """Bundle versions together, as many in one bundle as it takes; why, for those that had to be left out."""
    failed: dict[str, XpcsAssetsError] = {}
    rest = sorted(alike, key=lambda version: (version.run_key, version.version))
    while rest:
        rest = [version for version in rest if version.run_key not in failed]
        versions = _as_many_as_fit(work, by, rest)
        lacking: list[RunVersion] = []
        for version in versions:
            try:
                if not work.holds_raw(version):
                    lacking.append(version)
            except XpcsAssetsError as error:
                failed[version.run_key] = error
        try:
            _deposit(work, by, lacking)
        except XpcsAssetsError as error:
            culprit = _culprit(work.beamline, lacking, error)
            if culprit is None:
                raise
            failed[culprit.run_key] = error
        else:
            rest = rest[len(versions) :]
    return failed


def _deposit(work: Archivist, by: tuple[str, ...], versions: Sequence[RunVersion]) -> None:
    if len(versions) == 1:  # nobody came: a bundle like that of any run
        (version,) = versions
        work.put(version, RAW, version.manifest, work.beamline.staged(version).raw)
    elif versions:
        roots = {run_prefix(each.run_key, each.version): work.beamline.staged(each).raw for each in versions}
        spoilt = {name for version in versions for name in work.spoilt(version, RAW)}
        plan = _plan(work.beamline, by, versions)

        def open_member(path: str) -> Iterator[bytes]:
            run_key, version, inside = path.split("/", 2)
            return file_chunks(roots[f"{run_key}/{version}/"], inside, work.place)

        work.record(deposit_plans(work.place, [plan], open_member, spoilt=spoilt, on_bytes=work.on_bytes))


def _plan(beamline: OpenBeamline, by: tuple[str, ...], versions: Sequence[RunVersion]) -> GatheredPlan:
    manifests = tuple((version.version, version.manifest) for version in versions)
    return GatheredPlan(beamline.name, RAW, by, manifests)


def _as_many_as_fit(work: Archivist, by: tuple[str, ...], versions: Sequence[RunVersion]) -> list[RunVersion]:
    fit = list(versions)
    while len(fit) > 1 and _plan(work.beamline, by, fit).size_bytes > work.bundling.up_to_bytes:
        fit = fit[: len(fit) // 2]
    return fit


def _culprit(beamline: OpenBeamline, versions: Sequence[RunVersion], error: XpcsAssetsError) -> RunVersion | None:
    """The version whose own file an error is about: it names the member, or the staged file."""
    for version in versions:
        of_member = error.where.startswith(run_prefix(version.run_key, version.version))
        if of_member or Path(error.where).is_relative_to(beamline.staged(version).raw):
            return version
    return None


def _alike(beamline: OpenBeamline, gather: Gather, found: Iterable[Waiting]) -> Mapping[tuple[str, ...], list[Waiting]]:
    """Those that share what ``gather.by`` names, the oldest first."""
    alike: dict[tuple[str, ...], list[Waiting]] = {}
    for each in found:
        alike.setdefault(_values(beamline, gather, each.version), []).append(each)
    return alike


def _values(beamline: OpenBeamline, gather: Gather, version: RunVersion) -> tuple[str, ...]:
    """What a run has for each word of ``gather.by``: a field of its path, or of its owner; empty when it has none."""
    # None where it was taken under another pattern: its owner still stands.
    fields = fields_of(beamline.settings, version.source)
    return tuple(str(fields.get(name, version.owner.get(name, ""))) for name in gather.by)


def _until(found: Sequence[Waiting], gather: Gather) -> Iterator[list[Waiting]]:
    """Cut a queue, the oldest first, into pieces that are each just enough; the last one may be less."""
    group: list[Waiting] = []
    size_bytes = 0
    for each in found:
        group.append(each)
        size_bytes += each.version.manifest.size_bytes
        if size_bytes >= gather.until:
            yield group
            group, size_bytes = [], 0
    if group:
        yield group
