"""What every kind of back end must do, and what it must answer while nobody answers it."""

from __future__ import annotations

import json
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xpcs_assets.compute.backend import Backend, Job, Phase, Resources, Seen
from xpcs_assets.errors import ComputeError, UnreachableError
from xpcs_assets_tests.contract.backend_kinds import KINDS, BackendKind, Opened, SfapiOnSlurmKind, SlurmKind

ODD = (
    *("a b", "it's", '"q"', "", "line\nbreak", "dos\r\nbreak", "$HOME `id` $(id)"),
    *("é∂😀", "back\\slash", "#SBATCH -x", "*"),
)
WAITS = ("sh", "-c", "until [ -e over ]; do sleep 0.1; done")
TELL = (sys.executable, "-c", "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ.get('ODD')]))")
PATIENCE_S = 60.0


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> BackendKind:
    kind = KINDS[request.param]
    if why := kind.why_missing():
        pytest.skip(why)
    return kind


@pytest.fixture
def opened(kind: BackendKind, tmp_path: Path) -> Iterator[Opened]:
    with kind.open(tmp_path / "state") as opened:
        yield opened


@pytest.fixture
def backend(opened: Opened) -> Backend:
    return opened.backend


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    """A job of its own folder, by its command; its name is like no other's."""
    (tmp_path / "work").mkdir()
    unique = uuid.uuid4().hex

    def made(*words: str, name: str = "A001", **told: object) -> Job:
        return Job(f"{name}.{unique}", words, str(tmp_path / "work"), **told)  # type: ignore[arg-type]

    return made


def settled(backend: Backend, job_id: str, *phases: Phase) -> Seen:
    """What is said of a job once it is in one of these phases."""
    give_up_s = time.monotonic() + PATIENCE_S
    while (seen := backend.poll([job_id])[job_id]).phase not in phases:
        assert time.monotonic() < give_up_s, seen
        time.sleep(0.1)
    return seen


def found_at_last(backend: Backend, name: str) -> str | None:
    """The id of a job that has ended, once it is known by its name."""
    give_up_s = time.monotonic() + PATIENCE_S
    while (found := backend.find(name)) is None and time.monotonic() < give_up_s:
        time.sleep(0.2)
    return found


def test_a_job_is_found_by_its_whole_name_from_its_submission_to_after_its_end(
    backend: Backend, job: Callable[..., Job]
) -> None:
    long, short = job(*WAITS, name="run-600"), job(*WAITS, name="run-60")
    assert backend.find(short.name) is None
    long_id = backend.submit(long)
    assert (backend.find(short.name), backend.find(long.name), backend.find(long.name[:-1])) == (None, long_id, None)
    (Path(long.folder) / "over").touch()
    assert settled(backend, long_id, Phase.ENDED).code == 0
    (Path(long.folder) / "over").unlink()
    short_id = backend.submit(short)
    assert backend.find(short.name) == short_id
    # Slurm's accounting knows an ended job by its name a second or two later than by its id, and so does a service
    # that only tells what is accounted for.
    assert found_at_last(backend, long.name) == long_id
    backend.cancel(short_id)


def test_the_newest_of_a_name_is_found(opened: Opened, job: Callable[..., Job]) -> None:
    backend, twice = opened.backend, job(*WAITS)
    first, second = backend.submit(twice), backend.submit(twice)
    assert (first == second) is opened.has_names
    assert backend.find(twice.name) == second
    (Path(twice.folder) / "over").touch()


def test_a_job_that_is_not_known_is_forgotten(opened: Opened, job: Callable[..., Job]) -> None:
    backend = opened.backend
    assert backend.poll([]) == {}
    known = backend.submit(job("true"))
    seen = backend.poll(iter([opened.unknown_id, known]))
    assert set(seen) == {opened.unknown_id, known}
    assert seen[opened.unknown_id].phase is Phase.FORGOTTEN
    assert seen[known].phase is not Phase.FORGOTTEN
    assert backend.poll([opened.unknown_id])[opened.unknown_id].phase is Phase.FORGOTTEN


def test_the_exit_code_is_the_commands_own(backend: Backend, job: Callable[..., Job]) -> None:
    jobs = {0: job("true", name="good"), 3: job("sh", "-c", "echo no >&2; exit 3", name="bad")}
    ids = {code: backend.submit(one) for code, one in jobs.items()}
    assert {code: settled(backend, one, Phase.ENDED).code for code, one in ids.items()} == {0: 0, 3: 3}
    assert [backend.logs(ids[code], jobs[code]) for code in jobs] == ["", "no\n"]


def test_a_command_that_is_killed_from_outside_is_too_big_and_no_success(
    backend: Backend, job: Callable[..., Job]
) -> None:
    seen = settled(backend, backend.submit(job("sh", "-c", "kill -9 $$")), Phase.ENDED)
    assert (seen.code in {-signal.SIGKILL, 128 + signal.SIGKILL}, seen.is_too_big, seen.is_lost) == (True, True, False)


