"""A place in an HPSS that is a folder, reached by jobs that a test runs or that run as they are handed over."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from xpcs_assets.compute.backend import Job, Phase, Seen
from xpcs_assets.places.hpss import HpssPlace
from xpcs_assets.places.hpss_asking import Asking, Hands
from xpcs_assets.places.hpss_job import do
from xpcs_assets.places.hpss_scratch import Scratch
from xpcs_assets.testing import hsi_program
from xpcs_assets.testing.fake_backend import FakeBackend
from xpcs_assets.testing.fake_hpss import FakeHpss


@dataclass
class InstantBackend(FakeBackend):
    """A back end whose jobs that reach HPSS are done in this very process, as they are handed over.

    Attributes
    ----------
    holds
        They are kept instead, until a test runs them.
    """

    holds: bool = False

    def submit(self, job: Job) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.submit`."""
        job_id = super().submit(job)
        if not self.holds:
            self.finish(job_id)
        return job_id

    def finish(self, job_id: str) -> None:
        """Do a job now, unless it was done before."""
        known = self.poll([job_id])[job_id]
        if known.phase is not Phase.ENDED:
            home = self.folder.parent / "bin"
            file = Path(self.jobs()[job_id].words[-1])
            do(file, lambda words, folder, _: hsi_program.run(home, words, folder))
            self.say(job_id, Seen(Phase.ENDED, 0, "COMPLETED"))


@dataclass
class Vault:
    """HPSS, a back end, and what asks them; time stands still until a test moves it.

    Attributes
    ----------
    root
        The place's folder in HPSS.
    hpss
        What goes wrong there, and what it was asked.
    backend
        Who runs jobs.
    asking
        Makes the questions.
    """

    root: Path
    hpss: FakeHpss
    backend: InstantBackend
    asking: Asking

    @classmethod
    def build(cls, root: Path, home: Path, name: str = "here") -> Vault:
        """An HPSS whose folder for the place is ``root``; all else lies in ``home``, of an earlier one as well."""
        for folder in ("scratch", "jobs"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        hpss = FakeHpss(home / "bin") if (home / "bin").exists() else FakeHpss.build(home / "bin")
        backend = InstantBackend(home / "jobs")
        hands = Hands(
            backend,
            python=sys.executable,
            folder=str(home / "jobs"),
            hsi=hpss.hsi,
            htar=hpss.htar,
            wait_s=0.0,
            settle_s=0.0,
        )
        return cls(root, hpss, backend, Asking(name, str(root), Scratch(home / "scratch", 3600.0), hands))

    def place(self, failure_domain: str = "", *, identity: str | None = None, unavailable: str = "") -> HpssPlace:
        """The place, as a fresh process opens it."""
        return HpssPlace(self.asking, failure_domain, identity=identity, unavailable=unavailable)


def has_hpss_archive(home: Path, hpss: FakeHpss, **settings: Any) -> dict[str, Any]:
    """Give a site's file the back end ``xfer``, and return what makes a beamline's archive a place that it reaches."""
    compute = {"kind": "slurm", "python": sys.executable, "folder": str(home / "jobs"), "settle": "0 s"}
    for folder in ("jobs", "scratch", "hpss"):
        (home / folder).mkdir(exist_ok=True)
    file = home / "site.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    file.write_text(yaml.safe_dump(content | {"compute": {"xfer": compute | settings}}), encoding="utf-8")
    place = {"kind": "hpss", "root": str(home / "hpss"), "through": "xfer", "scratch": str(home / "scratch")}
    programs = {"hsi": hpss.hsi, "htar": hpss.htar, "wait": "0 s"}
    return {"places": {"tape": {**place, **programs}}}
