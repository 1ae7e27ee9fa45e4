"""Jobs at a Globus Compute endpoint: taken once, found by name, ended by a word, believed in nothing but their life."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.compute.globus_compute import FUNCTION, GlobusCompute, job_group, payload_of, source
from xpcs_assets.errors import ComputeError, UnreachableError
from xpcs_assets.testing.globus_compute_server import ASKER, ENDPOINT, ComputeTask, GlobusComputeServer

pytest.importorskip("globus_sdk")

SUBMIT = f"/v3/endpoints/{ENDPOINT}/submit"
PATIENCE_S = 60.0
SLEEPS = ("sleep", "600")


@pytest.fixture
def server() -> Iterator[GlobusComputeServer]:
    with GlobusComputeServer() as made:
        yield made
        made.stop_all()


@pytest.fixture
def backend(server: GlobusComputeServer, tmp_path: Path) -> GlobusCompute:
    return GlobusCompute("talc", server.account(tmp_path), ENDPOINT, str(tmp_path))


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    return lambda *words, name="a-run", **told: Job(name, words, str(tmp_path), **told)


def asked(server: GlobusComputeServer, path: str) -> int:
    return sum(one == path for _, one, _ in server.seen)


def end_of(backend: GlobusCompute, job_id: str) -> Seen:
    give_up_s = time.monotonic() + PATIENCE_S
    while (told := backend.poll([job_id])[job_id]).phase is not Phase.ENDED:
        assert time.monotonic() < give_up_s, told
        time.sleep(0.05)
    return told


def function() -> Any:
    """The function as an endpoint makes it: of its text alone."""
    space: dict[str, Any] = {}
    exec(source(), space)  # noqa: S102 - it is our own text
    return space[FUNCTION]


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended; nobody may have asked yet how it did."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(") ")[2][0] != "Z"


def test_a_call_is_packed_as_the_service_reads_it() -> None:
    told = {"é": 1}
    assert payload_of(told) == '18\n11\n[{"\\u00e9": 1}]5\n11\n{}'


def test_the_function_that_is_registered_knows_nothing_but_python() -> None:
    assert callable(function())
    assert "xpcs_assets." not in source()


def test_the_function_is_registered_once_and_anew_when_it_is_no_longer_known(
    server: GlobusComputeServer, backend: GlobusCompute, job: Callable[..., Job]
) -> None:
    for number in range(3):
        backend.submit(job("true", name=f"run-{number}"))
    assert (asked(server, "/v3/functions"), asked(server, SUBMIT)) == (1, 3)
    server.functions.clear()
    with pytest.raises(ComputeError, match="not allowed"):
        backend.submit(job("true", name="run-4"))
    assert end_of(backend, backend.submit(job("true", name="run-4"))).code == 0
    assert asked(server, "/v3/functions") == 2


def test_where_only_some_functions_are_allowed_the_one_that_is_named_runs(
    server: GlobusComputeServer, backend: GlobusCompute, job: Callable[..., Job]
) -> None:
    listed = "99999999-0000-4000-8000-000000000009"
    server.functions[listed] = {"function_name": FUNCTION, "function_code": source()}
    server.allowed = {listed}
    with pytest.raises(ComputeError, match="not allowed") as refused:
        backend.submit(job("true"))
    assert "Let the account use the endpoint" in refused.value.remedy
    assert end_of(backend, (named := replace(backend, function=listed)).submit(job("true"))).code == 0
    assert named.find("a-run") == backend.find("a-run")


def test_what_a_worker_is_made_with_is_told_as_the_site_spells_it(
    server: GlobusComputeServer, backend: GlobusCompute, job: Callable[..., Job]
) -> None:
    backend.submit(job("true", name="plain"))
    replace(backend, config={"account": "m1234", "walltime": "01:00:00"}).submit(job("true", name="told"))
    assert server.configs == [None, {"account": "m1234", "walltime": "01:00:00"}]


def test_a_name_that_is_taken_is_the_answer_and_no_second_task(
    server: GlobusComputeServer, backend: GlobusCompute, job: Callable[..., Job]
) -> None:
    first = backend.submit(job("true"))
    assert (backend.submit(job("true")), backend.find("a-run"), len(server.tasks)) == (first, first, 1)
    assert first == f"{job_group('a-run')}/{next(iter(server.tasks))}"


def test_of_two_tasks_of_a_moment_all_take_the_same(
    server: GlobusComputeServer, backend: GlobusCompute, job: Callable[..., Job]
) -> None:
    backend.submit(job("true"))
    (one,) = server.tasks.values()
    server.tasks["0"] = ComputeTask("0", one.group, one.call)
    assert backend.find("a-run") == backend.submit(job("true")) == f"{one.group}/0"


def test_a_job_waits_for_an_endpoint_that_is_down_and_runs_when_it_is_back(
    server: GlobusComputeServer, backend: GlobusCompute, job: Callable[..., Job]
) -> None:
    server.endpoint_status = "offline"
    assert backend.why_unavailable() == "the endpoint is offline"
    job_id = backend.submit(job("true"))
    assert backend.poll([job_id])[job_id] == Seen(Phase.WAITING, reason="waiting-for-ep")
    server.endpoint_status = "online"
    assert backend.why_unavailable() == ""
    assert end_of(backend, job_id).code == 0


def test_a_job_that_is_cancelled_while_it_waits_never_begins(
    server: GlobusComputeServer, backend: GlobusCompute, job: Callable[..., Job], tmp_path: Path
) -> None:
    server.endpoint_status = "offline"
    job_id = backend.submit(job("touch", "begun"))
    Path(tmp_path, f"{job_group('a-run')}.end").touch()  # what the task that ends it leaves, whichever is first
    server.endpoint_status = "online"
    assert end_of(backend, job_id) == Seen(Phase.ENDED, None, "cancelled")
    assert not (tmp_path / "begun").exists()


def test_one_that_runs_is_ended_with_what_it_started(
    backend: GlobusCompute, job: Callable[..., Job], tmp_path: Path
) -> None:
    job_id = backend.submit(job("sh", "-c", "sleep 600 & echo $!; wait"))
    give_up_s, output = time.monotonic() + PATIENCE_S, tmp_path / "a-run.out"
    while not output.exists() or not output.read_text():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
    sleeper = int(output.read_text())
    assert runs(sleeper)
    backend.cancel(job_id)
    assert end_of(backend, job_id) == Seen(Phase.ENDED, None, "cancelled")
    assert backend.logs(job_id, job()) == f"{sleeper}\n"
    assert not runs(sleeper)


def test_nothing_is_asked_for_to_end_what_has_ended(
    server: GlobusComputeServer, backend: GlobusCompute, job: Callable[..., Job]
) -> None:
    end_of(backend, job_id := backend.submit(job("true")))
    backend.cancel(job_id)
    assert asked(server, SUBMIT) == 1


def test_a_program_that_is_not_there_is_the_commands_fault(backend: GlobusCompute, job: Callable[..., Job]) -> None:
    job_id = backend.submit(job("no-such-program"))
    told = end_of(backend, job_id)
    assert (told.code, told.is_lost) == (127, False)
    assert "no-such-program" in backend.logs(job_id, job())


def test_a_worker_that_died_lost_the_job(
    server: GlobusComputeServer, backend: GlobusCompute, job: Callable[..., Job]
) -> None:
    job_id = backend.submit(job(*SLEEPS))
    server.lose()
    told = end_of(backend, job_id)
    assert (told.code, told.reason, told.is_lost) == (None, "ManagerLost: Task lost with its manager", True)
    assert "Task lost" in backend.logs(job_id, job())


@pytest.mark.parametrize("result", ["00\ngASVBAAAAA==", "11\nno JSON", "11\n[1]", "", '11\n{"code": "0"}'])
def test_an_answer_in_a_form_of_an_old_endpoint_is_an_end_and_no_success(
    server: GlobusComputeServer, backend: GlobusCompute, job: Callable[..., Job], result: str
) -> None:
    job_id = backend.submit(job("true"))
    end_of(backend, job_id)
    for task in server.tasks.values():
        task.said = {"status": "success", "result": result}
    assert backend.poll([job_id])[job_id] == Seen(Phase.ENDED, None, "success")
    assert backend.logs(job_id, job()) == ""


def test_time_that_a_site_gives_all_jobs_counts(backend: GlobusCompute, job: Callable[..., Job]) -> None:
    short = replace(backend, defaults=Resources(walltime_s=0.5))
    assert end_of(short, short.submit(job(*SLEEPS))) == Seen(Phase.ENDED, None, "walltime", is_too_big=True)


@pytest.mark.parametrize("fault", ["500 before", "429", "503", "reset", "page of a proxy", "502 of a proxy"])
def test_no_answer_is_no_refusal(
    server: GlobusComputeServer, backend: GlobusCompute, job: Callable[..., Job], fault: str
) -> None:
    backend.submit(job("true", name="first"))
    server.faults.add("POST", "/submit$", fault)
    with pytest.raises(UnreachableError, match=r"submit"):
        backend.submit(job("true"))
    assert (asked(server, SUBMIT), backend.find("a-run")) == (2, None)


def test_a_submission_whose_answer_is_lost_is_made_once_and_found(
    server: GlobusComputeServer, backend: GlobusCompute, job: Callable[..., Job]
) -> None:
    server.faults.add("POST", "/submit$", "500 after")
    with pytest.raises(UnreachableError):
        backend.submit(job("true"))
    (task,) = server.tasks
    assert backend.submit(job("true")) == f"{job_group('a-run')}/{task}"
    assert len(server.tasks) == 1


def test_a_log_in_that_fails_is_told_apart_from_one_that_is_not_answered(
    server: GlobusComputeServer, backend: GlobusCompute, tmp_path: Path
) -> None:
    assert "no JSON" not in backend.why_unavailable()
    server.faults.add("POST", "/token$", "503")
    with pytest.raises(UnreachableError, match="log-in"):
        backend.find("a-run")
    (tmp_path / "globus-compute").write_text("another secret", encoding="utf-8")
    with pytest.raises(ComputeError, match="log-in") as refused:
        backend.find("a-run")
    assert "secret" in refused.value.remedy
    told = json.dumps([str(refused.value), repr(refused.value), repr(backend)])
    assert ASKER.secret not in told
    assert "another secret" not in told


def test_the_function_ends_a_command_by_itself_in_any_python(tmp_path: Path) -> None:
    told = {"stop": str(tmp_path / "stop"), "output": str(tmp_path / "out"), "folder": str(tmp_path)}
    words = [sys.executable, "-c", "import os; print(os.environ['A'], flush=True); import time; time.sleep(600)"]
    answer = function()(told | {"words": words, "environment": {"A": "é"}, "walltime_s": 3.0})
    assert answer == {"code": None, "ended": "walltime", "log": "é\n"}
    function()(told | {"end": True})
    again = function()(told | {"words": words, "environment": {}, "walltime_s": 3.0})
    assert again == {"code": None, "ended": "cancelled", "log": ""}
