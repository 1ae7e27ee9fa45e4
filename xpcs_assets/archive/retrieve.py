"""Getting a run back: its files to the staging place or to any folder, from whatever copy still has them.

Files are taken from the run's other copies first, the source among them, then from the trash of a place, then out of
the archive's bundles by the offsets that the ledger has. Each one is hashed against the manifest while it is written;
whatever is wrong with one copy, the next one is tried. Results come back the same way: :mod:`.results_back`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from xpcs_assets.archive.bundle import RAW
from xpcs_assets.archive.onward import reader
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Bundle, BundleRun, Copy, CopyState, RunVersion
from xpcs_assets.errors import (
    ConflictingBytesError,
    CopyError,
    NotFoundError,
    NotVerifiedError,
    SettingsError,
    SourceDiffersError,
    XpcsAssetsError,
)
from xpcs_assets.places.place import Place, Presence
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.reading import told_as_copy_error
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.runs.manifest import FileEntry
from xpcs_assets.stage.copy import Staged, record_staged

STEP = "retrieve"
ALREADY_THERE = "already there"


@dataclass(frozen=True)
class Retrieved:
    """What became of the files that were asked for.

    Attributes
    ----------
    version
        Whose files they are.
    folder
        Where they are now.
    came_from
        By path, the copy that a file was taken from, a place's trash, or :data:`ALREADY_THERE`.
    missing
        By path, why a file could not be had from any copy.
    bytes_moved
        How much had to be written.
    """

    version: RunVersion
    folder: Path
    came_from: dict[str, str]
    missing: dict[str, str]
    bytes_moved: int


def retrieve(
    beamline: OpenBeamline,
    key: str,
    paths: Sequence[str] = (),
    *,
    version: int | None = None,
    to: Path | None = None,
    dry_run: bool = False,
) -> Retrieved:
    """Get the raw data of a run back, or some of its files.

    Parameters
    ----------
    key
        The run.
    paths
        Files by their paths in the manifest; all of them without.
    version
        Which version; the newest without.
    to
        A folder to write them below. Without, they go where they were staged; and when that is all of them, the staged
        copy counts again.
    dry_run
        Only tell what would come from where: by what places and ledger say; nothing but the target is read.

    Raises
    ------
    NotFoundError
        There is no such run, version or file.
    ConflictingBytesError, NoRoomError, CopyError, RefusedError
        The target cannot be written: other bytes have a name, it is full, or another worker is at the run.
    """
    chosen = beamline.latest(key) if version is None else beamline.ledger.version(beamline.name, key, version)
    entries = _entries(chosen, paths)
    if to is not None:
        place = folder_to(to, dry_run=dry_run)
        return Fetch(beamline, chosen, place, "", dry_run=dry_run).all_of(entries, place.root)
    if not paths and not dry_run:
        _from_trash(beamline, chosen)
    place, folder = staging(beamline, chosen)
    if dry_run:
        work = Fetch(beamline, chosen, place, _inside(place, folder.raw), dry_run=True)
        work.came_from |= {} if paths else _would_be_put_back(beamline, chosen)
        return work.all_of(entries, folder.raw)
    with beamline.working(chosen.run_key, STEP) as renew:
        work = Fetch(beamline, chosen, place, _inside(place, folder.raw), on_bytes=renew)
        place.sweep(_inside(place, folder.path))
        work.fetch(entries)
        renew(0)
        if not work.missing and not paths:
            _complete(beamline, chosen, place, folder)
        work.note("files", len(entries))
    return work.outcome(folder.raw)


def folder_to(to: Path, *, dry_run: bool) -> PosixPlace:
    """Any folder as a place to write files below; made, and swept, unless nothing is to be done."""
    target = to.absolute()
    place = PosixPlace("the folder", target)
    if not dry_run:
        with told_as_copy_error(target):
            target.mkdir(parents=True, exist_ok=True)
        place.sweep()
    return place


def restage(beamline: OpenBeamline, version: RunVersion) -> Staged:
    """Stage a version anew whose source no longer has all of its files.

    Raises
    ------
    NotVerifiedError
        Some files could not be had from any copy; those that could are there.
    NotFoundError, CopyError, RefusedError
        See :func:`retrieve`.
    """
    began_s = time.monotonic()
    done = retrieve(beamline, version.run_key, version=version.version)
    if done.missing:
        told = "; ".join(f"{path}: {why}" for path, why in done.missing.items())
        raise NotVerifiedError(
            f"{len(done.missing)} of {len(version.manifest.files)} files could not be had from any copy ({told})",
            where=done.folder,
            remedy="Bring back a place that has them, then repeat",
        )
    already_there = sum(origin == ALREADY_THERE for origin in done.came_from.values())
    return Staged(done.bytes_moved, version.manifest.size_bytes, already_there, time.monotonic() - began_s)


def source_is_gone(beamline: OpenBeamline, version: RunVersion, folder: Path) -> bool:
    """Whether files of an archived version are no longer in their folder of the source, by the place's own word.

    Raises
    ------
    CopyError
        The source cannot be asked: whether its files are gone is not known.
    """
    if not _bundles(beamline, version):
        return False
    place = beamline.place(beamline.settings.runs.source.watch)
    for entry in version.manifest.files:
        found = place.stat((folder / entry.path).as_posix())
        if found.presence is Presence.UNKNOWN:
            raise CopyError(
                f"whether the source still has {entry.path!r} is not known: {found.reason}",
                where=f"{place.name}:{folder}",
                remedy=f"Bring it back; or `xpcs-assets retrieve {beamline.name} {version.run_key}` takes other copies",
            )
        if found.presence is Presence.NO:
            return True
    return False


@dataclass
class Fetch:
    """Bringing files of one version to one folder of a place.

    Attributes
    ----------
    target, folder
        Where to.
    on_bytes
        Told of bytes that were read.
    dry_run
        Only find out what would come from where.
    came_from, why
        Where each file came from; why it did not come from others.
    moved
        Bytes written, or that would be.
    """

    beamline: OpenBeamline
    version: RunVersion
    target: Place
    folder: str
    on_bytes: Callable[[int], None] = lambda size_bytes: None
    dry_run: bool = False
    came_from: dict[str, str] = field(default_factory=dict)
    why: dict[str, list[str]] = field(default_factory=dict)
    moved: int = 0

    @property
    def missing(self) -> dict[str, str]:
        """Why each file that did not come could not be had."""
        return {
            path: "; ".join(why) or "no copy has it" for path, why in self.why.items() if path not in self.came_from
        }

    def outcome(self, folder: Path) -> Retrieved:
        """What became of all of it."""
        return Retrieved(self.version, folder, self.came_from, self.missing, self.moved)

    def all_of(self, entries: Sequence[FileEntry], folder: Path) -> Retrieved:
        """What becomes of files that are fetched now."""
        self.fetch(entries)
        return self.outcome(folder)

    def note(self, what: str, wanted: int) -> None:
        """Add to the run's timeline how many files came, and from where."""
        told = ", ".join(sorted(set(self.came_from.values()))) or "nowhere"
        line = f"{len(self.came_from)} of {wanted} {what} retrieved, from: {told}"
        version = self.version
        self.beamline.ledger.note(version.beamline, version.run_key, STEP, line, {"missing": self.missing})

    def fetch(self, entries: Sequence[FileEntry]) -> None:
        """Try one copy after the other for what is not there yet."""
        self.why = {entry.path: [] for entry in entries}
        for entry in entries:
            found = self.target.stat(self._name(entry))
            if found.presence is Presence.YES and self.dry_run:
                self._would_stay(entry)
            elif found.presence is Presence.YES:
                self._take(entry, ALREADY_THERE, iter(()))
        self._from_copies(entries)
        if not self.dry_run:
            self.target.settle(self._name(entry) for entry in entries if entry.path in self.came_from)

    def _from_copies(self, entries: Sequence[FileEntry]) -> None:
        for copy in sources(self.beamline, self.version):
            if self._left(entries):
                self._from_copy(copy, self._left(entries))
        for bundle in _bundles(self.beamline, self.version):
            left = self._left(entries)
            prefix = next(
                run.prefix for run in bundle.runs if run.version == self.version.version and self._is_mine(run)
            )
            if left:
                self._from_bundle(bundle, {prefix + entry.path: entry for entry in left}, prefix)

    def _would_stay(self, entry: FileEntry) -> None:
        """A file that has the name already: it is read, since other bytes would stop the whole."""
        if self.target.digest(self._name(entry)).sha256 != entry.sha256:
            raise ConflictingBytesError(
                "other bytes have the name already",
                where=f"{self.target.name}:{self._name(entry)}",
                remedy="Look at both; move one of them away",
            )
        self.came_from[entry.path] = ALREADY_THERE

    def _would_take(self, entry: FileEntry, origin: str, size_bytes: int) -> bool:
        """Whether what a copy says of a file agrees; it would come from there."""
        if entry.size_bytes and size_bytes != entry.size_bytes:
            self.why[entry.path].append(f"{origin}: it has {size_bytes} bytes, not {entry.size_bytes}")
            return False
        self.came_from[entry.path] = origin
        self.moved += size_bytes
        return True

    def _left(self, entries: Sequence[FileEntry]) -> list[FileEntry]:
        return [entry for entry in entries if entry.path not in self.came_from]

    def _name(self, entry: FileEntry) -> str:
        return str(PurePosixPath(self.folder) / entry.path)

    def _take(self, entry: FileEntry, origin: str, chunks: Iterator[bytes]) -> bool:
        """Write a file, verified; False when its bytes could not be read there or are others."""
        source = _Source(chunks, self.on_bytes)
        try:
            written = self.target.put(
                self._name(entry),
                iter(source),
                sha256=entry.sha256,
                also=dict(entry.also),
                mtime_ns=entry.mtime_ns or None,
            )
        except XpcsAssetsError as error:
            if source.failed is None and not isinstance(error, SourceDiffersError):
                raise  # the target is what does not work: another copy would not help
            self.why[entry.path].append(f"{origin}: {error.what}")
            return False
        self.came_from[entry.path] = ALREADY_THERE if written.already_there else origin
        self.moved += 0 if written.already_there else written.size_bytes
        return True

    def _from_copy(self, copy: Copy, entries: Sequence[FileEntry]) -> None:
        """From a copy that is files, or from what of it lies in its place's trash."""
        place = self.beamline.place(copy.place)
        if place.holds_bundles or self._is_target(copy):
            return
        from xpcs_assets.prune.trash import in_trash

        in_its_trash = {row.path: row.aside_path for row in in_trash(self.beamline.ledger, copy)}
        for entry in entries:
            path = str(PurePosixPath(copy.path) / entry.path)
            origins = {path: copy.place}
            if path in in_its_trash:
                origins[in_its_trash[path]] = f"{copy.place}, out of its trash"
            for name, origin in origins.items():
                if self._from_file(place, name, origin, entry):
                    break

    def _from_file(self, place: Place, name: str, origin: str, entry: FileEntry) -> bool:
        """From one file of a place; False when it is not there, or is not what it should be."""
        found = place.stat(name)
        if found.signature is None:
            self.why[entry.path].append(f"{place.name}:{name}: {found.reason}")
            return False
        if self.dry_run:
            return self._would_take(entry, origin, found.signature.size_bytes)
        return self._take(entry, origin, place.read(name))

    def _is_target(self, copy: Copy) -> bool:
        return (copy.place, copy.path) == (self.target.name, self.folder)

    def _from_bundle(self, bundle: Bundle, named: Mapping[str, FileEntry], prefix: str = "") -> None:
        """What a bundle has of files that are named by their paths in it, in the order of its offsets.

        What came out wrong once is read once more.
        """
        place = self.beamline.place(bundle.place)
        wanted = {(path, entry.size_bytes, entry.sha256): entry for path, entry in named.items()}
        members = [
            (member, wanted[member.path, member.size_bytes, member.sha256])
            for member in self.beamline.ledger.members(bundle.place, bundle.name, prefix)
            if (member.path, member.size_bytes, member.sha256) in wanted
        ]
        if self.dry_run:
            for member, entry in members:
                self._would_take(entry, f"{bundle.place}:{bundle.name}", member.size_bytes)
            return
        for anew in (False, True):
            if not members:
                return
            try:
                onward = reader(place, bundle, [member for member, _ in members], whole=anew)
            except XpcsAssetsError as error:
                for _, entry in members:
                    self.why[entry.path].append(f"{bundle.place}:{bundle.name}: {error.what}")
                return
            members = [
                (member, entry)
                for member, entry in members
                if not self._take(entry, f"{bundle.place}:{bundle.name}", onward.read(member))
            ]

    def _is_mine(self, run: BundleRun) -> bool:
        return run.run_key == self.version.run_key


