"""Ask the run database for runs that have ended, see whether their files are complete, and claim those that are.

What is claimed and what the ledger has been told of are two books, written one after the other. A claim names the
arrival's attempt that it is for: as long as the ledger has not come so far, the claim is still to be carried out.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from xpcs_assets.arrive.candidates import Candidate, Seen, candidate_at, fields_of, files_of, fingerprint
from xpcs_assets.arrive.complete import has_marker, why_not
from xpcs_assets.arrive.source import source_of
from xpcs_assets.arrive.still import Stillness
from xpcs_assets.arrive.tree import HERE, Tree
from xpcs_assets.arrive.watch import ASKED, ASKED_AFTER_FAILURE, REQUEST_STANDS_S, Ready
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.facts import RUN_DATABASE
from xpcs_assets.copies.ledger import Arrival, ArrivalState
from xpcs_assets.errors import RefusedError
from xpcs_assets.run_database.database import RunDatabase
from xpcs_assets.run_database.known_run import KnownRun, RunStatus

AGAIN = "the run database asks for it again"
_ASKED = frozenset({ASKED, AGAIN, ASKED_AFTER_FAILURE})


class DatabaseWatch:
    """What one process remembers between its looks into the run database."""

    def __init__(
        self, beamline: OpenBeamline, database: RunDatabase, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._beamline = beamline
        self._source = source_of(beamline)
        self._tree: Tree = HERE
        self._database = database
        self._clock = clock
        self._still = Stillness(clock)
        self._asked: dict[tuple[str, str, int], float] = {}
        self.told: list[str] = []
        """What to warn of after the last look."""

    def look(self, limit: int) -> list[Ready]:
        """Look once, and return at most ``limit`` runs that can be taken: submitted ones, then the newest first.

        Raises
        ------
        UnreachableError, RefusedError, SettingsError
            The run database does not answer, or not as it should. What was claimed is gone on with once it does.
        CopyError
            The place of the raw files is not the disk that should be there: nothing is said of any run.
        """
        self.told = []
        self._source.refuse_unavailable()
        self._tree = self._source.tree()
        mine = {run.number: run for run in self._database.mine()}
        ready = [found for run in mine.values() if (found := self._gone_on_with(run)) is not None]
        ready += self._submitted(mine)
        ready = ready[:limit]
        if not self._database.is_on():
            self.told.append("the run database's switch is off: no new run is taken")
            return ready
        room = min(limit - len(ready), self._database.settings.runs_at_most - len(mine))
        to_take = list(self._database.to_take(self._database.now())) if room > 0 else []
        self._tree.expect(self.candidate(run).folder for run in to_take)
        for run in to_take:
            if room <= 0:
                break
            try:
                found = self._judged(run)
            except RefusedError as error:  # one odd document holds up no other run
                self.told.append(f"run {run.number}: {error}")
                continue
            if found is not None:
                ready.append(found)
                room -= 1
        return ready

    def candidate(self, run: KnownRun) -> Candidate:
        """Where the files of a run lie, and the run key that this gives."""
        source = self._database.settings.source.source(run.number)
        return candidate_at(self._beamline.settings, self._source.root, source)

    def _gone_on_with(self, run: KnownRun) -> Ready | None:
        """A claimed run that is still to be asked for: this site was ended in between, or the request was lost."""
        candidate = self.candidate(run)
        arrival = self._beamline.ledger.arrival(self._beamline.name, candidate.key)
        if arrival is None or arrival.attempt < run.attempt:
            files = self._files(candidate)
            if files:
                return self._ask(run, candidate, fingerprint(files))
            self._database.say(run, RunStatus.FAILED, self._missing(candidate), self._database.now())
            return None
        if arrival.state is ArrivalState.WAITING and arrival.reason in _ASKED:
            return self._unless_asked_lately(arrival)
        return None

    def _submitted(self, mine: dict[int, KnownRun]) -> list[Ready]:
        """Runs that a person has said are complete; those in the run database are claimed first."""
        waiting = self._beamline.ledger.arrivals(self._beamline.name, states=[ArrivalState.SUBMITTED])
        ready = []
        for arrival in waiting:
            number = fields_of(self._beamline.settings, arrival.source).get("number", "")
            run = self._database.run(int(number)) if number.isdecimal() and int(number) not in mine else None
            if run is not None and not self._claimed_as_submitted(run, arrival):
                self.told.append(f"{arrival.run_key} was submitted, but another has claimed it, or its tags forbid it")
            elif (found := self._unless_asked_lately(arrival)) is not None:
                ready.append(found)
        return ready

    def _claimed_as_submitted(self, run: KnownRun, arrival: Arrival) -> bool:
        now = self._database.now()
        return not run.is_held(now) and self._database.claim(run, arrival.attempt, now) is not None

    def _judged(self, run: KnownRun) -> Ready | None:
        """Claim a run that is complete. One that is not is waited for, and has failed when that has been too long."""
        candidate = self.candidate(run)
        if candidate.reason:
            self._database.refuse(run, candidate.reason, self._database.now())
            return None
        files = self._files(candidate)
        seen = fingerprint(files)
        still_for_s = self._still.for_s(candidate.key, seen)
        when = self._beamline.settings.runs.source.complete_when
        marked = has_marker(self._beamline.settings, candidate, self._tree)
        reason = why_not(self._beamline.settings, candidate, files, self._tree) if files else self._missing(candidate)
        if not reason and when.marker and not marked:
            reason = f"the marker {when.marker!r} is not there yet"
        if reason and still_for_s >= when.give_up_after:
            self._still.forget(candidate.key)
            self._database.refuse(run, reason, self._database.now())
        if reason or (still_for_s < when.quiet and not marked):
            return None
        return self._claimed(run, candidate, seen)

    def _claimed(self, run: KnownRun, candidate: Candidate, seen: str) -> Ready | None:
        known = self._beamline.ledger.arrival(self._beamline.name, candidate.key)
        if known is not None and known.source != candidate.source:
            reason = f"its run key {candidate.key!r} already belongs to {known.source}"
            self._database.refuse(run, reason, self._database.now())
            return None
        in_hand = known is not None and _is_in_hand(run, known, seen)
        attempt = 0 if known is None else known.attempt if in_hand else known.attempt + 1
        claim = self._database.claim(run, attempt, self._database.now())
        if claim is None or in_hand:
            return None
        return self._ask(claim, candidate, seen)

    def _ask(self, claim: KnownRun, candidate: Candidate, seen: str) -> Ready:
        """Tell the ledger that the run is to be taken, anew if it has been; whoever repeats it asks for the same."""
        ledger, name, key = self._beamline.ledger, self._beamline.name, candidate.key
        arrival = ledger.note_arrival(
            name,
            key,
            source=candidate.source,
            fingerprint=seen,
            state=ArrivalState.WAITING,
            reason=ASKED,
            name=candidate.source,
        )
        ledger.note(name, key, RUN_DATABASE, "claimed", {"number": claim.number, **claim.details})
        if arrival.attempt < claim.attempt:
            arrival = ledger.retake(name, key, AGAIN)
        self._asked[key, seen, arrival.attempt] = self._clock()
        return Ready(key, seen, arrival.attempt)

    def _unless_asked_lately(self, arrival: Arrival) -> Ready | None:
        """Ask once more after a while, which is the same request."""
        request = (arrival.run_key, arrival.fingerprint, arrival.attempt)
        asked_s = self._asked.get(request)
        if asked_s is not None and self._clock() - asked_s < REQUEST_STANDS_S:
            return None
        self._asked[request] = self._clock()
        return Ready(*request)

    def _files(self, candidate: Candidate) -> tuple[Seen, ...]:
        try:
            return files_of(self._beamline.settings, candidate, self._source.root, self._tree)
        except OSError:
            return ()

    def _missing(self, candidate: Candidate) -> str:
        place = self._database.settings.source.place
        return f"there is no readable file of it at {candidate.source!r} in place {place!r}"


def _is_in_hand(run: KnownRun, known: Arrival, seen: str) -> bool:
    """Whether this site has these files already and nobody asks for them again: a claim of it that was lost."""
    nobody_asks = run.status not in {RunStatus.PENDING, RunStatus.FAILED}
    return nobody_asks and known.state is ArrivalState.TAKEN and known.fingerprint == seen
