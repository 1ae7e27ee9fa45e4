"""Channels against real servers on loopback: what they send, how long they wait, and what they never say."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.alerts.channels import NOT_TAKEN, Channel, open_channel
from xpcs_assets.alerts.digest import Message
from xpcs_assets.errors import NotFoundError, RefusedError, SettingsError, UnreachableError, XpcsAssetsError
from xpcs_assets.settings import SiteSettings
from xpcs_assets.site import Site
from xpcs_assets.testing.smtp_server import SmtpServer
from xpcs_assets.testing.webhook_server import WebhookServer

MESSAGE = Message("[xpcs] 1 failed", "The beamline é\n.\nand more", {"beamline": "xpcs", "began": []})
PASSWORD = "pa55word"  # noqa: S105
MAIL = {"kind": "mail", "host": "localhost", "starttls": False, "sender": "xpcs@example.org", "timeout": 2}
TO = ["a@example.org", "b@example.org"]


def channel(site: Site, settings: dict[str, Any]) -> Channel:
    site.settings = SiteSettings.model_validate({"channels": {"people": settings}})
    return open_channel(site, "people", lambda _: None)


@pytest.fixture
def certified(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that ``localhost`` signed for itself, and its key."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    encodings = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(*encodings))
    return files


@pytest.fixture
def with_login(site: Site, certified: tuple[Path, Path]) -> Iterator[tuple[SmtpServer, dict[str, Any]]]:
    """A server that wants TLS and a log-in, and the settings of a channel to it."""
    (site.home / "mail-password").write_text(f"{PASSWORD}\n")
    login = {"username": "xpcs", "password": {"file": "mail-password"}, "starttls": True, "to": TO}
    with SmtpServer(*certified, accounts={"xpcs": PASSWORD}) as server:
        yield server, MAIL | {"port": server.port} | login


def test_a_mail_comes_as_it_was_written(site: Site) -> None:
    with SmtpServer() as server:
        assert channel(site, MAIL | {"port": server.port, "to": TO}).send(MESSAGE) == ""
        ((addresses, mail),) = server.mails
    assert addresses == tuple(TO)
    assert (mail["Subject"], mail["From"], mail["To"]) == (MESSAGE.subject, "xpcs@example.org", ", ".join(TO))
    assert mail.get_content().splitlines() == MESSAGE.text.splitlines()
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"]
    assert mail["Message-ID"].endswith("@example.org>")


def test_a_mail_goes_over_tls_with_a_log_in_where_the_certificate_is_trusted(
    site: Site,
    with_login: tuple[SmtpServer, dict[str, Any]],
    certified: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, settings = with_login
    monkeypatch.setenv("SSL_CERT_FILE", str(certified[0]))
    channel(site, settings).send(MESSAGE)
    assert len(server.mails) == 1
    (site.home / "mail-password").write_text("another\n")
    with pytest.raises(RefusedError, match=r"535 wrong password") as caught:
        channel(site, settings).send(MESSAGE)
    assert "another" not in str(caught.value)


def test_a_server_whose_certificate_nobody_trusts_gets_no_password(
    site: Site, with_login: tuple[SmtpServer, dict[str, Any]]
) -> None:
    server, settings = with_login
    with pytest.raises(UnreachableError, match=r"(?i)certificate"):
        channel(site, settings).send(MESSAGE)
    assert server.mails == []


def test_a_server_without_tls_gets_nothing_where_tls_is_asked_for(site: Site) -> None:
    with SmtpServer() as server, pytest.raises(RefusedError, match=r"STARTTLS"):
        channel(site, MAIL | {"port": server.port, "to": TO, "starttls": True}).send(MESSAGE)
    assert server.mails == []


def test_one_refused_address_is_told_and_the_others_have_the_mail(site: Site) -> None:
    with SmtpServer(refused={"b@example.org"}) as server:
        odd = channel(site, MAIL | {"port": server.port, "to": TO}).send(MESSAGE)
        assert odd == "refused for b@example.org (550 no such box)"
        assert [addresses for addresses, _ in server.mails] == [("a@example.org",)]
        server.refused.add("a@example.org")
        with pytest.raises(RefusedError, match=r"every address was refused: a@example\.org \(550"):
            channel(site, MAIL | {"port": server.port, "to": TO}).send(MESSAGE)


@pytest.mark.parametrize(
    ("answers", "kind", "told"),
    [
        ({"MAIL": "451 later, please"}, UnreachableError, r"451 later, please"),
        ({"DATA": "554 spam"}, RefusedError, r"554 spam"),
        ({"EHLO": ""}, UnreachableError, r"Server not connected"),
    ],
)
def test_what_a_mail_server_says_decides_the_error(
    site: Site, answers: dict[str, str], kind: type[XpcsAssetsError], told: str
) -> None:
    with SmtpServer(answers=answers) as server, pytest.raises(kind, match=told):
        channel(site, MAIL | {"port": server.port, "to": TO}).send(MESSAGE)


def test_a_mail_server_that_says_nothing_is_not_waited_for(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings = {"host": "127.0.0.1", "port": mute.getsockname()[1], "to": TO, "timeout": 0.2}
        with pytest.raises(UnreachableError, match=r"timed out"):
            channel(site, MAIL | settings).send(MESSAGE)


def webhook(site: Site, address: str, **settings: Any) -> Channel:
    (site.home / "hook").write_text(f"{address}\n")
    (site.home / "hook-token").write_text("t0ken\n")
    return channel(site, {"kind": "webhook", "url": {"file": "hook"}, "timeout": 2, **settings})


def test_a_chat_gets_the_text_and_a_program_the_parts(site: Site) -> None:
    with WebhookServer() as server:
        assert webhook(site, server.address).send(MESSAGE) == ""
        webhook(site, server.address, form="json").send(MESSAGE)
    assert server.messages == [{"text": f"{MESSAGE.subject}\n{MESSAGE.text}"}, MESSAGE.content]


def test_a_service_of_this_machine_is_not_looked_for_behind_a_proxy(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with WebhookServer() as server:
        webhook(site, server.address).send(MESSAGE)
    assert len(server.messages) == 1


def test_a_logbook_may_ask_for_a_token(site: Site) -> None:
    with WebhookServer(token="t0ken") as server:  # noqa: S106
        with pytest.raises(RefusedError, match=r"it answers 401"):
            webhook(site, server.address).send(MESSAGE)
        webhook(site, server.address, token={"file": "hook-token"}).send(MESSAGE)
    assert len(server.messages) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("404", RefusedError), ("429", UnreachableError), ("503", UnreachableError), ("reset", UnreachableError)],
)
def test_what_a_webhook_answers_decides_the_error_which_does_not_tell_its_address(
    site: Site, fault: str, kind: type[XpcsAssetsError]
) -> None:
    with WebhookServer() as server:
        server.faults.add("POST", ".*", fault)
        with pytest.raises(kind) as caught:
            webhook(site, server.address).send(MESSAGE)
    assert "S3CRET" not in repr(caught.value)
    assert caught.value.where == "people"


def test_a_webhook_that_is_slow_or_gone_is_not_waited_for(site: Site) -> None:
    with WebhookServer() as server:
        server.faults.add("POST", ".*", "time-out before")
        with pytest.raises(UnreachableError, match=r"timed out"):
            webhook(site, server.address, timeout=0.2).send(MESSAGE)
        with server.down(), pytest.raises(UnreachableError, match=r"refused"):
            webhook(site, server.address).send(MESSAGE)


def test_a_redirection_is_not_followed(site: Site) -> None:
    with WebhookServer() as server:
        server.moved = True
        with pytest.raises(RefusedError, match=r"307"):
            webhook(site, server.address).send(MESSAGE)


@pytest.mark.parametrize(
    "address",
    [
        "http://chat.example.org/S3CRET",
        "file:///etc/passwd",
        "https:///S3CRET",
        "https://chat.example.org:S3CRET/",
        "https://chat.example.org/a S3CRET",
        "https://user:S3CRET@chat.example.org/",
        "https://chat.example.org/\u00e9S3CRET",
        "S3CRET",
    ],
)
def test_what_is_no_safe_address_is_refused_and_not_told(site: Site, address: str) -> None:
    with pytest.raises(SettingsError) as caught:
        webhook(site, address).send(MESSAGE)
    assert "S3CRET" not in repr(caught.value)
    assert isinstance(caught.value, NOT_TAKEN)


def test_a_secret_that_is_not_there_is_told_by_its_place(site: Site) -> None:
    hook = webhook(site, "x")
    (site.home / "hook").unlink()
    with pytest.raises(SettingsError, match=r"cannot be read"):
        hook.send(MESSAGE)


def test_an_unknown_channel_is_not_found(site: Site) -> None:
    with pytest.raises(NotFoundError, match=r"There are: log"):
        open_channel(site, "mail", print)
