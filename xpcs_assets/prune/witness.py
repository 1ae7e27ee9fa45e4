"""Asking the places: reading each file of a copy now, whether it is the victim or a witness."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from xpcs_assets.archive.bundle import read_bundle
from xpcs_assets.copies.ledger import Copy, Evidence
from xpcs_assets.errors import CopyError, NotFoundError, NotVerifiedError, RemovalRefusedError
from xpcs_assets.places.place import Place, Presence
from xpcs_assets.places.reading import Signature
from xpcs_assets.runs.manifest import FileEntry, Manifest

_KEEP = "Nothing was deleted; see `xpcs-assets why` for the run"


@dataclass(frozen=True)
class SeenFile:
    """A file that was read: its path in the place, and what it was at that moment."""

    path: str
    signature: Signature


@dataclass(frozen=True)
class Witness:
    """Another copy that was read just now and is right.

    Attributes
    ----------
    place, path, failure_domain
        Which copy; the domain as the place itself gave it.
    evidence
        How it was verified.
    files
        What was read there.
    """

    place: str
    path: str
    failure_domain: str
    evidence: Evidence
    files: tuple[SeenFile, ...]

    @property
    def inodes(self) -> frozenset[tuple[int, int]]:
        """Device and inode of each file."""
        return inodes_of(self.files)


def read_files(place: Place, copy: Copy, manifest: Manifest, on_file: Callable[[], object]) -> Iterator[SeenFile]:
    """Read every file of a copy that is the run's files; raises unless each is the manifest's."""
    if not manifest.files:
        raise refused(copy, "an empty manifest proves nothing")
    for entry in manifest.files:
        on_file()
        path = _join(copy.path, entry.path)
        found = place.digest(path, entry.kinds)
        if difference := entry.differs(found):
            raise NotVerifiedError(difference, where=f"{place.name}:{path}", remedy=_KEEP)
        yield SeenFile(path, found.signature)


def read_bundles(place: Place, copy: Copy, manifest: Manifest, on_file: Callable[[], object]) -> Iterator[SeenFile]:
    """Read every bundle of a copy in an archive to its end; raises unless they hold all of the manifest.

    A damaged bundle counts for nothing; its files may lie in another one, as those do that were archived again.
    """
    if not manifest.files:
        raise refused(copy, "an empty manifest proves nothing")
    missing = {entry.path: entry for entry in manifest.files}
    kinds = {kind for entry in manifest.files for kind in entry.kinds}
    wrong: NotVerifiedError | None = None
    for path in _bundles_of(place, copy):
        on_file()
        where = f"{place.name}:{path}"
        before = place.stat(path)
        try:
            content = read_bundle(place.read(path), where=where, also=kinds)
        except NotVerifiedError as error:
            wrong = wrong or error
            continue
        if before.signature is None or place.stat(path) != before:
            raise CopyError(f"bundle {path} changed while it was read", where=place.name, remedy=_KEEP)
        found = content.files_of(copy.beamline, copy.run_key, copy.version)
        for entry in [missing[name] for name in found if name in missing]:
            if difference := entry.differs(found[entry.path]):
                wrong = wrong or NotVerifiedError(f"{entry.path!r}: {difference}", where=where, remedy=_KEEP)
            else:
                del missing[entry.path]
        yield SeenFile(path, before.signature)
    if missing:
        raise wrong or NotFoundError(
            f"{len(missing)} of {len(manifest.files)} files were not read back", where=place.name, remedy=_KEEP
        )


def _bundles_of(place: Place, copy: Copy) -> tuple[str, ...]:
    """The bundles in a copy's folder; or the very bundle that the copy shares with others."""
    if copy.path.endswith(".tar"):
        return (copy.path,)
    listing = place.list(copy.path)
    if listing.presence is not Presence.YES:
        raise CopyError(f"the archive's folder: {listing.reason}", where=place.name, remedy=_KEEP)
    return tuple(name for name in listing.files if name.endswith(".tar"))


def files_of(copy: Copy, manifest: Manifest) -> tuple[tuple[str, FileEntry], ...]:
    """Where each file of a copy lies that has the run's files under its path."""
    return tuple((_join(copy.path, entry.path), entry) for entry in manifest.files)


def victim_files(
    files: Sequence[tuple[str, FileEntry]], place: Place, on_file: Callable[[], object]
) -> tuple[tuple[SeenFile, ...], tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The victim's files that are the manifest's, read now; those that are gone; those to keep, with the reason."""
    right: list[SeenFile] = []
    gone: list[str] = []
    kept: list[tuple[str, str]] = []
    for path, entry in files:
        on_file()
        try:
            found = place.digest(path, entry.kinds)
        except NotFoundError:
            gone.append(path)
        except CopyError as error:
            kept.append((path, error.what))
        else:
            if difference := entry.differs(found):
                kept.append((path, difference))
            else:
                right.append(SeenFile(path, found.signature))
    return tuple(right), tuple(gone), tuple(kept)


def place_of(copy: Copy, places: Mapping[str, Place]) -> Place:
    """The place of a copy; RemovalRefusedError when there is none to ask."""
    place = places.get(copy.place)
    if place is None:
        raise refused(copy, f"there is no place {copy.place!r} to ask")
    return place


def _join(folder: str, path: str) -> str:
    return str(PurePosixPath(folder) / path)


def inodes_of(files: Sequence[SeenFile]) -> frozenset[tuple[int, int]]:
    """Device and inode of each file."""
    return frozenset((file.signature.device, file.signature.inode) for file in files)


def refused(copy: Copy, why: str) -> RemovalRefusedError:
    """The refusal that is about this copy."""
    where = f"{copy.beamline}/{copy.run_key}/v{copy.version} in {copy.place}"
    return RemovalRefusedError(why, where=where, remedy=_KEEP)
