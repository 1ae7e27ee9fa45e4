"""Submit runs by hand: a person or a workflow says that a run is complete."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xpcs_assets.arrive.candidates import Candidate, Seen, candidate_at, files_of, find, fingerprint
from xpcs_assets.arrive.complete import why_not
from xpcs_assets.arrive.source import source_of
from xpcs_assets.arrive.tree import Tree
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.arrivals import taken_by_another
from xpcs_assets.copies.ledger import Arrival, ArrivalState
from xpcs_assets.errors import NotFoundError, RefusedError


@dataclass(frozen=True)
class Submitted:
    """A run that was submitted: its key, its path, its files' number, and whether it was in the pipeline already."""

    key: str
    source: str
    files: int
    known: bool


def submit(beamline: OpenBeamline, path: Path, *, as_is: bool = False, dry_run: bool = False) -> Submitted:
    """Ask for the run at ``path`` to be taken now. The same files twice are one run. A dry run looks and asks nothing.

    Raises
    ------
    SettingsError
        The path is no run of this beamline.
    NotFoundError
        Nothing is there.
    RefusedError
        It is refused by name, or not complete; ``as_is`` takes an incomplete one as it is.
    """
    source = source_of(beamline)
    tree = source.tree()
    if not tree.exists(source.named(path)):
        raise NotFoundError("there is no such run", where=path, remedy="Give the path of a run's folder or file")
    candidate = candidate_at(beamline.settings, source.root, source.relative(path))
    look = look_at(beamline, candidate, tree)
    reason = "" if as_is and look.files else look.reason
    if reason:
        raise RefusedError(reason, where=path, remedy="Complete it; or --as-is keeps it as it is, if it can be named")
    if look.is_known:
        return Submitted(candidate.key, candidate.source, len(look.files), known=True)
    if look.known is not None and look.known.source != candidate.source:
        raise taken_by_another(candidate.key, look.known.source, candidate.source)
    if not dry_run:
        hand_in(beamline, candidate, look)
    return Submitted(candidate.key, candidate.source, len(look.files), known=False)


def hand_in(beamline: OpenBeamline, candidate: Candidate, look: Look) -> None:
    """Ask for a run to be taken with the files that were seen in it.

    Raises
    ------
    RefusedError
        Its key is another run's.
    """
    seen, known = look.fingerprint, look.known
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
    source = source_of(beamline)
    tree = source.tree()
    candidates = itertools.islice(find(beamline.settings, source.root, tree), limit)
    return [Match(one.source, one.key, look.reason) for one, look in look_through(beamline, candidates, tree)]


def look_through(
    beamline: OpenBeamline, candidates: Iterable[Candidate], tree: Tree
) -> Iterator[tuple[Candidate, Look]]:
    """Look at candidates one after the other; of two with one key only the one that has it already would be taken."""
    owners: dict[str, str] = {}
    if not tree.is_near:
        candidates = list(candidates)
        tree.expect(one.folder for one in candidates)
    for candidate in candidates:
        look = look_at(beamline, candidate, tree)
        owner = owners.setdefault(candidate.key, look.known.source if look.known else candidate.source)
        if owner != candidate.source:
            look = Look((), f"its key {candidate.key!r} is that of {owner}", look.known)
        yield candidate, look


@dataclass(frozen=True)
class Look:
    """What is there of a candidate.

    Attributes
    ----------
    files
        Its files; none when nothing of it may be taken.
    reason
        Why it would not be taken; empty when it would.
    known
        What the ledger has under its key.
    """

    files: tuple[Seen, ...]
    reason: str
    known: Arrival | None

    @property
    def fingerprint(self) -> str:
        """Of the files as they are now."""
        return fingerprint(self.files)

    @property
    def is_known(self) -> bool:
        """Whether the run was taken with the very files it has now."""
        known = self.known
        return known is not None and known.state is ArrivalState.TAKEN and known.fingerprint == self.fingerprint


def look_at(beamline: OpenBeamline, candidate: Candidate, tree: Tree) -> Look:
    """Look at a candidate's files as a tree of the beamline's source has them."""
    known = beamline.ledger.arrival(beamline.name, candidate.key)
    if candidate.reason:
        return Look((), candidate.reason, known)
    try:
        files = files_of(beamline.settings, candidate, source_of(beamline).root, tree)
    except OSError as error:
        return Look((), f"cannot be read: {error.strerror}", known)
    reason = why_not(beamline.settings, candidate, files, tree) if files else "no file of a run is there"
    return Look(files, reason, known)
