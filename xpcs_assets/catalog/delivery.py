"""Telling catalogs outside the site what waits for them.

A catalog that does not answer is left alone until its pause is over. An entry that alone cannot be told waits by
itself, one that is refused is parked; the others go on.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.dataset import Catalog
from xpcs_assets.catalog.datasets import dataset_of, lifecycle_of
from xpcs_assets.catalog.opening import open_catalog
from xpcs_assets.catalog.outbox import Entry, EntryState, Outbox, Rules, What
from xpcs_assets.catalog.reach import ReachBook
from xpcs_assets.catalog.roster import Roster
from xpcs_assets.catalog.rules import rules_of
from xpcs_assets.errors import (
    CatalogError,
    CatalogUnavailableError,
    LedgerError,
    RefusedError,
    SettingsError,
    XpcsAssetsError,
)

LATE = timedelta(seconds=60)
"""What waited for longer is noted in its run's timeline once it is told."""


@dataclass(frozen=True)
class Delivered:
    """What became of one entry.

    Attributes
    ----------
    entry
        Which, as it was when it was sent.
    state
        Told, waiting or parked.
    why
        Why it is not told; empty when it is.
    pid_there
        Of the dataset in the catalog, when it is told.
    """

    entry: Entry
    state: EntryState
    why: str = ""
    pid_there: str = ""


def outbox_of(beamline: OpenBeamline) -> Outbox:
    """The outbox of a beamline's site."""
    return Outbox(beamline.engine, beamline.ledger.clock)


def reach_of(beamline: OpenBeamline) -> ReachBook:
    """What is known of the answers of the catalogs of a beamline's site."""
    return ReachBook(beamline.engine, beamline.ledger.clock)


def gather(beamline: OpenBeamline, run_key: str = "") -> int:
    """Let all that the beamline's catalogs do not know yet wait, of one run when given; how many entries."""
    outbox = outbox_of(beamline)
    told = beamline.settings.pipeline.told
    try:
        roster = Roster.of(beamline.site)
    except SettingsError:  # whoever sends says so; until it can be read nothing is told again because of it
        return sum(outbox.gather(beamline.name, name, run_key=run_key) for name in told)
    return sum(
        outbox.gather(beamline.name, name, run_key=run_key, rules=rules_of(beamline.site, name, roster))
        for name in told
    )


def deliver(
    beamline: OpenBeamline, *, run_key: str = "", catalog: str = "", at_most: int = 1000
) -> Iterator[Delivered]:
    """Tell each catalog of a beamline what waits for it, of one run when given, until nothing more can be told now.

    Parameters
    ----------
    catalog
        Only this one.
    at_most
        Entries of each catalog.

    Raises
    ------
    LedgerError
        The database did not answer.
    """
    for name in beamline.settings.pipeline.told:
        if catalog in {"", name} and not reach_of(beamline).rests(name):
            yield from _Sender(beamline, name).send(run_key, at_most)


def catch_up(beamline: OpenBeamline, *, catalog: str = "", rounds: int = 20) -> Iterator[Delivered]:
    """Gather what the catalogs do not know and tell it, in rounds of some hundreds, until there is nothing more.

    Parameters
    ----------
    catalog
        Tell only this one.
    rounds
        At most; what is left then is told the next time.
    """
    for _ in range(rounds):
        gathered = gather(beamline)
        yield from deliver(beamline, catalog=catalog)
        if not gathered:
            return


