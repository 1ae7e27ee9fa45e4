"""Channels to people: the log, mail, and what takes a message over HTTP. Every call has a time limit.

Which address a webhook has is a secret: it stands in no error.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from xpcs_assets.alerts.digest import Message
from xpcs_assets.alerts.word import short
from xpcs_assets.errors import NotFoundError, RefusedError, SettingsError, UnreachableError
from xpcs_assets.secret import SecretReference
from xpcs_assets.settings_alerts import LOG, LOOPBACK, MailSettings, WebhookSettings
from xpcs_assets.site import Site

if TYPE_CHECKING:
    import smtplib

NOT_TAKEN = (UnreachableError, RefusedError, SettingsError)
"""What a channel raises that did not take a message: another try may do."""
_LATER = (408, 425, 429)


class Channel(Protocol):
    """A way to people."""

    def send(self, message: Message) -> str:
        """Send a message; what is odd about it though it was taken, or empty.

        Raises
        ------
        UnreachableError
            No answer, or not now: it may have been taken all the same.
        RefusedError
            It was not taken.
        SettingsError
            A secret is missing, or is not what it ought to be.
        """


@dataclass(frozen=True)
class LogChannel:
    """The log of whoever speaks."""

    say: Callable[[str], object]

    def send(self, message: Message) -> str:
        """See :meth:`Channel.send`."""
        self.say(f"{message.subject}\n{message.text}")
        return ""


@dataclass(frozen=True)
class MailChannel:
    """A mail server.

    Attributes
    ----------
    name, settings
        What the site file says.
    password
        Where it lies, when the server asks for one.
    """

    name: str
    settings: MailSettings
    password: SecretReference | None

    def send(self, message: Message) -> str:
        """See :meth:`Channel.send`. One refused address of several is told, and the others have the mail."""
        import smtplib

        try:
            refused = self._send(self._mail(message))
        except smtplib.SMTPRecipientsRefused as error:
            raise self._refused(f"every address was refused: {_answers(error.recipients)}") from error
        except smtplib.SMTPNotSupportedError as error:
            raise self._refused(str(error)) from error
        except smtplib.SMTPResponseException as error:
            told = f"it answers {error.smtp_code} {_words(error.smtp_error)}"
            raise (self._refused(told) if error.smtp_code >= 500 else self._unreachable(told)) from error
        except (smtplib.SMTPException, OSError) as error:
            raise self._unreachable(short(str(error) or type(error).__name__)) from error
        return f"refused for {_answers(refused)}" if refused else ""

    def _send(self, mail: EmailMessage) -> dict[str, tuple[int, bytes]]:
        import smtplib
        import socket

        settings = self.settings
        with smtplib.SMTP(
            settings.host, settings.port, local_hostname=socket.gethostname(), timeout=settings.timeout
        ) as server:
            self._log_in(server)
            return server.send_message(mail)

    def _log_in(self, server: smtplib.SMTP) -> None:
        if self.settings.starttls:
            import ssl

            server.starttls(context=ssl.create_default_context())
        if self.password is not None:
            server.login(self.settings.username, _read(self.password, self.name))

    def _mail(self, message: Message) -> EmailMessage:
        from email.utils import formatdate, make_msgid

        mail = EmailMessage()
        mail["Subject"] = message.subject
        mail["From"] = self.settings.sender
        mail["To"] = ", ".join(self.settings.to)
        mail["Date"] = formatdate()
        mail["Message-ID"] = make_msgid(domain=self.settings.sender.rpartition("@")[2])
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        return mail

    def _refused(self, what: str) -> RefusedError:
        return RefusedError(
            f"the mail was not taken: {what}", where=self.name, remedy="Look at `channels` in site.yaml"
        )

    def _unreachable(self, what: str) -> UnreachableError:
        where = f"{self.name} ({self.settings.host}:{self.settings.port})"
        return UnreachableError(f"the mail server does not answer as it should: {what}", where=where)


@dataclass(frozen=True)
class WebhookChannel:
    """An address that takes a message over HTTP.

    Attributes
    ----------
    name, settings
        What the site file says.
    url, token
        Where they lie.
    """

    name: str
    settings: WebhookSettings
    url: SecretReference
    token: SecretReference | None

    def send(self, message: Message) -> str:
        """See :meth:`Channel.send`. A redirection is not followed."""
        from http.client import HTTPException
        from urllib.error import HTTPError
        from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

        class Stay(HTTPRedirectHandler):
            def redirect_request(self, *_: object) -> None:
                return None

        is_text = self.settings.form == "text"
        content = {"text": f"{message.subject}\n{message.text}"} if is_text else dict(message.content)
        headers = {"Content-Type": "application/json", "User-Agent": "xpcs-assets"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {_read(self.token, self.name)}"
        address = self._address()
        direct = [ProxyHandler({})] if urlsplit(address).hostname in LOOPBACK else []
        request = Request(address, json.dumps(content).encode(), headers, method="POST")  # noqa: S310  checked
        try:
            with build_opener(Stay, *direct).open(request, timeout=self.settings.timeout):
                return ""
        except HTTPError as error:
            error.close()
            told = f"it answers {error.code}"
            if error.code >= 500 or error.code in _LATER:
                raise self._unreachable(told) from None  # the error has the address in it
            raise RefusedError(
                f"the message was not taken: {told}", where=self.name, remedy="Look at the secret with its address"
            ) from None
        except (HTTPException, OSError) as error:
            raise self._unreachable(short(str(error) or type(error).__name__)) from None

    def _address(self) -> str:
        url = _read(self.url, self.name)
        with suppress(ValueError):  # an impossible port or host; its words would tell the address
            parts = urlsplit(url)
            is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
            if is_safe and parts.hostname and parts.port != 0 and parts.username is None and " " not in url:
                return url
        raise SettingsError("the secret is no https address", where=self.name, remedy="Write the whole address there")

    def _unreachable(self, what: str) -> UnreachableError:
        return UnreachableError(f"the webhook does not answer as it should: {what}", where=self.name)


def open_channel(site: Site, name: str, say: Callable[[str], object]) -> Channel:
    """A channel by its name.

    Parameters
    ----------
    say
        The log.

    Raises
    ------
    NotFoundError
        The site has none of this name.
    """
    if name == LOG:
        return LogChannel(say)
    settings = site.settings.channels.get(name)
    if settings is None:
        there_are = ", ".join([LOG, *site.settings.channels])
        raise NotFoundError(f"no channel {name!r}", where=site.home, remedy=f"There are: {there_are}")
    if isinstance(settings, MailSettings):
        return MailChannel(name, settings, site.secret(settings.password))
    url = site.secret(settings.url) or SecretReference()
    return WebhookChannel(name, settings, url, site.secret(settings.token))


def _read(secret: SecretReference, name: str) -> str:
    """A secret that can be sent; errors of the libraries would show the signs that cannot."""
    text = secret.read()
    if not (text.isascii() and text.isprintable()):
        raise SettingsError("the secret has signs that cannot be sent", where=name, remedy="Write it in plain ASCII")
    return text


def _answers(refused: dict[str, tuple[int, bytes]]) -> str:
    return short(", ".join(f"{address} ({code} {_words(words)})" for address, (code, words) in refused.items()))


def _words(said: bytes | str) -> str:
    return short(said.decode("utf-8", "replace") if isinstance(said, bytes) else said)
