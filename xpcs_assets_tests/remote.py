"""A beamline whose analyses run on two back ends that tests play, with time that tests move."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import yaml

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take as take_run
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.analyse import Analysed, analyse, correlate_settings, plan
from xpcs_assets.compute.backend import Phase, Seen
from xpcs_assets.compute.remote import Remote
from xpcs_assets.compute.remote_asking import Asking
from xpcs_assets.compute.remote_correlation import WantedCorrelation
from xpcs_assets.compute.remote_follow import tick
from xpcs_assets.compute.remote_take import take
from xpcs_assets.copies.ledger import BookedJob, JobState, Ledger
from xpcs_assets.site import Site
from xpcs_assets.stage.staging import stage
from xpcs_assets.testing.fake_backend import FakeBackend
from xpcs_assets_tests.storage import HandClock, HandStopwatch

KEY = "A001"
NAMES = ("cluster", "other")


@dataclass
class Cluster:
    """The beamline, its back ends, and what one process sees of them."""

    beamline: OpenBeamline
    remote: Remote
    backends: dict[str, FakeBackend]
    clock: HandClock
    watch: HandStopwatch
    made: Path
    logged: list[str]

    @property
    def first(self) -> FakeBackend:
        return self.backends["cluster"]

    def restarted(self) -> Self:
        """The same for a fresh process, which remembers nothing."""
        asking = Asking(self.beamline.site, lambda _, name: self.backends[name], self.watch)
        return replace(self, remote=Remote(self.beamline, asking))

    def take(self, key: str = KEY, about: str = "", **settings: Any) -> tuple[Analysed | None, BookedJob | None]:
        """What the asset does."""
        own = correlate_settings(self.beamline).settings
        wanted = type(own)(**{**own.__dict__, **settings})
        planned = WantedCorrelation(self.beamline, plan(self.beamline, key, wanted))
        return take(self.remote, planned, self.logged.append, config={"asked": key}, about=about)

    def asked(self, key: str = KEY, **settings: Any) -> BookedJob:
        """The job that the asset asked for."""
        done, job = self.take(key, **settings)
        assert done is None
        assert job is not None
        return self.job(job.name)

    def tick(self, after_s: float = 0.0, budget_s: float = 10.0) -> list[BookedJob]:
        """Let time pass, then do what the sensor does."""
        self.clock.advance(after_s)
        self.watch.seconds += after_s
        return tick(self.remote, budget_s)

    def job(self, name: str) -> BookedJob:
        return self.beamline.ledger.job(name)

    @property
    def jobs(self) -> list[BookedJob]:
        """Every attempt, the first one first."""
        return list(reversed(self.beamline.ledger.jobs(self.beamline.name)))

    @property
    def newest(self) -> BookedJob:
        return self.jobs[-1]

    def output(self, job: BookedJob) -> Path:
        return Path(job.request["call"]["output"])

    def leave_result(self, job: BookedJob) -> None:
        """Put there what the worker would have made, as made once for all tests."""
        output = self.output(job)
        output.parent.mkdir(parents=True, exist_ok=True)
        for end in (".hdf", ".json"):
            shutil.copy(self.made.with_suffix(end), output.with_suffix(end))

    def ended(self, code: int | None = 0, *, result: bool = True, output: str = "", **seen: Any) -> BookedJob:
        """Have the newest job end so, and its back end say so."""
        job = self.newest
        if result:
            self.leave_result(job)
        self.backends[job.backend].say(job.backend_id, Seen(Phase.ENDED, code, **seen), output)
        return job

    def failed(self, what: str = "", kind: str = "", **seen: Any) -> BookedJob:
        """Have the newest job end without a result, with these last words of the worker."""
        words = json.dumps({"error": what, "where": "x", "remedy": "", "kind": kind}) if what else ""
        return self.ended(seen.pop("code", 1), result=False, output=f"noise\n{words}\n", **seen)

    def states(self) -> list[JobState]:
        return [job.state for job in self.jobs]


def staged(beamline: OpenBeamline, folder: Path) -> None:
    """Take and stage the run in a folder of the detector."""
    submit(beamline, folder, as_is=True)
    take_run(beamline, folder.name)
    stage(beamline, folder.name)


def made_once(beamline: OpenBeamline, folder: Path) -> Path:
    """The result of the run in a folder of the detector, made here and moved away."""
    staged(beamline, folder)
    made = analyse(beamline, folder.name, correlate_settings(beamline).settings, print)
    return made.path


def configure(site: Site, *, on: tuple[str, ...] = NAMES, step: str = "correlate", **settings: Any) -> None:
    """Give a site its back ends, and its beamline their order."""
    folder = site.home / "jobs"
    folder.mkdir(exist_ok=True)
    backend = {"kind": "slurm", "python": "/env/bin/python", "folder": str(folder)} | settings
    _changed(site.home / "site.yaml", lambda content: content.update(compute=dict.fromkeys(NAMES, backend)))
    _changed(
        site.home / "beamlines" / "xpcs.yaml",
        lambda content: content["pipeline"][step].update(on=list(on)),
    )


def cluster(beamline: OpenBeamline, folder: Path, made: Path) -> Cluster:
    """The back ends of a beamline that was configured; ``folder`` is where their jobs are kept."""
    clock, watch = HandClock(), HandStopwatch()
    beamline.__dict__["ledger"] = Ledger(beamline.engine, clock)
    backends = {}
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        backends[name] = FakeBackend(folder / name, name)
    remote = Remote(beamline, Asking(beamline.site, lambda _, name: backends[name], watch))
    return Cluster(beamline, remote, backends, clock, watch, made, [])


def planned_path(found: Cluster) -> Path:
    return plan(found.beamline, KEY, correlate_settings(found.beamline).settings).path


def _changed(file: Path, change: Any) -> None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(yaml.dump(content, Dumper=_Plain), encoding="utf-8")


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True
