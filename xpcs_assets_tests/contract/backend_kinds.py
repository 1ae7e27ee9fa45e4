"""The kinds of back end that the contract is tested with: a new one is an entry of ``KINDS``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xpcs_assets.commands import Answer, Commands, LocalCommands
from xpcs_assets.compute.backend import Backend
from xpcs_assets.compute.htcondor import HTCondor
from xpcs_assets.compute.pbs import PBS
from xpcs_assets.compute.slurm import Slurm
from xpcs_assets.errors import UnreachableError
from xpcs_assets.testing.fake_batch import DOWN, LOSES_ANSWERS
from xpcs_assets.testing.fake_condor import FakeCondor
from xpcs_assets.testing.fake_pbs import FakePbs
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
    """

    backend: Backend
    unknown_id: str


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


KINDS: dict[str, BackendKind] = {
    "slurm": SlurmKind(),
    "pbs": PbsKind(),
    "htcondor": CondorKind(),
}
