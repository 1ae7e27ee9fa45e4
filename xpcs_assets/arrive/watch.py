"""Watch a beamline's folder for runs that have stopped changing and are complete.

Two looks at least ``quiet`` apart, by this process's own clock, must see the same files: no time stamp of another
machine is compared. A look costs the listing of the folders plus what is new; runs taken before are looked at again in
turns, so that a file rewritten under its old name is found.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from xpcs_assets.arrive.candidates import Candidate, Seen, files_of, find, fingerprint, key_of_refused, unreadable
from xpcs_assets.arrive.complete import has_marker, why_not
from xpcs_assets.arrive.source import source_of
from xpcs_assets.arrive.still import Stillness
from xpcs_assets.arrive.tree import HERE, Tree
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Arrival, ArrivalState
from xpcs_assets.errors import RefusedError

NEWEST = 20
SLICE = 50
REQUEST_STANDS_S = 120.0
ATTEMPTS = 3
ASKED = "complete; asked to be taken"
ASKED_AFTER_FAILURE = "the Dagster run that was to take it failed"


@dataclass(frozen=True)
class Ready:
    """A run to be taken now.

    Attributes
    ----------
    key
        Its run key.
    fingerprint
        Of its files; the same files give the same request however often they are seen.
    attempt
        Raised each time the run has to be taken anew.
    """

    key: str
    fingerprint: str
    attempt: int


class Watch:
    """What one process remembers of a watched folder between its looks."""

    def __init__(self, beamline: OpenBeamline, clock: Callable[[], float] = time.monotonic) -> None:
        self._beamline = beamline
        self._source = source_of(beamline)
        self._tree: Tree = HERE
        self._clock = clock
        self._still = Stillness(clock)
        self._asked: dict[str, tuple[str, float]] = {}
        self._turn = 0
        taken = beamline.ledger.arrivals(beamline.name, states=[ArrivalState.TAKEN])
        self._taken = {arrival.run_key: arrival.fingerprint for arrival in taken}

    def look(self, limit: int) -> list[Ready]:
        """Look once, and return at most ``limit`` runs that can be taken: submitted ones, then the newest first.

        Raises
        ------
        OSError
            The watched folder itself cannot be listed.
        CopyError
            It is not the disk that should be there: what it lacks is not gone, and what it holds is not taken.
        """
        self._source.refuse_unavailable()
        self._tree = self._source.tree()
        ready = self._submitted(limit)
        candidates = self._candidates()
        worth_a_look = self._worth_a_look(list(candidates))
        self._tree.expect(candidates[key].folder for key in worth_a_look)
        for key in worth_a_look:
            if len(ready) >= limit:
                break
            found = self._judge(candidates[key])
            if found is not None:
                ready.append(found)
        return ready

    @property
    def is_near(self) -> bool:
        """Whether looking again costs next to nothing."""
        return self._tree.is_near

    def refused_folders(self) -> list[str]:
        """Folders below the watched one that cannot be listed, as seen in the last look."""
        return [str(path) for path in unreadable(self._source.root, self._beamline.settings, self._tree)]

    def _candidates(self) -> dict[str, Candidate]:
        """What lies in the folder, by key. Of two paths with one key only the first counts, or the one known by it."""
        found: dict[str, Candidate] = {}
        for item in find(self._beamline.settings, self._source.root, self._tree):
            first = found.setdefault(item.key, item)
            if first is item:
                continue
            known = self._beamline.ledger.arrival(self._beamline.name, item.key)
            if known is not None and known.source == item.source:
                found[item.key], item = item, first
            self._refuse(item, f"its run key {item.key!r} already belongs to {found[item.key].source}")
        return found

    def _submitted(self, limit: int) -> list[Ready]:
        """Runs that a person has said are complete."""
        waiting = self._beamline.ledger.arrivals(self._beamline.name, states=[ArrivalState.SUBMITTED])
        asked = [item for item in waiting if not self._is_asked(item.run_key, item.fingerprint)][:limit]
        for item in asked:
            self._asked[item.run_key] = (item.fingerprint, self._clock())
        return [Ready(item.run_key, item.fingerprint, item.attempt) for item in asked]

    def _worth_a_look(self, keys: list[str]) -> list[str]:
        """All that is new, the newest of what was taken, and a slice of the rest in turn."""
        new = [key for key in keys if key not in self._taken]
        old = [key for key in keys if key in self._taken]
        if len(old) <= NEWEST + SLICE:
            return new[::-1] + old[::-1]
        rest = old[:-NEWEST]
        self._turn = (self._turn + SLICE) % len(rest)
        turn = list(itertools.islice(itertools.cycle(rest), self._turn, self._turn + SLICE))
        return new[::-1] + old[-NEWEST:][::-1] + turn

    def _judge(self, candidate: Candidate) -> Ready | None:
        if candidate.reason:
            self._note(candidate, "", ArrivalState.REFUSED, candidate.reason)
            return None
        try:
            files = files_of(self._beamline.settings, candidate, self._source.root, self._tree)
        except FileNotFoundError:
            self._still.forget(candidate.key)  # it vanished between listing and reading; it may come back
            return None
        except OSError as error:
            self._note(candidate, "", ArrivalState.WAITING, f"cannot be read: {error.strerror} ({error.filename})")
            return None
        seen = fingerprint(files)
        if not files or self._taken.get(candidate.key) == seen or self._is_asked(candidate.key, seen):
            return None
        still_for_s = self._still.for_s(candidate.key, seen)
        when = self._beamline.settings.runs.source.complete_when
        if still_for_s < when.quiet and not has_marker(self._beamline.settings, candidate, self._tree):
            return None
        return self._complete(candidate, files, seen, still_for_s)

    def _complete(self, candidate: Candidate, files: tuple[Seen, ...], seen: str, still_for_s: float) -> Ready | None:
        when = self._beamline.settings.runs.source.complete_when
        reason = why_not(self._beamline.settings, candidate, files, self._tree)
        if not reason and when.marker and not has_marker(self._beamline.settings, candidate, self._tree):
            reason = f"the marker {when.marker!r} is not there yet"
        if reason:
            late = still_for_s >= when.give_up_after
            self._note(candidate, seen, ArrivalState.INCOMPLETE if late else ArrivalState.WAITING, reason)
            return None
        return self._ask(candidate, seen)

    def _ask(self, candidate: Candidate, seen: str) -> Ready | None:
        """Ask for the run to be taken, unless that has failed too often or the ledger knows better."""
        known = self._beamline.ledger.arrival(self._beamline.name, candidate.key)
        if known is not None and known.fingerprint == seen and known.state is ArrivalState.TAKEN:
            self._taken[candidate.key] = seen
            self._still.forget(candidate.key)
            return None
        if known is not None and known.fingerprint == seen and known.attempt >= ATTEMPTS:
            self._note(candidate, seen, ArrivalState.INCOMPLETE, known.reason)
            return None
        if (known is None or known.fingerprint != seen) and self._is_a_version(candidate, seen):
            return None
        arrival = self._note(candidate, seen, ArrivalState.WAITING, ASKED)
        if arrival is None:
            return None
        self._asked[candidate.key] = (seen, self._clock())
        return Ready(candidate.key, seen, arrival.attempt)

    def _is_a_version(self, candidate: Candidate, seen: str) -> bool:
        """Whether these files were taken before: after a passing trouble, or because an older version was put back."""
        versions = self._beamline.ledger.versions(self._beamline.name, candidate.key)
        for version in versions:
            files = tuple(Seen(item.path, item.size_bytes, item.mtime_ns) for item in version.manifest.files)
            if fingerprint(files) == seen and version.source == candidate.source:
                again = (
                    f"its files are those of version {version.version} again; version {len(versions)} stays the newest"
                )
                self._note(candidate, seen, ArrivalState.TAKEN, "" if version is versions[-1] else again)
                self._taken[candidate.key] = seen
                return True
        return False

    def _note(self, candidate: Candidate, seen: str, state: ArrivalState, reason: str) -> Arrival | None:
        """Write the state down; None when the key belongs to another source, which is then shown as refused."""
        self._taken.pop(candidate.key, None)  # what is not as it was taken is looked at until it is
        try:
            return self._beamline.ledger.note_arrival(
                self._beamline.name,
                candidate.key,
                source=candidate.source,
                fingerprint=seen,
                state=state,
                reason=reason,
                name=candidate.source,
            )
        except RefusedError as error:
            self._refuse(candidate, error.what)
            return None

    def _refuse(self, candidate: Candidate, reason: str) -> None:
        """Show a path whose key is another's."""
        shown = replace(candidate, key=key_of_refused(candidate.source))
        self._note(shown, "", ArrivalState.REFUSED, f"{reason}: rename it, or let the beamline's key tell them apart")

    def _is_asked(self, key: str, seen: str) -> bool:
        """Whether the run was asked for lately; after a while it is asked for again, which is the same request."""
        fingerprint_asked, at_s = self._asked.get(key, ("", 0.0))
        if fingerprint_asked != seen or self._clock() - at_s < REQUEST_STANDS_S:
            return fingerprint_asked == seen
        del self._asked[key]
        return False
