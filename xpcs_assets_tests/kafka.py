"""A broker on loopback that speaks Kafka's protocol: the mock cluster of librdkafka, which lives in a client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass
class Broker:
    """A cluster of one, empty at first; a topic is made when something is sent to it."""

    address: str
    _owner: Any
    _asking: dict[str, Any] = field(default_factory=dict)

    def send(self, topic: str, *values: bytes) -> None:
        """Put messages into one partition of a topic."""
        for value in values:
            self._owner.produce(topic, value, partition=0)
        assert self._owner.flush(30) == 0

    def committed(self, topic: str) -> int:
        """The offset at which the group of the topic's name would go on; -1001 when it never committed."""
        from confluent_kafka import Consumer, TopicPartition

        if topic not in self._asking:
            self._asking[topic] = Consumer({"bootstrap.servers": self.address, "group.id": topic, "log_level": 2})
        (found,) = self._asking[topic].committed([TopicPartition(topic, 0)], timeout=30)
        return int(found.offset)

    def close(self) -> None:
        """End all clients."""
        for each in self._asking.values():
            each.close()


@contextmanager
def broker() -> Iterator[Broker]:
    """A broker for as long as it is wanted; skipped where the client is not installed."""
    client = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed: no Kafka is heard")
    owner = client.Producer({"test.mock.num.brokers": 1, "log_level": 2})
    (first,) = owner.list_topics(timeout=30).brokers.values()
    found = Broker(f"{first.host}:{first.port}", owner)
    try:
        yield found
    finally:
        found.close()
