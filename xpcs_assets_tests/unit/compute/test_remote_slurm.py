"""Analyses through a real Slurm: what it runs is the worker, and what it says of its jobs is what is acted on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest

from xpcs_assets.compute.remote import Remote
from xpcs_assets.compute.remote_follow import tick
from xpcs_assets.copies.ledger import BookedJob, JobState, Ledger
from xpcs_assets.errors import ComputeError
from xpcs_assets_tests import slurm
from xpcs_assets_tests.remote import Cluster
from xpcs_assets_tests.unit.compute.conftest import Clusters

pytestmark = pytest.mark.skipif(bool(slurm.why_missing()), reason=slurm.why_missing())
_PATIENCE_S = 90.0


@pytest.fixture
def real(clusters: Clusters) -> Cluster:
    """The same with the site's own back ends, and time that passes."""
    found = clusters(
        python=sys.executable, programs=str(slurm.server().programs), every="1 s", settle="5 s", call="15 s"
    )
    found.beamline.__dict__["ledger"] = Ledger(found.beamline.engine)
    found.remote = Remote.of(found.beamline)
    return found


def until(real: Cluster, over: Callable[[list[BookedJob]], bool]) -> list[BookedJob]:
    """Tick until so; what is to be taken then."""
    for _ in range(int(_PATIENCE_S)):
        taken = tick(real.remote, 10.0)
        if over(taken):
            return taken
        time.sleep(1)
    raise AssertionError(f"not within {_PATIENCE_S} s: {real.jobs}")


def test_a_result_of_slurm_is_taken_a_failure_is_told_and_a_cancelled_job_ends(real: Cluster) -> None:
    job = real.asked()
    assert (job.state, job.backend_id.isdecimal()) == (JobState.SUBMITTED, True)
    (over,) = until(real, bool)
    done, _ = real.take(about=over.name)
    assert done is not None
    assert (done.report["reused"], real.states()) == (False, [JobState.DONE])
    assert done.report["result_digest"] == real.beamline.result("A001").result_digest

    waits = real.asked("A001~cancelled", stride=2)
    real.remote.cancel(waits, "not wanted")
    until(real, lambda _: real.job(waits.name).state is JobState.CANCELLED)

    for raw in done.inputs.raw:
        raw.chmod(0o644)
        raw.write_bytes(raw.read_bytes()[:-100])
    real.asked("A001~truncated", stride=3)
    (parked,) = until(real, bool)
    assert parked.state is JobState.PARKED
    with pytest.raises(ComputeError, match=r"given up after 1 attempts: .*A001\.imm"):
        real.take("A001~truncated", about=parked.name, stride=3)
