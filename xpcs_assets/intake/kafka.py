"""Intake from Kafka: the messages that are heard over HTTP, taken at least once, and in doubt kept for a person.

An offset is committed when the run is in the ledger, or the message among the parked ones: whatever is killed or down
before, the message comes again, and taking it again changes nothing. What is wrong with a message parks it, and the
topic goes on. What is wrong with this site, such as a ledger that is away, rests its partition, longer each time.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import InputError, NotFoundError, RefusedError, SettingsError, XpcsAssetsError
from xpcs_assets.intake.kafka_client import client, consumer_of, kafka_settings, library
from xpcs_assets.intake.parked import park
from xpcs_assets.intake.server import MOST_BYTES
from xpcs_assets.intake.taking import take_message
from xpcs_assets.site import SITE_FILE, Site

TRIES = 12
"""So often a message is tried while something else is wrong; then it is parked, if the ledger takes that."""
FIRST_REST_S = 1.0
LONGEST_REST_S = 60.0
_POLL_S = 0.5
_KEPT_CHARACTERS = 64 << 10
_OF_THE_MESSAGE = (InputError, SettingsError, RefusedError, NotFoundError)


@dataclass
class _Rest:
    times: int
    until_s: float


class Listener:
    """What one process hears.

    Parameters
    ----------
    site
        Whose it is; a beamline's file is read again until it opens.
    tell
        Is told in words what is wrong, once, and that it is over.
    stopwatch
        Seconds that only rise.
    """

    def __init__(
        self, site: Site, tell: Callable[[str], None], stopwatch: Callable[[], float] = time.monotonic
    ) -> None:
        self._site = site
        self._settings = kafka_settings(site)
        self._tell = tell
        self._stopwatch = stopwatch
        self._open: dict[str, OpenBeamline] = {}
        self._resting: dict[tuple[str, int], _Rest] = {}
        self._troubles: dict[str, str] = {}

    @property
    def opened(self) -> tuple[OpenBeamline, ...]:
        """The beamlines that were spoken of so far."""
        return tuple(self._open.values())

    def listen(self, stop: threading.Event) -> None:
        """Take messages until told to stop. Brokers that do not answer are waited for.

        Raises
        ------
        SettingsError
            The extra is not installed, a secret cannot be read, or a topic is of no beamline of the site.
        """
        unknown = set(self._settings.topics.values()) - {*self._site.beamlines, *self._site.broken}
        if unknown:
            where = self._site.home / SITE_FILE
            raise SettingsError(f"kafka.topics: there is no beamline {', '.join(sorted(unknown))}", where=where)
        with consumer_of(self._site, {"error_cb": self._on_error}) as consumer:
            consumer.subscribe(list(self._settings.topics), on_assign=self._on_assign)
            while not stop.is_set():
                self._resume(consumer)
                message = consumer.poll(_POLL_S)
                if message is not None and message.error() is not None:
                    self._on_error(message.error())
                elif message is not None:
                    self._take(consumer, message)

    def _take(self, consumer: Any, message: Any) -> None:
        """Take a message and commit its offset, or let its partition rest where it cannot be taken now."""
        where = (message.topic(), message.partition())
        told = f"{where[0]}[{where[1]}]@{message.offset()}"
        try:
            beamline = self._beamline(self._settings.topics[where[0]])
            self._taken_or_parked(beamline, message.value(), told)
        except XpcsAssetsError as error:
            if not self._given_up(where, message.value(), told, error):
                self._rest(consumer, message)
                self._say(told, f"{told}: {error}; it is tried again, at last every {LONGEST_REST_S:.0f} s")
                return
        self._resting.pop(where, None)
        try:
            consumer.commit(message=message, asynchronous=False)
        except client().KafkaException as error:
            self._say(told, f"{told} is taken and could not be committed, it may come again: {error.args[0].str()}")
        else:
            self._say_over()

    def _taken_or_parked(self, beamline: OpenBeamline, value: bytes | None, told: str) -> None:
        content: Any = None
        try:
            content = decoded(value)
            take_message(beamline, content)
        except _OF_THE_MESSAGE as error:
            _park(beamline, value, content, told, str(error))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            # A message that nobody thought of must not come again for ever.
            _park(beamline, value, content, told, f"it cannot be taken ({type(error).__name__}: {error})")

    def _given_up(self, where: tuple[str, int], value: bytes | None, told: str, why: XpcsAssetsError) -> bool:
        """Whether a message was tried so often that it is parked now, and could be."""
        rest = self._resting.get(where)
        if rest is None or rest.times + 1 < TRIES:
            return False
        try:
            content = None
            with suppress(InputError):
                content = decoded(value)
            beamline = self._beamline(self._settings.topics[where[0]])
            _park(beamline, value, content, told, f"given up after {TRIES} tries: {why}")
        except XpcsAssetsError:
            return False
        return True

    def _rest(self, consumer: Any, message: Any) -> None:
        where = (message.topic(), message.partition())
        times = self._resting[where].times + 1 if where in self._resting else 1
        pause_s = min(FIRST_REST_S * 2.0 ** (times - 1), LONGEST_REST_S)
        partition = client().TopicPartition(*where, message.offset())
        consumer.pause([partition])
        consumer.seek(partition)
        self._resting[where] = _Rest(times, self._stopwatch() + pause_s)

    def _resume(self, consumer: Any) -> None:
        for where, rest in self._resting.items():
            if self._stopwatch() >= rest.until_s:
                rest.until_s = math.inf
                consumer.resume([client().TopicPartition(*where)])

    def _on_assign(self, _: Any, __: Any) -> None:
        self._resting.clear()  # what is assigned anew begins with what is not committed, and at once

    def _on_error(self, error: Any) -> None:
        self._say(error.name(), f"Kafka: {error.str()}")

    def _say(self, what: str, trouble: str) -> None:
        """Tell of a trouble once, until a message is taken again."""
        if what not in self._troubles:
            self._tell(trouble)
        self._troubles[what] = trouble

    def _say_over(self) -> None:
        for trouble in self._troubles.values():
            self._tell(f"it is over: {trouble}")
        self._troubles.clear()

    def _beamline(self, name: str) -> OpenBeamline:
        if name not in self._open:
            site = Site(self._site.home)
            opened = OpenBeamline(site, site.beamline(name))
            opened.ledger  # noqa: B018 - one that cannot be opened is no open beamline
            self._open[name] = opened
        return self._open[name]


def decoded(value: bytes | None) -> Any:
    """What a message holds, as plain values: JSON, or msgpack as bluesky-kafka sends it.

    Raises
    ------
    InputError
        It is neither, or too big.
    """
    if not value or len(value) > MOST_BYTES:
        raise InputError(f"a message has 1 to {MOST_BYTES} bytes", remedy="Send JSON, or msgpack as bluesky-kafka does")
    try:
        return _plain(json.loads(value))
    except (ValueError, RecursionError):
        pass
    try:
        content = library("msgpack").unpackb(value, strict_map_key=False)
        if isinstance(content, list | dict):  # nearly all bytes are some number or text of msgpack
            return _plain(content)
    except (ValueError, RecursionError):
        pass
    raise InputError("the message is neither JSON nor msgpack", remedy="Send it in one of these forms")


def _park(beamline: OpenBeamline, value: bytes | None, content: Any, told: str, reason: str) -> None:
    text = "" if content is None else json.dumps(content)
    whole = len(text) <= _KEPT_CHARACTERS
    if not text:
        reason = f"{reason}. It begins with {(value or b'')[:80]!r}"
    park(beamline, told, reason, is_export_control=False, message=text if whole else "")


def _plain(value: Any) -> Any:
    """The same of what JSON can hold: times and numbers that are none become text or nothing, bytes are not kept."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return value if value is None or isinstance(value, str | int) else str(value)