def test_words_and_variables_of_all_kinds_reach_the_command(backend: Backend, job: Callable[..., Job]) -> None:
    odd = job(*TELL, *ODD, environment={"ODD": "\n".join(ODD)})
    job_id = backend.submit(odd)
    assert settled(backend, job_id, Phase.ENDED).code == 0
    assert json.loads(backend.logs(job_id, odd)) == [list(ODD), "\n".join(ODD)]


def test_a_job_runs_in_its_folder_and_its_log_ends_with_its_last_words(opened: Opened, job: Callable[..., Job]) -> None:
    backend = opened.backend
    lasts = "sleep 600" if opened.tells_while_running else "true"
    talks = job("sh", "-c", f"pwd -P | tee at; seq 100000; echo the end >&2; {lasts}")
    job_id = backend.submit(talks)
    give_up_s = time.monotonic() + PATIENCE_S
    while not (log := backend.logs(job_id, talks)).endswith("\nthe end\n"):
        assert time.monotonic() < give_up_s, log[-100:]
        time.sleep(0.1)
    assert len(log) < 100_000
    assert (Path(talks.folder) / "at").read_text().splitlines() == [talks.folder]
    if opened.leaves_file:
        assert (Path(talks.folder) / f"{talks.name}.out").read_text().splitlines()[0] == talks.folder
    is_over = backend.poll([job_id])[job_id].phase is Phase.ENDED
    assert is_over is not opened.tells_while_running
    backend.cancel(job_id)


def test_a_job_is_cancelled_once_or_more_and_is_no_success(opened: Opened, job: Callable[..., Job]) -> None:
    backend = opened.backend
    job_id = backend.submit(job("sleep", "600"))
    settled(backend, job_id, Phase.RUNNING)
    backend.cancel(job_id)
    backend.cancel(job_id)
    seen = settled(backend, job_id, Phase.ENDED, Phase.FORGOTTEN)
    assert (seen.code, seen.is_too_big) == (None, False)
    backend.cancel(job_id)
    backend.cancel(opened.unknown_id)


def test_what_no_job_can_be_called_is_refused_before_it_is_submitted(backend: Backend, job: Callable[..., Job]) -> None:
    good = job("true")
    for name in ("", "a b", "-x", "é", "a" * 101, "a\n"):
        with pytest.raises(ComputeError, match="no name for a job"):
            backend.submit(Job(name, good.words, good.folder))
    for environment in ({"A B": "x"}, {"A": "x\0"}):
        with pytest.raises(ComputeError, match="variable"):
            backend.submit(Job(good.name, good.words, good.folder, environment))
    with pytest.raises(ComputeError, match="no command"):
        backend.submit(Job(good.name, (), good.folder))
    with pytest.raises(ComputeError, match="no folder"):
        backend.submit(Job(good.name, good.words, "relative"))
    assert backend.find(good.name) is None


def test_a_job_that_runs_longer_than_it_asked_for_is_too_big(
    kind: BackendKind, backend: Backend, job: Callable[..., Job]
) -> None:
    if isinstance(kind, SlurmKind | SfapiOnSlurmKind):
        pytest.skip("a minute is Slurm's shortest time; see the recorded answers")
    job_id = backend.submit(job("sleep", "600", resources=Resources(walltime_s=1)))
    seen = settled(backend, job_id, Phase.ENDED)
    assert (seen.code, seen.is_too_big, seen.is_lost) == (None, True, False)


def test_silence_is_never_taken_for_an_answer(kind: BackendKind, opened: Opened, job: Callable[..., Job]) -> None:
    backend, unseen = opened.backend, job("true", name="unseen")
    assert backend.why_unavailable() == ""
    job_id = backend.submit(going := job("sleep", "600"))
    with kind.silent(opened):
        assert backend.why_unavailable()
        for call in (
            lambda: backend.submit(unseen),
            lambda: backend.find(going.name),
            lambda: backend.poll([job_id]),
            lambda: backend.poll([opened.unknown_id]),
            lambda: backend.cancel(job_id),
        ):
            with pytest.raises(UnreachableError):
                call()
    assert (backend.find(unseen.name), backend.find(going.name)) == (None, job_id)
    assert backend.poll([job_id])[job_id].phase in {Phase.WAITING, Phase.RUNNING}
    backend.cancel(job_id)


def test_a_job_whose_taking_was_not_heard_of_is_found_and_ran_once(
    kind: BackendKind, opened: Opened, job: Callable[..., Job]
) -> None:
    taken = job("sh", "-c", "echo ran >> ran")
    with kind.loses_answers(opened) as deaf, pytest.raises(UnreachableError):
        deaf.submit(taken)
    found = opened.backend.find(taken.name)
    assert found is not None
    assert settled(opened.backend, found, Phase.ENDED).code == 0
    assert (Path(taken.folder) / "ran").read_text() == "ran\n"
