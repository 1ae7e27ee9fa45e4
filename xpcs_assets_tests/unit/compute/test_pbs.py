"""PBS: what its answers mean, in the form in which OpenPBS writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.commands import LocalCommands
from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.compute.pbs import PBS
from xpcs_assets.errors import ComputeError, UnreachableError
from xpcs_assets.testing.fake_pbs import FakePbs
from xpcs_assets_tests.unit.compute.recorded import Recorded, out

RAN = "Job run at Fri Nov 20 at 10:11 on (x3001c0s13b0n0:ncpus=64)"


def used(walltime: str, memory: str) -> dict[str, Any]:
    """What a job used of a minute and 2 GiB."""
    asked = {"walltime": "00:01:00", "mem": "2gb", "select": "1"}
    return {"Resource_List": asked, "resources_used": {"walltime": walltime, "mem": memory}}


def told(**job: Any) -> str:
    """What qstat says of job 7."""
    content = {"timestamp": 1795000000, "pbs_version": "23.06.06", "pbs_server": "pbs01", "Jobs": {"7.pbs01": job}}
    return json.dumps(content, indent=4)


def polled(**job: Any) -> Seen:
    return PBS("polaris", Recorded({"qstat": out(told(**job))})).poll(["7.pbs01"])["7.pbs01"]


@pytest.mark.parametrize(
    ("state", "comment", "phase", "reason"),
    [
        ("Q", "Not Running: Insufficient amount of resource: ncpus", Phase.WAITING, "Not Running: Insufficient"),
        ("W", "", Phase.WAITING, "W"),
        ("T", "", Phase.WAITING, "T"),
        ("H", "Job held by operator on Fri Nov 20", Phase.WAITING, "held: Job held by operator"),
        ("M", "", Phase.WAITING, "moved to another server"),
        ("R", RAN, Phase.RUNNING, RAN),
        ("E", RAN, Phase.RUNNING, RAN),
        ("S", "", Phase.RUNNING, "S"),
        ("U", "", Phase.RUNNING, "U"),
    ],
)
def test_a_job_that_goes_on(state: str, comment: str, phase: Phase, reason: str) -> None:
    seen = polled(job_state=state, comment=comment)
    assert (seen.phase, seen.code, seen.is_lost, seen.is_too_big) == (phase, None, False, False)
    assert seen.reason.startswith(reason)


@pytest.mark.parametrize(
    ("job", "code", "is_lost", "is_too_big"),
    [
        ({"Exit_status": 0, "substate": 92, "comment": f"{RAN} and finished"}, 0, False, False),
        ({"Exit_status": 3, "substate": 93, "comment": f"{RAN} and failed"}, 3, False, False),
        ({"Exit_status": 0, "substate": 91, "comment": RAN}, None, False, False),
        ({"Exit_status": 0, "substate": 92, "comment": f"{RAN} and terminated"}, None, False, False),
        ({"Exit_status": 271, "substate": 91, "comment": f"{RAN} and terminated"}, None, False, False),
        ({"substate": 91, "comment": "Not Running: the queue is stopped and terminated"}, None, False, False),
        ({"substate": 91, "comment": "job held, too many failed attempts to run and terminated"}, None, True, False),
        ({"Exit_status": -29, "substate": 93, "comment": f"{RAN} and failed"}, None, False, True),
        ({"Exit_status": -27, "substate": 93}, None, False, True),
        ({"Exit_status": -24, "substate": 93}, None, False, True),
        ({"Exit_status": -3, "substate": 93}, None, True, False),
        ({"Exit_status": -20, "substate": 93}, None, True, False),
        ({"Exit_status": -10, "substate": 93}, None, False, False),
        ({"Exit_status": 265, "substate": 93}, -9, False, True),
        ({"Exit_status": 137, "substate": 93}, 137, False, True),
        ({"Exit_status": 267, "substate": 93}, -11, False, False),
        ({"Exit_status": 271} | used("00:01:02", "1kb"), None, False, True),
        ({"Exit_status": 265} | used("00:00:59", "2097152kb"), None, False, True),
        ({"Exit_status": 271} | used("00:00:59", "9kb"), -15, False, False),
        ({"Exit_status": 0} | used("00:01:00", "9kb"), 0, False, False),
        ({"Exit_status": 1} | used("?", "1"), 1, False, False),
        ({"substate": 92}, None, False, False),
    ],
)
def test_how_a_job_ended_is_told_by_its_status_its_substate_its_comment_and_what_it_used(
    job: dict[str, Any], code: int | None, is_lost: bool, is_too_big: bool
) -> None:
    seen = polled(job_state="F", **job)
    assert (seen.phase, seen.code, seen.is_lost, seen.is_too_big) == (Phase.ENDED, code, is_lost, is_too_big)
    assert str(job.get("comment", "")) in seen.reason


SPOILT = r"""{
	"timestamp":1795000000,
	"pbs_server":"pbs01",
	"Jobs":{
		"7.pbs01":{
			"Job_Name":"jA001-d3adbeef",
			"job_state":"F",
			"Exit_status":3,
			"comment":"it's \'quoted\' and	has a tab",
			"Variable_List":{
				"A":005,
				"B":.5,
				"C":nan,
				"D":"a\,b\\,c",
				"E":-00.1,
				"F":12,
				"XPCS_JOB":"job.A001-g2-attempt-1"
			},
			"run_count":1
		}
	}
}"""


def test_what_is_no_json_is_read_all_the_same() -> None:
    answers = {"qstat": out(SPOILT), "qselect": out("7.pbs01\n")}
    pbs = PBS("polaris", Recorded(answers))
    assert pbs.poll(["7.pbs01"])["7.pbs01"].code == 3
    assert pbs.find("A001-g2-attempt-1") == "7.pbs01"
    assert pbs.find("A001-g2-attempt-11") is None


@pytest.mark.parametrize("text", ["", '{"Jobs":{"7.pbs01":{"comment":"a "b" c"}}}', "[]", '{"Jobs":[]}', told()[:-9]])
def test_an_answer_that_cannot_be_read_is_no_answer(text: str) -> None:
    with pytest.raises(UnreachableError):
        PBS("polaris", Recorded({"qstat": out(text)})).poll(["7.pbs01"])


def test_a_job_is_forgotten_only_when_qstat_says_that_it_does_not_know_it() -> None:
    text = told(job_state="R")
    unknown = PBS("polaris", Recorded({"qstat": out(text, 153, "qstat: Unknown Job Id 8.pbs01.full.name")}))
    seen = unknown.poll(["7.pbs01", "8.pbs01"])
    assert {job_id: one.phase for job_id, one in seen.items()} == {"7.pbs01": Phase.RUNNING, "8.pbs01": Phase.FORGOTTEN}
    with pytest.raises(ComputeError, match="No Permission"):
        PBS("polaris", Recorded({"qstat": out("", 159, "qstat: No Permission")})).poll(["8.pbs01"])
    down = out("", 255, "Connection refused\nqstat: cannot connect to server pbs01 (errno=111)")
    with pytest.raises(UnreachableError, match="cannot connect"):
        PBS("polaris", Recorded({"qstat": down})).poll(["8.pbs01"])


def test_the_newest_of_a_name_is_found_by_its_number() -> None:
    jobs = {
        f"{number}.pbs01": {"Variable_List": variables}
        for number, variables in ((9, {"XPCS_JOB": "job.a"}), (10, "PBS_O_HOME=/root,XPCS_JOB=job.a"), (11, {}))
    }
    answers = {"qselect": out("9.pbs01\n10.pbs01\n11.pbs01\n"), "qstat": out(json.dumps({"Jobs": jobs}))}
    assert PBS("polaris", Recorded(answers)).find("a") == "10.pbs01"
    assert PBS("polaris", Recorded({"qselect": out("")})).find("a") is None
    with pytest.raises(ComputeError, match="illegal"):
        PBS("polaris", Recorded({"qselect": out("", 2, "qselect: illegal -N value")})).find("a")


def test_what_a_job_asks_for_is_told_as_qsub_spells_it() -> None:
    commands = Recorded({"qsub": out("qsub: waiting for nothing\n17.pbs01\n")})
    pbs = PBS("polaris", commands, chunk="ncpus=32:system=polaris")
    asked = Resources(3661, 8, 2, 10**9, "XPCS", "debug", ("-l", "filesystems=home:eagle"))
    assert pbs.submit(Job("8idi.A001.g2.1", ("true",), "/eagle/work", {}, asked)) == "17.pbs01"
    assert commands.asked == [
        [
            *("qsub", "-N", "j8idi.Aba3bcc43", "-v", "XPCS_JOB=job.8idi.A001.g2.1", "-S", "/bin/sh", "-r", "n"),
            *("-j", "oe", "-k", "doe", "-o", "/eagle/work/8idi.A001.g2.1.out"),
            *("-l", "select=2:ncpus=32:system=polaris:ngpus=4:mem=954mb", "-l", "walltime=1:01:01"),
            *("-A", "XPCS", "-q", "debug", "-l", "filesystems=home:eagle"),
        ]
    ]


def test_a_folder_that_qsub_would_take_for_a_host_or_for_two_words_is_refused() -> None:
    for folder in ("/data/a b", "/data/c:d"):
        with pytest.raises(ComputeError, match="takes no such folder"):
            PBS("polaris", Recorded({})).submit(Job("a", ("true",), folder))


def test_an_answer_that_tells_no_id_may_be_a_submission() -> None:
    for said in ("", "what?"):
        with pytest.raises(UnreachableError, match="told no id"):
            PBS("polaris", Recorded({"qsub": out(said)})).submit(Job("a", ("true",), "/data"))


def test_the_queue_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    fake = FakePbs(tmp_path / "state")
    pbs = PBS("polaris", LocalCommands(), Resources(queue="nowhere"), programs=str(fake.programs))
    with pytest.raises(ComputeError, match="Unknown queue"):
        pbs.submit(Job("a", ("true",), str(tmp_path)))
    assert pbs.find("a") is None
    assert "No Permission" in PBS("p", Recorded({"qstat": out("", 159, "qstat: No Permission")})).why_unavailable()
