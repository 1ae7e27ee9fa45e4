"""Reading bundles again, long after they were archived; and what the ledger is told of those that are bad or gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from xpcs_assets.archive.bundle import RAW, BundleContent
from xpcs_assets.archive.deposit import read_twice
from xpcs_assets.copies.ledger import Bundle, Copy, CopyState, Evidence, Ledger
from xpcs_assets.errors import CopyError, NotFoundError, NotVerifiedError, UnderWayError
from xpcs_assets.places.place import Place, Presence, Stat
from xpcs_assets.runs.manifest import Manifest

STEP = "fixity"
_GONE = "Have the archive looked at; its files are archived again from the staged copy, where there is one"


@dataclass(frozen=True)
class Reread:
    """What reading a bundle again has shown.

    Attributes
    ----------
    bundle
        As the ledger has it now.
    size_bytes
        How much was read; of a bundle that is gone, 0.
    wrong
        Why it does not count any more; empty when every byte is as it was.
    """

    bundle: Bundle
    size_bytes: int
    wrong: str = ""


def bundles_due(
    ledger: Ledger, beamline: str, place: str, before: datetime, limit: int | None = None
) -> tuple[Bundle, ...]:
    """Bundles that were last verified before a moment, the longest ago first; not those known to be bad or gone."""
    return ledger.bundles_in(place, beamline=beamline, verified_before=before, limit=limit)


def reread_bundle(
    ledger: Ledger, place: Place, bundle: Bundle, *, on_bytes: Callable[[int], None] = lambda size_bytes: None
) -> Reread:
    """Read a bundle from its first byte to its last, compare it with ledger and index, and tell the ledger.

    Every member's sha256, and whatever else its run's manifest has a digest of, must be what it was. What seems bad is
    read twice. Good: bundle and copies have new evidence. Bad or gone: neither counts any more, and the runs' timelines
    say why; a bad bundle stays where it is.

    Parameters
    ----------
    on_bytes
        Called with the length of each piece that was read.

    Raises
    ------
    CopyError
        The archive cannot be asked, or the bundle cannot be read: nothing is known, and the ledger stays as it is.
    """
    check = place.stat(bundle.name)
    _refuse_unknown(check, place.name)
    manifests = {
        run: ledger.version(bundle.beamline, run.run_key, run.version).manifest
        for run in bundle.runs
        if bundle.content == RAW
    }
    kinds = {kind for manifest in manifests.values() for entry in manifest.files for kind in entry.kinds}
    try:
        found = read_twice(place, bundle.name, kinds, on_bytes)
    except NotFoundError:
        wrong = "it is gone from the archive"
        return Reread(distrust(ledger, bundle, CopyState.LOST, wrong), 0, wrong)
    except NotVerifiedError as error:
        return Reread(distrust(ledger, bundle, CopyState.BAD, error.what), bundle.size_bytes, error.what)
    wrong = _differs(ledger, bundle, found)
    for run, manifest in manifests.items():
        read = found.files_of(bundle.beamline, run.run_key, run.version)
        bad = [entry.path for entry in manifest.files if entry.path in read and entry.differs(read[entry.path])]
        wrong = wrong or (f"{bad[0]!r} of {run.run_key} is not what its manifest says" if bad else "")
    if wrong:
        return Reread(distrust(ledger, bundle, CopyState.BAD, wrong), found.size_bytes, wrong)
    renewed = ledger.judge_bundle(bundle.place, bundle.name, Evidence.READ_BACK)
    _renew_copies(ledger, renewed)
    return Reread(renewed, found.size_bytes)


def check_there(ledger: Ledger, place: Place, bundle: Bundle) -> None:
    """Make sure, without reading it, that a bundle of the ledger is still in the archive and as long as it was.

    Raises
    ------
    NotVerifiedError
        It is gone or has another size; from now on it does not count.
    CopyError
        The archive cannot be asked.
    """
    where = f"{place.name}:{bundle.name}"
    now = place.stat(bundle.name)
    _refuse_unknown(now, where)
    if now.signature is None:
        distrust(ledger, bundle, CopyState.LOST, "it is gone from the archive")
        raise NotVerifiedError(f"a bundle that was read back is gone ({now.reason})", where=where, remedy=_GONE)
    if now.signature.size_bytes != bundle.size_bytes:
        wrong = f"it has {now.signature.size_bytes} bytes and had {bundle.size_bytes} when it was read back"
        distrust(ledger, bundle, CopyState.BAD, wrong)
        raise NotVerifiedError(wrong, where=where, remedy=_GONE)


def _refuse_unknown(found: Stat, where: str) -> None:
    if found.is_under_way:
        raise UnderWayError(found.reason, where=where, remedy="It is asked again later")
    if found.presence is Presence.UNKNOWN:
        raise CopyError(f"the archive cannot be asked: {found.reason}", where=where, remedy="Repeat when it can")


def distrust(ledger: Ledger, bundle: Bundle, state: CopyState, wrong: str) -> Bundle:
    """Tell the ledger that a bundle does not count any more, nor the copies of raw data that it is part of."""
    told = f"bundle {bundle.name} in {bundle.place}: {wrong}"
    judged = ledger.judge_bundle(bundle.place, bundle.name, Evidence.LEDGER)
    for copy in _copies(ledger, bundle):
        ledger.mark_copy(
            copy.beamline, copy.run_key, copy.version, place=copy.place, path=copy.path, state=state, reason=told
        )
    for run_key in dict.fromkeys(run.run_key for run in bundle.runs):
        ledger.note(bundle.beamline, run_key, STEP, f"failed: {told}")
    return judged


def holds(ledger: Ledger, bundles: Iterable[Bundle], run_key: str, version: int, manifest: Manifest) -> bool:
    """Whether, by the ledger, bundles hold every file of a manifest of one version."""
    held = {
        (member.path.removeprefix(run.prefix), member.size_bytes, member.sha256)
        for bundle in bundles
        for run in bundle.runs
        if (run.run_key, run.version) == (run_key, version)
        for member in ledger.members(bundle.place, bundle.name, run.prefix)
    }
    return held.issuperset((entry.path, entry.size_bytes, entry.sha256) for entry in manifest.files)


def _copies(ledger: Ledger, bundle: Bundle) -> tuple[Copy, ...]:
    """The copies of raw data that are this bundle, or of which it is a part."""
    paths = {bundle.name, folder_of(bundle)}
    return tuple(
        copy
        for run in bundle.runs
        if bundle.content == RAW
        for copy in ledger.copies(bundle.beamline, run.run_key, run.version)
        if copy.place == bundle.place and copy.path in paths
    )


def folder_of(bundle: Bundle) -> str:
    """The folder that a bundle lies in."""
    return str(PurePosixPath(bundle.name).parent)


def _renew_copies(ledger: Ledger, bundle: Bundle) -> None:
    """New evidence for the copies of a bundle: as old as that of the oldest of their bundles."""
    for copy in _copies(ledger, bundle):
        parts = [
            part
            for part in ledger.bundles(copy.beamline, copy.run_key, copy.version)
            if part.place == copy.place
            and part.content == RAW
            and part.evidence.counts
            and copy.path in {part.name, folder_of(part)}
        ]
        manifest = ledger.version(copy.beamline, copy.run_key, copy.version).manifest
        if holds(ledger, parts, copy.run_key, copy.version, manifest):
            ledger.record_copy(
                copy.beamline,
                copy.run_key,
                copy.version,
                place=copy.place,
                path=copy.path,
                failure_domain=copy.failure_domain,
                evidence=Evidence.READ_BACK,
                verified_at=min(part.verified_at for part in parts),
            )


def _differs(ledger: Ledger, bundle: Bundle, found: BundleContent) -> str:
    """How what was read is not what the ledger has; empty when it is."""
    if found.members != ledger.members(bundle.place, bundle.name):
        return "its members are not those that the ledger has"
    if (found.sha256, found.size_bytes) != (bundle.sha256, bundle.size_bytes):
        return "it is not, byte for byte, what was read back before"
    return "" if found.index_digest == bundle.index_digest else "its index is not the one that was read back before"
