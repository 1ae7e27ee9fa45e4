"""Jobs through the Superfacility API: taken once, found by name, believed in nothing but their life."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.compute.sfapi import Sfapi
from xpcs_assets.errors import ComputeError, UnreachableError
from xpcs_assets.testing.sfapi_scheduler import Processes, RefusedError
from xpcs_assets.testing.sfapi_server import TOO_LONG, SfapiServer

pytest.importorskip("sfapi_client")

SLEEP = ("sleep", "100")
JOBS = "/compute/jobs"


@pytest.fixture
def slurm() -> Iterator[Processes]:
    made = Processes()
    yield made
    made.end_all()


@pytest.fixture
def server(slurm: Processes) -> Iterator[SfapiServer]:
    with SfapiServer(slurm) as made:
        yield made


def backend_of(server: SfapiServer, folder: Path, **changes: Any) -> Sfapi:
    return Sfapi("nersc", server.account(folder), **{"limit_s": 5.0, "poll_s": 0.01, **changes})


@pytest.fixture
def backend(server: SfapiServer, tmp_path: Path) -> Sfapi:
    return backend_of(server, tmp_path)


def asked(server: SfapiServer, method: str, path: str) -> int:
    return sum(one == method and path in target for one, target, _ in server.seen)


def end_of(backend: Sfapi, job_id: str) -> Seen:
    for _ in range(200):
        told = backend.poll([job_id])[job_id]
        if told.phase is Phase.ENDED:
            return told
        time.sleep(0.02)
    raise AssertionError(told)


def states(slurm: Processes) -> list[str]:
    return [row["state"] for row in slurm.accounting({"user": slurm.user})]


def test_what_sbatch_is_told_stands_in_the_script(backend: Sfapi, server: SfapiServer, slurm: Processes) -> None:
    told = Resources(600, 1, 2, 2**30, "m1234", "debug", ("--constraint=gpu",))
    job = Job("a-run", SLEEP, '/tmp/a "b"', resources=told)
    lines = backend._script(job).splitlines()
    assert lines[0] == "#!/bin/sh"
    told_lines = [line for line in lines if line.startswith("#SBATCH")]
    assert told_lines == lines[1 : 1 + len(told_lines)]  # Slurm reads none after the first command
    assert '#SBATCH "--chdir=/tmp/a \\"b\\""' in lines
    for option in ("time=10", "gpus=1", "nodes=2", "mem=1024M", "account=m1234", "qos=debug", "constraint=gpu"):
        assert f'#SBATCH "--{option}"' in lines


def test_a_job_that_cannot_be_told_to_the_service_is_refused(backend: Sfapi, server: SfapiServer) -> None:
    with pytest.raises(ComputeError, match="control character"):
        backend.submit(Job("a-run", SLEEP, "/tmp", resources=Resources(extra=("--comment=a\nb",))))
    with pytest.raises(ComputeError, match="no UTF-8"):
        backend.submit(Job("a-run", ("cat", "\udcff"), "/tmp"))
    assert server.seen == []


def test_a_submission_is_asked_for_once_though_the_client_repeats_what_fails(
    backend: Sfapi, server: SfapiServer, slurm: Processes, tmp_path: Path
) -> None:
    for fault in ("503", "reset after", "500 before"):
        server.faults.add("POST", JOBS, fault)
        with pytest.raises(UnreachableError):
            backend.submit(Job(f"a-run-{fault[:3]}", SLEEP, str(tmp_path)))
    assert asked(server, "POST", JOBS) == 3
    assert len(states(slurm)) == 1  # what gave no answer was taken


def test_a_job_that_was_taken_without_an_answer_is_found_by_its_name(
    backend: Sfapi, server: SfapiServer, slurm: Processes, tmp_path: Path
) -> None:
    server.faults.add("POST", JOBS, "reset after")
    with pytest.raises(UnreachableError, match="no answer"):
        backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    job_id = backend.find("a-run")
    assert job_id is not None
    assert backend.poll([job_id])[job_id].phase is Phase.RUNNING
    assert backend.find("a-ru") is None


@pytest.mark.parametrize("is_full", [True, False])
def test_of_a_job_that_was_taken_twice_the_newest_stays(
    backend: Sfapi, server: SfapiServer, slurm: Processes, tmp_path: Path, is_full: bool
) -> None:
    slurm.is_full = is_full
    server.takes_twice = 1
    job_id = backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    assert states(slurm) == ["CANCELLED by 1000", "PENDING" if is_full else "RUNNING"]
    assert slurm.accounting({"user": slurm.user})[1]["jobid"] == job_id == backend.find("a-run")


def test_of_a_job_that_was_taken_twice_without_an_answer_the_newest_stays(
    backend: Sfapi, server: SfapiServer, slurm: Processes, tmp_path: Path
) -> None:
    server.takes_twice = 1
    server.faults.add("POST", JOBS, "reset after")
    with pytest.raises(UnreachableError):
        backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    assert states(slurm) == ["RUNNING", "RUNNING"]
    assert backend.find("a-run") == slurm.accounting({"user": slurm.user})[1]["jobid"]
    assert states(slurm) == ["CANCELLED by 1000", "RUNNING"]


def test_an_ended_job_is_found_and_is_no_reason_to_end_another(
    backend: Sfapi, slurm: Processes, tmp_path: Path
) -> None:
    first = backend.submit(Job("a-run", ("true",), str(tmp_path)))
    end_of(backend, first)
    assert backend.find("a-run") == first
    second = backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    assert backend.find("a-run") == second != first
    assert states(slurm) == ["COMPLETED", "RUNNING"]


def test_a_task_that_takes_too_long_may_have_submitted_yet(server: SfapiServer, tmp_path: Path) -> None:
    server.task_s = 60.0
    with pytest.raises(UnreachableError, match="the task is new yet"):
        backend_of(server, tmp_path, limit_s=2.0).submit(Job("a-run", SLEEP, str(tmp_path)))
    assert backend_of(server, tmp_path).find("a-run") is not None


def test_many_jobs_are_asked_for_in_one_request_and_the_ended_in_another(
    backend: Sfapi, server: SfapiServer, slurm: Processes, tmp_path: Path
) -> None:
    ids = [backend.submit(Job(f"run-{number}", SLEEP, str(tmp_path))) for number in range(3)]
    slurm.end(ids[0], "NODE_FAIL")
    server.seen.clear()
    told = backend.poll([*ids, "99", ids[1]])
    assert [told[one].phase for one in (*ids, "99")] == [Phase.ENDED, Phase.RUNNING, Phase.RUNNING, Phase.FORGOTTEN]
    assert asked(server, "GET", JOBS) == 2
    assert told[ids[0]].is_lost
    assert backend.poll([]) == {}


@pytest.mark.parametrize(
    ("state", "code", "told"),
    [
        ("TIMEOUT", "0:0", Seen(Phase.ENDED, reason="TIMEOUT", is_too_big=True)),
        ("OUT_OF_MEMORY", "0:125", Seen(Phase.ENDED, reason="OUT_OF_MEMORY", is_too_big=True)),
        ("PREEMPTED", "0:0", Seen(Phase.ENDED, reason="PREEMPTED", is_lost=True)),
        ("CANCELLED by 0", "0:15", Seen(Phase.ENDED, reason="CANCELLED by 0", is_lost=True)),
        ("A_STATE_OF_TOMORROW", "0:0", Seen(Phase.RUNNING, reason="A_STATE_OF_TOMORROW")),
    ],
)
def test_how_a_job_ended_is_told_apart_and_a_new_state_breaks_nothing(
    backend: Sfapi, slurm: Processes, tmp_path: Path, state: str, code: str, told: Seen
) -> None:
    job_id = backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    slurm.end(job_id, state, code)
    assert backend.poll([job_id])[job_id] == told


def test_a_waiting_job_says_what_it_waits_for(backend: Sfapi, slurm: Processes, tmp_path: Path) -> None:
    slurm.is_full = True
    job_id = backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    assert backend.poll([job_id])[job_id] == Seen(Phase.WAITING, reason="Resources")
    assert backend.logs(job_id, Job("a-run", SLEEP, str(tmp_path))) == ""


def test_a_job_that_is_not_taken_is_refused_in_slurms_words(backend: Sfapi, tmp_path: Path) -> None:
    with pytest.raises(ComputeError, match=r"did not take job a-run: .*Invalid qos specification"):
        backend.submit(Job("a-run", SLEEP, str(tmp_path), resources=Resources(queue="no-such-queue")))


def test_a_scheduler_that_the_service_does_not_reach_is_silent(
    backend: Sfapi, slurm: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(_: object) -> list[dict[str, str]]:
        raise RefusedError("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")

    monkeypatch.setattr(slurm, "queue", down)
    with pytest.raises(UnreachableError, match="Unable to contact"):
        backend.poll(["1000"])


def test_a_log_with_any_bytes_is_shown_to_its_end(backend: Sfapi, tmp_path: Path) -> None:
    code = "import sys; sys.stdout.buffer.write(b'-' * 30000 + b'\\xff!')"
    job = Job("a-run", (sys.executable, "-c", code), str(tmp_path))
    job_id = backend.submit(job)
    end_of(backend, job_id)
    assert backend.logs(job_id, job) == "-" * 19_998 + "\ufffd!"


def test_a_token_that_ended_before_its_time_is_got_anew(
    backend: Sfapi, server: SfapiServer, slurm: Processes, tmp_path: Path
) -> None:
    server.faults.add("POST", JOBS, "401")
    job_id = backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    assert asked(server, "POST", "/token") == 2
    assert states(slurm) == ["RUNNING"]
    server.faults.add(".*", JOBS, "401", times=2)
    with pytest.raises(ComputeError, match="both are read anew"):
        backend.poll([job_id])


@pytest.mark.parametrize("fault", ["500 before", "502 of a proxy", "page of a proxy", "429"])
def test_a_service_that_is_not_itself_is_unreachable(backend: Sfapi, server: SfapiServer, fault: str) -> None:
    server.faults.add("GET", JOBS, fault)
    with pytest.raises(UnreachableError, match=r"nersc \(perlmutter, Superfacility API\)"):
        backend.poll(["1000"])


def test_what_is_only_read_is_asked_for_again_within_the_time_limit(server: SfapiServer, tmp_path: Path) -> None:
    server.faults.add("GET", JOBS, "503")
    assert backend_of(server, tmp_path, limit_s=15.0).poll(["99"]) == {"99": Seen(Phase.FORGOTTEN)}
    assert asked(server, "GET", JOBS) == 3


def test_a_service_that_is_down_is_unreachable_and_its_jobs_go_on(
    backend: Sfapi, server: SfapiServer, tmp_path: Path
) -> None:
    job_id = backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    with server.down():
        with pytest.raises(UnreachableError, match="no answer"):
            backend.poll([job_id])
        assert "no answer" in backend.why_unavailable()
    assert backend.poll([job_id])[job_id].phase is Phase.RUNNING


def test_a_machine_that_is_down_takes_no_jobs_and_a_degraded_one_does(backend: Sfapi, server: SfapiServer) -> None:
    assert backend.why_unavailable() == ""
    server.status = "degraded"
    assert backend.why_unavailable() == ""
    server.status = "unavailable"
    assert backend.why_unavailable() == "System is unavailable"


def test_an_account_that_may_not_is_refused_with_what_to_do(backend: Sfapi, server: SfapiServer) -> None:
    server.faults.add("POST", JOBS, "403")
    with pytest.raises(ComputeError, match="Make a client in Iris that may submit jobs"):
        backend.submit(Job("a-run", SLEEP, "/tmp"))
    server.faults.add("GET", "/account", "404")
    assert "HTTP 404" in backend.why_unavailable()


@pytest.mark.parametrize(
    ("method", "path", "fault"),
    [("GET", "/tasks/", "404"), ("GET", "/tasks/", "403"), ("GET", "/account", "403"), ("GET", JOBS, "404")],
)
def test_whatever_is_said_after_a_job_was_taken_is_no_refusal_of_it(
    backend: Sfapi, server: SfapiServer, slurm: Processes, tmp_path: Path, method: str, path: str, fault: str
) -> None:
    server.faults.add(method, path, fault)
    with pytest.raises(UnreachableError):
        backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    assert states(slurm) == ["RUNNING"]
    assert backend.find("a-run") is not None


@pytest.mark.parametrize(
    ("task", "error"),
    [
        ({"status": "failed", "result": None}, UnreachableError),
        ({"status": "cancelled", "result": None}, UnreachableError),
        ({"status": "completed", "result": '{"status": "ok"}'}, UnreachableError),
        ({"status": "completed", "result": "[]"}, UnreachableError),
        ({"status": "failed", "result": "sbatch: error: invalid account"}, ComputeError),
        ({"status": "completed", "result": '{"status": "error", "error": "connection refused"}'}, UnreachableError),
    ],
)
def test_a_task_without_an_id_or_a_reason_may_have_submitted(
    backend: Sfapi, server: SfapiServer, tmp_path: Path, task: dict[str, Any], error: type[Exception]
) -> None:
    server.tells = task
    with pytest.raises(error):
        backend.submit(Job("a-run", SLEEP, str(tmp_path)))


def test_a_job_that_ends_at_once_has_its_own_id_though_accounting_is_late(
    backend: Sfapi, slurm: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("a-run", ("true",), str(tmp_path))
    older = backend.submit(job)
    end_of(backend, older)
    monkeypatch.setattr(slurm, "queue", lambda _: [])
    rows = slurm.accounting({"jobid": older})
    monkeypatch.setattr(slurm, "accounting", lambda _: rows)
    assert backend.submit(job) == str(int(older) + 1)


def test_cancelling_what_has_ended_or_is_not_known_is_no_error(
    backend: Sfapi, slurm: Processes, tmp_path: Path
) -> None:
    job_id = backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    for _ in range(2):
        backend.cancel(job_id)
        assert backend.poll([job_id])[job_id] == Seen(Phase.ENDED, reason="CANCELLED by 1000")
    backend.cancel("99")


def test_a_job_that_cannot_be_ended_is_told(
    backend: Sfapi, slurm: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def may_not(_: str) -> None:
        raise RefusedError("scancel: error: Access/permission denied")

    job_id = backend.submit(Job("a-run", SLEEP, str(tmp_path)))
    monkeypatch.setattr(slurm, "cancel", may_not)
    with pytest.raises(ComputeError, match=rf"did not end job {job_id}: scancel: error: Access/permission denied"):
        backend.cancel(job_id)


def test_a_log_that_is_not_given_is_told_and_not_taken_for_an_empty_one(
    backend: Sfapi, slurm: Processes, tmp_path: Path
) -> None:
    job = Job("a-run", SLEEP, str(tmp_path))
    job_id = backend.submit(job)
    (tmp_path / "a-run.out").write_bytes(b"-" * (TOO_LONG + 1))
    with pytest.raises(ComputeError, match="does not give the log: the file is too long"):
        backend.logs(job_id, job)