class _Source:
    """Bytes of a copy; remembers what went wrong in reading them, to be told from what goes wrong in writing."""

    def __init__(self, chunks: Iterator[bytes], on_bytes: Callable[[int], None]) -> None:
        self._chunks = chunks
        self._on_bytes = on_bytes
        self.failed: XpcsAssetsError | None = None

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                chunk = next(self._chunks, None)
            except XpcsAssetsError as error:
                self.failed = error
                raise
            if chunk is None:
                return
            self._on_bytes(len(chunk))
            yield chunk


def sources(beamline: OpenBeamline, version: RunVersion) -> list[Copy]:
    """The copies of a version, in the order to take its files from them: sound ones first, of those the staged one."""
    copies = beamline.ledger.copies(beamline.name, version.run_key, version.version)
    staged_in = beamline.settings.pipeline.stage.to
    here = [copy for copy in copies if copy.place in beamline.settings.places]
    return sorted(here, key=lambda copy: (not copy.is_sound, copy.place != staged_in))


def _entries(version: RunVersion, paths: Collection[str]) -> list[FileEntry]:
    known = {entry.path: entry for entry in version.manifest.files}
    unknown = [path for path in paths if path not in known]
    if unknown:
        raise NotFoundError(
            f"it has no file {', '.join(map(repr, unknown))}",
            where=f"{version.beamline}/{version.run_key}/v{version.version}",
            remedy=f"It has {len(known)}: {', '.join(list(known)[:5])}{' ...' if len(known) > 5 else ''}",
        )
    return [known[path] for path in dict.fromkeys(paths or known)]


