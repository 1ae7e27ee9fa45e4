"""Jobs on HTCondor: condor_submit, condor_q, condor_history and condor_rm, and what their answers mean.

The script is left beside the job's output (``<name>.sh``): a submit description has no place for words of all kinds.
HTCondor starts an evicted job again by itself and keeps one that broke a policy in the queue; here a job runs once, as
on other schedulers: an evicted one is removed, and a held one has ended, unless a person holds it.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, ClassVar

from xpcs_assets.commands import Answer
from xpcs_assets.compute.backend import Job, Phase, Seen
from xpcs_assets.compute.scheduler import Scheduler, ended, output_of, script
from xpcs_assets.errors import ComputeError, UnreachableError

_NAME = "XpcsName"
_TOLD = (
    "ClusterId",
    "JobStatus",
    "Owner",
    "ExitBySignal",
    "ExitSignal",
    "ExitCode",
    "HoldReason",
    "HoldReasonCode",
    "HoldReasonSubCode",
    "LastHoldReason",
    "LastHoldReasonCode",
    "LastHoldReasonSubCode",
    "RemoveReason",
)
_IDLE, _REMOVED, _COMPLETED, _HELD = 1, 3, 4, 5
_RUNNING = {2: "running", 3: "being removed", 6: "transferring output", 7: "suspended"}
_HELD_BY_A_PERSON = {1, 15, 16}
"""By condor_hold, submitted on hold, or until its input is there."""
_TOO_BIG = {34, 46, 47}
"""Memory, the allowed duration, the allowed execution time."""
_OWN_POLICY, _WALLTIME = 3, 1001
_LIMIT = re.compile(r"memory|wall ?time|run ?time|time limit|duration|too long", re.IGNORECASE)
_REMOVED_BY = re.compile(r"by user ([^\s)@]+)")
_DAY_S = 86400.0
_MIB = 1024**2


@dataclass(frozen=True)
class HTCondor(Scheduler):
    """Jobs on HTCondor, one process each; ended ones are known as long as the history files reach.

    Attributes
    ----------
    queue_is
        The job's attribute that a queue is told in: ``JobCategory``, ``JobFlavour``.
    looks_back_s
        The history is read this far back.
    """

    queue_is: str = "JobCategory"
    looks_back_s: float = 14 * _DAY_S

    _silent: ClassVar[re.Pattern[str]] = re.compile(
        r"failed to (fetch|connect|end|send|contact)|can't (find address|connect)|couldn't contact"
        r"|connection refused|communication error|unable to (locate|contact)|no such schedd"
        r"|SECMAN|CEDAR|AUTHENTICATE|timed out|timeout",
        re.IGNORECASE,
    )

    def why_unavailable(self) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.why_unavailable`."""
        try:
            answer = self.ask("condor_q", "-totals")
        except UnreachableError as error:
            return error.what
        return "" if answer.code == 0 else answer.told

    def find(self, name: str) -> str | None:
        """See :meth:`xpcs_assets.compute.backend.Backend.find`."""
        named = f"{_NAME} =?= {json.dumps(name)}"  # =?= minds the case, == does not
        found = self._ads("condor_q", "-constraint", named)
        if not found:
            found = self._ads("condor_history", "-limit", "1", *self._since(), "-constraint", named)
        return str(max(int(ad["ClusterId"]) for ad in found)) if found else None

    def submit(self, job: Job) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.submit`."""
        self.check(job)
        description = self._description(job)
        left = self.run("tee", "--", _script_of(job), data=script(job))
        if left.code != 0:
            raise self.refused(f"the script of job {job.name} could not be written", left)
        answer = self.ask("condor_submit", "-terse", "-", data=description.encode())
        if answer.code != 0:
            raise self.refused(f"it did not take job {job.name}", answer)
        taken = re.search(r"^\s*(\d+)\.\d+\s*-", answer.out.decode(errors="replace"), re.MULTILINE)
        if taken is None:
            raise self.no_answer(f"condor_submit told no id for job {job.name}: {answer.told}")
        return taken[1]

    def poll(self, ids: Iterable[str]) -> dict[str, Seen]:
        """See :meth:`xpcs_assets.compute.backend.Backend.poll`."""
        asked = list(ids)
        if not asked:
            return {}
        seen = {str(ad["ClusterId"]): _seen(ad) for ad in self._ads("condor_q", *asked)}
        gone = [job_id for job_id in asked if job_id not in seen]
        if gone:
            theirs = " || ".join(f"ClusterId == {int(job_id)}" for job_id in gone)
            words = ("-limit", str(len(gone)), *self._since(), "-constraint", theirs)
            seen |= {str(ad["ClusterId"]): _seen_ended(ad) for ad in self._ads("condor_history", *words)}
        return {job_id: seen.get(job_id, Seen(Phase.FORGOTTEN)) for job_id in asked}

    def _end(self, job_id: str) -> Answer:
        return self.ask("condor_rm", job_id)

    def _since(self) -> tuple[str, str]:
        """Where reading the history ends, newest first; a removed job has no date of completion."""
        return "-since", f"EnteredCurrentStatus < {int(time.time() - self.looks_back_s)}"

    def _ads(self, program: str, *words: str) -> list[Mapping[str, Any]]:
        answer = self.ask(program, "-json", "-attributes", ",".join(_TOLD), *words)
        if answer.code != 0:
            raise self.refused(f"{program} told nothing", answer)
        try:
            ads = json.loads(answer.out or b"[]", strict=False)
        except ValueError as error:
            raise self.no_answer(f"the answer of {program} cannot be read: {error}") from error
        return [ad for ad in ads if isinstance(ad, dict) and "ClusterId" in ad]

    def _description(self, job: Job) -> str:
        asked = self.asked(job)
        if asked.nodes > 1:
            raise ComputeError(
                f"job {job.name} asks for {asked.nodes} nodes, and a job of HTCondor has one",
                where=self.where,
                remedy="Send it to another back end",
            )
        late = f"JobStatus == 2 && time() - JobCurrentStartDate > {math.ceil(asked.walltime_s)}"
        again = f"(JobStatus == {_IDLE} && NumJobStarts > 0)"
        old = f"(JobStatus == {_HELD} && time() - EnteredCurrentStatus > {_DAY_S:.0f})"
        lines = {
            "universe": "vanilla",
            "executable": "/bin/sh",
            "transfer_executable": "false",
            "arguments": _argument(_script_of(job)),
            "initialdir": _plain(job.folder),
            "output": _plain(output_of(job)),
            "error": _plain(output_of(job)),
            "batch_name": job.name,
            f"+{_NAME}": json.dumps(job.name),
            "periodic_remove": f"({again} || {old}) =?= true",
        }
        if asked.walltime_s:
            lines["periodic_hold"] = f"({late}) =?= true"
            lines["periodic_hold_reason"] = '"the job ran longer than its walltime"'
            lines["periodic_hold_subcode"] = str(_WALLTIME)
        for value, name in (
            (asked.gpus, "request_gpus"),
            (math.ceil(asked.memory_bytes / _MIB), "request_memory"),
            (asked.account, "accounting_group"),
            (asked.queue and json.dumps(asked.queue), f"+{self.queue_is}"),
        ):
            if value:
                lines[name] = str(value)
        return "\n".join([*(f"{name} = {value}" for name, value in lines.items()), *asked.extra, "queue 1", ""])


def _script_of(job: Job) -> str:
    return str(PurePosixPath(job.folder, f"{job.name}.sh"))


def _plain(value: str) -> str:
    """A value in which nothing is expanded."""
    return value.replace("$", "$(DOLLAR)")


def _argument(word: str) -> str:
    """One argument, as a submit description quotes it."""
    doubled = _plain(word).replace("'", "''").replace('"', '""')
    return f"\"'{doubled}'\""


def _seen(ad: Mapping[str, Any]) -> Seen:
    """What a job in the queue is at."""
    status, code = ad.get("JobStatus"), ad.get("HoldReasonCode")
    if status == _IDLE:
        return Seen(Phase.WAITING, reason="idle")
    if status == _HELD and code in _HELD_BY_A_PERSON:
        return Seen(Phase.WAITING, reason=f"held: {ad.get('HoldReason', '')}")
    if status in {_HELD, _COMPLETED}:
        return _seen_ended(ad)
    return Seen(Phase.RUNNING, reason=_RUNNING.get(int(status or 0), f"JobStatus {status}"))


def _seen_ended(ad: Mapping[str, Any]) -> Seen:
    """What became of a job that is over: it completed, or broke a policy, or was removed."""
    if ad.get("JobStatus") == _COMPLETED:
        signal = ad.get("ExitSignal") if ad.get("ExitBySignal") else None
        return ended(-int(signal), f"ended by signal {signal}") if signal else ended(ad.get("ExitCode"), "completed")
    removed, last = str(ad.get("RemoveReason", "")), "" if "HoldReasonCode" in ad else "Last"
    if f"{last}HoldReasonCode" in ad:
        held = tuple(ad.get(f"{last}HoldReason{part}") for part in ("Code", "SubCode", ""))
        if held[0] not in _HELD_BY_A_PERSON:
            return _seen_held(*held)
    by = _REMOVED_BY.search(removed)
    is_lost = by[1] != ad.get("Owner") if by else True  # by a policy: it was evicted
    return ended(None, f"removed: {removed}", is_lost=is_lost)


def _seen_held(code: object, subcode: object, reason: object) -> Seen:
    is_too_big = code in _TOO_BIG or (code, subcode) == (_OWN_POLICY, _WALLTIME) or bool(_LIMIT.search(str(reason)))
    return ended(None, f"held: {reason} (code {code})", is_lost=not is_too_big, is_too_big=is_too_big)
