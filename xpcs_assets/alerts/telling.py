"""Telling people: what began and what is over, each channel once, one digest instead of a flood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from xpcs_assets.alerts.book import Book, Told, merged
from xpcs_assets.alerts.channels import NOT_TAKEN, Channel, open_channel
from xpcs_assets.alerts.digest import digest_of
from xpcs_assets.alerts.looking import Look
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.site import Site

Open = Callable[[Site, str, Callable[[str], object]], Channel]


@dataclass
class Teller:
    """Tells people of one beamline. What was told stands in the ledger, so it goes on after any restart.

    Attributes
    ----------
    beamline
        Which.
    open
        Opens a channel by its name.
    """

    beamline: OpenBeamline
    open: Open = open_channel
    look: Look = field(init=False)
    book: Book = field(init=False)

    def __post_init__(self) -> None:
        self.look, self.book = Look(self.beamline), Book(self.beamline)

    def tell(self, say: Callable[[str], object]) -> dict[str, Told]:
        """Look, and tell whom there is something to be told; how each channel took it.

        Parameters
        ----------
        say
            The log.

        Raises
        ------
        LedgerError
            The ledger does not answer.
        """
        self.book.read()
        if self._may_speak():
            self._compose()
        taken = {name: told for name in self.beamline.settings.alerts.to if (told := self._send(name, say)) is not None}
        if taken:
            self.book.write_sent(taken)
        return taken

    def _may_speak(self) -> bool:
        """Whether the last digest is long enough ago; before, nothing is even looked for."""
        last = self.book.last
        every = timedelta(seconds=self.beamline.settings.alerts.digest_every)
        return last is None or not last.at <= self.beamline.ledger.clock() < last.at + every

    def _compose(self) -> None:
        settings = self.beamline.settings.alerts
        words, seen = self.look.now(list(self.book.standing.values()), self.book.seen)
        began, gone = self.book.news(words)
        over = [one for one in gone if one.kind not in settings.mute]  # nobody has looked whether those are
        if began or any(not one.is_news for one in over):
            self.book.write_digest(began, over, settings.to, seen)

    def _send(self, name: str, say: Callable[[str], object]) -> Told | None:
        """Send a channel all digests that it did not get, as one message; None when there is nothing, or not now."""
        due = self.book.due(name)
        if not due:
            return None
        now, numbers = self.beamline.ledger.clock(), tuple(digest.number for digest in due)
        began, over = merged(due)
        if not (began or over):  # all of it came and went while the channel was silent
            return Told(now, numbers)
        settings, site = self.beamline.settings, self.beamline.site
        try:
            message = digest_of(self.beamline.name, settings.title or site.settings.title, began, over)
            return Told(now, numbers, odd=self.open(site, name, say).send(message))
        except NOT_TAKEN as error:
            return Told(now, numbers, why=str(error))
