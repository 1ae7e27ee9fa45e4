"""Prune at a beamline: which copies may go by now, and the removal of one, each behind its own proof."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.embedded import EmbeddedCatalog, raw_pid
from xpcs_assets.copies.ledger import Copy
from xpcs_assets.errors import CopyError, NotFoundError, RefusedError
from xpcs_assets.places.place import Place
from xpcs_assets.prune.plan import Judged, judge_place
from xpcs_assets.prune.remove import Removed, prune_copy
from xpcs_assets.prune.rules import Eligible


@dataclass(frozen=True)
class Expired:
    """A copy that may go if a proof can be made; ``generation`` changes when it is staged anew."""

    copy: Copy
    generation: str


def judged(beamline: OpenBeamline, place: str, limit: int | None = None) -> tuple[Judged, ...]:
    """Every copy of the beamline in a place with what the rules say of it, the oldest first."""
    retention = beamline.settings.retention.get(place)
    return judge_place(
        beamline.ledger,
        beamline.name,
        place,
        retention.rule if retention else None,
        lambda copy: is_catalogued(beamline, copy),
        limit=limit,
    )


def expired(beamline: OpenBeamline, limit: int | None) -> list[Expired]:
    """Copies in all places that may go by now, the oldest first."""
    found = [item for place in beamline.settings.retention for item in judged(beamline, place, limit)]
    return [
        Expired(item.copy, f"{item.copy.recorded_at:%Y%m%dT%H%M%S%f}")
        for item in found
        if isinstance(item.judgement, Eligible)
    ]


def prune(
    beamline: OpenBeamline, run_key: str, version: int, place: str, path: str, *, holder: str, by: str, reason: str
) -> Removed:
    """Remove one copy, if the rules and a proof made now allow it.

    Raises
    ------
    NotFoundError
        The ledger knows no such copy.
    RefusedError, CopyError
        See :func:`xpcs_assets.prune.remove.prune_copy`.
    """
    copies = beamline.ledger.copies(beamline.name, run_key, version)
    copy = next((item for item in copies if (item.place, item.path) == (place, path)), None)
    if copy is None:
        raise NotFoundError(
            f"no copy at {place}:{path}", where=f"{beamline.name}/{run_key}/v{version}", remedy="Look at its copies"
        )
    retention = beamline.settings.retention.get(place)
    places: dict[str, Place] = {name: beamline.place(name) for name in beamline.settings.places}
    return prune_copy(
        beamline.ledger,
        copy,
        places,
        retention.rule if retention else None,
        catalogued=is_catalogued(beamline, copy),
        holder=holder,
        by=by,
        reason=reason,
    )


def is_catalogued(beamline: OpenBeamline, copy: Copy) -> bool:
    """Whether the catalog, asked now, has the raw record of the copy's version."""
    return EmbeddedCatalog(beamline.engine).has(raw_pid(copy.beamline, copy.run_key, copy.version))


@dataclass(frozen=True)
class Pruned:
    """What became of one copy that might go; ``refused`` says why it stays."""

    copy: Copy
    files: int = 0
    size_bytes: int = 0
    refused: str = ""


def prune_all(beamline: OpenBeamline) -> Iterator[Pruned]:
    """Remove every copy that may go by now, one after the other."""
    by = getpass.getuser()
    for item in expired(beamline, limit=None):
        copy = item.copy
        which = (copy.run_key, copy.version, copy.place, copy.path)
        try:
            done = prune(
                beamline,
                *which,
                holder=f"{socket.gethostname()}:{os.getpid()}",
                by=by,
                reason="pruned from the command line",
            )
        except (RefusedError, CopyError) as error:
            yield Pruned(copy, refused=str(error))
        else:
            kept = "; ".join(f"{path}: {why}" for path, why in done.kept)
            yield Pruned(copy, done.files, done.size_bytes, kept)
