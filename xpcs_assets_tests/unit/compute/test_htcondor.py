"""HTCondor: what its answers mean, and what it is told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.commands import LocalCommands
from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.compute.htcondor import HTCondor
from xpcs_assets.errors import ComputeError, UnreachableError
from xpcs_assets.testing.fake_condor import FakeCondor
from xpcs_assets_tests.unit.compute.recorded import Recorded, out

EMPTY = out("")
POLICY = "The job attribute PeriodicRemove expression '(...) =?= true' evaluated to TRUE"


def ads(*told: dict[str, Any]) -> str:
    return json.dumps([{"ClusterId": 7, "Owner": "ann"} | one for one in told], indent=1)


def polled(*, queue: dict[str, Any] | None = None, history: dict[str, Any] | None = None) -> Seen:
    told = {"condor_q": queue, "condor_history": history}
    commands = Recorded({program: out(ads(ad)) if ad else EMPTY for program, ad in told.items()})
    return HTCondor("stoomboot", commands).poll(["7"])["7"]


@pytest.mark.parametrize(
    ("ad", "expected"),
    [
        ({"JobStatus": 1}, Seen(Phase.WAITING, None, "idle")),
        ({"JobStatus": 2}, Seen(Phase.RUNNING, None, "running")),
        ({"JobStatus": 3}, Seen(Phase.RUNNING, None, "being removed")),
        ({"JobStatus": 6}, Seen(Phase.RUNNING, None, "transferring output")),
        ({"JobStatus": 7}, Seen(Phase.RUNNING, None, "suspended")),
        ({"JobStatus": 8}, Seen(Phase.RUNNING, None, "JobStatus 8")),
        ({"JobStatus": 4, "ExitBySignal": False, "ExitCode": 3}, Seen(Phase.ENDED, 3, "completed")),
        (
            {"JobStatus": 5, "HoldReasonCode": 1, "HoldReason": "via condor_hold (by user ann)"},
            Seen(Phase.WAITING, None, "held: via condor_hold (by user ann)"),
        ),
    ],
)
def test_what_is_said_of_a_job_in_the_queue(ad: dict[str, Any], expected: Seen) -> None:
    assert polled(queue=ad) == expected


@pytest.mark.parametrize(
    ("code", "subcode", "reason", "is_too_big"),
    [
        (34, 102, "Job has gone over cgroup memory limit of 8192 megabytes.", True),
        (46, 0, "The job exceeded allowed job duration of 1:00:00", True),
        (47, 0, "exceeded", True),
        (3, 1001, "late", True),
        (3, 0, "the job's own policy", False),
        (26, 0, "SYSTEM_PERIODIC_HOLD: wall time over 4 days", True),
        (21, 0, "memory usage exceeded request_memory", True),
        (12, 2, "Transfer output files failure", False),
        (6, 8, "Failed to execute '/bin/sh': exec format error", False),
    ],
)
@pytest.mark.parametrize("form", ["queue", "history", "history after release"])
def test_a_job_that_a_policy_holds_has_ended(
    form: str, code: int, subcode: int, reason: str, *, is_too_big: bool
) -> None:
    last = "Last" if form == "history after release" else ""
    held = {f"{last}HoldReasonCode": code, f"{last}HoldReasonSubCode": subcode, f"{last}HoldReason": reason}
    if form == "queue":
        seen = polled(queue={"JobStatus": 5, **held})
    else:
        seen = polled(history={"JobStatus": 3, "RemoveReason": POLICY, **held})
    told = f"held: {reason} (code {code})"
    assert seen == Seen(Phase.ENDED, None, told, is_lost=not is_too_big, is_too_big=is_too_big)


@pytest.mark.parametrize(
    ("ad", "expected"),
    [
        ({"JobStatus": 4, "ExitBySignal": False, "ExitCode": 0}, Seen(Phase.ENDED, 0, "completed")),
        ({"JobStatus": 4, "ExitBySignal": True, "ExitSignal": 11}, Seen(Phase.ENDED, -11, "ended by signal 11")),
        (
            {"JobStatus": 4, "ExitBySignal": True, "ExitSignal": 9},
            Seen(Phase.ENDED, -9, "ended by signal 9", is_too_big=True),
        ),
        (
            {"JobStatus": 3, "RemoveReason": "via condor_rm (by user ann)"},
            Seen(Phase.ENDED, None, "removed: via condor_rm (by user ann)"),
        ),
        (
            {"JobStatus": 3, "RemoveReason": "via condor_rm (by user ann@nikhef.nl)"},
            Seen(Phase.ENDED, None, "removed: via condor_rm (by user ann@nikhef.nl)"),
        ),
        (
            {"JobStatus": 3, "RemoveReason": "via condor_rm (by user root)"},
            Seen(Phase.ENDED, None, "removed: via condor_rm (by user root)", is_lost=True),
        ),
        ({"JobStatus": 3, "RemoveReason": POLICY}, Seen(Phase.ENDED, None, f"removed: {POLICY}", is_lost=True)),
        (
            {
                **{"JobStatus": 3, "RemoveReason": "via condor_rm (by user ann)"},
                **{"LastHoldReasonCode": 1, "LastHoldReason": "via condor_hold (by user ann)"},
            },
            Seen(Phase.ENDED, None, "removed: via condor_rm (by user ann)"),
        ),
    ],
)
def test_what_is_said_of_a_job_in_the_history(ad: dict[str, Any], expected: Seen) -> None:
    assert polled(history=ad) == expected


def test_a_job_that_neither_queue_nor_history_has_is_forgotten() -> None:
    assert polled() == Seen(Phase.FORGOTTEN)
    old = Recorded({"condor_q": out("[\n]\n"), "condor_history": out("[\n]\n")})
    assert HTCondor("stoomboot", old).poll(["7"])["7"].phase is Phase.FORGOTTEN


def test_history_is_asked_for_whom_the_queue_has_not_and_not_for_ever() -> None:
    commands = Recorded({"condor_q": out(ads({"JobStatus": 2})), "condor_history": EMPTY})
    HTCondor("stoomboot", commands, looks_back_s=100).poll(["7", "8", "9"])
    queue, history = commands.asked
    assert queue[-3:] == ["7", "8", "9"]
    assert history[-1] == "ClusterId == 8 || ClusterId == 9"
    assert history[history.index("-limit") + 1] == "2"
    since = int(history[history.index("-since") + 1].removeprefix("EnteredCurrentStatus < "))
    assert abs(time.time() - 100 - since) < 60


@pytest.mark.parametrize(
    "answer",
    [
        out("[\n", 1, "-- Failed to fetch ads from: <145.107.7.1:9618> : access1\nSECMAN:2007:Failed to end"),
        out("", 1, "Error: Couldn't contact the condor_collector on pool."),
        out('[{"ClusterId": 7,'),
    ],
)
def test_a_queue_that_does_not_answer_is_no_answer(answer: Any) -> None:
    commands = Recorded({"condor_q": answer, "condor_history": EMPTY})
    for call in (lambda: HTCondor("s", commands).poll(["7"]), lambda: HTCondor("s", commands).find("a")):
        with pytest.raises(UnreachableError):
            call()
    with pytest.raises(ComputeError, match="bad constraint"):
        HTCondor("s", Recorded({"condor_q": out("", 1, "condor_q: bad constraint")})).find("a")


def test_a_name_is_asked_for_with_its_case() -> None:
    commands = Recorded({"condor_q": EMPTY, "condor_history": out(ads({"ClusterId": 9}))})
    assert HTCondor("stoomboot", commands).find("Run-6") == "9"
    assert [words[-1] for words in commands.asked] == ['XpcsName =?= "Run-6"'] * 2
    queued = Recorded({"condor_q": out(ads({"ClusterId": 9}, {"ClusterId": 10}))})
    assert HTCondor("stoomboot", queued).find("Run-6") == "10"


@pytest.fixture
def fake(tmp_path: Path) -> FakeCondor:
    return FakeCondor(tmp_path / "state")


def test_what_a_job_asks_for_is_told_as_condor_submit_spells_it(fake: FakeCondor, tmp_path: Path) -> None:
    condor = HTCondor("stoomboot", LocalCommands(), programs=str(fake.programs), queue_is="JobFlavour")
    folder = tmp_path / "a 'b' \"c\" $d"
    folder.mkdir()
    asked = Resources(90.5, 1, 1, 10**9, "group_xams", "long", ('+UseOS = "el9"',))
    job_id = condor.submit(job := Job("a-run", ("true",), str(folder), {}, asked))
    described = fake.told(int(job_id))["description"].splitlines()
    assert {
        "batch_name = a-run",
        '+XpcsName = "a-run"',
        "periodic_hold = (JobStatus == 2 && time() - JobCurrentStartDate > 91) =?= true",
        "request_gpus = 1",
        "request_memory = 954",
        "accounting_group = group_xams",
        '+JobFlavour = "long"',
        '+UseOS = "el9"',
        f"output = {folder}/a-run.out".replace("$", "$(DOLLAR)"),
    } <= set(described)
    assert described[-1] == "queue 1"
    give_up_s = time.monotonic() + 30
    while (seen := condor.poll([job_id])[job_id]).phase is not Phase.ENDED:
        assert time.monotonic() < give_up_s, seen
        time.sleep(0.1)
    assert (seen.code, (folder / "a-run.sh").exists(), condor.logs(job_id, job)) == (0, True, "")


def test_what_a_pool_does_not_take_is_refused_in_its_own_words(fake: FakeCondor, tmp_path: Path) -> None:
    condor = HTCondor("stoomboot", LocalCommands(), Resources(account="nobody"), programs=str(fake.programs))
    with pytest.raises(ComputeError, match="submission is not allowed"):
        condor.submit(Job("a", ("true",), str(tmp_path)))
    with pytest.raises(ComputeError, match=r"could not be written.*No such file"):
        condor.submit(Job("a", ("true",), str(tmp_path / "nowhere")))
    with pytest.raises(ComputeError, match="asks for 2 nodes"):
        condor.submit(Job("a", ("true",), str(tmp_path), {}, Resources(nodes=2)))
    assert condor.find("a") is None


def test_an_answer_that_tells_no_id_may_be_a_submission() -> None:
    answers = {"tee": EMPTY, "condor_submit": out("Submitting job(s).\n")}
    with pytest.raises(UnreachableError, match="told no id"):
        HTCondor("stoomboot", Recorded(answers)).submit(Job("a", ("true",), "/data"))
    assert "denied" in HTCondor("s", Recorded({"condor_q": out("", 1, "denied")})).why_unavailable()