class _Sender:
    """Tells one catalog; made anew for each delivery."""

    def __init__(self, beamline: OpenBeamline, name: str) -> None:
        self.beamline, self.name = beamline, name
        self.outbox, self.reach = outbox_of(beamline), reach_of(beamline)
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
        self.entry: Entry | None = None

    def send(self, run_key: str, at_most: int) -> Iterator[Delivered]:
        """Send entries, one after the other."""
        try:
            catalog = open_catalog(self.beamline.site, self.name, self._still_mine, self.outbox.clock)
            roster = Roster.of(self.beamline.site)
        except SettingsError as error:
            self.reach.silent(self.name, str(error))
            return
        rules = rules_of(self.beamline.site, self.name, roster)
        with closing(catalog):
            for _ in range(at_most):
                self.entry = self.outbox.claim(self.beamline.name, self.name, self.holder, run_key=run_key)
                if self.entry is None:
                    return
                done = self._one(catalog, roster, rules, self.entry)
                if done is not None:
                    yield done
                if self.reach.rests(self.name):
                    return

    def _still_mine(self) -> None:
        if self.entry is not None:
            self.outbox.renew(self.entry)

    def _one(self, catalog: Catalog, roster: Roster, rules: Rules, entry: Entry) -> Delivered | None:
        """Send one entry; None when another sender has it now."""
        try:
            return self._tried(catalog, roster, rules, entry)
        except RefusedError:
            return None

    def _tried(self, catalog: Catalog, roster: Roster, rules: Rules, entry: Entry) -> Delivered:
        try:
            pid_there, again_at = _tell(self.beamline, catalog, roster, entry)
        except RefusedError:
            raise
        except CatalogUnavailableError as error:
            return self._not_now(catalog, entry, str(error))
        except SettingsError as error:  # a secret is not there, a library is missing: it is about the catalog
            return self._silent(entry, str(error))
        except XpcsAssetsError as error:
            if isinstance(error, LedgerError) or isinstance(error.__cause__, LedgerError):
                raise
            self.outbox.park(entry, str(error), rules=rules)
            self._note(entry, f"{self.name} refuses the {entry.what} entry: {error}")
            return Delivered(entry, EntryState.PARKED, str(error))
        self.outbox.told(entry, pid_there, rules=rules, again_at=again_at)
        self.reach.answered(self.name)
        if self.outbox.clock() - entry.wanted_at > LATE:
            self._note(entry, f"{self.name} was told of the {entry.what} entry, which had waited")
        return Delivered(entry, EntryState.TOLD, "", pid_there)

    def _not_now(self, catalog: Catalog, entry: Entry, why: str) -> Delivered:
        """It may be the entry or the catalog: ask."""
        try:
            catalog.check()
        except (CatalogError, SettingsError):
            return self._silent(entry, why)
        self.outbox.later(entry, why)
        return Delivered(entry, EntryState.WAITING, why)

    def _silent(self, entry: Entry, why: str) -> Delivered:
        self.outbox.give_back(entry, why)
        self.reach.silent(self.name, why)
        return Delivered(entry, EntryState.WAITING, why)

    def _note(self, entry: Entry, what: str) -> None:
        self.beamline.ledger.note(entry.beamline, entry.run_key, "catalogs", what, {"pid": entry.pid})


def _tell(beamline: OpenBeamline, catalog: Catalog, roster: Roster, entry: Entry) -> tuple[str, datetime | None]:
    """The pid there, and when it is to be told again."""
    if entry.what is What.LIFECYCLE:
        catalog.put_lifecycle(entry.pid, lifecycle_of(beamline, entry.pid))
        return entry.pid_there, None
    dataset = dataset_of(beamline, entry.pid, roster)
    again_at = catalog.changes_at(dataset)
    return catalog.put(dataset), again_at


def look_again(
    beamline: OpenBeamline,
    *,
    older_than_s: float,
    at_most: int,
    catalog: str = "",
    told: Callable[[Entry, bool], object] = lambda *_: None,
) -> int:
    """Ask the catalogs whether they still have what they were told; what is gone is told again. How many were asked.

    Parameters
    ----------
    older_than_s
        What was seen there since is not asked for, s.
    at_most
        Datasets of each catalog.
    catalog
        Only this one.
    told
        Called with each entry and whether it is there.
    """
    outbox, reach, asked = outbox_of(beamline), reach_of(beamline), 0
    before = outbox.clock() - timedelta(seconds=older_than_s)
    for name in beamline.settings.pipeline.told:
        if catalog not in {"", name} or reach.rests(name):
            continue
        try:
            with closing(open_catalog(beamline.site, name)) as opened:
                for entry in outbox.unseen(beamline.name, name, before, at_most):
                    asked += 1
                    there = _is_there(opened, outbox, entry)
                    told(entry, there)
        except (CatalogUnavailableError, SettingsError) as error:
            reach.silent(name, str(error))
    return asked


def _is_there(catalog: Catalog, outbox: Outbox, entry: Entry) -> bool:
    try:
        there = catalog.has(entry.pid)
    except CatalogUnavailableError:
        raise
    except CatalogError as error:
        outbox.park(entry, f"it may not be asked for: {error}")
        return False
    outbox.saw(entry, there=there)
    return there


def thought_to_stand(beamline: OpenBeamline, pids: Collection[str]) -> frozenset[str]:
    """Those of some pids that every catalog which the beamline names was told of, and none of them is down."""
    found = frozenset(pids)
    for name in beamline.settings.pipeline.told:
        known = reach_of(beamline).of(name)
        found &= frozenset() if known is None or known.down_since else outbox_of(beamline).told_of(name, pids)
    return found


def stands(beamline: OpenBeamline, pid: str) -> bool:
    """Whether every catalog that the beamline names, asked now, has a dataset; one that does not answer is a no."""
    for name in beamline.settings.pipeline.told:
        try:
            with closing(open_catalog(beamline.site, name)) as catalog:
                if not catalog.has(pid):
                    return False
        except (CatalogError, SettingsError):
            return False
    return True


def has_turn(beamline: OpenBeamline) -> bool:
    """Whether anything could be told now, or was told so long ago that it is to be asked for again."""
    outbox, reach = outbox_of(beamline), reach_of(beamline)
    before = outbox.clock() - timedelta(seconds=beamline.settings.audit.reread_within)
    awake = [name for name in beamline.settings.pipeline.told if not reach.rests(name)]
    return any(
        outbox.has_turn(beamline.name, name) or outbox.unseen(beamline.name, name, before, limit=1) for name in awake
    )
