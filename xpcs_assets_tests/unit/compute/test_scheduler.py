from __future__ import annotations

import time
from pathlib import Path

import pytest

from xpcs_assets.commands import LocalCommands
from xpcs_assets.compute.backend import Job, Phase, Resources
from xpcs_assets.compute.scheduler import ended, script
from xpcs_assets.compute.slurm import Slurm
from xpcs_assets.errors import ComputeError, NotFoundError, UnreachableError
from xpcs_assets_tests.unit.compute.recorded import Recorded, out

JOB = Job("a-run", ("worker", "--all"), "/data/a run")


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A scheduler whose programs take for ever, and say when they were ended."""
    for name in ("sbatch", "squeue", "sinfo"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntrap 'echo ended > {tmp_path}/ended; exit' TERM\nsleep 30 &\nwait\n")
        program.chmod(0o755)
    return tmp_path


def test_a_program_that_does_not_end_is_ended_and_is_no_answer(slow: Path) -> None:
    slurm = Slurm("hpc", LocalCommands(), limit_s=1.0, programs=str(slow))
    began_s = time.monotonic()
    with pytest.raises(UnreachableError, match=r"sbatch did not end within 0\.8 s"):
        slurm.submit(JOB)
    assert time.monotonic() - began_s < 10
    assert (slow / "ended").exists()
    assert "did not end" in slurm.why_unavailable()


def test_a_scheduler_without_its_programs_gives_no_answer(tmp_path: Path) -> None:
    slurm = Slurm("hpc", LocalCommands(), programs=str(tmp_path))
    with pytest.raises(UnreachableError, match=r"squeue cannot be run") as caught:
        slurm.find("x")
    assert (caught.value.where, "folder" in caught.value.remedy) == ("hpc (this machine)", True)
    far = Slurm("hpc", Recorded({"squeue": NotFoundError("there is no program 'timeout'", where="far")}))
    with pytest.raises(UnreachableError, match="no program 'timeout'"):
        far.poll(["1"])


def test_a_refusal_carries_the_schedulers_own_words() -> None:
    said = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified"
    slurm = Slurm("hpc", Recorded({"sbatch": out("", 1, said)}))
    with pytest.raises(ComputeError, match="Invalid account") as caught:
        slurm.submit(JOB)
    assert caught.value.where == "hpc (far)"


def test_what_a_job_leaves_open_is_the_back_ends() -> None:
    own = Resources(3600, 1, 2, 10**9, "m1234", "debug", ("--constraint=gpu",))
    slurm = Slurm("hpc", Recorded({}), own)
    assert slurm.asked(JOB) == own
    asks = Resources(60, 4, 3, 10, "m9", "regular", ("--exclusive",))
    asked = slurm.asked(Job("a", ("b",), "/", {}, asks))
    assert asked == Resources(60, 4, 3, 10, "m9", "regular", ("--constraint=gpu", "--exclusive"))


def test_a_script_gives_its_place_to_the_command() -> None:
    job = Job("a", ("x", "it's", "a\r\nb"), "/data/a run", {"A": "b c"})
    assert script(job).decode() == (
        "#!/bin/sh\n"
        "export A='b c'\n"
        "cd '/data/a run' || exit\n"
        "exec x 'it'\"'\"'s' 'a\r''\nb' </dev/null\n"
    )  # fmt: skip


def test_a_log_that_is_not_there_is_empty_and_a_machine_that_is_not_there_is_an_error() -> None:
    assert Slurm("hpc", Recorded({"tail": out("", 1, "tail: cannot open")})).logs("1", JOB) == ""
    commands = Recorded({"tail": out("said")})
    assert Slurm("hpc", commands).logs("1", JOB) == "said"
    assert commands.asked[0][-1] == "/data/a run/a-run.out"
    with pytest.raises(UnreachableError):
        Slurm("hpc", Recorded({"tail": UnreachableError("no route", where="far")})).logs("1", JOB)


def test_a_cancellation_that_is_refused_is_an_error_only_for_a_job_that_goes_on() -> None:
    no = out("", 1, "scancel: error: Kill job error on job id 7: Access/permission denied")
    going = {"scancel": no, "squeue": out("7|RUNNING|None\n"), "sacct": out("")}
    with pytest.raises(ComputeError, match="permission denied"):
        Slurm("hpc", Recorded(going)).cancel("7")
    Slurm("hpc", Recorded(going | {"squeue": out("")})).cancel("7")


@pytest.mark.parametrize(
    ("code", "is_lost", "too_big"), [(-9, False, True), (137, False, True), (-9, True, False), (1, False, False)]
)
def test_a_kill_that_the_scheduler_knows_nothing_of_is_the_kernels(code: int, is_lost: bool, too_big: bool) -> None:
    seen = ended(code, "FAILED", is_lost=is_lost)
    assert (seen.phase, seen.code, seen.is_lost, seen.is_too_big) == (Phase.ENDED, code, is_lost, too_big)
