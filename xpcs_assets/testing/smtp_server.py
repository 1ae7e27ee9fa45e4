"""A mail server on loopback that keeps what it is sent, with STARTTLS and log-in, and fails as it is told to."""

from __future__ import annotations

import base64
import email
import email.policy
import socketserver
import ssl
import threading
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Self, cast


@dataclass
class SmtpServer:
    """The server; a context manager.

    Attributes
    ----------
    certificate, key
        Files in PEM; without them it offers no TLS.
    accounts
        Passwords by user; with any, nothing is taken before a log-in, and none is offered before TLS.
    refused
        Addresses that it takes nothing for.
    answers
        What it says to a command instead of doing it, such as ``{"MAIL": "451 later"}``; empty: it hangs up.
    mails
        What it has taken, each with the addresses it was for.
    """

    certificate: Path | None = None
    key: Path | None = None
    accounts: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    answers: dict[str, str] = field(default_factory=dict)
    mails: list[tuple[tuple[str, ...], EmailMessage]] = field(default_factory=list)
    port: int = 0
    _server: socketserver.ThreadingTCPServer | None = None
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._server = _Listener(("127.0.0.1", self.port), _Session)
        self._server.told = self
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def encrypted(self) -> ssl.SSLContext:
        """What a connection is encrypted with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(self.certificate), str(self.key))
        return context


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    told: SmtpServer


class _Session(socketserver.StreamRequestHandler):
    timeout = 10

    def setup(self) -> None:
        super().setup()
        self.told = cast(_Listener, self.server).told
        self.user, self.addresses, self.is_encrypted = "", list[str](), False

    def finish(self) -> None:
        super().finish()
        self.request.close()  # the one that encrypts is not the listener's

    def handle(self) -> None:
        self._say("220 loopback")
        try:
            while self._do(self.rfile.readline().decode("ascii").strip()):
                pass
        except (OSError, UnicodeDecodeError):
            return  # the other side has gone, or does not trust us

    def _do(self, line: str) -> bool:
        """Follow a command; False when the session is over."""
        word = line.split(" ")[0].upper()
        if word in self.told.answers:
            self._say(self.told.answers[word])
            return bool(self.told.answers[word])
        step = {
            "EHLO": self._hello, "STARTTLS": self._encrypt, "AUTH": self._log_in,
            "RCPT": self._address, "DATA": self._take,
        }.get(word)  # fmt: skip
        if step is not None:
            step(line)
        elif word in {"MAIL", "RSET", "NOOP"}:
            self.addresses = []
            self._say("530 log in first" if word == "MAIL" and self.told.accounts and not self.user else "250 ok")
        else:
            self._say("221 bye" if word == "QUIT" else "500 what?")
            return bool(word) and word != "QUIT"
        return True

    def _hello(self, _: str) -> None:
        offers_tls = self.told.certificate is not None and not self.is_encrypted
        offers_login = bool(self.told.accounts) and not offers_tls
        offers = [*(["STARTTLS"] if offers_tls else []), *(["AUTH PLAIN"] if offers_login else []), "HELP"]
        for offer in ["loopback", *offers[:-1]]:
            self._say(f"250-{offer}")
        self._say(f"250 {offers[-1]}")

    def _encrypt(self, _: str) -> None:
        self._say("220 go on")
        self.request = self.told.encrypted().wrap_socket(self.request, server_side=True)
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb")
        self.is_encrypted = True

    def _log_in(self, line: str) -> None:
        _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
        self.user = user if self.told.accounts.get(user) == password else ""
        self._say("235 welcome" if self.user else "535 wrong password")

    def _address(self, line: str) -> None:
        address = line.partition("<")[2].partition(">")[0]
        if address in self.told.refused:
            self._say("550 no such box")
            return
        self.addresses.append(address)
        self._say("250 ok")

    def _take(self, _: str) -> None:
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            lines.append(line.removeprefix(b"."))
        mail = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        self.told.mails.append((tuple(self.addresses), mail))
        self._say("250 taken")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())
        self.wfile.flush()
