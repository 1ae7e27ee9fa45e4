"""The flight check of a beamline: a small file over every hop between its places, verified at the far end and removed.

The hops are those that a run takes: from the source to the staging place, and from there to each further copy and to
where results go back. Between two collections Globus moves the file, as it moves runs; else its bytes go through this
machine. To tape nothing is written: its place is only asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.copies.pauses import BEAMLINE_KEY
from xpcs_assets.doctor.flights import flying, gone_afterwards, new_file, refuse_other, sweep, write
from xpcs_assets.doctor.found import Found, Probe, Said, State, look_at_all, ok, skipped, wrong
from xpcs_assets.errors import CopyError, UnreachableError
from xpcs_assets.places.globus import GlobusPlace
from xpcs_assets.places.place import Place
from xpcs_assets.places.transfer import Item, TransferPhase, Transfers
from xpcs_assets.settings import Beamline
from xpcs_assets.settings_places import FlightCheck

SIZE_BYTES = 1_000_000
LIMIT_S = 600.0
LEASE_S = LIMIT_S + 60.0
"""Shorter than the shortest time between two checks: one that was killed never stops the next."""
STEP = "flight_check"
_POLL_S = 2.0
_DOWN = "failed: "


@dataclass(frozen=True)
class Flight:
    """What came of one hop.

    Attributes
    ----------
    hop
        ``source -> target``, by the names of the places.
    state, reason, remedy
        As in :class:`~xpcs_assets.doctor.found.Found`.
    size_bytes, seconds
        What was moved, and how long that took with the reading at the far end; 0 where nothing was.
    """

    hop: str
    state: State
    reason: str
    remedy: str = ""
    size_bytes: int = 0
    seconds: float = 0.0

    @property
    def rate_bytes_per_s(self) -> float:
        """How fast it was, bytes a second; 0 where nothing was moved."""
        return round(self.size_bytes / self.seconds, 1) if self.seconds else 0.0


@dataclass(frozen=True)
class _Moved:
    size_bytes: int
    seconds: float


@dataclass(frozen=True)
class _Ends:
    """The two places of a hop, and the way between them; the way is None where this machine moves the bytes."""

    source: Place
    target: Place
    by_globus: Transfers | None
    limit_s: float


def hops(settings: Beamline) -> tuple[tuple[str, str], ...]:
    """Every hop that a run or a result takes, the archive's left out, by the names of its places."""
    pipeline = settings.pipeline
    to = [*pipeline.copies, *((pipeline.return_results.to,) if pipeline.return_results is not None else ())]
    return ((settings.runs.source.watch, pipeline.stage.to), *((pipeline.stage.to, name) for name in to))


def fly(opened: OpenBeamline, limit_s: float = LIMIT_S) -> list[Flight]:
    """Try every hop of a beamline, side by side, and note what came of it in the ledger.

    Parameters
    ----------
    limit_s
        A hop that takes longer is down; its transfer is cancelled.

    Raises
    ------
    LedgerError
        The ledger cannot be read or written.
    """
    ledger = opened.ledger  # it is opened here, once for all threads
    moved: dict[str, _Moved] = {}
    probes = []
    for source, target in hops(opened.settings):
        name = f"{source} -> {target}"
        probes.append(Probe(name, partial(_fly_hop, opened, source, target, limit_s, partial(moved.__setitem__, name))))
    if opened.settings.pipeline.archive is not None:
        tape = opened.settings.pipeline.archive.to
        staging = opened.settings.pipeline.stage.to
        probes.append(Probe(f"{staging} -> {tape}", partial(_only_ask, opened, tape)))
    flown = [_flight(found, moved.get(found.what)) for found in look_at_all(probes, limit_s + 5.0)]
    down = [f"{one.hop}: {one.reason}" for one in flown if one.state is State.WRONG]
    said = f"{_DOWN}{'; '.join(down)}" if down else f"done: {len(flown)} hops"
    hop_facts = {one.hop: {**asdict(one), "rate_bytes_per_s": one.rate_bytes_per_s} for one in flown}
    ledger.note(opened.name, BEAMLINE_KEY, STEP, said, hop_facts)
    return flown


