"""Jobs on a Kubernetes cluster: created once, seen as they are, ended, and every refusal told apart from silence."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.compute.kubernetes import KubernetesBackend
from xpcs_assets.compute.kubernetes_job import Template, job_name
from xpcs_assets.errors import ComputeError, SettingsError, UnreachableError
from xpcs_assets.testing.kube_server import NAMESPACE, KubeServer

pytest.importorskip("kubernetes")

SLEEP = ("sleep", "100")
JOBS = "/jobs"


@pytest.fixture
def server() -> Iterator[KubeServer]:
    with KubeServer() as made:
        yield made


def backend_of(server: KubeServer, folder: Path, **changes: Any) -> KubernetesBackend:
    asked: dict[str, Any] = {"limit_s": 5.0, "kubeconfig": str(server.kubeconfig(folder)), **changes}
    return KubernetesBackend("cluster", asked.pop("namespace", NAMESPACE), Template("worker:1"), **asked)


@pytest.fixture
def backend(server: KubeServer, tmp_path: Path) -> KubernetesBackend:
    return backend_of(server, tmp_path)


def python(folder: Path, code: str, **changes: Any) -> Job:
    return Job(changes.pop("name", "a-run"), (sys.executable, "-c", code), str(folder), **changes)


def end_of(backend: KubernetesBackend, job_id: str) -> Seen:
    """What is said of a job that has left the states of waiting and running."""
    for _ in range(400):
        told = backend.poll([job_id])[job_id]
        if told.phase not in (Phase.WAITING, Phase.RUNNING):
            return told
        time.sleep(0.02)
    raise AssertionError(told)


def created(server: KubeServer) -> int:
    return sum(method == "POST" and status in (0, 201) for method, _, status in server.seen)


def test_a_job_runs_with_its_words_folder_and_environment(backend: KubernetesBackend, tmp_path: Path) -> None:
    code = "import os, pathlib; pathlib.Path('made').write_text(os.environ['A'] + os.environ['HOME']); print('done;')"
    job = python(tmp_path, code, environment={"A": "b c "})
    job_id = backend.submit(job)
    assert end_of(backend, job_id) == Seen(Phase.ENDED, code=0, reason="Complete")
    assert (tmp_path / "made").read_text() == "b c /tmp"
    assert backend.logs(job_id, job) == "done;\n"


def test_a_job_that_fails_has_its_exit_code_and_is_neither_lost_nor_too_big(
    backend: KubernetesBackend, tmp_path: Path
) -> None:
    job_id = backend.submit(python(tmp_path, "raise SystemExit(3)"))
    assert end_of(backend, job_id) == Seen(Phase.ENDED, code=3, reason="Error")


def test_a_command_that_is_not_there_ends_with_its_reason(backend: KubernetesBackend, tmp_path: Path) -> None:
    told = end_of(backend, backend.submit(Job("a-run", ("no-such-program",), str(tmp_path))))
    assert told == Seen(Phase.ENDED, code=128, reason="StartError")


def test_a_job_that_is_submitted_twice_stands_once(
    server: KubeServer, backend: KubernetesBackend, tmp_path: Path
) -> None:
    job = Job("a-run", SLEEP, str(tmp_path))
    assert backend.submit(job) == backend.submit(job) == backend.find("a-run")
    assert len(server.jobs) == 1


def test_a_job_whose_creation_gave_no_answer_is_found(
    server: KubeServer, backend: KubernetesBackend, tmp_path: Path
) -> None:
    server.faults.add("POST", JOBS, "reset after")
    job = Job("a-run", SLEEP, str(tmp_path))
    with pytest.raises(UnreachableError, match="submit: no answer"):
        backend.submit(job)
    assert created(server) == 1  # the client made no second request by itself
    job_id = backend.find("a-run")
    assert job_id is not None
    assert backend.submit(job) == job_id
    assert backend.poll([job_id])[job_id].phase is Phase.RUNNING


def test_names_that_differ_in_what_a_cluster_cannot_say_are_two_jobs(
    server: KubeServer, backend: KubernetesBackend, tmp_path: Path
) -> None:
    ids = {backend.submit(Job(name, SLEEP, str(tmp_path))) for name in ("Run_1.a", "run-1-a", "r" * 100, "r" * 99)}
    assert len(ids) == len(server.jobs) == 4
    assert backend.find("run_1-a") is None


def test_the_job_of_another_under_our_name_is_not_taken_for_ours(
    server: KubeServer, backend: KubernetesBackend, tmp_path: Path
) -> None:
    job_id = backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    server.jobs[job_id]["metadata"]["annotations"]["xpcs-assets/name"] = "another"
    with pytest.raises(ComputeError, match=r"the Job is another's"):
        backend.find("a-run")


def test_many_jobs_are_asked_for_in_two_requests(
    server: KubeServer, backend: KubernetesBackend, tmp_path: Path
) -> None:
    ids = [backend.submit(Job(f"run-{number}", SLEEP, str(tmp_path))) for number in range(3)]
    server.seen.clear()
    told = backend.poll([*ids, job_name("never"), ids[0]])
    assert [told[job_id].phase for job_id in ids] == [Phase.RUNNING] * 3
    assert told[job_name("never")] == Seen(Phase.FORGOTTEN)
    assert len(server.seen) == 2
    assert backend.poll([]) == {}


def test_more_jobs_than_fit_in_one_request_are_all_told_of(
    server: KubeServer, backend: KubernetesBackend, tmp_path: Path
) -> None:
    job_id = backend.submit(Job("last", SLEEP, str(tmp_path)))
    told = backend.poll([*(job_name(f"never-{number}") for number in range(150)), job_id])
    assert len(told) == 151
    assert told[job_id].phase is Phase.RUNNING


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("OOMKilled", Seen(Phase.ENDED, code=137, reason="OOMKilled", is_too_big=True)),
        ("DeadlineExceeded", Seen(Phase.ENDED, reason="DeadlineExceeded", is_too_big=True)),
        ("Evicted", Seen(Phase.ENDED, reason="Evicted", is_lost=True)),
        ("Preempted", Seen(Phase.ENDED, reason="PreemptionByScheduler", is_lost=True)),
        ("taken away", Seen(Phase.ENDED, reason="BackoffLimitExceeded: its pod is gone", is_lost=True)),
    ],
)
def test_what_ends_a_job_from_outside_is_told_apart(
    server: KubeServer, backend: KubernetesBackend, tmp_path: Path, how: str, told: Seen
) -> None:
    job_id = backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    server.end_pod(job_id, how)
    assert backend.poll([job_id])[job_id] == told


def test_a_job_that_takes_longer_than_its_time_is_ended(backend: KubernetesBackend, tmp_path: Path) -> None:
    job_id = backend.submit(Job("a-run", SLEEP, str(tmp_path), resources=Resources(walltime_s=0.2)))
    assert end_of(backend, job_id) == Seen(Phase.ENDED, reason="DeadlineExceeded", is_too_big=True)


def test_a_job_waits_for_a_gpu_and_says_so(tmp_path: Path) -> None:
    with KubeServer(gpus=1) as server:
        backend = backend_of(server, tmp_path)
        ids = [backend.submit(Job(f"gpu-{n}", SLEEP, str(tmp_path), resources=Resources(gpus=n))) for n in (1, 2)]
        told = backend.poll(ids)
        assert told[ids[0]].phase is Phase.RUNNING
        assert told[ids[1]] == Seen(Phase.WAITING, reason=told[ids[1]].reason)
        assert "Insufficient nvidia.com/gpu" in told[ids[1]].reason
        assert backend.logs(ids[1], Job("gpu-2", SLEEP, str(tmp_path))) == ""
        backend.cancel(ids[1])
        assert end_of(backend, ids[1]) == Seen(Phase.FORGOTTEN)


def test_a_cancelled_job_is_running_until_its_pod_is_gone_and_its_name_is_taken(
    backend: KubernetesBackend, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    code = (
        "import signal, time, pathlib; signal.signal(signal.SIGTERM, lambda *_: time.sleep(0.5) or exit(0));"
        "pathlib.Path('ready').touch(); time.sleep(100)"
    )
    job = python(tmp_path, code)
    job_id = backend.submit(job)
    while not ready.exists():
        time.sleep(0.02)
    backend.cancel(job_id)
    assert backend.poll([job_id])[job_id] == Seen(Phase.RUNNING, reason="it is being deleted")
    with pytest.raises(ComputeError, match="is being deleted"):
        backend.submit(job)
    assert end_of(backend, job_id) == Seen(Phase.FORGOTTEN)
    backend.cancel(job_id)
    assert backend.find("a-run") is None


def test_cancelling_what_has_ended_keeps_it_and_its_log(backend: KubernetesBackend, tmp_path: Path) -> None:
    job = python(tmp_path, "print('kept')")
    job_id = backend.submit(job)
    told = end_of(backend, job_id)
    backend.cancel(job_id)
    assert backend.poll([job_id])[job_id] == told
    assert backend.logs(job_id, job) == "kept\n"


def test_a_job_that_is_removed_after_its_time_is_forgotten(
    server: KubeServer, backend: KubernetesBackend, tmp_path: Path
) -> None:
    job = python(tmp_path, "")
    job_id = backend.submit(job)
    end_of(backend, job_id)
    server.forget(job_id)
    assert backend.poll([job_id]) == {job_id: Seen(Phase.FORGOTTEN)}
    assert backend.logs(job_id, job) == ""


def test_the_end_of_a_long_log_is_shown_whatever_its_bytes(backend: KubernetesBackend, tmp_path: Path) -> None:
    code = (
        "import sys\nfor n in range(300): print(n, '-' * 200)\nsys.stdout.flush(); sys.stdout.buffer.write(b'\\xff!')"
    )
    job = python(tmp_path, code)
    job_id = backend.submit(job)
    end_of(backend, job_id)
    told = backend.logs(job_id, job)
    assert told.endswith("\ufffd!")
    assert len(told) == 20_000


def test_a_cluster_that_is_there_takes_jobs_and_creates_none_to_say_so(
    server: KubeServer, backend: KubernetesBackend
) -> None:
    assert backend.why_unavailable() == ""
    assert server.jobs == {}


@pytest.mark.parametrize("fault", ["503", "500 before", "429", "reset", "502 of a proxy"])
def test_a_cluster_that_does_not_answer_is_unreachable(
    server: KubeServer, backend: KubernetesBackend, fault: str
) -> None:
    server.faults.add(".*", JOBS, fault, times=2)
    with pytest.raises(UnreachableError, match=r"cluster \(Kubernetes"):
        backend.poll([job_name("a-run")])
    assert "submit" in backend.why_unavailable()


def test_a_cluster_that_says_nothing_is_waited_for_no_longer_than_the_limit(server: KubeServer, tmp_path: Path) -> None:
    server.faults.add("GET", JOBS, "time-out before")
    before = time.monotonic()
    with pytest.raises(UnreachableError, match="ReadTimeoutError"):
        backend_of(server, tmp_path, limit_s=0.3).find("a-run")
    assert time.monotonic() - before < 10


def test_a_cluster_that_is_down_is_unreachable_and_its_jobs_go_on(
    server: KubeServer, backend: KubernetesBackend, tmp_path: Path
) -> None:
    job_id = backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    with server.down(), pytest.raises(UnreachableError, match="no answer"):
        backend.poll([job_id])
    assert backend.poll([job_id])[job_id].phase is Phase.RUNNING


def test_a_refusal_says_what_is_not_allowed_and_what_to_do(
    server: KubeServer, backend: KubernetesBackend, tmp_path: Path
) -> None:
    server.forbidden.add(("create", "jobs"))
    with pytest.raises(ComputeError, match=r'cannot create resource "jobs".*Give the account a Role'):
        backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    assert "cannot create" in backend.why_unavailable()


def test_a_namespace_that_is_not_there_is_refused(server: KubeServer, tmp_path: Path) -> None:
    assert "such a namespace" in backend_of(server, tmp_path, namespace="none").why_unavailable()


def test_a_token_that_is_no_longer_good_is_refused_without_being_told(
    server: KubeServer, backend: KubernetesBackend, tmp_path: Path
) -> None:
    server.tokens.expire()
    with pytest.raises(ComputeError, match="Give the account a good token") as caught:
        backend.find("a-run")
    assert "eyJ" not in repr(caught.value) + repr(backend)
    assert caught.value.__cause__ is None
    server.kubeconfig(tmp_path)  # read anew for each request
    assert backend.find("a-run") is None


def test_without_an_account_the_setting_is_named(tmp_path: Path) -> None:
    missing = KubernetesBackend("cluster", NAMESPACE, Template("worker:1"), kubeconfig=str(tmp_path / "none"))
    with pytest.raises(SettingsError, match="there is no account for the cluster"):
        missing.find("a-run")
    outside = KubernetesBackend("cluster", NAMESPACE, Template("worker:1"))
    with pytest.raises(SettingsError, match="compute: cluster"):
        outside.find("a-run")


def test_without_the_client_the_extra_to_install_is_named(
    backend: KubernetesBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(SettingsError, match=r"pip install 'xpcs-assets\[kubernetes\]'"):
        backend.find("a-run")


def test_the_page_of_a_proxy_is_no_answer(server: KubeServer, backend: KubernetesBackend, tmp_path: Path) -> None:
    calls = (
        lambda: backend.submit(Job("a-run", SLEEP, str(tmp_path))),
        lambda: backend.find("a-run"),
        lambda: backend.poll([job_name("a-run")]),
    )
    for call in calls:
        server.faults.add(".*", JOBS, "page of a proxy")
        with pytest.raises(UnreachableError, match="the answer is not the cluster's"):
            call()


def test_a_job_that_the_namespace_gives_no_pod_waits_and_says_where_to_look(
    server: KubeServer, backend: KubernetesBackend, tmp_path: Path
) -> None:
    volume = {"name": "data", "hostPath": {"path": "/data"}}
    unsafe = replace(backend, template=replace(backend.template, volumes=(volume,)))
    job_id = unsafe.submit(Job("a-run", SLEEP, str(tmp_path)))
    assert unsafe.poll([job_id])[job_id] == Seen(Phase.WAITING, reason="it has no pod yet; its events say why")
    unsafe.cancel(job_id)
    assert end_of(unsafe, job_id) == Seen(Phase.FORGOTTEN)
