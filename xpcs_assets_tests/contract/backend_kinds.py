"""The kinds of back end that the contract is tested with: a new one is an entry of ``KINDS``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from xpcs_assets.commands import Answer, Commands, LocalCommands
from xpcs_assets.compute.backend import Backend
from xpcs_assets.compute.globus_compute import GlobusCompute
from xpcs_assets.compute.htcondor import HTCondor
from xpcs_assets.compute.kubernetes import KubernetesBackend
from xpcs_assets.compute.kubernetes_job import Template, job_name
from xpcs_assets.compute.pbs import PBS
from xpcs_assets.compute.sfapi import Sfapi
from xpcs_assets.compute.slurm import Slurm
from xpcs_assets.errors import UnreachableError
from xpcs_assets.testing.fake_batch import DOWN, LOSES_ANSWERS
from xpcs_assets.testing.fake_condor import FakeCondor
from xpcs_assets.testing.fake_pbs import FakePbs
from xpcs_assets.testing.globus_compute_server import ENDPOINT, GlobusComputeServer
from xpcs_assets.testing.kube_server import NAMESPACE, KubeServer
from xpcs_assets.testing.sfapi_scheduler import Processes, RealSlurm, SfapiScheduler
from xpcs_assets.testing.sfapi_server import SfapiServer
from xpcs_assets_tests import slurm


@dataclass(frozen=True)
class Opened:
    """A back end of a test's own.

    Attributes
    ----------
    backend
        It.
    unknown_id
        An id that no job of it has.
    has_names
        A second job of a name cannot be: the first is the answer.
    leaves_file
        What a job writes is a file in its folder; else it is only in its log.
    tells_while_running
        The log is told while a job runs; else once it has ended.
    """

    backend: Backend
    unknown_id: str
    has_names: bool = False
    leaves_file: bool = True
    tells_while_running: bool = True


class BackendKind(Protocol):
    """How the contract opens a back end of one kind, and makes it silent."""

    def why_missing(self) -> str:
        """Why this kind cannot be tested here; empty when it can."""

    def open(self, folder: Path) -> AbstractContextManager[Opened]:
        """A back end, which may keep its state in a folder; its jobs are ended at the end."""

    def silent(self, opened: Opened) -> AbstractContextManager[None]:
        """Nobody answers it for a while; what it has taken goes on."""

    def loses_answers(self, opened: Opened) -> AbstractContextManager[Backend]:
        """The same, but what it says to a submission that it takes is lost on the way."""


class PbsKind:
    """PBS, by its stand-in."""

    def why_missing(self) -> str:
        return ""

    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        self.fake = FakePbs(folder)
        yield Opened(PBS("pbs", LocalCommands(), programs=str(self.fake.programs)), "999.pbs01")
        self.fake.close()

    def silent(self, opened: Opened) -> AbstractContextManager[None]:
        return self.fake.faulty(DOWN)

    @contextmanager
    def loses_answers(self, opened: Opened) -> Iterator[Backend]:
        with self.fake.faulty(LOSES_ANSWERS):
            yield opened.backend


class CondorKind:
    """HTCondor, by its stand-in."""

    def why_missing(self) -> str:
        return ""

    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        self.fake = FakeCondor(folder)
        yield Opened(HTCondor("condor", LocalCommands(), programs=str(self.fake.programs)), "999")
        self.fake.close()

    def silent(self, opened: Opened) -> AbstractContextManager[None]:
        return self.fake.faulty(DOWN)

    @contextmanager
    def loses_answers(self, opened: Opened) -> Iterator[Backend]:
        with self.fake.faulty(LOSES_ANSWERS):
            yield opened.backend


class SlurmKind:
    """Slurm, a real one."""

    def why_missing(self) -> str:
        return slurm.why_missing()

    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        yield Opened(Slurm("slurm", slurm.server().commands, limit_s=20.0), "999999")

    def silent(self, opened: Opened) -> AbstractContextManager[None]:
        return slurm.server().silent()

    @contextmanager
    def loses_answers(self, opened: Opened) -> Iterator[Backend]:
        yield Slurm("slurm", LosesAnswers(slurm.server().commands))


@dataclass(frozen=True)
class LosesAnswers:
    """A machine that is cut off when a program has done its work."""

    commands: Commands
    where: str = "far"

    def run(self, words: Sequence[str], *, limit_s: float, data: bytes = b"") -> Answer:
        self.commands.run(words, limit_s=limit_s, data=data)
        raise UnreachableError("cut off", where=self.where)


class KubernetesKind:
    """Kubernetes, by its stand-in."""

    def why_missing(self) -> str:
        return "" if find_spec("kubernetes") else "no client of Kubernetes here: pip install dagster-k8s"

    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        folder.mkdir()
        with KubeServer() as self.server:
            account = str(self.server.kubeconfig(folder))
            backend = KubernetesBackend("cluster", NAMESPACE, Template("worker:1"), limit_s=5.0, kubeconfig=account)
            yield Opened(backend, job_name("never"), has_names=True, leaves_file=False)

    def silent(self, opened: Opened) -> AbstractContextManager[None]:
        return self.server.down()

    @contextmanager
    def loses_answers(self, opened: Opened) -> Iterator[Backend]:
        self.server.faults.add("POST", "/jobs", "reset after")
        yield opened.backend


class SfapiKind:
    """The Superfacility API by its stand-in, and processes as its jobs."""

    def why_missing(self) -> str:
        return "" if find_spec("sfapi_client") else "no client of the Superfacility API here: pip install sfapi_client"

    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        jobs = Processes(minute_s=1.0)
        with self.served(jobs, folder) as opened:
            yield opened
        jobs.end_all()

    @contextmanager
    def served(self, jobs: SfapiScheduler, folder: Path) -> Iterator[Opened]:
        folder.mkdir()
        with SfapiServer(jobs) as self.server:
            asked: dict[str, Any] = {"limit_s": 10.0, "poll_s": 0.02, "queue_is": "partition"}
            yield Opened(Sfapi("nersc", self.server.account(folder), **asked), "999999")

    def silent(self, opened: Opened) -> AbstractContextManager[None]:
        return self.server.down()

    @contextmanager
    def loses_answers(self, opened: Opened) -> Iterator[Backend]:
        self.server.faults.add("POST", "/compute/jobs", "reset after")
        yield opened.backend


class SfapiOnSlurmKind(SfapiKind):
    """The Superfacility API by its stand-in, and a real Slurm behind it."""

    def why_missing(self) -> str:
        return super().why_missing() or slurm.why_missing()

    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        with self.served(RealSlurm(slurm.server().commands), folder) as opened:
            yield opened


class GlobusComputeKind:
    """An endpoint of Globus Compute, by its stand-in."""

    def why_missing(self) -> str:
        return "" if find_spec("globus_sdk") else "no client of Globus here: pip install globus-sdk"

    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        folder.mkdir()
        with GlobusComputeServer() as self.server:
            backend = GlobusCompute("talc", self.server.account(folder), ENDPOINT, str(folder))
            yield Opened(backend, f"{uuid4()}/{uuid4()}", has_names=True, tells_while_running=False)
            self.server.stop_all()

    def silent(self, opened: Opened) -> AbstractContextManager[None]:
        return self.server.down()

    @contextmanager
    def loses_answers(self, opened: Opened) -> Iterator[Backend]:
        self.server.faults.add("POST", "/submit$", "reset after")
        yield opened.backend


KINDS: dict[str, BackendKind] = {
    "slurm": SlurmKind(),
    "pbs": PbsKind(),
    "htcondor": CondorKind(),
    "kubernetes": KubernetesKind(),
    "globus compute": GlobusComputeKind(),
    "sfapi": SfapiKind(),
    "sfapi on slurm": SfapiOnSlurmKind(),
}
