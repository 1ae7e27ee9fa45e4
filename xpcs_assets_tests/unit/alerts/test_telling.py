"""Telling: each thing once when it begins and once when it is over, to every channel, whatever fails in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from xpcs_assets.alerts.book import Book
from xpcs_assets.alerts.channels import Channel, LogChannel
from xpcs_assets.alerts.digest import Message
from xpcs_assets.alerts.telling import Teller
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.database import writing
from xpcs_assets.copies.tables import ArrivalRow, EventRow
from xpcs_assets.errors import UnreachableError
from xpcs_assets.intake.parked import park, settle
from xpcs_assets.site import Site
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.alerts.conftest import Watched, fails, goes_well, taken

EVERY_S = 900


@dataclass
class Box:
    """A channel that can be down."""

    name: str
    down: str = ""
    got: list[str] = field(default_factory=list)

    def send(self, message: Message) -> str:
        if self.down:
            raise UnreachableError(self.down, where=self.name)
        self.got.append(message.subject.removeprefix("[xpcs] "))
        return ""


@dataclass
class People:
    """A beamline with two channels, and the process that tells."""

    beamline: OpenBeamline
    clock: HandClock
    mail: Box = field(default_factory=lambda: Box("mail"))
    chat: Box = field(default_factory=lambda: Box("chat"))
    teller: Teller = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self.beamline.settings.alerts, "to", ("mail", "chat"))
        self.restart()

    def restart(self) -> None:
        self.teller = Teller(self.beamline, self._open)

    def _open(self, _: Site, name: str, say: Callable[[str], object]) -> Channel:
        return {"mail": self.mail, "chat": self.chat}[name]

    def tick(self, after_s: float = 0) -> list[str]:
        """Let time pass and tell; the channels that took something."""
        self.clock.advance(after_s)
        taken = self.teller.tell(lambda _: None)
        return [name for name, told in taken.items() if not told.why]

    def digests(self) -> int:
        book = Book(self.beamline)
        book.read()
        return book.last.number if book.last else 0


@pytest.fixture
def people(watched: Watched, clock: HandClock) -> People:
    found = People(watched(digest_every=EVERY_S), clock)
    taken(found.beamline, "A001", "A002", "A003")
    return found


def test_nothing_is_said_as_long_as_nothing_is_wrong(people: People) -> None:
    assert people.tick() == people.tick(EVERY_S) == []
    assert people.digests() == 0


def test_a_thing_is_told_once_when_it_begins_and_once_when_it_is_over(people: People) -> None:
    fails(people.beamline, "A001")
    assert people.tick() == ["mail", "chat"]
    assert [people.tick(EVERY_S) for _ in range(3)] == [[], [], []]
    goes_well(people.beamline, "A001")
    assert people.tick(EVERY_S) == ["mail", "chat"]
    assert people.tick(EVERY_S) == []
    assert people.mail.got == people.chat.got == ["1 failed", "over: 1 failed"]
    fails(people.beamline, "A001")
    people.tick(EVERY_S)
    assert people.mail.got[-1] == "1 failed"


def test_the_first_word_is_at_once_and_the_next_not_before_its_time(people: People) -> None:
    fails(people.beamline, "A001")
    assert people.tick() == ["mail", "chat"]
    fails(people.beamline, "A002")
    assert people.tick(EVERY_S - 1) == []
    fails(people.beamline, "A003")
    assert people.tick(1) == ["mail", "chat"]
    assert people.mail.got == ["1 failed", "2 failed"]


def test_what_began_and_was_over_between_two_words_is_never_told(people: People) -> None:
    fails(people.beamline, "A001")
    people.tick()
    fails(people.beamline, "A002")
    people.tick(1)
    goes_well(people.beamline, "A002")
    assert people.tick(EVERY_S) == []


def test_a_flood_is_one_digest(people: People) -> None:
    now = people.clock()
    with writing(people.beamline.engine) as session:
        for number in range(500):
            run = {"beamline": "xpcs", "run_key": f"B{number:03}"}
            state = {"state": "taken", "reason": "", "attempt": 0, "fingerprint": "x", "name": "B"}
            session.add(ArrivalRow(**run, **state, source=f"B{number:03}", first_seen=now, changed_at=now))
            failure = {"what": "failed: no q-map", "detail": {"partition": run["run_key"]}}
            session.add(EventRow(**run, **failure, at=now, step="correlation"))
    people.tick()
    assert people.mail.got == ["500 failed"]
    assert len(people.beamline.ledger.timeline("xpcs", "_alerts")) == 2
    assert people.tick(EVERY_S) == []


def test_a_channel_that_is_down_gets_its_word_later_and_the_other_not_twice(people: People) -> None:
    fails(people.beamline, "A001")
    people.mail.down = "no route"
    assert people.tick() == ["chat"]
    assert people.tick(59) == []
    people.mail.down = ""
    assert people.tick(1) == ["mail"]
    assert people.mail.got == people.chat.got == ["1 failed"]


def test_a_channel_that_stays_down_is_tried_less_and_less_often_but_every_hour(people: People) -> None:
    fails(people.beamline, "A001")
    people.mail.down = "no route"
    tried = []
    object.__setattr__(people.beamline.settings.alerts, "digest_every", 1e9)  # nobody looks: this is about sending
    for minute in range(60 * 4):
        people.tick(60)
        book = Book(people.beamline)
        book.read()
        if book.told["mail"].at == people.clock():
            tried.append(minute)
    assert tried[:7] == [0, 1, 3, 7, 15, 31, 63]
    assert {later - earlier for earlier, later in pairwise(tried[6:])} == {60}


def test_what_waited_for_a_channel_comes_in_one_message_without_what_is_over_by_then(people: People) -> None:
    people.mail.down = "no route"
    fails(people.beamline, "A001")
    fails(people.beamline, "A002")
    people.tick()
    fails(people.beamline, "A003")
    goes_well(people.beamline, "A001")
    people.tick(EVERY_S)
    assert people.chat.got == ["2 failed", "1 failed; over: 1 failed"]
    people.mail.down = ""
    people.tick(3600)
    assert people.mail.got == ["2 failed; over: 1 failed"]
    assert people.tick(3600) == []


def test_after_a_restart_nothing_is_told_again(people: People) -> None:
    fails(people.beamline, "A001")
    people.tick()
    people.restart()
    assert people.tick(EVERY_S) == []
    goes_well(people.beamline, "A001")
    people.restart()
    people.tick(EVERY_S)
    assert people.mail.got == ["1 failed", "over: 1 failed"]


class KilledError(Exception):
    """The process ends here."""


def test_a_process_that_is_killed_before_it_sends_is_followed_by_one_that_does(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(people.beamline, "A001")

    def killed(_: Message) -> str:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(people.mail, "send", killed)
        with pytest.raises(KilledError):
            people.tick()
    people.restart()
    assert people.tick() == ["mail", "chat"]
    assert (people.mail.got, people.chat.got, people.digests()) == (["1 failed"], ["1 failed"], 1)


def test_a_process_that_is_killed_after_it_has_sent_tells_once_more_rather_than_never(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails(people.beamline, "A001")

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Book, "write_sent", killed)
        with pytest.raises(KilledError):
            people.tick()
    people.restart()
    people.tick()
    assert people.mail.got == people.chat.got == ["1 failed", "1 failed"]


def test_news_are_told_once_and_their_end_is_not(people: People) -> None:
    from xpcs_assets.campaign.campaign import DONE, Campaign, begin, note_asked, note_ended

    begin(people.beamline, Campaign("wide", ("A001",), {"stride": 2}, 2), "me")
    note_asked(people.beamline, "wide", ["A001"])
    note_ended(people.beamline, "wide", {"A001": (DONE, "")})
    object.__setattr__(people.beamline.settings.alerts, "mute", ("late", "silent"))
    people.tick()
    people.tick(8 * 86400)
    people.tick(86400)
    assert people.mail.got == ["1 campaign over"]


def test_what_is_muted_after_it_was_told_is_not_called_over(people: People) -> None:
    number = park(people.beamline, "B1", "no", is_export_control=False)
    people.tick()
    object.__setattr__(people.beamline.settings.alerts, "mute", ("parked",))
    assert people.tick(EVERY_S) == []
    settle(people.beamline, number, "dismissed", "me")
    object.__setattr__(people.beamline.settings.alerts, "mute", ())
    assert people.tick(EVERY_S) == ["mail", "chat"]
    assert people.mail.got == ["1 message parked", "over: 1 message parked"]


def test_a_clock_that_went_back_silences_nobody(people: People) -> None:
    fails(people.beamline, "A001")
    people.tick()
    fails(people.beamline, "A002")
    people.clock.advance(-86400 * 365)
    people.mail.down = "no route"
    assert people.tick() == ["chat"]
    people.mail.down = ""
    people.clock.advance(-86400)
    assert people.tick() == ["mail"]


def test_the_log_is_told_in_the_words_of_the_digest(people: People) -> None:
    fails(people.beamline, "A001")
    said: list[str] = []
    Teller(people.beamline, lambda *_: LogChannel(said.append)).tell(said.append)
    assert said[0].startswith("[xpcs] 1 failed\n")
    assert "- failed A001: correlation: no q-map" in said[0]


def test_who_asks_sees_the_newest_digests_and_those_that_wait(people: People) -> None:
    people.mail.down = "no route"
    for number in range(25):
        park(people.beamline, f"B{number}", "no", is_export_control=False)
        people.tick(EVERY_S)
    book = people.teller.book
    assert list(book.digests) == book.waiting["mail"] == list(range(1, 26))
    people.mail.down = ""
    people.tick(3600)
    assert (list(book.digests), book.waiting["mail"]) == (list(range(6, 26)), [])
