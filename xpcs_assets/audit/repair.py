"""Mending a copy from a good one: only what was just read and found right is put, and what was bad is kept aside.

Nothing is deleted. The good bytes are found and read before anything is touched; bad ones are moved into the place's
own folder for files aside; each file that is put is read back. Killed at any moment and done again, it ends well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from xpcs_assets.audit.manifests import mend_beside, restore
from xpcs_assets.audit.reread import FileVerdict, Reread, Verdict, alarm, read_entry, reread, settle
from xpcs_assets.audit.scope import LEASE_S, Scope
from xpcs_assets.audit.set_aside import set_bad_aside
from xpcs_assets.copies.ledger import Copy, CopyState
from xpcs_assets.errors import NotVerifiedError, RefusedError, XpcsAssetsError
from xpcs_assets.places.place import Place
from xpcs_assets.runs.manifest import FileEntry, Manifest

PURPOSE = "repair"
_MENDED = frozenset({CopyState.BAD, CopyState.LOST})
_GIVES = frozenset({CopyState.PRESENT, CopyState.BAD, CopyState.LOST})


@dataclass(frozen=True)
class Source:
    """Good bytes of a file: which copy has them, and how to read them."""

    place: Place
    path: str
    offset_bytes: int
    size_bytes: int

    def chunks(self) -> Iterator[bytes]:
        """The bytes; whoever puts them hashes them."""
        left = self.size_bytes
        for chunk in self.place.read(self.path, self.offset_bytes):
            if left <= 0:
                return
            yield chunk[:left]
            left -= len(chunk)


@dataclass(frozen=True)
class Repaired:
    """What became of one copy.

    Attributes
    ----------
    copy
        As the ledger had it before.
    put
        Files that were put, each with the place that gave its bytes.
    aside
        Where bad files were moved to.
    found
        The copy as it was read at the end.
    """

    copy: Copy
    put: tuple[tuple[str, str], ...]
    aside: tuple[str, ...]
    found: Reread


def to_repair(scope: Scope, run_key: str, place: str = "", leave: Sequence[str] = ()) -> tuple[Copy, ...]:
    """The copies of a run that are bad or lost; those of ``place``, also if thought good, when it is given.

    Parameters
    ----------
    leave
        Places in which nothing is put unless they are named: where the runs come from.
    """
    copies = scope.ledger.copies(scope.beamline, run_key)
    if place:
        return tuple(copy for copy in copies if copy.place == place and copy.state in _GIVES)
    return tuple(copy for copy in copies if copy.state in _MENDED and copy.place not in leave)


def repair(scope: Scope, copy: Copy) -> Repaired:
    """Make a copy good again from the version's other copies.

    Raises
    ------
    RefusedError
        It is an archive; somebody works on the run; its name belongs to a later version; no other copy has the
        manifest's bytes now.
    NotVerifiedError
        The manifest is damaged and no copy has one that agrees with its files.
    CopyError
        The place cannot be asked or written; repeat it.
    """
    with scope.working(copy.run_key, PURPOSE) as still_mine:
        manifest = _manifest(scope, copy)
        place = _place_to_mend(scope, copy)
        before = reread(scope, copy, still_mine)
        wrong = _wrong(copy, manifest, before)
        sources = [_source(scope, copy, entry, still_mine) for entry, _ in wrong]
        put: list[tuple[str, str]] = []
        aside: list[str] = []
        for (entry, file), source in zip(wrong, sources, strict=True):
            still_mine()
            if file.verdict is Verdict.BAD:
                aside.append(set_bad_aside(scope, copy, place, file.path, entry))
            place.put(file.path, _renewing(source.chunks(), still_mine), sha256=entry.sha256, mtime_ns=entry.mtime_ns)
            put.append((file.path, source.place.name))
        aside += mend_beside(scope, copy, place, manifest)
        return _ended(scope, copy, put, aside, reread(scope, copy, still_mine) if wrong else before)


def _ended(scope: Scope, copy: Copy, put: list[tuple[str, str]], aside: list[str], found: Reread) -> Repaired:
    settle(scope, PURPOSE, found)
    if put:
        told = f"{len(put)} files put into {copy.place} from {', '.join(sorted({name for _, name in put}))}"
        detail = {"files": [path for path, _ in put], "aside": aside}
        scope.ledger.note(copy.beamline, copy.run_key, PURPOSE, told, detail)
    if found.verdict is not Verdict.RIGHT:
        raise NotVerifiedError(
            f"the copy is still {found.verdict}: {found.reason}",
            where=f"{copy.place}:{copy.path}",
            remedy="Have the disk looked at, then repair it again",
        )
    return Repaired(copy, tuple(put), tuple(aside), found)


def _place_to_mend(scope: Scope, copy: Copy) -> Place:
    where = f"{copy.beamline}/{copy.run_key}/v{copy.version} in {copy.place}"
    place = scope.places.get(copy.place)
    if place is None or (reason := scope.why_unavailable(copy.place)):
        told = f"there is no place {copy.place!r}" if place is None else reason
        raise RefusedError(told, where=where, remedy="Nothing was changed")
    if place.holds_bundles:
        raise RefusedError(
            "nothing in an archive is replaced", where=where, remedy="Archive the run again from its staged copy"
        )
    known = scope.ledger.copies(scope.beamline, copy.run_key)
    now = next((each for each in known if _is_same(each, copy) and each.version == copy.version), None)
    if now is None or now.state not in _GIVES:
        state = "not known" if now is None else str(now.state)
        raise RefusedError(f"the copy is {state}", where=where, remedy="Stage the run again to have a copy there")
    taken_at = scope.ledger.version(scope.beamline, copy.run_key, copy.version).taken_at
    for other in known:
        later = other.version != copy.version and _is_same(other, copy)
        if later and scope.ledger.version(scope.beamline, copy.run_key, other.version).taken_at > taken_at:
            raise RefusedError(
                f"its name belongs to version {other.version}, which was taken later", where=where,
                remedy="Nothing is put over another version: retrieve this one to a folder of its own",
            )  # fmt: skip
    return place


def _is_same(one: Copy, other: Copy) -> bool:
    return (one.place, one.path) == (other.place, other.path)


def _manifest(scope: Scope, copy: Copy) -> Manifest:
    try:
        return scope.ledger.version(scope.beamline, copy.run_key, copy.version).manifest
    except NotVerifiedError:
        return restore(scope, copy.run_key, copy.version)


def _wrong(copy: Copy, manifest: Manifest, found: Reread) -> list[tuple[FileEntry, FileVerdict]]:
    """The files that must be put; refused when any of them cannot be judged."""
    unknown = [file for file in found.files if file.verdict is Verdict.UNKNOWN]
    if unknown or len(found.files) != len(manifest.files):
        reason = unknown[0].reason if unknown else found.reason
        raise RefusedError(
            f"not all of the copy can be read now: {reason}",
            where=f"{copy.place}:{unknown[0].path if unknown else copy.path}",
            remedy="Nothing was changed; repair it when the place can be read",
        )
    pairs = zip(manifest.files, found.files, strict=True)
    return [(entry, file) for entry, file in pairs if file.verdict is not Verdict.RIGHT]


def _source(scope: Scope, copy: Copy, entry: FileEntry, still_mine: Callable[[], object]) -> Source:
    """Good bytes of a file, read and hashed now; refused, with the alarm raised, when no copy has them."""
    told: list[str] = []
    for other in scope.ledger.copies(scope.beamline, copy.run_key, copy.version):
        place = scope.places.get(other.place)
        if place is None or _is_same(other, copy) or other.state not in _GIVES:
            continue
        for source in _offers(scope, place, other, entry):
            still_mine()
            reason = _why_not(source, entry)
            if not reason:
                return source
            told.append(f"{place.name}:{source.path}: {reason}")
    alarm(scope, copy.run_key, copy.version)
    raise RefusedError(
        f"no other copy has the bytes of {entry.path!r} now ({'; '.join(told) or 'the ledger knows no other'})",
        where=f"{copy.beamline}/{copy.run_key}/v{copy.version} in {copy.place}",
        remedy="Nothing was changed. Look at every copy: they differ from the manifest, or cannot be asked",
    )


def _offers(scope: Scope, place: Place, other: Copy, entry: FileEntry) -> Iterable[Source]:
    if not place.holds_bundles:
        yield Source(place, str(PurePosixPath(other.path) / entry.path), 0, entry.size_bytes)
        return
    for bundle in scope.ledger.bundles(other.beamline, other.run_key, other.version):
        if bundle.place == place.name:
            for member in scope.ledger.members(place.name, bundle.name):
                if (member.sha256, member.size_bytes) == (entry.sha256, entry.size_bytes):
                    yield Source(place, bundle.name, member.offset_bytes, member.size_bytes)


def _why_not(source: Source, entry: FileEntry) -> str:
    """Why the bytes of a source are not the file's; empty when they were read and are."""
    if not source.place.holds_bundles:
        found = read_entry(source.place, source.path, entry)
        return "" if found.verdict is Verdict.RIGHT else found.reason
    from xpcs_assets.places.hashing import Hasher

    hasher, size_bytes = Hasher(entry.kinds), 0
    try:
        for chunk in source.chunks():
            hasher.update(chunk)
            size_bytes += len(chunk)
    except XpcsAssetsError as error:
        return error.what
    return entry.differs(_ReadNow(size_bytes, hasher.sha256, hasher.also))


@dataclass(frozen=True)
class _ReadNow:
    size_bytes: int
    sha256: str
    also: dict[str, str]


def _renewing(chunks: Iterator[bytes], still_mine: Callable[[], object]) -> Iterator[bytes]:
    """The chunks, the lease renewed long before it ends; lost, and nothing more is written."""
    renewed_s = time.monotonic()
    for chunk in chunks:
        if time.monotonic() - renewed_s > LEASE_S / 10:
            still_mine()
            renewed_s = time.monotonic()
        yield chunk
