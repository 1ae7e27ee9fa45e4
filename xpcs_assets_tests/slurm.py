"""A real Slurm of one node for tests, with accounting: Debian's packages, started as root, one a process.

It listens on loopback alone, on free ports, with a munge and a MariaDB of its own; everything lies in one temporary
folder and ends with the tests.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from xpcs_assets.commands import LocalCommands
from xpcs_assets_tests import at_the_end

_PROGRAMS = {
    "slurm-wlm": ("slurmctld", "slurmd", "sbatch"),
    "slurmdbd": ("slurmdbd",),
    "munge": ("munged",),
    "mariadb-server": ("mariadbd", "mariadb-install-db"),
}
_PATIENCE_S = 60.0
_READY = {"idle", "mixed", "allocated"}


def why_missing() -> str:
    """Why there can be no Slurm here; empty when there can be one."""
    missing = [
        package
        for package, programs in _PROGRAMS.items()
        if not all(shutil.which(name, path=_path()) for name in programs)
    ]
    if missing:
        return f"no Slurm here: apt-get install {' '.join(missing)}"
    return "" if os.geteuid() == 0 else "a private Slurm is started by root only"


@dataclass
class SlurmServer:
    """The daemons, and what a client needs.

    Attributes
    ----------
    folder
        Where everything lies.
    environment
        What makes the clients ask this Slurm.
    """

    folder: Path
    environment: Mapping[str, str]
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def _settings(self) -> Path:
        """Those of the daemons; clients have a copy of their own."""
        return self.folder / "slurm.conf"

    @property
    def commands(self) -> LocalCommands:
        """This machine, with this Slurm's clients."""
        return LocalCommands(self.environment)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The controller is down for a while, which clients notice in a second."""
        clients = Path(self.environment["SLURM_CONF"])
        settings = clients.read_text(encoding="utf-8")
        clients.write_text(f"{settings}MessageTimeout=1\n", encoding="utf-8")
        self.stop("slurmctld")
        try:
            yield
        finally:
            clients.write_text(settings, encoding="utf-8")
            self.start_controller()

    @contextmanager
    def node_down(self) -> Iterator[None]:
        """The node has failed, for a while."""
        node = f"nodename={_host()}"
        self._says(["scontrol", "update", node, "state=down", "reason=test"])
        try:
            yield
        finally:
            self._says(["scontrol", "update", node, "state=resume"])
            self.wait_for(lambda: self._says(["sinfo", "-h", "-o", "%T"]) in _READY)

    @property
    def programs(self) -> Path:
        """A folder of clients that find this Slurm whatever the environment is: for who comes by ssh."""
        folder = self.folder / "clients"
        if not folder.is_dir():
            folder.mkdir()
            for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo"):
                script = folder / name
                script.write_text(
                    f'#!/bin/sh\nSLURM_CONF={self.environment["SLURM_CONF"]} exec {shutil.which(name)} "$@"\n'
                )
                script.chmod(0o755)
        return folder

    def start(self, name: str, *words: str, environment: Mapping[str, str] | None = None) -> None:
        """Start a daemon in the foreground of nothing; what it says goes to a file."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [name, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={
                    **os.environ,
                    "PATH": _path(),
                    "SLURM_CONF": str(self.folder / "slurm.conf"),
                    **(environment or {}),
                },
                start_new_session=True,
            )

    def run_once(self, *words: str) -> None:
        """Run a program of the preparations; RuntimeError with what it said when it fails."""
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{words[0]}: {done.stdout[-2000:]} {done.stderr[-2000:]}")

    def stop(self, name: str) -> None:
        """End a daemon, and wait for its end."""
        daemon = self._daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(timeout=15)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def stop_all(self) -> None:
        """End every job and daemon, the youngest first, and throw the folder away."""
        if "slurmctld" in self._daemons:
            self._says(["scancel", "--user=root"])
            with suppress(TimeoutError):  # a job's keeper outlives slurmd
                self.wait_for(lambda: not self._says(["squeue", "--noheader"]), 10.0)
        for name in reversed(list(self._daemons)):
            self.stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_controller(self) -> None:
        """Start slurmctld, again or for the first time, and wait until the node is there."""
        self.start("slurmctld", "-D")
        self.wait_for(lambda: self._says(["sinfo", "-h", "-o", "%T"]) in _READY)

    def wait_for(self, holds: Callable[[], bool], patience_s: float = _PATIENCE_S) -> None:
        """Wait until something holds.

        Raises
        ------
        TimeoutError
            It never did.
        """
        give_up_s = time.monotonic() + patience_s
        while not holds():
            if time.monotonic() > give_up_s:
                logs = "\n".join(f"{log.name}: {log.read_text()[-800:]}" for log in self.folder.glob("*.log"))
                raise TimeoutError(f"Slurm did not come up:\n{logs}")
            time.sleep(0.05)

    def _says(self, words: list[str]) -> str:
        environment = {**os.environ, **self.environment}
        try:
            done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=5)
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout.strip()


