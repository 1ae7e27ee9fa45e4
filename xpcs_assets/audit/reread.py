"""Reading a copy again: which of its files hold the manifest's bytes now, and what the ledger is told of it.

A file that hashes wrong is read once more before it is called bad: a flip on the way is no bad copy, but it is counted.
What cannot be asked is unknown, and nothing is concluded from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath

from xpcs_assets.archive.bundle import RAW
from xpcs_assets.archive.fixity import folder_of, holds, reread_bundle
from xpcs_assets.audit.scope import Scope
from xpcs_assets.copies.beside import write_note
from xpcs_assets.copies.ledger import Bundle, BundleRun, Copy, CopyState, Evidence, FindingKind
from xpcs_assets.errors import CopyError, XpcsAssetsError
from xpcs_assets.places.hashing import KINDS
from xpcs_assets.places.place import Place, Presence
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.runs.manifest import FileEntry, Manifest

OnFile = Callable[[], object]
_OF_FILES = (FindingKind.BAD, FindingKind.LOST, FindingKind.UNREADABLE, FindingKind.SIZE)
_OF_BUNDLES = (FindingKind.BAD_BUNDLE, FindingKind.LOST_BUNDLE)


class Verdict(StrEnum):
    """What a reading says of a file or of a copy."""

    RIGHT = "right"
    BAD = "bad"
    LOST = "lost"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class FileVerdict:
    """One file, or one bundle, that was read.

    Attributes
    ----------
    path
        Relative to the place's root.
    verdict, reason
        What it is, and why not right.
    size_bytes
        How much of it was read.
    flipped
        Whether it was wrong once and right when read again.
    """

    path: str
    verdict: Verdict
    reason: str = ""
    size_bytes: int = 0
    flipped: bool = False


@dataclass(frozen=True)
class Reread:
    """A copy that was read again.

    Attributes
    ----------
    copy
        As the ledger had it before.
    files
        All files that it should have.
    began_at
        When reading began: so long ago the bytes are known to have been there.
    """

    copy: Copy
    files: tuple[FileVerdict, ...]
    began_at: datetime

    @property
    def verdict(self) -> Verdict:
        """Of the whole copy: bad before lost before unknown before right; nothing read is unknown."""
        found = {file.verdict for file in self.files}
        return next((word for word in (Verdict.BAD, Verdict.LOST, Verdict.UNKNOWN) if word in found), _of(found))

    @property
    def reason(self) -> str:
        """Why it is not right, file by file; empty when it is."""
        told = [f"{file.path}: {file.reason}" for file in self.files if file.verdict is not Verdict.RIGHT]
        more = f" and {len(told) - 3} more" if len(told) > 3 else ""
        return "; ".join(told[:3]) + more if self.files else "its manifest names no file"

    @property
    def size_bytes(self) -> int:
        """Bytes that were read."""
        return sum(file.size_bytes for file in self.files)

    @property
    def flips(self) -> int:
        """Files that were wrong when read once and right when read again."""
        return sum(file.flipped for file in self.files)


def reread(scope: Scope, copy: Copy, on_file: OnFile = lambda: None) -> Reread:
    """Read every file of a copy. Of files nothing is written; what is found of bundles goes to the ledger at once.

    Raises
    ------
    NotVerifiedError
        The version's manifest is damaged: there is nothing to compare with.
    RefusedError
        ``on_file`` found that the lease was lost.
    """
    began_at = scope.ledger.clock()
    manifest = scope.ledger.version(scope.beamline, copy.run_key, copy.version).manifest
    place = scope.places.get(copy.place)
    if place is None or (reason := scope.why_unavailable(copy.place)):
        told = f"there is no place {copy.place!r}" if place is None else reason
        return Reread(copy, (FileVerdict(copy.path, Verdict.UNKNOWN, told),), began_at)
    read = (
        _bundles(scope, place, copy, manifest, on_file)
        if place.holds_bundles
        else _files(place, copy, manifest, on_file)
    )
    return Reread(copy, tuple(read), began_at)


def read_entry(place: Place, path: str, entry: FileEntry) -> FileVerdict:
    """Read one file, twice if the first reading is wrong, and compare it with its line of the manifest."""
    if reason := _unverifiable(entry):
        return FileVerdict(path, Verdict.UNKNOWN, reason)
    first = _read(place, path, entry)
    if first.verdict is not Verdict.BAD:
        return first
    again = _read(place, path, entry)
    size_bytes = first.size_bytes + again.size_bytes
    if again.verdict is Verdict.RIGHT:
        return FileVerdict(path, Verdict.RIGHT, f"wrong when read once: {first.reason}", size_bytes, flipped=True)
    return FileVerdict(path, again.verdict, again.reason, size_bytes)


def settle(scope: Scope, step: str, found: Reread) -> None:
    """Tell ledger, findings and the run's timeline what a reading of a copy gave; unknown changes nothing."""
    copy, verdict = found.copy, found.verdict
    where = {"place": copy.place, "run_key": copy.run_key, "version": copy.version}
    if verdict is Verdict.RIGHT:
        _renew(scope, step, found)
        return
    if verdict is Verdict.UNKNOWN and scope.why_unavailable(copy.place):
        return
    for file in () if scope.places[copy.place].holds_bundles else found.files:  # bundles have findings of their own
        if file.verdict is not Verdict.RIGHT:
            kind = FindingKind.UNREADABLE if file.verdict is Verdict.UNKNOWN else FindingKind(file.verdict.value)
            scope.ledger.see_finding(scope.beamline, kind, path=file.path, reason=file.reason, **where)  # type: ignore[arg-type]
    if verdict is Verdict.UNKNOWN:
        return
    mark(scope, step, copy, CopyState(verdict.value), found.reason)


