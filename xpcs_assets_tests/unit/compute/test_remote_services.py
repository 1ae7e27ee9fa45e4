"""Analyses through services: what a cluster or NERSC runs is the worker, and its result is taken."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.compute.remote import Remote
from xpcs_assets.compute.remote_follow import tick
from xpcs_assets.copies.ledger import BookedJob, JobState, Ledger
from xpcs_assets.testing.globus_compute_server import ENDPOINT, GlobusComputeServer
from xpcs_assets.testing.kube_server import NAMESPACE, KubeServer
from xpcs_assets.testing.sfapi_scheduler import Processes
from xpcs_assets.testing.sfapi_server import CLIENT_ID, SfapiServer
from xpcs_assets_tests.unit.compute.conftest import Clusters

_PATIENCE_S = 120.0


@pytest.fixture(params=["kubernetes", "sfapi", "globus-compute"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What the site file says of a service that runs here."""
    if request.param == "kubernetes":
        pytest.importorskip("kubernetes")
        with KubeServer() as cluster:
            account = str(cluster.kubeconfig(tmp_path))
            yield {"kind": "kubernetes", "namespace": NAMESPACE, "image": "worker:1", "kubeconfig": account}
        return
    if request.param == "globus-compute":
        pytest.importorskip("globus_sdk")
        with GlobusComputeServer() as endpoint:
            asker = endpoint.account(tmp_path)
            told = {"client_id": asker.client_id, "client_secret": {"file": str(tmp_path / "globus-compute")}}
            yield {
                "kind": "globus-compute",
                "endpoint": ENDPOINT,
                "url": endpoint.url,
                "auth_url": endpoint.url,
                **told,
            }
            endpoint.stop_all()
        return
    pytest.importorskip("sfapi_client")
    jobs = Processes()
    with SfapiServer(jobs) as service:
        account = service.account(tmp_path)
        told = {"url": account.api_url, "token_url": account.token_url, "task": "0.05 s"}
        yield {"kind": "sfapi", "client_id": CLIENT_ID, "key": account.key_file, **told}
    jobs.end_all()


def test_a_result_of_a_service_is_taken(clusters: Clusters, backend: dict[str, Any]) -> None:
    compiled = {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))}
    found = clusters(**backend, python=sys.executable, environment=compiled, every="1 s", settle="5 s", call="15 s")
    found.beamline.__dict__["ledger"] = Ledger(found.beamline.engine)  # time passes here
    found.remote = Remote.of(found.beamline)

    job = found.asked()
    assert (job.state, bool(job.backend_id)) == (JobState.SUBMITTED, True)
    taken: list[BookedJob] = []
    give_up_s = time.monotonic() + _PATIENCE_S
    while not taken:
        assert time.monotonic() < give_up_s, found.jobs
        time.sleep(0.5)
        taken = tick(found.remote, 10.0)
    done, _ = found.take(about=taken[0].name)
    assert done is not None
    assert (done.report["reused"], found.states()) == (False, [JobState.DONE])
