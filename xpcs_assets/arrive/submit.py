"""Submit runs by hand: a person or a workflow says that a run is complete."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from xpcs_assets.arrive.candidates import Candidate, Seen, files_of, find, fingerprint, locate
from xpcs_assets.arrive.complete import why_not
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import ArrivalState
from xpcs_assets.errors import NotFoundError, RefusedError


@dataclass(frozen=True)
class Submitted:
    """A run that was submitted: its key, and whether it was in the pipeline already."""

    key: str
    known: bool


def submit(beamline: OpenBeamline, path: Path, *, as_is: bool = False) -> Submitted:
    """Ask for the run at ``path`` to be taken now. The same files twice are one run.

    Raises
    ------
    SettingsError
        The path is no run of this beamline.
    NotFoundError
        Nothing is there.
    RefusedError
        It is refused by name, or not complete; ``as_is`` takes an incomplete one as it is.
    """
    root = beamline.source_root
    if not path.exists():
        raise NotFoundError("there is no such run", where=path, remedy="Give the path of a run's folder or file")
    candidate = locate(beamline.settings, root, path)
    files, reason = _look(beamline, candidate)
    if as_is and files:
        reason = ""
    if reason:
        raise RefusedError(reason, where=path, remedy="Complete it; or --as-is keeps it as it is, if it can be named")
    seen = fingerprint(files)
    known = beamline.ledger.arrival(beamline.name, candidate.key)
    if known is not None and known.fingerprint == seen and known.state is ArrivalState.TAKEN:
        return Submitted(candidate.key, known=True)
    if known is not None and known.fingerprint == seen and known.attempt:
        beamline.ledger.retake(beamline.name, candidate.key, "submitted again")
    beamline.ledger.note_arrival(
        beamline.name,
        candidate.key,
        source=candidate.source,
        fingerprint=seen,
        state=ArrivalState.SUBMITTED,
        reason="submitted by hand",
        name=candidate.source,
    )
    return Submitted(candidate.key, known=False)


@dataclass(frozen=True)
class Match:
    """What ``check`` says of a path: the key it gives, and why it would not be taken (empty: it would)."""

    source: str
    key: str
    reason: str


def matches(beamline: OpenBeamline, limit: int) -> list[Match]:
    """The runs that the beamline's pattern finds now, with their keys.

    Raises
    ------
    OSError
        The watched folder cannot be listed.
    """
    found: list[Match] = []
    owners: dict[str, str] = {}
    for candidate in itertools.islice(find(beamline.settings, beamline.source_root), limit):
        known = beamline.ledger.arrival(beamline.name, candidate.key)
        owner = owners.setdefault(candidate.key, known.source if known else candidate.source)
        reason = "" if owner == candidate.source else f"its key {candidate.key!r} is that of {owner}"
        found.append(Match(candidate.source, candidate.key, reason or _look(beamline, candidate)[1]))
    return found


def _look(beamline: OpenBeamline, candidate: Candidate) -> tuple[tuple[Seen, ...], str]:
    """The files of a candidate, and why it would not be taken; no files when nothing of it may be."""
    if candidate.reason:
        return (), candidate.reason
    try:
        files = files_of(beamline.settings, candidate, beamline.source_root)
    except OSError as error:
        return (), f"cannot be read: {error.strerror}"
    return files, why_not(beamline.settings, candidate, files) if files else "no file of a run is there"