def mark(scope: Scope, step: str, copy: Copy, state: CopyState, reason: str) -> None:
    """Mark a copy in the ledger, note it in the run's timeline, and raise the alarm when no good copy is left."""
    ledger = scope.ledger
    of = (copy.beamline, copy.run_key, copy.version)
    ledger.mark_copy(*of, place=copy.place, path=copy.path, state=state, reason=reason)
    if copy.state is not state:
        ledger.note(copy.beamline, copy.run_key, step, f"the copy in {copy.place} is {state}", {"why": reason})
    alarm(scope, copy.run_key, copy.version)


def alarm(scope: Scope, run_key: str, version: int) -> bool:
    """Open or close the alarm about a version: no copy is known to be good. Whether it is so."""
    ledger = scope.ledger
    copies = ledger.copies(scope.beamline, run_key, version)
    if any(copy.state is CopyState.PRESENT and copy.evidence.counts for copy in copies) or not copies:
        ledger.close_findings(scope.beamline, [FindingKind.NO_GOOD_COPY], run_key=run_key, version=version)
        return False
    told = "; ".join(f"{copy.place} {copy.state}" for copy in copies)
    reason = f"no copy of it is known to be good ({told}): nothing is repaired or removed by itself, look at once"
    ledger.see_finding(scope.beamline, FindingKind.NO_GOOD_COPY, run_key=run_key, version=version, reason=reason)
    return True


def _renew(scope: Scope, step: str, found: Reread) -> None:
    copy, ledger = found.copy, scope.ledger
    if copy.state is not CopyState.PRESENT:  # whoever put the files there may have died before their names were safe
        scope.places[copy.place].settle(file.path for file in found.files)
    ledger.record_copy(
        copy.beamline,
        copy.run_key,
        copy.version,
        place=copy.place,
        path=copy.path,
        failure_domain=scope.places[copy.place].failure_domain,
        evidence=Evidence.READ_BACK,
        verified_at=found.began_at,
    )
    where = {"run_key": copy.run_key, "version": copy.version}
    ledger.close_findings(scope.beamline, _OF_FILES, place=copy.place, **where)  # type: ignore[arg-type]
    if copy.state is not CopyState.PRESENT:
        ledger.note(copy.beamline, copy.run_key, step, f"the copy in {copy.place} is right again")
    if found.flips:
        told = f"{found.flips} files in {copy.place} were wrong when read once and right when read again"
        ledger.note(copy.beamline, copy.run_key, step, told, {"why": "look at the memory, the cables and the disk"})
    alarm(scope, copy.run_key, copy.version)
    _note_beside(scope, copy)


