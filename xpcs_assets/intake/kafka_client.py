"""The client for Kafka: how the site's consumer is made, what it needs, and how much waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from types import ModuleType
from typing import Any

from xpcs_assets.errors import NotFoundError, SettingsError, UnreachableError
from xpcs_assets.settings_kafka import KafkaSettings
from xpcs_assets.site import SITE_FILE, Site

SESSION_MS = 10_000
"""After so long without a word a process that was killed counts as gone, and the next one begins."""
_CALL_S = 10.0


def kafka_settings(site: Site) -> KafkaSettings:
    """What the site file says of Kafka.

    Raises
    ------
    SettingsError
        Nothing.
    """
    if site.settings.kafka is None:
        raise SettingsError("this site hears nothing from Kafka", where=site.home, remedy="Give site.yaml `kafka`")
    return site.settings.kafka


def waiting(site: Site, limit_s: float = _CALL_S) -> dict[str, int]:
    """How many messages of each topic are not taken yet.

    Raises
    ------
    SettingsError
        The site has no Kafka, the extra is not installed, or a secret cannot be read.
    NotFoundError
        A topic is not there.
    UnreachableError
        No broker answers.
    """
    kafka, settings = client(), kafka_settings(site)
    found: dict[str, int] = {}
    try:
        with consumer_of(site, {}) as consumer:
            there = consumer.list_topics(timeout=limit_s).topics
            for topic in settings.topics:
                if topic not in there or there[topic].error is not None:
                    raise NotFoundError(f"there is no topic {topic}", where=", ".join(settings.brokers))
                partitions = [kafka.TopicPartition(topic, number) for number in there[topic].partitions]
                found[topic] = 0
                for each in consumer.committed(partitions, timeout=limit_s):
                    low, high = consumer.get_watermark_offsets(each, timeout=limit_s)
                    found[topic] += high - max(low, each.offset)  # below 0 when nothing was committed
    except kafka.KafkaException as error:
        raise UnreachableError(f"Kafka: {error.args[0].str()}", where=", ".join(settings.brokers)) from error
    return found


@contextmanager
def consumer_of(site: Site, further: Mapping[str, Any]) -> Iterator[Any]:
    """A consumer of the site's group that commits nothing by itself.

    Raises
    ------
    SettingsError
        The extra is not installed, a secret cannot be read, or these settings make no consumer.
    """
    kafka, settings = client(), kafka_settings(site)
    config = {
        "bootstrap.servers": ",".join(settings.brokers),
        "group.id": settings.group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "topic.metadata.refresh.interval.ms": 30_000,
        "reconnect.backoff.max.ms": 30_000,
        "socket.timeout.ms": 30_000,
        "session.timeout.ms": SESSION_MS,
        "heartbeat.interval.ms": SESSION_MS // 4,
        "log_level": 2,  # what is wrong is told by callback, once
        **_security(site, settings),
        **further,
    }
    try:
        consumer = kafka.Consumer(config)
    except kafka.KafkaException as error:
        raise SettingsError(f"kafka: {error.args[0].str()}", where=site.home / SITE_FILE) from error
    with closing(consumer):
        yield consumer


def _security(site: Site, settings: KafkaSettings) -> dict[str, str]:
    said = settings.security
    if said is None:
        return {}
    config: dict[str, str] = {"security.protocol": said.protocol}
    files = {"ssl.ca.location": said.ca, "ssl.certificate.location": said.certificate, "ssl.key.location": said.key}
    config |= {name: str(site.path(path)) for name, path in files.items() if path is not None}
    password = site.secret(said.password)
    if password is not None:
        sasl = {"mechanism": said.mechanism, "username": said.user, "password": password.read()}
        config |= {f"sasl.{name}": value for name, value in sasl.items()}
    return config


def client() -> ModuleType:
    """The library that speaks with brokers.

    Raises
    ------
    SettingsError
        It is not installed.
    """
    return library("confluent_kafka")


def library(name: str) -> ModuleType:
    """One of the libraries of the extra ``kafka``; as :func:`client`."""
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise SettingsError(
            f"to hear from Kafka needs {name}, which is not installed",
            remedy="Install the extra: pip install 'xpcs-assets[kafka]'",
        ) from error
