"""A private sshd for tests: loopback, a free port, one key, a host key of its own; started once a process, and ended.

Its "other machine" is this one: what a test puts into a folder is found there under the same path.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from xpcs_assets.commands import SshCommands, run_here
from xpcs_assets_tests import at_the_end

_SSHD = "/usr/sbin/sshd"
_START_S = 10.0


@dataclass
class Server:
    """A running sshd.

    Attributes
    ----------
    commands
        How to reach it.
    folder
        Where its keys and its log lie.
    """

    commands: SshCommands
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; RuntimeError with its log when it does not listen."""
        command = [_SSHD, "-D", "-f", str(self.folder / "sshd_config"), "-E", str(self.folder / "log")]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        until = time.monotonic() + _START_S
        while time.monotonic() < until and self.process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.commands.port), timeout=1):
                return
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"sshd did not start: {(self.folder / 'log').read_text()}")

    def stop(self) -> None:
        """End it, and the connection that is shared to it."""
        hang_up(self.commands)
        if self.process is not None:
            self.process.terminate()
            self.process.wait(_START_S)
            self.process = None


def why_missing() -> str:
    """Why there can be no server here; empty when there can be one."""
    missing = [name for name in ("ssh", "ssh-keygen", "rsync") if shutil.which(name) is None]
    if not Path(_SSHD).exists():
        missing.append("sshd")
    return f"no {', '.join(missing)} here: install openssh-server and rsync" if missing else ""


@cache
def server() -> Server:
    """The one that tests share: not to be stopped by a test."""
    folder = Path(tempfile.mkdtemp(prefix="xpcs-sshd-"))
    made = _made(folder)
    made.start()

    def stop() -> None:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)

    at_the_end.end(stop)
    return made


@contextmanager
def another_server() -> Iterator[Server]:
    """One of a test's own, that it may stop and start."""
    with tempfile.TemporaryDirectory(prefix="xpcs-sshd-") as folder:
        made = _made(Path(folder))
        made.start()
        try:
            yield made
        finally:
            made.stop()


def hang_up(commands: SshCommands) -> None:
    """End the shared connection, if there is one; what is under way over it fails."""
    run_here([*commands.ssh, "-O", "exit", commands.address], limit_s=_START_S)


def host_of(commands: SshCommands) -> dict[str, object]:
    """What a site file says of a machine."""
    where = {"address": commands.address, "port": commands.port, "user": commands.user}
    return {**where, "key": commands.key, "known_hosts": commands.known_hosts}


def with_a_wrong_host_key(commands: SshCommands, folder: Path) -> SshCommands:
    """The same host, of which another key is expected."""
    _make_key(folder / "other_key")
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{commands.port} {(folder / 'other_key.pub').read_text()}")
    return replace(commands, known_hosts=str(known))


def _made(folder: Path) -> Server:
    for name in ("host_key", "id"):
        _make_key(folder / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if os.geteuid() == 0:  # sshd as root wants its empty folder, which its unit makes elsewhere
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
    said = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": folder / "host_key",
        "PidFile": "none",
        "AuthorizedKeysFile": folder / "id.pub",
        "AuthenticationMethods": "publickey",
        "PermitRootLogin": "prohibit-password",
        "UsePAM": "no",
        "StrictModes": "no",
        "MaxStartups": 100,
        # What the shell of whoever runs the tests does when it starts is no part of them, and may take its time.
        "SetEnv": f"HOME={folder} PATH=/usr/bin:/bin",
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in said.items()))
    user = getpass.getuser()
    return Server(SshCommands("127.0.0.1", port, user, str(folder / "id"), str(folder / "known_hosts")), folder)


def _make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