def _bundles(beamline: OpenBeamline, version: RunVersion) -> list[Bundle]:
    """Bundles with raw data of a version, the best evidence first: of a damaged one, other members may be sound."""
    known = beamline.ledger.bundles(beamline.name, version.run_key, version.version)
    here = [each for each in known if each.content == RAW and each.place in beamline.settings.places]
    return sorted(here, key=lambda each: -each.evidence.rank)


def staging(beamline: OpenBeamline, version: RunVersion) -> tuple[PosixPlace, VersionFolder]:
    """The place that runs are staged in, and the folder of a version there.

    Raises
    ------
    SettingsError
        The place is no folder.
    """
    place = beamline.place(beamline.settings.pipeline.stage.to)
    if place.holds_bundles or not isinstance(place, PosixPlace):
        raise SettingsError(f"{place.name!r} is no folder to stage to", remedy="Stage to a place of kind posix")
    return place, beamline.staged(version)


def _from_trash(beamline: OpenBeamline, version: RunVersion) -> None:
    """Put the staged copy back if it lies in its place's trash; what cannot be put back is fetched like the rest."""
    from xpcs_assets.prune.trash import put_back

    place, _ = staging(beamline, version)
    if _staged_in_trash(beamline, version):
        try:
            put_back(beamline, version.run_key, version.version, place.name)
        except (NotFoundError, NotVerifiedError) as error:
            told = f"the trash of {place.name} did not have all of it: {error.what}"
            beamline.ledger.note(beamline.name, version.run_key, STEP, told)


