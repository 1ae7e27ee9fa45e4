"""HPSS through jobs of a real Slurm: a run is archived, a job that is killed leaves nothing that counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

import xpcs_assets
from xpcs_assets.archive.archiving import archive
from xpcs_assets.archive.retrieve import retrieve
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Evidence
from xpcs_assets.errors import CopyError, UnderWayError
from xpcs_assets.site import Site
from xpcs_assets.stage.staging import stage
from xpcs_assets.testing.fake_hpss import FakeHpss
from xpcs_assets_tests import slurm
from xpcs_assets_tests.hpss import has_hpss_archive
from xpcs_assets_tests.unit.conftest import Altered, bare_run

RUN = "A001"
Done = TypeVar("Done")
PATIENCE_S = 60.0
pytestmark = pytest.mark.skipif(bool(slurm.why_missing()), reason=slurm.why_missing())


@pytest.fixture
def hpss(tmp_path: Path) -> FakeHpss:
    return FakeHpss.build(tmp_path / "bin")


@pytest.fixture
def beamline(site: Site, altered: Altered, hpss: FakeHpss) -> OpenBeamline:
    """A staged run at a beamline whose archive is reached by jobs in the queue ``regular``."""
    here = {"PYTHONPATH": str(Path(xpcs_assets.__file__).parent.parent)}
    changes = has_hpss_archive(site.home, hpss, programs=str(slurm.server().programs), environment=here)
    changes["places"]["tape"] |= {"queue": "regular", "walltime": "10 min", "wait": "30 s"}
    opened = altered(changes)
    bare_run(opened.source_root / RUN)
    (opened.source_root / RUN / "A001_big.imm").write_bytes(b"frames" * 5000)
    submit(opened, opened.source_root / RUN)
    take(opened, RUN)
    stage(opened, RUN)
    return opened


def test_a_run_goes_to_hpss_by_jobs_of_slurm_also_after_one_was_killed_and_a_file_of_it_comes_back(
    beamline: OpenBeamline, hpss: FakeHpss, tmp_path: Path
) -> None:
    until(lambda: met(beamline))
    hpss.go_wrong(kills=1)
    with pytest.raises(CopyError, match="ended without a report"):
        until(lambda: archive(beamline, RUN))
    vault = beamline.site.home / "hpss"
    assert list(vault.rglob("*.tar")) == []
    done = until(lambda: archive(beamline, RUN))
    (bundle,) = done.bundles
    assert (done.written, bundle.evidence) == (1, Evidence.READ_BACK)
    assert (vault / bundle.name).stat().st_size == bundle.size_bytes
    for folder in (beamline.source_root / RUN, beamline.staged(beamline.latest(RUN)).raw):
        for file in folder.iterdir():
            file.unlink()
    back = until(lambda: retrieve(beamline, RUN, ["A001.imm"], to=tmp_path / "one"))
    assert (back.missing, (tmp_path / "one" / "A001.imm").read_bytes()) == ({}, b"frames")
    assert len(hpss.said("htar -x")) == 1


def met(beamline: OpenBeamline) -> None:
    """Meet the archive; UnderWayError while the job that does it is not done yet."""
    why = beamline.place("tape").why_unavailable()
    if why:
        raise UnderWayError(why)


def until(do: Callable[[], Done]) -> Done:
    """Do something until its jobs are done."""
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return do()
        except UnderWayError:
            if time.monotonic() > give_up_s:
                raise
            time.sleep(0.2)
