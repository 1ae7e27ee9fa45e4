"""A command at back ends: done only by its report and outputs, once, whatever is said of its job or killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xpcs_assets.compute.backend import Phase, Seen
from xpcs_assets.copies.ledger import BookedJob, JobState
from xpcs_assets.errors import ComputeError
from xpcs_assets.process.processing import outputs_of
from xpcs_assets_tests.remote import KEY
from xpcs_assets_tests.unit.compute.test_remote_killed import Life, killed_everywhere, life
from xpcs_assets_tests.unit.process.conftest import Farm, Farms

__all__ = ["life"]
COUNTED = """
import pathlib, sys
raw, output, *_ = sys.argv[1:]
with open(raw + "/../calls", "a") as calls:
    calls.write("x")
pathlib.Path(output, "sum.txt").write_text("1")
"""


def calls(found: Farm) -> int:
    return len((found.beamline.staged(found.beamline.latest(KEY)).path / "calls").read_text())


def taken(found: Farm) -> None:
    """Have what is over taken."""
    (job,) = found.tick(after_s=60)
    done, _ = found.take(about=job.name)
    assert done is not None


def test_a_command_is_handed_over_worked_there_and_its_outputs_get_their_final_names(farms: Farms) -> None:
    found = farms(process={"walltime": "2 h", "queue": "short"}, memory="8 GB")
    job = found.asked()
    handed = found.first.jobs()["1"]
    assert handed.words[:3] == ("/env/bin/python", "-m", "xpcs_assets.process")
    asked = handed.resources
    assert (asked.walltime_s, asked.queue, asked.memory_bytes) == (7200.0, "short", 8_000_000_000)
    assert found.restarted().asked() == job
    assert found.tick() == []
    found.worked()
    assert outputs_of(found.beamline, found.beamline.latest(KEY)) == ("", {})  # not before it is taken
    (over,) = found.tick(after_s=60)
    done, _ = found.restarted().take(about=over.name)
    assert done is not None
    assert (found.beamline.root("made") / done.folder / "sum.txt").read_text() == "1 ['events']"
    assert (done.seconds > 0, found.states()) == (True, [JobState.DONE])
    assert outputs_of(found.beamline, found.beamline.latest(KEY)) == (done.folder, done.outputs)
    folder = Path(job.request["call"]["folder"])
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "taken"]
    again, nobody = found.take()
    assert (again is not None and again.seconds == 0, nobody, found.tick()) == (True, None, [])


def test_the_paths_of_a_run_are_as_the_far_side_sees_them(
    farms: Farms, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = farms(seen_as={str(tmp_path_factory.getbasetemp()): "/far"})
    found.asked()
    told = json.loads(found.first.jobs()["1"].words[3])
    assert told["raw"].startswith("/far/")
    assert told["folder"].startswith("/far/")
    assert told["command"] == list(found.wanted().command.command)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("raise SystemExit('no calibration')", "exit code 1; its last words: no calibration"),
        ("pass", r"left no '*.txt'"),
        ("import sys; open(sys.argv[2] + '/sum.txt', 'w')", "left an empty file"),
    ],
)
def test_a_failed_payload_of_which_its_back_end_says_completed_is_tried_a_few_times_and_given_up(
    farms: Farms, program: str, told: str
) -> None:
    found = farms(program, settle="0 s")
    found.asked()
    for _ in range(4):
        found.worked("COMPLETED", code=0)
        over = found.tick(after_s=400)
        found.tick(after_s=400)
    (parked,) = over
    assert found.states() == [JobState.FAILED] * 3 + [JobState.PARKED]
    assert told in parked.reason
    with pytest.raises(ComputeError, match=r"given up after 4 attempts.*then materialise processed again"):
        found.take(about=parked.name)
    assert list(found.beamline.root("made").rglob("*.txt")) == []


def test_a_job_that_is_forgotten_is_done_by_what_it_left_and_else_asked_for_again(farms: Farms) -> None:
    found = farms(COUNTED, settle="1 s")
    found.asked()
    found.first.forget("1")
    for _ in range(3):
        found.tick(after_s=60)
    assert found.states() == [JobState.FAILED, JobState.INTENDED]
    found.tick(after_s=60)
    job = found.newest
    found.works(job)
    found.first.forget(job.backend_id)
    found.tick(after_s=1)
    found.tick(after_s=90)
    done, _ = found.take(about=job.name)
    assert done is not None
    assert (calls(found), found.states()) == (1, [JobState.FAILED, JobState.DONE])


def test_a_job_that_was_taken_twice_does_the_work_once_also_after_its_result_was_taken(farms: Farms) -> None:
    found = farms(COUNTED)
    found.first.takes_twice = True
    job = found.asked()
    assert len(found.first.jobs()) == 2
    found.worked()
    found.works(job)
    taken(found)
    code, said = found.works(job)
    assert (code, calls(found)) == (0, 1)
    assert "was taken already" in said
    assert list(Path(job.request["call"]["folder"]).glob("made")) == []


def test_outputs_that_are_not_what_was_reported_are_made_again(farms: Farms) -> None:
    found = farms(COUNTED)
    found.asked()
    job = found.worked()
    (found.output(job) / "sum.txt").write_text("2")  # as long as before
    (over,) = found.tick(after_s=60)
    done, waits = found.take(about=over.name)
    assert (done, found.states()) == (None, [JobState.FAILED, JobState.INTENDED])
    assert waits is not None
    assert list(found.beamline.root("made").rglob("*.txt")) == []
    found.tick(after_s=100)
    found.worked()
    taken(found)
    assert calls(found) == 2


def test_outputs_that_were_damaged_under_their_final_names_are_made_again(farms: Farms) -> None:
    found = farms(COUNTED)
    found.asked()
    found.worked()
    taken(found)
    (output,) = found.beamline.root("made").rglob("*.txt")
    output.write_text("2")
    assert found.asked().attempt == 2
    found.worked()
    taken(found)
    assert (output.read_text(), calls(found)) == ("1", 2)


def test_what_was_too_big_has_twice_the_memory_and_time_once(farms: Farms) -> None:
    found = farms(memory="8 GB")
    found.asked()
    for _ in range(2):
        found.ended(1, result=False, reason="OUT_OF_MEMORY", is_too_big=True)
        over = found.tick(after_s=60)
        found.tick(after_s=60)
    asked = [(job.resources.memory_bytes, job.resources.walltime_s) for job in found.first.jobs().values()]
    assert asked == [(8_000_000_000, 3600.0), (16_000_000_000, 7200.0)]
    (parked,) = over
    assert parked.reason.startswith("too big, also with more memory and time")


def test_the_next_back_end_has_it_when_one_takes_none_and_this_machine_last(farms: Farms) -> None:
    found = farms(on=("cluster", "other", "local"))
    found.first.unavailable = found.backends["other"].unavailable = "maintenance"
    done, job = found.take()
    assert done is not None
    assert job is not None
    assert (job.backend, found.states()) == ("local", [JobState.DONE])
    found.backends["other"].unavailable = ""
    assert found.asked(f"{KEY}~wide").backend == "other"


def test_nothing_is_concluded_while_the_disk_of_the_work_is_away(farms: Farms) -> None:
    found = farms(settle="1 s")
    job = found.asked()
    folder = Path(job.request["call"]["folder"])
    folder.rename(folder.with_name("away"))
    found.first.say("1", Seen(Phase.ENDED, 0))
    for _ in range(3):
        found.tick(after_s=60)
    assert found.states() == [JobState.ENDED]
    folder.with_name("away").rename(folder)
    found.works(job)
    taken(found)


def test_a_job_is_ended_at_a_persons_word(farms: Farms) -> None:
    found = farms()
    job = found.asked()
    found.remote.cancel(job, "cancelled by a person")
    found.tick(after_s=60)
    assert (found.states(), found.first.asked.count("cancel")) == ([JobState.CANCELLED], 1)


def test_the_newest_run_is_handed_over_first_and_no_more_than_may_be(farms: Farms) -> None:
    found = farms(max_jobs=1)
    found.first.unavailable = found.backends["other"].unavailable = "maintenance"
    keys = [f"{KEY}~{name}" for name in ("first", "second")]
    for key in keys:
        found.asked(key)
        found.clock.advance(1)
    found.first.unavailable = ""
    found.tick(after_s=60)
    assert [found.job(job.name).analysis_key for job in found.first.jobs().values()] == [keys[1]]


def test_whoever_is_killed_at_any_step_leaves_one_job_and_one_result(farms: Farms, life: Life) -> None:
    found = farms("import sys; open(sys.argv[2] + '/sum.txt', 'w').write('1')", settle="0 s")

    def whole(fresh: Farm, job: BookedJob) -> None:
        assert fresh.wanted(job.analysis_key).standing().report is not None

    assert killed_everywhere(found, life, whole) > 15
