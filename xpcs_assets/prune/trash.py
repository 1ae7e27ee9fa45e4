"""The trash of a place: where removed files wait for the grace period, and the way back.

Files go there behind the same proof as those that are unlinked, and they count as no copy. What ends them is
:func:`xpcs_assets.prune.remove.empty_trash`, behind a proof of its own.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from xpcs_assets.copies.ledger import (
    Aside,
    AsideEnd,
    AsideKind,
    Copy,
    CopyState,
    Evidence,
    Lease,
    Ledger,
    ToAside,
)
from xpcs_assets.errors import CopyError, NotFoundError, NotVerifiedError, RefusedError
from xpcs_assets.places.place import Place, Presence
from xpcs_assets.prune.witness import SeenFile, read_files
from xpcs_assets.runs.folders import ASIDE_FOLDER

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline

PURPOSE = "prune"
"""Of the lease that excludes everybody else from the run."""
LEASE_S = 3600.0


def in_trash(ledger: Ledger, copy: Copy) -> tuple[Aside, ...]:
    """The files of a copy that lie in the trash, or were about to be moved there."""
    return ledger.aside(
        copy.beamline, run_key=copy.run_key, version=copy.version, place=copy.place, copy_path=copy.path
    )


def write_down(ledger: Ledger, copy: Copy, files: tuple[SeenFile, ...], place: Place, intent: int) -> Mapping[str, str]:
    """Note where each file will lie in the trash, before any is moved; the folder of the trash for each path.

    A file whose move was interrupted goes on to where it was going.
    """
    begun = {row.path: row for row in in_trash(ledger, copy)}
    labels = {
        file.path: _label(begun[file.path]) if file.path in begun and _may_go_on(place, begun[file.path], file) else ""
        for file in files
    }
    labels = {path: label or f"removal-{intent}" for path, label in labels.items()}
    ledger.intend_aside(
        copy.beamline,
        copy.run_key,
        copy.version,
        place=copy.place,
        copy_path=copy.path,
        kind=AsideKind.TRASH,
        files=[
            ToAside(file.path, f"{ASIDE_FOLDER}/{labels[file.path]}/{file.path}", file.signature.size_bytes)
            for file in files
        ],
        intent=intent,
    )
    return labels


def _label(row: Aside) -> str:
    return row.aside_path.removeprefix(f"{ASIDE_FOLDER}/").removesuffix(f"/{row.path}")


def _may_go_on(place: Place, row: Aside, file: SeenFile) -> bool:
    """Whether nothing, or this very file, has the name in the trash: not an earlier stay of the same copy."""
    there = place.stat(row.aside_path)
    if there.presence is Presence.UNKNOWN:
        raise CopyError(f"its trash cannot be asked: {there.reason}", where=place.name, remedy="Mount it, then repeat")
    if there.signature is None:
        return True
    return (there.signature.device, there.signature.inode) == (file.signature.device, file.signature.inode)


def put_back(beamline: OpenBeamline, run_key: str, version: int, place: str) -> Copy:
    """Take a copy out of the trash of a place; see :func:`put_back_copy`."""
    holder = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
    for copy in beamline.ledger.copies(beamline.name, run_key, version):
        if copy.place == place and copy.state in _BEGUN and in_trash(beamline.ledger, copy):
            return put_back_copy(beamline.ledger, copy, beamline.place(place), holder=holder)
    raise NotFoundError(
        f"no copy of it lies in the trash of {place}",
        where=f"{beamline.name}/{run_key}/v{version}",
        remedy="Stage it again, or retrieve it from the archive",
    )


_BEGUN = frozenset({CopyState.IN_TRASH, CopyState.PART_REMOVED})


def put_back_copy(ledger: Ledger, copy: Copy, place: Place, *, holder: str) -> Copy:
    """Give the files of a copy their names again, read every byte, and count it as a copy once more.

    Done again after a crash it finishes. The copy's time in its place begins anew.

    Raises
    ------
    RefusedError
        It is in no trash, or somebody works on the run.
    CopyError
        Another file has a name, or what is there now is not the manifest's.
    """
    with ledger.lease(copy.beamline, copy.run_key, PURPOSE, holder, LEASE_S) as lease:
        seen = ledger.copy_seen(copy)
        if seen is None or seen.copy.state not in _BEGUN:
            state = "unknown to the ledger" if seen is None else seen.copy.state.value
            raise RefusedError(f"the copy is {state}: nothing is put back", where=f"{copy.place}:{copy.path}")
        rows = in_trash(ledger, copy)
        told = f"{len(rows)} files are put back to {copy.place}"
        ledger.note(copy.beamline, copy.run_key, "pruned", told)
        # Some of them may come back and others not: then it is neither in the trash nor removed.
        where = {"place": copy.place, "path": copy.path}
        ledger.mark_copy(copy.beamline, copy.run_key, copy.version, **where, state=CopyState.PART_REMOVED, reason=told)
        for row in rows:
            ledger.renew(lease, LEASE_S)
            if place.stat(row.aside_path).presence is not Presence.NO:
                place.put_back(row.aside_path, row.path)
        _verify(ledger, copy, place, lease)
        back = ledger.record_copy(
            copy.beamline,
            copy.run_key,
            copy.version,
            place=copy.place,
            path=copy.path,
            failure_domain=place.failure_domain,
            evidence=Evidence.READ_BACK,
        )
        ledger.end_aside([row.id for row in rows], AsideEnd.PUT_BACK)
        ledger.note(copy.beamline, copy.run_key, "pruned", f"the copy in {copy.place} is back and was read")
        return back


def _verify(ledger: Ledger, copy: Copy, place: Place, lease: Lease) -> None:
    manifest = ledger.version(copy.beamline, copy.run_key, copy.version).manifest
    try:
        for _ in read_files(place, copy, manifest, partial(ledger.renew, lease, LEASE_S)):
            pass
    except (NotFoundError, NotVerifiedError) as error:
        raise NotVerifiedError(
            f"what was put back is not the whole copy: {error.what}",
            where=f"{copy.place}:{copy.path}",
            remedy="Nothing was deleted; stage it again, or retrieve it from the archive",
        ) from error
