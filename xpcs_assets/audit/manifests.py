"""The manifest beside a copy, and the one in the ledger: each is mended only from one that agrees with the files."""

from __future__ import annotations

from pathlib import PurePosixPath

from xpcs_assets.audit.reread import Verdict, read_entry
from xpcs_assets.audit.scope import Scope
from xpcs_assets.audit.set_aside import set_bad_aside
from xpcs_assets.copies.ledger import Copy
from xpcs_assets.errors import NotFoundError, NotVerifiedError, XpcsAssetsError
from xpcs_assets.places.place import Place, Presence
from xpcs_assets.runs.manifest import FILE_NAME, Manifest

_LONGEST_BYTES = 1 << 30


def beside(copy: Copy) -> str:
    """Where the manifest of a staged copy lies; empty for a copy that has none beside it."""
    path = PurePosixPath(copy.path)
    staged = path.name == "raw" and path.parent.name == f"v{copy.version}"
    return str(path.parent / FILE_NAME) if staged else ""


def read_beside(place: Place, path: str) -> Manifest:
    """Read a manifest that lies in a place.

    Raises
    ------
    NotVerifiedError
        It is damaged.
    NotFoundError, CopyError
        It is not there, or cannot be read.
    """
    content = b""
    for chunk in place.read(path):
        content += chunk
        if len(content) > _LONGEST_BYTES:
            raise NotVerifiedError("it is no manifest: it is too long", where=f"{place.name}:{path}")
    return Manifest.from_json(content.decode("utf-8", "replace"), where=f"{place.name}:{path}")


def why_beside_is_wrong(place: Place, copy: Copy, digest: str) -> str:
    """Why the manifest beside a copy is not the version's; empty when it is, or none should be there."""
    path = beside(copy)
    if not path:
        return ""
    try:
        found = read_beside(place, path)
    except NotFoundError:
        return "the manifest beside the copy is gone" if place.stat(path).presence is Presence.NO else ""
    except NotVerifiedError as error:
        return error.what
    return "" if found.digest == digest else "the manifest beside the copy is another one's"


def mend_beside(scope: Scope, copy: Copy, place: Place, manifest: Manifest) -> list[str]:
    """Put the manifest beside a copy whose files agree with it; where a damaged one was set aside to."""
    path = beside(copy)
    if not path or not why_beside_is_wrong(place, copy, manifest.digest):
        return []
    aside = []
    if place.stat(path).presence is Presence.YES:
        aside.append(set_bad_aside(scope, copy, place, path, None))
    place.put(path, [manifest.to_json().encode()])
    return aside


def restore(scope: Scope, run_key: str, version: int) -> Manifest:
    """Give the ledger its manifest of a version back, from beside a copy whose files all agree with it.

    Raises
    ------
    NotVerifiedError
        No copy has one: nothing is changed.
    """
    told: list[str] = []
    for copy in scope.ledger.copies(scope.beamline, run_key, version):
        place, path = scope.places.get(copy.place), beside(copy)
        if place is None or not path:
            continue
        try:
            manifest = read_beside(place, path)
            wrong = [
                entry.path
                for entry in manifest.files
                if read_entry(place, str(PurePosixPath(copy.path) / entry.path), entry).verdict is not Verdict.RIGHT
            ]
            if wrong or not manifest.files:
                told.append(f"{copy.place}: its files do not agree with its manifest")
                continue
            scope.ledger.restore_manifest(scope.beamline, run_key, version, manifest)
        except XpcsAssetsError as error:
            told.append(f"{copy.place}: {error.what}")
        else:
            scope.ledger.note(scope.beamline, run_key, "repair", f"the ledger has its manifest back from {copy.place}")
            return manifest
    raise NotVerifiedError(
        f"the ledger's manifest is damaged, and no copy has one that agrees ({'; '.join(told) or 'none is known'})",
        where=f"{scope.beamline}/{run_key}/v{version}",
        remedy="Delete nothing of this run; look at its copies by hand",
    )