def probe_last(name: str, settings: FlightCheck, ledger: Ledger) -> Probe:
    """What the newest flight check of a beamline has found, and whether it is as new as it should be."""

    def look() -> Said:
        noted = [event for event in ledger.timeline(name, BEAMLINE_KEY) if event.step == STEP]
        if not noted:
            return skipped("none was made yet")
        last, again = noted[-1], f"`xpcs-assets doctor --fly {name}` flies again"
        when = f"{last.at:%Y-%m-%d %H:%M:%S} UTC"
        if last.what.startswith(_DOWN):
            return wrong(f"{when}: {last.what.removeprefix(_DOWN)}", f"See to that hop; {again}")
        if (ledger.clock() - last.at).total_seconds() > 2 * settings.every + LIMIT_S:
            return wrong(f"the last was at {when}", f"See whether the site is up; {again}")
        return ok(f"{when}: {last.what}")

    return Probe(f"{name} flight check", look)


def _flight(found: Found, moved: _Moved | None) -> Flight:
    flight = Flight(found.what, found.state, found.reason, found.remedy)
    if moved is None or found.state is State.WRONG:
        return flight
    return replace(flight, size_bytes=moved.size_bytes, seconds=round(moved.seconds, 4))


def _only_ask(opened: OpenBeamline, name: str) -> Said:
    why = opened.place(name).why_unavailable()
    return wrong(why, _look_at(opened, name)) if why else ok("it answers; nothing is written to tape")


def _fly_hop(opened: OpenBeamline, source: str, target: str, limit_s: float, note: Callable[[_Moved], None]) -> Said:
    ends = _ends(opened, source, target, limit_s)
    for place in (ends.source, ends.target):
        if why := place.why_unavailable():
            return wrong(f"place {place.name} is unavailable: {why}", _look_at(opened, place.name))
    is_read_only = opened.ledger.known_place(opened.name, source) is None
    if is_read_only and ends.by_globus is not None:
        return skipped(f"nothing can be written in {source}, so that Globus has nothing to move")
    with flying(opened.ledger, opened.name, f"{source}..{target}", LEASE_S) as folder:
        for place in (ends.target,) if is_read_only else (ends.target, ends.source):
            sweep(place, folder)
        if is_read_only:
            note(_move(ends, folder, from_here=True))
            return ok(f"{source} answers, and nothing can be written there: the file was made here")
        note(_move(ends, folder, from_here=False))
    return ok("by Globus" if ends.by_globus is not None else "through this machine")


def _move(ends: _Ends, folder: str, *, from_here: bool) -> _Moved:
    """Move a file over a hop, read it at the far end, and take it away at both."""
    name, content, sha256 = new_file(SIZE_BYTES)
    path = f"{folder}/{name}"
    with ExitStack() as gone:
        gone.enter_context(gone_afterwards(ends.target, path))
        if not from_here:
            gone.enter_context(gone_afterwards(ends.source, path))
            write(ends.source, path, lambda: [content], sha256)
        started_s = time.monotonic()
        if ends.by_globus is not None:
            _by_globus(ends.by_globus, Item(path, path, len(content), sha256), ends.limit_s)
        else:
            write(ends.target, path, lambda: [content] if from_here else ends.source.read(path), sha256)
        refuse_other(ends.target, path, sha256)
        return _Moved(len(content), time.monotonic() - started_s)


def _by_globus(way: Transfers, item: Item, limit_s: float) -> None:
    """Have the service move a file, and wait for it; CopyError or UnreachableError when it does not come.

    The submission is stored nowhere: a task that outlives a check which was killed brings a file that the next sweeps.
    """
    until_s = time.monotonic() + limit_s
    task = way.begin(way.new_submission(), "xpcs-assets flight check", [item])
    seen = way.look(task)
    while seen.phase is TransferPhase.ACTIVE and time.monotonic() < until_s:
        time.sleep(_POLL_S)
        seen = way.look(task)
    if seen.phase is TransferPhase.SUCCEEDED:
        return
    way.cancel(task)
    why = f": {seen.reason}" if seen.reason else ""
    if seen.phase is TransferPhase.ACTIVE:
        raise UnreachableError(f"Globus did not move the file within {limit_s:g} s{why}", remedy="Look at its activity")
    raise CopyError(f"Globus says {seen.phase.value}{why}", remedy="docs/how-to/connect-globus-transfer.md")


def _ends(opened: OpenBeamline, source: str, target: str, limit_s: float) -> _Ends:
    from xpcs_assets.places.globus_site import transfers_between

    ends = opened.place(source), opened.place(target)
    by_globus = None
    if isinstance(ends[0], GlobusPlace) and isinstance(ends[1], GlobusPlace):
        by_globus = transfers_between(opened.site, ends[0], ends[1])
    return _Ends(*ends, by_globus, limit_s)


def _look_at(opened: OpenBeamline, name: str) -> str:
    return f"`xpcs-assets place {opened.name} {name}` shows what is expected there"
