"""Comparing each place with the ledger: what is there and not known, what is known and not there or of another size.

An audit moves and deletes nothing. It lists a place before and after the ledger is read, so that a file in motion is
neither dark nor lost, and believes nothing of a place that cannot be asked. When more than a set part of a place looks
dark or lost, something else is wrong (another disk, another database): it stops and records none of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from xpcs_assets.archive.fixity import distrust
from xpcs_assets.audit.manifests import why_beside_is_wrong
from xpcs_assets.audit.reread import alarm, mark, see_bundle
from xpcs_assets.audit.scope import ALL_RUNS, Scope
from xpcs_assets.audit.seen import Odd, dark_files, look
from xpcs_assets.copies.ledger import AuditOutcome, Bundle, Copy, CopyState, FindingKind
from xpcs_assets.copies.standing import Standing, standing
from xpcs_assets.errors import RefusedError
from xpcs_assets.places.place import Place, Presence

PURPOSE = "audit"
FEW = 10
"""So few files are never called too many, unless they are all that there is."""
_DARK = (FindingKind.DARK, FindingKind.UNKNOWN_BUNDLE, FindingKind.UNKNOWN_ASIDE)
_OTHERS = (FindingKind.UNRECORDED, FindingKind.MANIFEST)
_OF_COPIES = (
    FindingKind.BAD,
    FindingKind.LOST,
    FindingKind.SIZE,
    FindingKind.UNREADABLE,
    FindingKind.BAD_BUNDLE,
    FindingKind.LOST_BUNDLE,
)


@dataclass(frozen=True)
class Limits:
    """When an audit stops, and when an unknown file is called dark.

    Attributes
    ----------
    dark_after_s
        It was seen, and seen again so much later, s.
    at_most_dark, at_most_lost
        Parts of the files of a place, 0 to 1.
    """

    dark_after_s: float
    at_most_dark: float
    at_most_lost: float


@dataclass
class Compared:
    """What the audit of one place found.

    Attributes
    ----------
    place, outcome, reason
        Which, how it ended, and why not well.
    counts
        Files listed, files that should be there, and how many of them are what.
    """

    place: str
    outcome: AuditOutcome = AuditOutcome.DONE
    reason: str = ""
    counts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Missing:
    item: Standing
    path: str
    kind: FindingKind
    reason: str


def compare(
    scope: Scope,
    limits: Limits,
    *,
    watched: str,
    anyway: bool = False,
    told: Callable[[str], object] = lambda place: None,
) -> tuple[Compared, ...]:
    """Audit every place; findings are written to the ledger, each place gets a line.

    Parameters
    ----------
    watched
        The place where runs come from: other people's files lie there too, so none is called dark.
    anyway
        Record what was found also beyond the limits: a person has looked.
    told
        Called with the name of each place before it is asked.

    Raises
    ------
    RefusedError
        Another audit of this beamline is under way.
    """
    done = []
    with scope.working(ALL_RUNS, PURPOSE) as renew:
        for name in sorted(scope.places):
            told(name)
            renew()
            began_at = scope.ledger.clock()
            one = _compare_place(scope, scope.places[name], limits, began_at, name != watched, anyway)
            scope.ledger.record_audit(
                scope.beamline, PURPOSE, name, one.outcome, began_at=began_at, reason=one.reason, counts=one.counts
            )
            done.append(one)
    return tuple(done)


def _compare_place(
    scope: Scope, place: Place, limits: Limits, began_at: datetime, is_ours: bool, anyway: bool
) -> Compared:
    if reason := scope.why_unavailable(place.name):
        return Compared(place.name, AuditOutcome.UNAVAILABLE, reason)
    before = look(place, scope.beamline, is_ours)
    known = tuple(standing(scope.ledger.engine, scope.beamline, place.name, states=tuple(CopyState)))
    missing, expected = _missing(scope, place, known)
    lost_bundles, bundles = _lost_bundles(scope, place)
    after = look(place, scope.beamline, is_ours)
    if before.reason or after.reason or scope.why_unavailable(place.name):
        reason = before.reason or after.reason or scope.why_unavailable(place.name)
        return Compared(place.name, AuditOutcome.UNAVAILABLE, reason)
    odd = dark_files(scope, place, known, before, after)
    found = Compared(place.name)
    lost = [each for each in missing if each.kind is FindingKind.LOST]
    found.counts = {
        "listed": len(after.files), "expected": expected + bundles, "lost": len(lost) + len(lost_bundles),
        "dark": len(odd.dark), "unclaimed": len(odd.unclaimed), "unrecorded": len(odd.unrecorded),
        "size differs": len(missing) - len(lost),
    }  # fmt: skip
    dark = len(odd.dark) + odd.unrecorded_files
    stops = (
        *_too_many("dark", dark, len(after.files), limits.at_most_dark),
        *_too_many("lost", len(lost) + len(lost_bundles), expected + bundles, limits.at_most_lost),
    )
    if stops and not anyway:
        found.outcome = AuditOutcome.STOPPED
        found.reason = (
            f"{'; '.join(stops)}: is the right disk mounted, and is this the right database? Nothing was recorded as "
            "dark or lost; when it is so, `xpcs-assets audit --anyway` records it"
        )
        return found
    _record(scope, place, limits, odd, lost_bundles)
    _record_missing(scope, missing)
    _record_states(scope, place, known)
    _close_mended(scope, place)
    closing = (*_DARK, *_OTHERS)
    scope.ledger.close_findings(scope.beamline, closing, place=place.name, seen_before=began_at)
    return found


def _missing(scope: Scope, place: Place, known: tuple[Standing, ...]) -> tuple[list[_Missing], int]:
    """Files that the ledger counts on and that are not there or have another size; and how many it counts on."""
    missing, expected = [], 0
    if place.holds_bundles:
        return [], 0
    for item in known:
        if item.copy.state is not CopyState.PRESENT or item.superseded or item.manifest is None:
            continue
        for entry in item.manifest.files:
            expected += 1
            now = place.stat(item.path(entry))
            if now.presence is Presence.NO:
                missing.append(_Missing(item, item.path(entry), FindingKind.LOST, now.reason))
            elif now.signature is not None and now.signature.size_bytes != entry.size_bytes:
                told = f"it has {now.signature.size_bytes} bytes, not {entry.size_bytes}"
                missing.append(_Missing(item, item.path(entry), FindingKind.SIZE, told))
    return missing, expected


def _lost_bundles(scope: Scope, place: Place) -> tuple[list[tuple[Bundle, str]], int]:
    """Bundles that the ledger counts on and an archive lacks or has with another length; and how many it counts on."""
    if not place.holds_bundles:
        return [], 0
    lost = []
    bundles = [each for each in scope.ledger.bundles_in(place.name, beamline=scope.beamline) if each.evidence.counts]
    for bundle in bundles:
        now = place.stat(bundle.name)
        if now.presence is Presence.NO:
            lost.append((bundle, now.reason))
        elif now.signature is not None and now.signature.size_bytes != bundle.size_bytes:
            lost.append((bundle, f"it has {now.signature.size_bytes} bytes, not {bundle.size_bytes}"))
    return lost, len(bundles)


def _too_many(word: str, count: int, of: int, share: float) -> tuple[str, ...]:
    beyond = count > share * of and (count > FEW or 1 < count >= of)
    return (f"{count} of {of} files look {word}, more than {share:.0%}",) if beyond else ()


def _record(scope: Scope, place: Place, limits: Limits, odd: Odd, lost_bundles: list[tuple[Bundle, str]]) -> None:
    see = scope.ledger.see_finding
    unclaimed = {path: (FindingKind.DARK, reason) for path, reason in odd.unclaimed.items()}
    for path, (kind, reason) in (odd.dark | unclaimed).items():
        see(scope.beamline, kind, place=place.name, path=path, reason=reason, open_after_s=limits.dark_after_s)
    for path, (run_key, version, reason) in odd.unrecorded.items():
        of = {"run_key": run_key, "version": version}
        see(scope.beamline, FindingKind.UNRECORDED, place=place.name, path=path, reason=reason, **of)  # type: ignore[arg-type]
    for bundle, reason in lost_bundles:
        distrust(scope.ledger, bundle, CopyState.LOST, reason)
        see_bundle(scope, bundle, FindingKind.LOST_BUNDLE, reason)


def _record_missing(scope: Scope, missing: list[_Missing]) -> None:
    by_copy: dict[tuple[str, int, str], list[_Missing]] = {}
    for each in missing:
        copy = each.item.copy
        by_copy.setdefault((copy.run_key, copy.version, copy.path), []).append(each)
    for files in by_copy.values():
        copy = files[0].item.copy
        bad = any(each.kind is FindingKind.SIZE for each in files)
        reason = "; ".join(f"{each.path}: {each.reason}" for each in files[:3])
        if not _mark(scope, copy, CopyState.BAD if bad else CopyState.LOST, reason):
            continue
        for each in files:
            scope.ledger.see_finding(
                scope.beamline, each.kind, place=copy.place, path=each.path, run_key=copy.run_key,
                version=copy.version, reason=each.reason,
            )  # fmt: skip


def _mark(scope: Scope, copy: Copy, state: CopyState, reason: str) -> bool:
    """Mark a copy unless a removal, a staging or anything else has changed it since it was looked at."""
    try:
        with scope.working(copy.run_key, PURPOSE):
            known = scope.ledger.copies(scope.beamline, copy.run_key, copy.version)
            if copy not in known:
                return False
            mark(scope, PURPOSE, copy, state, reason)
    except RefusedError:
        return False  # the next audit sees it again
    return True


def _record_states(scope: Scope, place: Place, known: tuple[Standing, ...]) -> None:
    """Findings for copies that another step found bad or lost, for damaged manifests, and the alarm."""
    found = scope.ledger.findings(scope.beamline, kinds=_OF_COPIES)
    told = {(each.run_key, each.version) for each in found if each.place == place.name}
    for item in known:
        copy = item.copy
        of: dict[str, Any] = {"place": place.name, "run_key": copy.run_key, "version": copy.version}
        if item.manifest is None:
            reason = "the ledger's manifest of it is damaged"
            scope.ledger.see_finding(scope.beamline, FindingKind.MANIFEST, path=copy.path, reason=reason, **of)
        elif copy.state in {CopyState.BAD, CopyState.LOST} and not item.superseded:
            if (copy.run_key, copy.version) not in told:
                kind = FindingKind(copy.state.value)
                scope.ledger.see_finding(scope.beamline, kind, path=copy.path, reason=copy.reason, **of)
            alarm(scope, copy.run_key, copy.version)
        elif copy.state is CopyState.PRESENT and not place.holds_bundles:
            reason = why_beside_is_wrong(place, copy, item.manifest.digest)
            if reason:
                scope.ledger.see_finding(scope.beamline, FindingKind.MANIFEST, path=copy.path, reason=reason, **of)


def _close_mended(scope: Scope, place: Place) -> None:
    """Close what was found about copies that are right by a later reading, or were removed since."""
    for finding in scope.ledger.findings(scope.beamline, kinds=_OF_COPIES):
        if finding.place != place.name or not finding.run_key:
            continue
        copies = [
            copy
            for copy in scope.ledger.copies(scope.beamline, finding.run_key, finding.version)
            if copy.place == place.name
        ]
        mended = any(copy.state is CopyState.PRESENT and copy.verified_at > finding.last_seen for copy in copies)
        gone = all(copy.state in {CopyState.REMOVED, CopyState.IN_TRASH} for copy in copies)
        if mended or gone:
            scope.ledger.close_findings(
                scope.beamline,
                [finding.kind],
                place=place.name,
                path=finding.path,
                run_key=finding.run_key,
                version=finding.version,
            )
