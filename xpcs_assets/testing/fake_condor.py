"""A stand-in for HTCondor: condor_submit, condor_q, condor_history and condor_rm over a folder, which really run jobs.

A job leaves the queue for the history when it ends or is removed; one that broke a policy is held in the queue. The
answers are those of HTCondor 23: nothing at all for an empty queue, attributes only where a job has them.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from xpcs_assets.testing.fake_batch import DOWN, LOSES_ANSWERS, Batch

OWNER = "operator"
_PROGRAMS = ("condor_submit", "condor_q", "condor_history", "condor_rm")
_HELD = 5
_COMMANDS = {
    *("universe", "executable", "transfer_executable", "arguments", "initialdir", "output", "error", "batch_name"),
    *("periodic_remove", "periodic_hold", "periodic_hold_reason", "periodic_hold_subcode"),
    *("request_gpus", "request_memory", "accounting_group"),
}
_LATE = re.compile(r"time\(\) - JobCurrentStartDate > (\d+)")


class FakeCondor(Batch):
    """The stand-in, installed in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.install(__name__, _PROGRAMS)


def main(folder: str, program: str, words: list[str]) -> int:
    """What each of its programs calls."""
    batch = Batch(Path(folder))
    if batch.fault == DOWN and program != "condor_history":  # which reads a file
        return _fails(
            "-- Failed to fetch ads from: <127.0.0.1:9618> : access1\nSECMAN:2007:Failed to end classad message."
        )
    if program == "condor_submit":
        return _submit(batch, sys.stdin.read())
    if program == "condor_rm":
        return _remove(batch, int(words[0]))
    if words == ["-totals"]:
        return _says("Total for query: 0 jobs; 0 completed, 0 removed, 0 idle, 0 running, 0 held, 0 suspended")
    return _ask(batch, words, is_history=program == "condor_history")


def _submit(batch: Batch, description: str) -> int:
    *lines, queue = description.strip().splitlines()
    told = {name.strip(): _expanded(value.strip()) for name, _, value in (line.partition("=") for line in lines)}
    strange = [name for name in told if name not in _COMMANDS and not name.startswith("+")]
    if queue != "queue 1" or strange:
        return _fails(f"ERROR: Failed to parse command file (line {queue}, {strange})")
    if told["executable"] != "/bin/sh" or told.get("accounting_group") == "nobody":
        return _fails("ERROR: Failed to commit job submission into the queue.\nERROR: submission is not allowed")
    script = re.fullmatch(r"\"'(.*)'\"", told["arguments"])
    if script is None:
        return _fails("ERROR: Failed to parse arguments")
    path = script[1].replace("''", "'").replace('""', '"')
    late = _LATE.search(told.get("periodic_hold", ""))
    ad = {"XpcsName": json.loads(told["+XpcsName"]), "Owner": OWNER, "JobStatus": 2, "description": description}
    number = batch.take(
        ad,
        Path(path).read_bytes(),
        output=told["output"],
        cwd=told["initialdir"],
        walltime_s=float(late[1]) if late else 0.0,
    )
    if batch.fault == LOSES_ANSWERS:
        return _fails(
            "ERROR: Failed to connect to queue manager access1\nCEDAR:6001:Failed to connect to <127.0.0.1:9618>"
        )
    return _says(f"{number}.0 - {number}.0")


def _ask(batch: Batch, words: list[str], *, is_history: bool) -> int:
    told, ids = _options(words)
    wanted = told["-attributes"].split(",")
    ads = [_ad(batch, number) for number in reversed(batch.numbers())]
    chosen = [
        {name: ad[name] for name in wanted if name in ad}
        for ad in ads
        if _is_over(ad) == is_history and (str(ad["ClusterId"]) in ids or _holds(told.get("-constraint", ""), ad))
    ]
    limit = int(told.get("-limit", len(chosen)))
    return _says(json.dumps(chosen[:limit], indent=1) if chosen else "")


def _remove(batch: Batch, number: int) -> int:
    if number not in batch.numbers() or _is_over(_ad(batch, number)):
        return _fails(f"Couldn't find/remove all jobs in cluster {number}")
    batch.change(number, JobStatus=3, RemoveReason=f"via condor_rm (by user {OWNER})", removed=time.time())
    batch.kill(number)
    return _says(f"All jobs in cluster {number} have been marked for removal")


def _ad(batch: Batch, number: int) -> dict[str, Any]:
    """A job's attributes, as far as they are set."""
    told = batch.told(number)
    ad = {name: value for name, value in told.items() if name[0].isupper()} | {"ClusterId": number, "ProcId": 0}
    if "removed" in told:
        return ad
    if told.get("late"):
        held = {"HoldReason": "the job ran longer than its walltime", "HoldReasonCode": 3, "HoldReasonSubCode": 1001}
        return ad | {"JobStatus": _HELD} | held
    if told.get("code") is not None:
        by_signal = told["code"] < 0
        end = {"ExitSignal": -told["code"]} if by_signal else {"ExitCode": told["code"]}
        return ad | {"JobStatus": 4, "ExitBySignal": by_signal} | end
    return ad


def _is_over(ad: dict[str, Any]) -> bool:
    return ad["JobStatus"] in {3, 4}


def _holds(constraint: str, ad: dict[str, Any]) -> bool:
    """Evaluate the two forms of an expression that are asked here."""
    if name := re.fullmatch(r'XpcsName =\?= "(.*)"', constraint):
        return bool(ad["XpcsName"] == name[1])
    return str(ad["ClusterId"]) in re.findall(r"ClusterId == (\d+)", constraint)


def _options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """``-name value`` pairs, and what is left."""
    left = list(words)
    told: dict[str, str] = {}
    left.remove("-json")
    for name in ("-attributes", "-constraint", "-limit", "-since"):
        if name in left:
            at = left.index(name)
            told[name] = left[at + 1]
            del left[at : at + 2]
    return told, left


def _expanded(value: str) -> str:
    if re.search(r"\$\((?!DOLLAR\))", value):
        raise ValueError(f"a macro that nobody set: {value}")
    return value.replace("$(DOLLAR)", "$")


def _says(text: str) -> int:
    if text:
        print(text)  # noqa: T201
    return 0


def _fails(text: str) -> int:
    print(text, file=sys.stderr)  # noqa: T201
    return 1
