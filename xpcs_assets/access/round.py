"""Go through the runs of a beamline in turn, a piece of the round at a time: each is to be read by whom it should."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from xpcs_assets.access.keeper import STEP, Keeper, in_words
from xpcs_assets.copies.ledger import Owned
from xpcs_assets.copies.versions import WAITS

AT_ONCE = 200
START = ("", 0)


@dataclass
class Piece:
    """A piece of the round.

    Attributes
    ----------
    after
        The last version that was looked at; :data:`START` when the round is over.
    looked_at, wrong
        How many runs were, and how many of them are not as they should be.
    silent
        Places that could not be asked, and why.
    told
        Runs of which something is new, and what is wrong with each; empty when nothing is any more.
    """

    after: tuple[str, int]
    looked_at: int = 0
    wrong: int = 0
    silent: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    @property
    def in_words(self) -> str:
        """The piece in a line."""
        news = [f"{key}: {why}" for key, why in self.told.items() if why]
        set_now = f", {len(self.told) - len(news)} set now" if len(self.told) > len(news) else ""
        wrong = f", {self.wrong} not as they should be" if self.wrong else ""
        return "; ".join((f"{self.looked_at} runs were looked at{set_now}{wrong}", *self.silent.values(), *news))


def go_round(keeper: Keeper, after: tuple[str, int], busy: Callable[[str], bool], until_s: float) -> Piece:
    """Look at runs after one, set what differs, and note what is new on their timelines.

    Parameters
    ----------
    after
        See :class:`Piece`.
    busy
        Whether a run is worked on now; it has its turn when it is not.
    until_s
        No run is begun with after that moment of :func:`time.monotonic`.
    """
    piece = Piece(after)
    ledger, name = keeper.beamline.ledger, keeper.beamline.name
    while versions := ledger.owned(name, after=piece.after, limit=AT_ONCE):
        done_before = ledger.with_step_done(name, STEP, {owned.run_key for owned in versions})
        for run_key, of_run in _by_run(versions):
            if time.monotonic() > until_s:
                return piece
            piece.after = (run_key, of_run[-1].version)
            piece.looked_at += 1
            _settle(keeper, run_key, of_run, busy, piece, is_new=run_key not in done_before)
    piece.after = START
    return piece


def _by_run(versions: tuple[Owned, ...]) -> Iterator[tuple[str, list[Owned]]]:
    """The versions of each run; those of one that goes on behind the last are looked at with the next ones."""
    runs = [(key, list(group)) for key, group in itertools.groupby(versions, lambda owned: owned.run_key)]
    yield from runs[:-1] if len(versions) == AT_ONCE and len(runs) > 1 else runs


def _settle(
    keeper: Keeper, run_key: str, versions: list[Owned], busy: Callable[[str], bool], piece: Piece, *, is_new: bool
) -> None:
    looked = [found for owned in versions for found in keeper.look(owned, inside=False)]
    is_new = is_new and any(found.is_there for found in looked)
    if (is_new or any(not found.is_right for found in looked)) and busy(run_key):
        return
    found = keeper.settle(looked, inside=False)
    wrong = [each for each in found if not each.is_right]
    piece.wrong += bool(wrong)
    piece.silent |= {each.gate.place: each.why for each in found if not each.asked}
    if any(each.news for each in found) or (not wrong and (is_new or any(each.changed for each in found))):
        piece.told[run_key] = in_words(wrong) if wrong else ""
        ended = f"{WAITS}{piece.told[run_key]}" if wrong else "done"
        keeper.beamline.ledger.note(keeper.beamline.name, run_key, STEP, ended, {"partition": run_key})
