"""Look at who may read the copies of runs, and have it be whom it should be.

What should be is worked out anew each time, from the run's owner, the roster and the clock, and compared with what the
place says; so it does not matter who changed what in between. Nothing about access ever stops data: what cannot be set
is a finding, and is tried again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

from xpcs_assets.access.doors import open_doors
from xpcs_assets.access.gates import Gate, gates_of
from xpcs_assets.access.wanted import Wanted, wanted_of
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.roster import Roster
from xpcs_assets.copies.ledger import FindingKind, Owned
from xpcs_assets.describe.record import Owner
from xpcs_assets.errors import NotFoundError, UnreachableError, XpcsAssetsError
from xpcs_assets.places.access import EVERYBODY, Doors, Principal, Seen

STEP = "access"
Known = TypeVar("Known", Doors, Principal)
_DIFFERS = "the place still says otherwise after it was set"


@dataclass(frozen=True)
class Found:
    """Who may read a version in one place, and who should.

    Attributes
    ----------
    owned, gate
        Which version, and by which folder.
    wanted
        Who should, by name.
    readers
        Who should, as the place knows them; those that it does not know are left out.
    seen
        Who may; None when it could not be looked at, or nothing is there.
    trouble
        Why it could not be looked at or set; empty when it could.
    changed
        Whether it was set now.
    news
        Whether what stands in the ledger of its trouble has changed.
    asked
        Whether the place, and whoever keeps its groups, could be asked: if not, nothing is concluded.
    """

    owned: Owned
    gate: Gate
    wanted: Wanted
    readers: frozenset[Principal] = frozenset()
    seen: Seen | None = None
    trouble: tuple[str, ...] = ()
    changed: bool = False
    news: bool = False
    asked: bool = True

    @property
    def missing(self) -> list[Principal]:
        """Who should and may not."""
        return sorted(self.readers - (self.seen.readers if self.seen else frozenset()))

    @property
    def extra(self) -> list[Principal]:
        """Who may and should not."""
        return sorted((self.seen.readers if self.seen else frozenset()) - self.readers)

    @property
    def is_there(self) -> bool:
        """Whether something of the version lies there, as far as it is known."""
        return self.seen is not None or bool(self.trouble)

    @property
    def is_right(self) -> bool:
        """Whether exactly those may who should."""
        return not self.trouble and not self.differs

    @property
    def differs(self) -> bool:
        """Whether others may than should, as far as it could be looked at."""
        return self.seen is not None and bool(self.missing or self.extra or self.seen.unreadable)

    @property
    def why(self) -> str:
        """What is not as it should be; empty when all is."""
        lacks = [f"{each} cannot read it" for each in self.missing] if self.seen else []
        lets_in = [f"{each} can, and should not" for each in self.extra]
        unreadable = self.seen.unreadable if self.seen else 0
        inside = [f"{unreadable} files or folders inside cannot be read by those who may"] if unreadable else []
        return "; ".join((*self.trouble, *lacks, *lets_in, *inside))


@dataclass
class Keeper:
    """Looks at access and sets it, with places opened and groups asked for once. Not for several threads at once."""

    beamline: OpenBeamline
    roster: Roster
    _doors: dict[str, Doors | XpcsAssetsError] = field(default_factory=dict)
    _groups: dict[tuple[str, str], Principal | XpcsAssetsError] = field(default_factory=dict)
    _open: dict[tuple[str, str], str] | None = None

    def look(self, owned: Owned, *, inside: bool = True) -> list[Found]:
        """Who may read the copies of a version, at each place where they may lie."""
        return [self._look(owned, gate, inside) for gate in gates_of(self.beamline, owned)]

    def settle(self, looked: Collection[Found], *, inside: bool = True) -> list[Found]:
        """Have copies be read by those who should, and look again; what could not be set is a finding."""
        done = [self._set(found, inside) if found.differs else found for found in looked]
        return [replace(found, news=self._tell(found)) for found in done]

    def close(self) -> None:
        """Close what was opened."""
        for doors in self._doors.values():
            if not isinstance(doors, XpcsAssetsError):
                doors.close()

    def _look(self, owned: Owned, gate: Gate, inside: bool) -> Found:
        wanted = wanted_of(
            Owner.of(owned.owner), owned.beamline, self.roster, gate.settings, self.beamline.ledger.clock()
        )
        found = Found(owned, gate, wanted, trouble=(gate.trouble,) if gate.trouble else ())
        if gate.trouble:
            return found
        try:
            doors = self._doors_of(gate.place)
        except XpcsAssetsError as error:
            return replace(found, trouble=(str(error),), asked=False)
        try:
            seen = doors.look(gate.folder, inside=inside)
            if seen is None:
                return found
            readers, unknown = (frozenset[Principal](), ()) if seen.is_gone else self._readers(gate.place, wanted)
        except UnreachableError as error:
            self._give_up(gate.place, error)
            return replace(found, trouble=(str(error),), asked=False)
        except XpcsAssetsError as error:
            return replace(found, trouble=(str(error),))
        return replace(found, readers=readers, seen=_named(seen, readers), trouble=unknown)

    def _readers(self, place: str, wanted: Wanted) -> tuple[frozenset[Principal], tuple[str, ...]]:
        """Whom to let in, and which groups there are not: the others are let in all the same, and old ones kept out."""
        if wanted.everybody:
            return frozenset({EVERYBODY}), ()
        readers, unknown = set(), []
        for name in wanted.groups:
            try:
                readers.add(self._group(place, name))
            except NotFoundError as error:
                unknown.append(str(error))
        return frozenset(readers), tuple(unknown)

    def _set(self, found: Found, inside: bool) -> Found:
        try:
            doors = self._doors_of(found.gate.place)
            doors.allow(found.gate.folder, found.readers)
            seen = doors.look(found.gate.folder, inside=inside)
        except XpcsAssetsError as error:
            return replace(found, trouble=(*found.trouble, str(error)))
        after = replace(found, seen=seen and _named(seen, found.readers), changed=True)
        return replace(after, trouble=(*after.trouble, _DIFFERS)) if after.differs else after

    def _tell(self, found: Found) -> bool:
        """Keep the finding of a gate in step with what was found; whether it changed."""
        if not found.asked:
            return False
        ledger, owned, gate = self.beamline.ledger, found.owned, found.gate
        if self._open is None:
            known = ledger.findings(owned.beamline, kinds=[FindingKind.ACCESS])
            self._open = {(each.place, each.path): each.reason for each in known}
        before = self._open.pop((gate.place, gate.folder), "")
        if not found.is_right:
            self._open[gate.place, gate.folder] = found.why
            ledger.see_finding(
                owned.beamline,
                FindingKind.ACCESS,
                place=gate.place,
                path=gate.folder,
                run_key=owned.run_key,
                version=owned.version,
                reason=found.why,
            )
        elif before:
            ledger.close_findings(owned.beamline, [FindingKind.ACCESS], place=gate.place, path=gate.folder)
        return before != found.why

    def _doors_of(self, place: str) -> Doors:
        if place not in self._doors:
            try:
                self._doors[place] = open_doors(self.beamline, place)
            except XpcsAssetsError as error:
                self._doors[place] = error
        return _or_raise(self._doors[place])

    def _give_up(self, place: str, error: UnreachableError) -> None:
        """Ask a place no more: nor would it answer about the next run."""
        doors = self._doors.get(place)
        if doors is not None and not isinstance(doors, XpcsAssetsError):
            doors.close()
        self._doors[place] = error

    def _group(self, place: str, name: str) -> Principal:
        if (place, name) not in self._groups:
            try:
                self._groups[place, name] = self._doors_of(place).group(name)
            except XpcsAssetsError as error:
                self._groups[place, name] = error
        return _or_raise(self._groups[place, name])


def _named(seen: Seen, known: Collection[Principal]) -> Seen:
    """Those who may read it, by the names that are known; a place may tell no more than their ids."""
    names = {each: each for each in known}
    return replace(seen, readers=frozenset(names.get(each, each) for each in seen.readers))


def _or_raise(known: Known | XpcsAssetsError) -> Known:
    if isinstance(known, XpcsAssetsError):
        raise known
    return known


@contextmanager
def keeping_access(beamline: OpenBeamline) -> Iterator[Keeper]:
    """A keeper of a beamline's access, with the roster as it is now.

    Raises
    ------
    SettingsError
        The roster cannot be read: nobody is let in or kept out by a guess.
    """
    keeper = Keeper(beamline, Roster.of(beamline.site))
    try:
        yield keeper
    finally:
        keeper.close()


def settle_run(beamline: OpenBeamline, run_key: str) -> list[Found]:
    """Have all copies of a run be read by those who should: after they were verified, or brought back.

    Raises
    ------
    SettingsError
        See :func:`keeping_access`.
    """
    with keeping_access(beamline) as keeper:
        versions = beamline.ledger.owned(beamline.name, run_key=run_key)
        done = keeper.settle([found for owned in versions for found in keeper.look(owned)])
    return [found for found in done if found.is_there]


def in_words(found: Collection[Found]) -> str:
    """Who may read a version's copies, one place after the other."""
    return "; ".join(f"{each.gate.place}: {each.why or readers_of(each)}" for each in found) or "no copy is there"


def readers_of(found: Found) -> str:
    """Who may read a version in a place, beside whoever owns the files."""
    if found.seen is None:
        return "not known"
    above = [f"{each} by a rule above it" for each in found.seen.above]
    return ", ".join([*map(str, sorted(found.seen.readers)), *above]) or "nobody but its owner"
