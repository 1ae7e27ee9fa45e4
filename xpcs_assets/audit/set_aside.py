"""Setting a bad file aside: out of its name, kept for diagnosis, behind a permit that it is not what it should be."""

from __future__ import annotations

from dataclasses import dataclass

from xpcs_assets.audit.scope import Scope
from xpcs_assets.copies.aside_book import AsideKind, ToAside
from xpcs_assets.copies.ledger import Copy
from xpcs_assets.errors import RemovalRefusedError
from xpcs_assets.places.place import Place
from xpcs_assets.places.reading import Hashed
from xpcs_assets.runs.folders import ASIDE_FOLDER
from xpcs_assets.runs.manifest import FileEntry


@dataclass(frozen=True)
class BadBytes:
    """The right to move one file out of its name: it was read just now, and holds other bytes than it should.

    Only :func:`prove_bad` makes one. It lets nothing be removed: what it moves is kept.
    """

    place: Place
    path: str
    found: Hashed

    def allow(self, place: str, path: str) -> None:
        """Return if this very file may be moved.

        Raises
        ------
        RemovalRefusedError
            It is another file, or no longer the one that was read.
        """
        if (place, path) != (self.place.name, self.path):
            raise _refused(place, path, f"the permit is for {self.place.name}:{self.path}")
        now = self.place.stat(path)
        if now.signature != self.found.signature:
            raise _refused(place, path, now.reason or "it changed since it was read")


def prove_bad(place: Place, path: str, entry: FileEntry | None) -> BadBytes:
    """Read a file twice and make the permit to set it aside.

    Parameters
    ----------
    entry
        What it should be.

    Raises
    ------
    RemovalRefusedError
        It is what it should be, when read either time.
    NotFoundError, CopyError
        It cannot be read.
    """
    kinds = entry.kinds if entry is not None else ()
    found = [place.digest(path, kinds) for _ in range(2)]
    if entry is not None and any(not entry.differs(each) for each in found):
        raise _refused(place.name, path, "it holds the bytes of the manifest")
    return BadBytes(place, path, found[-1])


def set_bad_aside(scope: Scope, copy: Copy, place: Place, path: str, entry: FileEntry | None) -> str:
    """Move a bad file of a copy aside within its place; where it lies then. The ledger has it before it moves."""
    permit = prove_bad(place, path, entry)
    signature = permit.found.signature
    label = f"bad-{permit.found.sha256[:12]}-{signature.inode:x}"  # the same again when this is repeated
    scope.ledger.intend_aside(
        copy.beamline,
        copy.run_key,
        copy.version,
        place=copy.place,
        copy_path=copy.path,
        kind=AsideKind.BAD,
        files=[ToAside(path, f"{ASIDE_FOLDER}/{label}/{path}", signature.size_bytes)],
    )
    return place.set_aside(path, label, permit)


def _refused(place: str, path: str, why: str) -> RemovalRefusedError:
    return RemovalRefusedError(f"the file stays: {why}", where=f"{place}:{path}", remedy="Read the copy again")
