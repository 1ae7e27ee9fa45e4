"""Make the ledger again: from the journal and from what lies in the places, in a second database beside the first.

The first database is compared with it where it opens, and always kept. A ledger that opens is never replaced by one
that was made while places were unavailable.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from xpcs_assets.audit.from_data import Found, FromData
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.cataloguing import recatalogue
from xpcs_assets.copies.clock import Clock, utc_now
from xpcs_assets.copies.compare import Difference, compare
from xpcs_assets.copies.database import Base, check_schema, open_database, reading, schema_of, writing
from xpcs_assets.copies.journal import BEGINNING, Journal, Line
from xpcs_assets.copies.keeping import advance_numbers, replay
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.copies.second import second_database, sqlite_file
from xpcs_assets.copies.tables import ClockRow, FindingRow, LeaseRow, LedgerRow, VersionRow
from xpcs_assets.errors import LedgerError, RefusedError
from xpcs_assets.orchestrate.processes import not_running
from xpcs_assets.site import Site

HOLDER = "xpcs-assets rebuild"
CARRIED = frozenset({LeaseRow.__tablename__, ClockRow.__tablename__, FindingRow.__tablename__})


@dataclass
class Rebuilt:
    """What came of making the ledger again.

    Attributes
    ----------
    kept
        Where the old ledger is kept; empty when there was none, or when it stays in its place.
    replaced
        Whether the new one is in its place now.
    why_not_read
        Why the old one could not be compared; empty when it was.
    differences
        How old and new differ, table by table.
    found
        What the data told.
    """

    found: Found
    kept: str = ""
    replaced: bool = False
    why_not_read: str = ""
    differences: tuple[Difference, ...] = field(default=())

    @property
    def partial(self) -> bool:
        """Whether places could not be asked."""
        return bool(self.found.unavailable)

    @property
    def same(self) -> bool:
        """Whether the old ledger was read and the new one is the same."""
        return not self.why_not_read and all(not each.only_old and not each.only_new for each in self.differences)


def rebuild(site: Site, *, clock: Clock = utc_now, say: Callable[[str], None] = lambda text: None) -> Rebuilt:
    """Make the ledger of a site again and put it in the old one's place.

    Parameters
    ----------
    clock
        Wall time.
    say
        Told what is done.

    Raises
    ------
    RefusedError
        The site is up, somebody works on a run, or the database is another site's.
    LedgerError
        The ledger is of another schema, the new database cannot be made, or the journal cannot be read.
    """
    if site.broken:
        raise RefusedError(
            f"these beamline files cannot be read: {', '.join(sorted(site.broken))}",
            where=site.home,
            remedy="Mend them first: a ledger made without a beamline would lack its runs",
        )
    with not_running(site), _old(site.database_url) as (old, why_not_read):
        journal = Journal(site.journal)
        if old is not None:
            _refuse_another(old, journal)
            _refuse_workers(old, clock())
        second = second_database(site.database_url, clock())
        try:
            found = _fill(site, second.engine, journal, clock, say, old)
            done = Rebuilt(found, why_not_read=why_not_read)
            if old is not None:
                done.differences = compare(old, second.engine)
            if not done.partial or old is None:
                if old is not None:
                    old.dispose()
                done.kept, done.replaced = second.take_over(), True
        finally:
            second.engine.dispose()
            if not second.taken:
                second.discard()
        _freeze(site, journal, found, clock)
    return done


@contextmanager
def _old(url: str) -> Iterator[tuple[Engine | None, str]]:
    """The ledger as it is, if every table of it can be read; else why not."""
    if (file := sqlite_file(url)) is not None and not file.exists():  # opening would make it
        yield None, "there is no ledger"
        return
    engine = open_database(url)
    try:
        yield _readable(engine)
    finally:
        engine.dispose()


def _readable(engine: Engine) -> tuple[Engine | None, str]:
    try:
        found = schema_of(engine)
    except LedgerError as error:
        return None, str(error)
    if found is None:
        return None, "there is no ledger in the database"
    check_schema(engine)  # one of another schema is sound: it is not put aside by a program that cannot read it
    try:
        with reading(engine) as session:
            for table in Base.metadata.sorted_tables:
                for _ in session.execute(select(table).execution_options(yield_per=1000)):
                    pass
    except LedgerError as error:
        return None, str(error)
    return engine, ""


def _refuse_another(old: Engine, journal: Journal) -> None:
    """Refuse to put aside the ledger of another site that this one's settings name."""
    first = journal.first()
    with reading(old) as session:
        identity = session.scalars(select(LedgerRow.identity)).one()
        runs = session.scalar(select(func.count()).select_from(VersionRow))
    if first is not None and first.row.get("identity") != identity and runs:
        raise RefusedError(
            "the database holds runs and is not the ledger that this site's journal belongs to",
            where=journal.folder,
            remedy="Give site.yaml the right database, or an empty one",
        )


