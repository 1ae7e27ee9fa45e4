"""A command through a real Slurm: what it runs there is taken, a failure is told, and what is cancelled ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import xpcs_assets
from xpcs_assets.compute.remote import Remote
from xpcs_assets.compute.remote_follow import tick
from xpcs_assets.copies.ledger import BookedJob, JobState, Ledger
from xpcs_assets_tests import slurm
from xpcs_assets_tests.remote import KEY
from xpcs_assets_tests.unit.process.conftest import Farm, Farms

pytestmark = pytest.mark.skipif(bool(slurm.why_missing()), reason=slurm.why_missing())
_PATIENCE_S = 90.0
PROGRAM = """
import os, pathlib, sys, time
raw, output, target = sys.argv[1:]
print("at work in", os.environ["SLURM_JOB_NAME"], flush=True)
folder = str(pathlib.Path(output).parents[1])
if folder.endswith("broken"):
    sys.exit("no calibration")
if folder.endswith("long"):
    time.sleep(300)
pathlib.Path(output, "sum.txt").write_text(target)
"""


@pytest.fixture
def real(farms: Farms) -> Farm:
    """The same with the site's own back ends, and time that passes."""
    programs = str(slurm.server().programs)
    here = {"PYTHONPATH": str(Path(xpcs_assets.__file__).parents[1])}  # what is tested, whatever is installed
    times = {"every": "1 s", "settle": "5 s", "call": "15 s"}
    found = farms(PROGRAM, python=sys.executable, programs=programs, environment=here, **times)
    found.beamline.__dict__["ledger"] = Ledger(found.beamline.engine)
    found.remote = Remote.of(found.beamline)
    return found


def until(real: Farm, over: Callable[[list[BookedJob]], bool]) -> list[BookedJob]:
    """Tick until so; what is to be taken then."""
    give_up_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < give_up_s:
        told = tick(real.remote, 10.0)
        if over(told):
            return told
        time.sleep(0.3)
    raise AssertionError(f"not within {_PATIENCE_S} s: {real.jobs}")


def test_a_command_of_slurm_is_taken_a_failure_is_tried_again_and_a_cancelled_one_ends(real: Farm) -> None:
    job, broken, long = real.asked(), real.asked(f"{KEY}~broken"), real.asked(f"{KEY}~long")
    (over,) = until(real, bool)
    assert over.name == job.name
    done, _ = real.take(about=job.name)
    assert done is not None
    assert (real.beamline.root("made") / done.folder / "sum.txt").read_text() == "events"
    assert f"at work in {job.name}" in real.logged
    until(real, lambda _: real.job(broken.name).state is JobState.FAILED)
    assert "exit code 1; its last words: at work in" in real.job(broken.name).reason
    assert "no calibration" in real.job(broken.name).reason
    until(real, lambda _: real.job(long.name).state is JobState.RUNNING)
    real.remote.cancel(real.job(long.name), "not wanted")
    until(real, lambda _: real.job(long.name).state is JobState.CANCELLED)
