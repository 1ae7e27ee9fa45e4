"""``xpcs-assets alerts``: what it prints, tries and exits with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from xpcs_assets import cli
from xpcs_assets.alerts.telling import Teller
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import NotFoundError, RefusedError
from xpcs_assets.site import SITE_FILE
from xpcs_assets.testing.smtp_server import SmtpServer
from xpcs_assets.testing.webhook_server import WebhookServer
from xpcs_assets_tests.unit.conftest import Altered, bare_run


def typed(beamline: OpenBeamline, *words: str) -> tuple[int, str, str]:
    home = str(beamline.site.home)
    result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, ["alerts", "xpcs", *words, "--home", home])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def failed(beamline: OpenBeamline) -> None:
    submit(beamline, bare_run(beamline.source_root / "A001"))
    take(beamline, "A001")
    beamline.ledger.note("xpcs", "A001", "correlation", "failed: no q-map", {"partition": "A001"})


def with_channels(home: Path, **channels: object) -> None:
    (home / SITE_FILE).write_text(yaml.safe_dump({"channels": channels}))


def test_when_nothing_is_wrong_that_is_said(beamline: OpenBeamline) -> None:
    assert typed(beamline) == (0, "nothing is wrong\n", "")
    assert json.loads(typed(beamline, "--json")[1]) == {"now": [], "told": []}


def test_what_is_wrong_is_listed_and_fails_the_command_and_nobody_is_told_by_asking(beamline: OpenBeamline) -> None:
    failed(beamline)
    code, said, _ = typed(beamline)
    header, row = said.splitlines()
    assert (code, header.split()) == (1, ["what", "of", "since,", "UTC", "why", "to", "do"])
    assert row.startswith("failed  A001")
    assert row.endswith("correlation: no q-map  `xpcs-assets why xpcs A001`")
    (one,) = json.loads(typed(beamline, "--json")[1])["now"]
    assert (one["kind"], one["subject"], one["is_news"]) == ("failed", "A001", False)
    assert beamline.ledger.timeline("xpcs", "_alerts") == ()


def test_what_was_told_to_whom_is_listed_and_why_a_channel_did_not_take_it(altered: Altered) -> None:
    beamline = altered({})
    with_channels(beamline.site.home, chat={"kind": "webhook", "url": {"file": "no-such-file"}})
    beamline = altered({"alerts": {"to": ["log", "chat"]}})
    failed(beamline)
    Teller(beamline).tell(lambda _: None)
    _, said, error = typed(beamline)
    assert said.splitlines()[-2].split() == ["digest", "at,", "UTC", "began", "over", "told", "to"]
    assert said.splitlines()[-1].split()[-5:] == ["1", "0", "log,", "chat", "(waits)"]
    assert "chat did not take it at" in error
    (digest,) = json.loads(typed(beamline, "--json")[1])["told"]
    assert (digest["told"], digest["waits"]) == (["log"], ["chat"])


def test_a_channel_is_tried_with_a_word_that_says_so(beamline: OpenBeamline) -> None:
    home = beamline.site.home
    with WebhookServer() as server:
        (home / "hook").write_text(server.address)
        with_channels(home, chat={"kind": "webhook", "url": {"file": "hook"}})
        assert typed(beamline, "--test", "chat") == (0, "chat took it\n", "")
    (message,) = server.messages
    assert "tries the channel chat. Nothing is wrong." in message["text"]
    assert typed(beamline, "--test", "log")[1].startswith("[xpcs] a test\n")
    with pytest.raises(NotFoundError, match=r"There are: log, chat"):
        typed(beamline, "--test", "mail")


def test_a_channel_that_does_not_work_fails_the_command(beamline: OpenBeamline) -> None:
    mail = {"kind": "mail", "host": "localhost", "starttls": False, "sender": "x@example.org"}
    with SmtpServer(refused={"b@example.org"}) as server:
        with_channels(beamline.site.home, mail=mail | {"port": server.port, "to": ["a@example.org", "b@example.org"]})
        code, said, error = typed(beamline, "--test", "mail")
        assert (code, said, error) == (1, "", "error: refused for b@example.org (550 no such box)\n")
        server.refused.add("a@example.org")
        with pytest.raises(RefusedError):
            typed(beamline, "--test", "mail")