@cache
def server() -> SlurmServer:
    """The Slurm of this process; it ends with its tests."""
    folder = Path(tempfile.mkdtemp(prefix="xpcs-slurm-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
    folder.chmod(0o755)
    (folder / "client").mkdir()  # slurmdbd's settings lie beside those of the daemons
    found = SlurmServer(folder, {"SLURM_CONF": str(folder / "client" / "slurm.conf")})
    at_the_end.end(found.stop_all)
    _write_settings(folder)
    _start_munge(found)
    _start_accounting(found)
    found.start("slurmd", "-D", "-N", _host())
    found.start_controller()
    return found


def _start_munge(slurm: SlurmServer) -> None:
    folder = slurm.folder / "munge"
    folder.mkdir(mode=0o700)
    key = folder / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    files = {"key": "key-file", "pid": "pid-file", "log": "log-file", "seed": "seed-file"}
    slurm.start(
        "munged",
        *("--foreground", "--force", f"--socket={slurm.folder / 'munge.socket'}", "--num-threads=2"),
        *(f"--{option}={folder / name}" for name, option in files.items()),
    )
    slurm.wait_for((slurm.folder / "munge.socket").exists)


def _start_accounting(slurm: SlurmServer) -> None:
    data, at = slurm.folder / "mysql", slurm.folder / "mysql.socket"
    # The kernel's asynchronous writes are a limited number for all processes of a machine.
    own = ("--no-defaults", "--user=root", f"--datadir={data}", "--innodb-use-native-aio=0", f"--tmpdir={slurm.folder}")
    slurm.run_once("mariadb-install-db", *own, "--skip-test-db", "--auth-root-authentication-method=normal")
    speed = ("--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900")
    slurm.start("mariadbd", *own, f"--socket={at}", "--skip-networking", *speed)
    slurm.wait_for(at.exists)
    made = (
        "create database slurm_acct_db; create user slurm@localhost identified by 'local';"
        "grant all on slurm_acct_db.* to slurm@localhost"
    )
    slurm.run_once("mariadb", "--no-defaults", "--user=root", f"--socket={at}", "-e", made)
    slurm.start("slurmdbd", "-D", environment={"MYSQL_UNIX_PORT": str(at)})
    port = int(_setting(slurm.folder / "slurmdbd.conf", "DbdPort"))
    slurm.wait_for(lambda: _listens(port))


def _write_settings(folder: Path) -> None:
    host, ports = _host(), _free_ports(3)
    munge = {"AuthType": "auth/munge", "AuthInfo": f"socket={folder / 'munge.socket'}"}
    database = {
        **munge,
        "DbdHost": host,
        "DbdAddr": "127.0.0.1",
        "DbdPort": ports[2],
        "SlurmUser": "root",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": "slurm",
        "StoragePass": "local",
        "StorageLoc": "slurm_acct_db",
        "PidFile": folder / "slurmdbd.pid",
        "CommunicationParameters": "NoInAddrAny",
    }
    cluster = {
        **munge,
        "ClusterName": "local",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmUser": "root",
        "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny",
        "SlurmctldPort": ports[0],
        "SlurmdPort": ports[1],
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "ProctrackType": "proctrack/linuxproc",  # no cgroup is asked for
        "TaskPlugin": "task/none",
        "SwitchType": "switch/none",
        "MpiDefault": "none",
        "ReturnToService": 2,
        "KillWait": 2,
        "SchedulerParameters": "sched_interval=1,sched_min_interval=1000,batch_sched_delay=0",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "SlurmdParameters": "config_overrides",  # the node has what is written here, whatever the machine has
        "JobAcctGatherType": "jobacct_gather/none",
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": ports[2],
        "AccountingStoragePass": folder / "munge.socket",
    }
    nodes = (
        f"NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=2000 State=UNKNOWN\n"
        "PartitionName=debug Nodes=ALL Default=YES MaxTime=01:00:00 State=UP\n"
        "PartitionName=regular Nodes=ALL MaxTime=12:00:00 State=UP\n"
    )
    for name in ("state", "spool"):
        (folder / name).mkdir()
    _write(folder / "slurmdbd.conf", database).chmod(0o600)
    for path in (folder / "slurm.conf", folder / "client" / "slurm.conf"):
        _write(path, cluster, nodes)


def _write(path: Path, settings: Mapping[str, object], rest: str = "") -> Path:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()) + rest, encoding="utf-8")
    return path


def _setting(path: Path, name: str) -> str:
    lines = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines())
    return next(value for key, _, value in lines if key == name)


def _free_ports(n: int) -> list[int]:
    """Ports of loopback that nobody has; all are held until the last is known, so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _which(name: str) -> str | None:
    return shutil.which(name, path=_path())


def _path() -> str:
    """Daemons lie in folders that are not in every user's path."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