def _would_be_put_back(beamline: OpenBeamline, version: RunVersion) -> dict[str, str]:
    """What the trash of the staged copy's place has of it, by path."""
    from xpcs_assets.prune.trash import in_trash

    place, _ = staging(beamline, version)
    return {
        str(PurePosixPath(row.path).relative_to(copy.path)): f"{place.name}, out of its trash"
        for copy in _staged_in_trash(beamline, version)
        for row in in_trash(beamline.ledger, copy)
        if place.stat(row.aside_path).presence is Presence.YES
    }


def _staged_in_trash(beamline: OpenBeamline, version: RunVersion) -> list[Copy]:
    place, folder = staging(beamline, version)
    path, states = _inside(place, folder.raw), {CopyState.IN_TRASH, CopyState.PART_REMOVED}
    copies = beamline.ledger.copies(beamline.name, version.run_key, version.version)
    return [copy for copy in copies if (copy.place, copy.path) == (place.name, path) and copy.state in states]


def _complete(beamline: OpenBeamline, version: RunVersion, place: PosixPlace, folder: VersionFolder) -> None:
    """Every file is there: the manifest beside them marks the copy as whole, and the ledger has it anew."""
    place.put(_inside(place, folder.manifest), [version.manifest.to_json().encode()])
    record_staged(beamline.ledger, folder, place)


def _inside(place: PosixPlace, path: Path) -> str:
    return path.relative_to(place.root).as_posix()
