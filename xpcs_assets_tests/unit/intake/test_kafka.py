"""What is heard from Kafka, by a real client from a broker on loopback: each message once, or kept for a person."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from typer.testing import CliRunner

from xpcs_assets.cli import app
from xpcs_assets.doctor.services import _ask_kafka
from xpcs_assets.errors import InputError, LedgerError, NotFoundError, SettingsError, UnreachableError
from xpcs_assets.intake import kafka, kafka_client
from xpcs_assets.intake.kafka import Listener, decoded
from xpcs_assets.intake.kafka_client import consumer_of, waiting
from xpcs_assets.intake.parked import Parked, parked
from xpcs_assets.orchestrate.processes import free_port
from xpcs_assets.site import Site
from xpcs_assets_tests.kafka import Broker, broker
from xpcs_assets_tests.unit.conftest import bare_run

LIMIT_S = 60.0


@pytest.fixture(scope="module")
def running() -> Iterator[Broker]:
    with broker() as found:
        yield found


@dataclass
class Hearing:
    """A site that hears from a broker."""

    site: Site
    broker: Broker
    topic: str
    said: list[str] = field(default_factory=list)
    listener: Listener | None = None

    def send(self, *messages: Any) -> None:
        """Send messages: bytes as they are, all else as JSON."""
        self.broker.send(self.topic, *(m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages))

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """Listen in a thread, as a process does until it is told to stop."""
        self.listener, stop, failed = Listener(self.site, self.said.append), threading.Event(), []

        def listen() -> None:
            try:
                assert self.listener is not None
                self.listener.listen(stop)
            except BaseException as error:  # noqa: BLE001 - told by the test's own thread
                failed.append(error)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield self.listener
        finally:
            stop.set()
            thread.join(LIMIT_S)
            for each in self.listener.opened:
                each.engine.dispose()
        assert not thread.is_alive()
        assert failed == []

    def listen_until(self, offset: int) -> None:
        """Listen until all before an offset is committed."""
        with self.listening():
            wait_for(lambda: self.broker.committed(self.topic) == offset)

    @property
    def submitted(self) -> list[str]:
        return sorted(arrival.run_key for arrival in self.beamline.ledger.arrivals("xpcs"))

    @property
    def parked(self) -> tuple[Parked, ...]:
        return parked(self.beamline)

    @property
    def beamline(self) -> Any:
        from xpcs_assets.beamline import OpenBeamline

        opened = OpenBeamline(self.site, self.site.beamline("xpcs"))
        self._opened.append(opened)
        return opened

    _opened: list[Any] = field(default_factory=list)


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.fixture
def hearing(site: Site, running: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hearing]:
    """A site with two runs at its source, a topic of its own, and documents taken."""
    monkeypatch.setattr(kafka_client, "SESSION_MS", 4500)  # a new group comes together after 3 s
    topic = f"xpcs.{uuid4().hex}"
    content = yaml.safe_load((site.home / "site.yaml").read_text(encoding="utf-8")) or {}
    content["kafka"] = {"brokers": [running.address], "topics": {topic: "xpcs"}, "group": topic}
    (site.home / "site.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    file = site.home / "beamlines" / "xpcs.yaml"
    beamline = yaml.safe_load(file.read_text(encoding="utf-8"))
    beamline["runs"]["from"]["documents"] = "{scan_name}"
    file.write_text(yaml.safe_dump(beamline), encoding="utf-8")
    found = Hearing(Site(site.home), running, topic)
    for name in ("A001", "A002", "A003"):
        bare_run(found.beamline.source_root / name)
    yield found
    for opened in found._opened:
        opened.engine.dispose()


def packed(name: str, document: dict[str, Any]) -> bytes:
    """As bluesky-kafka sends it."""
    msgpack = pytest.importorskip("msgpack", reason="msgpack is not installed: no documents of bluesky-kafka")
    content: bytes = msgpack.packb((name, document))
    return content


def test_each_kind_of_message_is_taken_once_and_the_bad_ones_are_kept_and_block_nothing(hearing: Hearing) -> None:
    stop = {"run_start": "5e1f", "exit_status": "success"}
    hearing.send(
        {"file_path": "A001", "is_export_control": False},
        b"\xff no message at all",
        {"file_path": 7},
        ["stop", {"run_start": "never-seen", "exit_status": "success"}],
        {"file_path": "A009"},
    )
    hearing.send(packed("start", {"uid": "5e1f", "scan_name": "A002", "motor": float("nan")}))
    hearing.send(packed("event", {"data": {"motor": 1.0}, "raw": b"\x00\x01"}), packed("stop", stop))
    hearing.listen_until(8)
    assert hearing.submitted == ["A001", "A002"]
    told = {one.file_path.removeprefix(hearing.topic): one.reason.partition(".")[0] for one in hearing.parked}
    assert told == {
        "[0]@1": "the message is neither JSON nor msgpack",
        "[0]@2": "file_path is a path, or a list of 1 to 10000",
        "[0]@3": "never-seen: its start document was never seen",
        "A009": told["A009"],
    }
    hearing.send({"file_path": ["A001", "A003"]})
    hearing.listen_until(9)  # another process of the same group goes on behind what was committed
    assert hearing.submitted == ["A001", "A002", "A003"]
    assert [one.times for one in hearing.parked] == [1, 1, 1, 1]
    assert waiting(hearing.site) == {hearing.topic: 0}
    hearing.send({"file_path": "A001"}, {"file_path": "A001"})
    assert _ask_kafka(hearing.site, 30.0).reason == f"{hearing.topic}: 2 messages to take"
    put_in_again(hearing)


def put_in_again(hearing: Hearing) -> None:
    """A person has the start document sent, and then the message once more."""
    (one,) = (one for one in hearing.parked if "never-seen" in one.reason)
    again = ["parked", "xpcs", one.name, "--again", "--home", str(hearing.site.home)]
    assert CliRunner().invoke(app, again).exit_code == 1
    bare_run(hearing.beamline.source_root / "A004")
    from xpcs_assets.intake.taking import take_document

    take_document(hearing.beamline, "start", {"uid": "never-seen", "scan_name": "A004"})
    said = CliRunner().invoke(app, again)
    assert (said.exit_code, said.output.split()) == (0, ["A004"])
    assert "A004" in hearing.submitted
    (other,) = (one for one in hearing.parked if one.file_path.endswith("@2"))
    shown = CliRunner().invoke(app, ["parked", "xpcs", other.name, "--home", str(hearing.site.home)])
    assert '{"file_path": 7}' in shown.output


def test_what_cannot_be_taken_now_comes_again_and_what_never_can_is_parked_and_blocks_nothing(
    hearing: Hearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "FIRST_REST_S", 0.01)
    monkeypatch.setattr(kafka, "TRIES", 4)
    take, calls = kafka.take_message, list[str]()

    def in_trouble(beamline: Any, message: Any) -> Any:
        calls.append(message["file_path"])
        if calls.count("A001") < 3:
            raise LedgerError("the database does not answer")
        if calls[-1] == "A002":
            raise UnreachableError("its disk does not answer")
        return take(beamline, message)

    monkeypatch.setattr(kafka, "take_message", in_trouble)
    hearing.send(*({"file_path": f"A00{number}"} for number in (1, 2, 3)))
    hearing.listen_until(3)
    assert calls == [*["A001"] * 3, *["A002"] * 4, "A003"]
    assert hearing.submitted == ["A001", "A003"]
    (one,) = hearing.parked
    told = "given up after 4 tries: its disk does not answer"
    assert (one.reason, one.message) == (told, '{"file_path": "A002"}')
    assert "[0]@0: the database does not answer; it is tried again" in hearing.said[0]
    assert [each.startswith("it is over: ") for each in hearing.said] == [False, True, False, True]


def test_brokers_that_do_not_answer_are_told_once_and_waited_for(hearing: Hearing) -> None:
    file = hearing.site.home / "site.yaml"
    file.write_text(file.read_text().replace(hearing.broker.address, f"127.0.0.1:{free_port()}"), encoding="utf-8")
    hearing.site = Site(hearing.site.home)
    with hearing.listening():
        wait_for(lambda: "Kafka: 1/1 brokers are down" in hearing.said)
        time.sleep(0.5)
    assert len(hearing.said) == 2  # the other says that the connection was refused
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:\d+: Kafka: "):
        waiting(hearing.site, limit_s=0.5)


def test_a_topic_that_is_not_there_is_named(hearing: Hearing) -> None:
    with pytest.raises(NotFoundError, match=r"there is no topic xpcs\."):
        waiting(hearing.site)


def test_a_topic_of_no_beamline_is_refused(hearing: Hearing) -> None:
    file = hearing.site.home / "site.yaml"
    file.write_text(file.read_text().replace(": xpcs\n", ": elsewhere\n"), encoding="utf-8")
    with pytest.raises(SettingsError, match=r"kafka\.topics: there is no beamline elsewhere"):
        Listener(Site(hearing.site.home), print).listen(threading.Event())


def test_without_the_extra_it_is_named(hearing: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "confluent_kafka", None)
    with pytest.raises(SettingsError, match=r"needs confluent_kafka.*xpcs-assets\[kafka\]"):
        Listener(hearing.site, print).listen(threading.Event())


def test_a_site_without_kafka_hears_nothing_from_it(site: Site) -> None:
    with pytest.raises(SettingsError, match=r"this site hears nothing from Kafka"):
        Listener(site, print)


def test_the_password_is_read_where_it_lies_and_is_in_no_message(hearing: Hearing, tmp_path: Path) -> None:
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed: no Kafka is heard")
    (tmp_path / "word").write_text("s3cret\n")
    settings = yaml.safe_load((hearing.site.home / "site.yaml").read_text(encoding="utf-8"))
    security = {"protocol": "sasl_ssl", "user": "xpcs", "password": {"file": str(tmp_path / "word")}}
    settings["kafka"]["security"] = security | {"certificate": "own.pem", "key": "own.key"}
    (hearing.site.home / "site.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    site = Site(hearing.site.home)
    config = kafka_client._security(site, kafka_client.kafka_settings(site))
    assert (config["sasl.password"], config["sasl.username"]) == ("s3cret", "xpcs")
    assert config["ssl.key.location"] == str(hearing.site.home / "own.key")
    with pytest.raises(SettingsError, match=r"kafka: .*certificate") as refused, consumer_of(site, {}):
        pass
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\x01", b"[" * 100_000, bytes(range(255, 190, -1)), b"x" * (5 << 20)],
    ids=["none", "empty", "one byte", "very deep", "noise", "very long"],
)
def test_what_is_no_message_is_an_error_of_the_message(value: bytes | None) -> None:
    pytest.importorskip("msgpack", reason="msgpack is not installed")
    with pytest.raises(InputError):
        decoded(value)


def test_what_json_cannot_hold_does_not_keep_a_document_out() -> None:
    document = {"uid": "5e1f", "hints": {b"nd": b"\x00" * 9}, "rate": float("inf"), "shape": (2, 3)}
    assert decoded(packed("start", document)) == [
        "start",
        {"uid": "5e1f", "hints": {"b'nd'": "9 bytes"}, "rate": None, "shape": [2, 3]},
    ]
    assert decoded(b'{"a": NaN}') == {"a": None}