def _refuse_workers(old: Engine, now: datetime) -> None:
    with reading(old) as session:
        leases = session.scalars(select(LeaseRow).where(LeaseRow.expires_at > now)).all()
    living = [lease for lease in leases if _lives(lease.holder)]
    if living:
        told = ", ".join(f"{lease.holder} at {lease.run_key} ({lease.purpose})" for lease in living)
        raise RefusedError(
            f"somebody works: {told}",
            remedy=f"Wait until {max(lease.expires_at for lease in living):%Y-%m-%d %H:%M:%S} UTC, or end them",
        )


def _lives(holder: str) -> bool:
    """Whether a lease's holder may live: all do, but processes of this machine that have ended."""
    host, _, rest = holder.partition(":")
    number = rest.partition(":")[0]
    if host != socket.gethostname() or not number.isdigit():
        return True
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _fill(
    site: Site,
    engine: Engine,
    journal: Journal,
    clock: Clock,
    say: Callable[[str], None],
    old: Engine | None,
) -> Found:
    found = Found()
    say("the journal")
    found.told += [f"journal: {told}" for told in journal.damage()]
    if journal.first() is None:
        found.told.append("there is no journal: holds, timelines, removals and what people wrote are not known")
    with writing(engine) as session:
        left = replay(session, journal.lines())
        if old is not None:
            _carry(session, old)
    for name in site.beamlines:
        say(f"the places of {name}")
        beamline = _beamline(site, name, engine, clock)
        FromData(beamline, found).bring_in()
        found.told += recatalogue(beamline)
    with writing(engine) as session:
        left = replay(session, left)
        found.told += _of_nothing_known(left)
        advance_numbers(session)
        row = session.scalars(select(LedgerRow)).one()
        first, last = journal.first(), journal.last()
        if first is not None and last is not None and first.table == BEGINNING:
            row.identity, row.journal_number = first.row["identity"], last.number
        elif old is not None:
            with reading(old) as before:
                row.identity = before.scalars(select(LedgerRow.identity)).one()
    return found


def _of_nothing_known(lines: Iterable[Line]) -> list[str]:
    """A sentence for each kind of line that has no place in the new ledger; there may be thousands."""
    numbers: dict[str, list[int]] = {}
    for line in lines:
        numbers.setdefault(line.table, []).append(line.number)
    return [
        f"{len(each)} lines of the journal ({table}) are of nothing known, the first is line {each[0]}"
        for table, each in numbers.items()
    ]


def _carry(session: Session, old: Engine) -> None:
    """Take over what neither journal nor data tell, and what is the database's own: leases, clocks, findings."""
    with reading(old) as before:
        for table in (Base.metadata.tables[name] for name in sorted(CARRIED)):
            rows = [dict(row) for row in before.execute(select(table)).mappings()]
            if rows:
                session.execute(table.insert(), rows)


def _beamline(site: Site, name: str, engine: Engine, clock: Clock) -> OpenBeamline:
    """A beamline over the new ledger."""
    beamline = OpenBeamline(site, site.beamlines[name])
    beamline.__dict__.update(engine=engine, ledger=Ledger(engine, clock))
    return beamline


def _freeze(site: Site, journal: Journal, found: Found, clock: Clock) -> None:
    """Hold the runs that contradict themselves, in the ledger that is in place now."""
    if not found.frozen:
        return
    engine = open_database(site.database_url, journal=journal)
    ledger = Ledger(engine, clock)
    try:
        for (beamline, run_key), why in found.frozen.items():
            if not any((hold.set_by, hold.reason) == (HOLDER, why) for hold in ledger.holds(beamline, run_key)):
                ledger.hold(beamline, run_key, why, HOLDER)
    finally:
        engine.dispose()
