"""Slurm: answers that were recorded, and a real one where a job's life is not enough told by the contract."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from xpcs_assets.commands import Answer, Commands
from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.compute.slurm import Slurm
from xpcs_assets.errors import ComputeError, UnreachableError
from xpcs_assets_tests import slurm, sshd
from xpcs_assets_tests.unit.compute.recorded import Recorded, out

NO_ACCOUNTING = out("", 1, "Slurm accounting storage is disabled")
ACCOUNTING_DOWN = out("", 1, "sacct: error: Problem talking to the database: Connection refused")
CONTROLLER_DOWN = out("", 1, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
UNKNOWN = out("", 1, "slurm_load_jobs error: Invalid job id specified")


def polled(**answers: Answer) -> Seen:
    """What is said of job 7 by these answers."""
    return Slurm("hpc", Recorded(answers)).poll(["7"])["7"]


@pytest.mark.parametrize(
    ("state", "exit_code", "expected"),
    [
        ("COMPLETED", "0:0", Seen(Phase.ENDED, 0, "COMPLETED")),
        ("FAILED", "3:0", Seen(Phase.ENDED, 3, "FAILED")),
        ("FAILED", "0:11", Seen(Phase.ENDED, -11, "FAILED")),
        ("FAILED", "0:9", Seen(Phase.ENDED, -9, "FAILED", is_too_big=True)),
        ("FAILED", "0:0", Seen(Phase.ENDED, None, "FAILED")),
        ("TIMEOUT", "0:0", Seen(Phase.ENDED, None, "TIMEOUT", is_too_big=True)),
        ("OUT_OF_MEMORY", "0:125", Seen(Phase.ENDED, None, "OUT_OF_MEMORY", is_too_big=True)),
        ("NODE_FAIL", "0:0", Seen(Phase.ENDED, None, "NODE_FAIL", is_lost=True)),
        ("BOOT_FAIL", "0:0", Seen(Phase.ENDED, None, "BOOT_FAIL", is_lost=True)),
        ("PREEMPTED", "0:15", Seen(Phase.ENDED, None, "PREEMPTED", is_lost=True)),
        ("CANCELLED by 1000", "0:0", Seen(Phase.ENDED, None, "CANCELLED by 1000")),
        ("CANCELLED by 0", "0:0", Seen(Phase.ENDED, None, "CANCELLED by 0", is_lost=True)),
        ("DEADLINE", "0:0", Seen(Phase.ENDED, None, "DEADLINE")),
        ("REVOKED", "0:0", Seen(Phase.ENDED, None, "REVOKED")),
    ],
)
def test_how_a_job_ended_is_told_by_accounting(state: str, exit_code: str, expected: Seen) -> None:
    assert polled(squeue=out(""), sacct=out(f"7|{state}|{exit_code}|1000\n")) == expected


@pytest.mark.parametrize(
    ("state", "reason", "phase", "told"),
    [
        ("PENDING", "Resources", Phase.WAITING, "Resources"),
        ("PENDING", "DependencyNeverSatisfied", Phase.WAITING, "DependencyNeverSatisfied"),
        ("PENDING", "None", Phase.WAITING, "PENDING"),
        ("CONFIGURING", "None", Phase.WAITING, "CONFIGURING"),
        ("REQUEUED", "None", Phase.WAITING, "REQUEUED"),
        ("REQUEUE_HOLD", "launch failed requeued held", Phase.WAITING, "launch failed requeued held"),
        ("SPECIAL_EXIT", "None", Phase.WAITING, "SPECIAL_EXIT"),
        ("RUNNING", "None", Phase.RUNNING, "RUNNING"),
        ("COMPLETING", "None", Phase.RUNNING, "COMPLETING"),
        ("SUSPENDED", "None", Phase.RUNNING, "SUSPENDED"),
        ("STAGE_OUT", "None", Phase.RUNNING, "STAGE_OUT"),
    ],
)
def test_a_job_that_goes_on_is_told_by_the_controller_alone(state: str, reason: str, phase: Phase, told: str) -> None:
    seen = polled(squeue=out(f"7|{state}|{reason}\n"))
    assert seen == Seen(phase, None, told)


@pytest.mark.parametrize("sacct", [NO_ACCOUNTING, ACCOUNTING_DOWN, out(""), out("7|RUNNING|0:0|1000\n")])
def test_an_ended_job_that_accounting_has_not_yet_is_told_by_the_controller(sacct: Answer) -> None:
    shown = "JobId=7 JobName=a UserId=ann(1000) JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0 RunTime=00:00:02"
    seen = polled(squeue=out("7|FAILED|NonZeroExitCode\n"), sacct=sacct, scontrol=out(shown))
    assert seen == Seen(Phase.ENDED, 3, "FAILED (NonZeroExitCode)")
    gone = polled(squeue=out("7|TIMEOUT|TimeLimit\n"), sacct=sacct, scontrol=UNKNOWN)
    assert gone == Seen(Phase.ENDED, None, "TIMEOUT (TimeLimit)", is_too_big=True)


@pytest.mark.parametrize("squeue", [UNKNOWN, out("")])
@pytest.mark.parametrize("sacct", [NO_ACCOUNTING, out("")])
def test_a_job_is_forgotten_when_nobody_who_answers_has_it(squeue: Answer, sacct: Answer) -> None:
    assert polled(squeue=squeue, sacct=sacct) == Seen(Phase.FORGOTTEN)


def test_a_job_that_runs_in_the_accounts_alone_does_not_run() -> None:
    seen = polled(squeue=UNKNOWN, sacct=out("7|RUNNING|0:0|1000\n"))
    assert seen == Seen(Phase.FORGOTTEN, None, "accounting alone has it as RUNNING")


def test_a_job_is_not_forgotten_while_accounting_is_down() -> None:
    asked = Slurm("hpc", Recorded({"squeue": UNKNOWN, "sacct": ACCOUNTING_DOWN}))
    for call in (lambda: asked.poll(["7"]), lambda: asked.find("a")):
        with pytest.raises(UnreachableError, match="talking to the database"):
            call()


def test_other_trouble_of_the_clients_is_no_answer_about_a_job() -> None:
    odd = out("", 1, "squeue: fatal: something new")
    for answers in ({"squeue": odd}, {"squeue": UNKNOWN, "sacct": odd}):
        with pytest.raises(ComputeError, match="something new"):
            Slurm("hpc", Recorded(answers)).poll(["7"])


def test_many_jobs_are_asked_for_at_once() -> None:
    commands = Recorded({"squeue": out("1|RUNNING|None\n"), "sacct": out("2|COMPLETED|0:0|0\n3|COMPLETED|0:0|0\n")})
    assert len(Slurm("hpc", commands).poll([str(number) for number in range(1, 100)])) == 99
    assert [words[0] for words in commands.asked] == ["squeue", "sacct"]


def test_the_newest_job_of_exactly_this_name_is_found() -> None:
    queue = out("9|run-6\n11|run-60\n10|run-6\n")
    assert Slurm("hpc", Recorded({"squeue": queue})).find("run-6") == "10"
    accounts = Recorded({"squeue": out(""), "sacct": out("9|run-6\n100|run-60\n")})
    assert Slurm("hpc", accounts, looks_back_s=86400 * 1.5).find("run-6") == "9"
    assert "--starttime=now-2days" in accounts.asked[1]
    assert Slurm("hpc", Recorded({"squeue": out(""), "sacct": NO_ACCOUNTING})).find("run-6") is None


def test_what_a_job_asks_for_is_told_as_sbatch_spells_it() -> None:
    commands = Recorded({"sbatch": out("17;cluster\n")})
    asked = Resources(61, 4, 2, 10**9, "m1234", "debug", ("--constraint=gpu",))
    nersc = Slurm("hpc", commands, queue_is="qos")
    assert nersc.submit(Job("a", ("true",), "/data/50%", {"TOKEN_FILE": "x"}, asked)) == "17"
    assert commands.asked == [
        [
            *("sbatch", "--parsable", "--job-name=a", "--chdir=/data/50%", "--output=/data/50%%/a.out"),
            *("--no-requeue", "--export=NONE", "--nodes=2", "--time=2", "--gpus=4", "--mem=954M", "--account=m1234"),
            *("--qos=debug", "--constraint=gpu"),
        ]
    ]
    Slurm("hpc", commands).submit(Job("a", ("true",), "/", {}, Resources(queue="long")))
    assert commands.asked[1][-2:] == ["--nodes=1", "--partition=long"]


def test_an_answer_that_tells_no_id_may_be_a_submission() -> None:
    with pytest.raises(UnreachableError, match="told no id"):
        Slurm("hpc", Recorded({"sbatch": out("Submitted\n")})).submit(Job("a", ("true",), "/"))


def test_a_cluster_without_an_open_partition_takes_no_jobs() -> None:
    assert Slurm("hpc", Recorded({"sinfo": out("drain\ndown\n")})).why_unavailable() == "no partition of it is up"
    assert Slurm("hpc", Recorded({"sinfo": out("down\nup\n")})).why_unavailable() == ""
    assert "denied" in Slurm("hpc", Recorded({"sinfo": out("", 1, "denied")})).why_unavailable()
    assert "contact" in Slurm("hpc", Recorded({"sinfo": CONTROLLER_DOWN})).why_unavailable()


@pytest.fixture
def real() -> Slurm:
    if why := slurm.why_missing():
        pytest.skip(why)
    return Slurm("hpc", slurm.server().commands, limit_s=20.0)


def made(folder: Path, *words: str, **resources: object) -> Job:
    asked = Resources(**resources)  # type: ignore[arg-type]
    return Job(f"run.{uuid.uuid4().hex}", words, str(folder), {}, asked)


def settled(backend: Slurm, job_id: str, within_s: float = 60.0) -> Seen:
    give_up_s = time.monotonic() + within_s
    while (seen := backend.poll([job_id])[job_id]).phase in {Phase.WAITING, Phase.RUNNING}:
        assert time.monotonic() < give_up_s, seen
        time.sleep(0.1)
    return seen


def test_a_real_slurm_refuses_what_it_cannot_give_in_its_own_words(real: Slurm, tmp_path: Path) -> None:
    with pytest.raises(ComputeError, match="Memory specification can not be satisfied"):
        real.submit(made(tmp_path, "true", memory_bytes=10**13))
    with pytest.raises(ComputeError, match="invalid partition"):
        real.submit(made(tmp_path, "true", queue="nowhere"))


@dataclass(frozen=True)
class Without:
    """A machine where some programs answer otherwise."""

    commands: Commands
    answers: dict[str, Answer]
    where: str = "here"

    def run(self, words: Sequence[str], *, limit_s: float, data: bytes = b"") -> Answer:
        found = next((answer for name, answer in self.answers.items() if name in words), None)
        return found or self.commands.run(words, limit_s=limit_s, data=data)


def test_a_real_job_is_told_the_same_with_accounting_alone_and_with_the_controller_alone(
    real: Slurm, tmp_path: Path
) -> None:
    job_id = real.submit(job := made(tmp_path, "sh", "-c", "exit 3"))
    assert settled(real, job_id).code == 3
    forgotten = replace(real, commands=Without(real.commands, {"squeue": out("")}))
    # Accounts come a moment later, in parts: first by the id, then by the name.
    told = Seen(Phase.ENDED, 3, "FAILED")
    slurm.server().wait_for(lambda: (forgotten.poll([job_id])[job_id], forgotten.find(job.name)) == (told, job_id))
    unaccounted = replace(real, commands=Without(real.commands, {"sacct": NO_ACCOUNTING}))
    assert (settled(unaccounted, job_id).code, unaccounted.find(job.name)) == (3, job_id)


def test_a_job_in_a_folder_that_is_not_there_fails(real: Slurm, tmp_path: Path) -> None:
    seen = settled(real, real.submit(made(tmp_path / "nowhere", "true")))
    assert (seen.phase, seen.code == 0) == (Phase.ENDED, False)


def test_a_job_whose_node_fails_is_lost(real: Slurm, tmp_path: Path) -> None:
    job_id = real.submit(made(tmp_path, "sleep", "600"))
    slurm.server().wait_for(lambda: real.poll([job_id])[job_id].phase is Phase.RUNNING)
    with slurm.server().node_down():
        seen = settled(real, job_id)
    assert (seen.phase, seen.code, seen.is_lost, seen.is_too_big) == (Phase.ENDED, None, True, False)
    assert "NODE_FAIL" in seen.reason


@pytest.mark.long
def test_a_job_that_runs_longer_than_its_walltime_is_too_big(real: Slurm, tmp_path: Path) -> None:
    job_id = real.submit(job := made(tmp_path, "sleep", "600", walltime_s=1))
    seen = settled(real, job_id, within_s=240)
    assert (seen.phase, seen.code, seen.is_too_big, seen.is_lost) == (Phase.ENDED, None, True, False)
    assert "TIME LIMIT" in real.logs(job_id, job)


def test_jobs_are_sent_to_a_real_slurm_over_ssh(real: Slurm, tmp_path: Path) -> None:
    if why := sshd.why_missing():
        pytest.skip(why)
    far = Slurm("far", sshd.server().commands, limit_s=20.0, programs=str(slurm.server().programs))
    job = made(tmp_path, "printf", "%s|", "a b", "it's", "$HOME", "dos\r\nbreak", "é", "!")
    assert far.find(job.name) is None
    job_id = far.submit(job)
    assert far.find(job.name) == job_id
    assert settled(far, job_id).code == 0
    assert far.logs(job_id, job) == "a b|it's|$HOME|dos\r\nbreak|é|!|"
    far.cancel(job_id)
