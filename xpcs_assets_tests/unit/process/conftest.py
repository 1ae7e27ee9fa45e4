"""A beamline whose analysis is a command, here or on back ends that tests play."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.backend import Phase, Seen
from xpcs_assets.compute.remote_take import take as take_result
from xpcs_assets.copies.ledger import BookedJob
from xpcs_assets.process import worker
from xpcs_assets.process.processing import Processed, WantedOutputs, plan
from xpcs_assets.site import Site
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.remote import KEY, Cluster, cluster, configure

SUM = """
import pathlib, sys
raw, output, *targets = sys.argv[1:]
pathlib.Path(output, "sum.txt").write_text(str(len(list(pathlib.Path(raw).iterdir()))) + " " + str(targets))
pathlib.Path("calls").touch()
print("summed")
"""

Configured = Callable[..., OpenBeamline]


@pytest.fixture
def configured(site: Site) -> Iterator[Configured]:
    """A beamline whose command is a Python program; its run is staged."""
    opened: list[OpenBeamline] = []

    def make(program: str = SUM, **changes: Any) -> OpenBeamline:
        file = site.home / "beamlines" / "xpcs.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        content["pipeline"].pop("correlate", None)
        command = [sys.executable, "-c", program, "{raw}", "{output}", "{target}"]
        settings = {"command": command, "outputs": ["*.txt"], "to": "made", "target": ["events"], **changes}
        content["pipeline"]["process"] = settings
        content["places"]["made"] = {"kind": "posix", "root": "made"}
        content["runs"]["expect"] = []
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        (site.home / "made").mkdir(exist_ok=True)
        fresh = Site(site.home)
        beamline = OpenBeamline(fresh, fresh.beamline("xpcs"))
        opened.append(beamline)
        if beamline.ledger.latest("xpcs", KEY) is None:
            run = beamline.source_root / KEY
            run.mkdir()
            (run / "records.bin").write_bytes(b"records")
            submit(beamline, run)
            take(beamline, KEY)
            stage(beamline, KEY)
        return beamline

    yield make
    for beamline in opened:
        beamline.engine.dispose()


class Farm(Cluster):
    """Back ends that run the command of a beamline. A key ``A001~name`` is another recipe of the run."""

    def wanted(self, key: str = KEY) -> WantedOutputs:
        """What is asked for."""
        wanted = plan(self.beamline, KEY)
        if key == KEY:
            return wanted
        folder = Path(wanted.command.folder).parent / key
        folder.mkdir(exist_ok=True)
        digest = f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
        return replace(wanted, key=key, command=replace(wanted.command, folder=str(folder), digest=digest))

    def take(  # type: ignore[override]
        self, key: str = KEY, about: str = "", **_: Any
    ) -> tuple[Processed | None, BookedJob | None]:
        """What the asset does."""
        return take_result(self.remote, self.wanted(key), self.logged.append, about=about)

    def output(self, job: BookedJob) -> Path:
        return Path(job.request["call"]["folder"]) / "made" / "output"

    def leave_result(self, job: BookedJob) -> None:
        assert self.works(job)[0] == 0

    def works(self, job: BookedJob) -> tuple[int, str]:
        """Run what was handed over, whatever its back end says: exit code and what it wrote."""
        handed = [each for each in self.backends[job.backend].jobs().values() if each.name == job.name]
        with redirect_stderr(io.TextIOWrapper(io.BytesIO(), write_through=True)) as said:
            code = worker.main(handed[0].words[3:])
        said.seek(0)
        return code, said.read()

    def worked(self, reason: str = "COMPLETED", **seen: Any) -> BookedJob:
        """Run the newest job to its end, which its back end tells so."""
        job = self.newest
        code, said = self.works(job)
        seen = {"code": code, **seen}
        self.backends[job.backend].say(job.backend_id, Seen(Phase.ENDED, reason=reason, **seen), said)
        return job


Farms = Callable[..., Farm]


@pytest.fixture
def farms(configured: Configured, tmp_path: Path) -> Iterator[Farms]:
    """Open the beamline with back ends: ``farms(PROGRAM, on=("cluster", "local"))``."""
    opened: list[OpenBeamline] = []

    def make(program: str = SUM, *, process: dict[str, Any] | None = None, **settings: Any) -> Farm:
        site = configured(program, **(process or {})).site
        configure(site, step="process", **settings)
        fresh = Site(site.home)
        beamline = OpenBeamline(fresh, fresh.beamline("xpcs"))
        opened.append(beamline)
        found = cluster(beamline, tmp_path / "backends", tmp_path)
        return Farm(**found.__dict__)

    yield make
    for beamline in opened:
        beamline.engine.dispose()