def _note_beside(scope: Scope, copy: Copy) -> None:
    """Let the note beside a staged copy say when it was verified; it is a memory, and the next one says it too."""
    place = scope.places[copy.place]
    if not isinstance(place, PosixPlace):
        return
    target = VersionFolder(place.root, copy.beamline, copy.run_key, copy.version)
    if place.root / copy.path == target.raw:
        with suppress(CopyError):
            write_note(scope.ledger.engine, target, place.calls)


def _of(found: set[Verdict]) -> Verdict:
    return Verdict.RIGHT if found else Verdict.UNKNOWN


def _unverifiable(entry: FileEntry) -> str:
    unknown = sorted(set(entry.kinds) - KINDS)
    if unknown:
        return f"it is not verified: digests of kind {', '.join(unknown)} are not known here"
    sound = len(entry.sha256) == 64 and set(entry.sha256) <= set("0123456789abcdef")
    return "" if sound else "it is not verified: its manifest has no sha256 of it"


def _files(place: Place, copy: Copy, manifest: Manifest, on_file: OnFile) -> Iterator[FileVerdict]:
    for entry in manifest.files:
        on_file()
        yield read_entry(place, str(PurePosixPath(copy.path) / entry.path), entry)


def _read(place: Place, path: str, entry: FileEntry) -> FileVerdict:
    try:
        found = place.digest(path, entry.kinds)
    except XpcsAssetsError as error:
        return _not_read(place, path, error)
    difference = entry.differs(found)
    return FileVerdict(path, Verdict.BAD if difference else Verdict.RIGHT, difference, found.size_bytes)


def _not_read(place: Place, path: str, error: XpcsAssetsError) -> FileVerdict:
    """Only an answer that it is not there is a loss; whatever else kept it from being read leaves it open."""
    now = place.stat(path)
    if now.presence is Presence.NO:
        return FileVerdict(path, Verdict.LOST, now.reason)
    return FileVerdict(path, Verdict.UNKNOWN, error.what)


def _bundles(scope: Scope, place: Place, copy: Copy, manifest: Manifest, on_file: OnFile) -> Iterator[FileVerdict]:
    """The bundles that hold a version's raw data, each read from its first byte to its last."""
    found = [
        bundle
        for bundle in scope.ledger.bundles(copy.beamline, copy.run_key, copy.version)
        if bundle.place == place.name and bundle.content == RAW and copy.path in {bundle.name, folder_of(bundle)}
    ]
    for bundle in found:
        on_file()
        yield read_bundle(scope, place, bundle)
    if not holds(scope.ledger, found, copy.run_key, copy.version, manifest):
        yield FileVerdict(copy.path, Verdict.LOST, "not all of its files are in the bundles that the ledger knows")


def read_bundle(scope: Scope, place: Place, bundle: Bundle) -> FileVerdict:
    """Read a bundle again; what it is goes to the ledger (see ``archive.fixity``) and to the findings."""
    before = place.stat(bundle.name)
    try:
        found = reread_bundle(scope.ledger, place, bundle)
    except CopyError as error:
        return FileVerdict(bundle.name, Verdict.UNKNOWN, error.what)
    if not found.wrong:
        scope.ledger.close_findings(scope.beamline, _OF_BUNDLES, place=place.name, path=bundle.name)
        return FileVerdict(bundle.name, Verdict.RIGHT, "", found.size_bytes)
    lost = before.presence is Presence.NO
    kind = FindingKind.LOST_BUNDLE if lost else FindingKind.BAD_BUNDLE
    see_bundle(scope, bundle, kind, found.wrong)
    if bundle.content == RAW:
        for run in bundle.runs:
            alarm(scope, run.run_key, run.version)
    return FileVerdict(bundle.name, Verdict.LOST if lost else Verdict.BAD, found.wrong, found.size_bytes)


def see_bundle(scope: Scope, bundle: Bundle, kind: FindingKind, reason: str) -> None:
    """Note a bundle that does not count any more, under the first of its runs."""
    first = bundle.runs[0] if bundle.runs else BundleRun("", 0)
    scope.ledger.see_finding(
        scope.beamline,
        kind,
        place=bundle.place,
        path=bundle.name,
        run_key=first.run_key,
        version=first.version,
        reason=reason,
    )
