"""Jobs on Slurm: sbatch, squeue, sacct, scontrol and scancel, and what their states mean."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from xpcs_assets.commands import Answer
from xpcs_assets.compute.backend import Job, Phase, Resources, Seen
from xpcs_assets.compute.scheduler import Scheduler, ended, output_of, said, script
from xpcs_assets.errors import UnreachableError

_WAITING = {
    "PENDING",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "RESV_DEL_HOLD",
    "SPECIAL_EXIT",
}
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "DEADLINE", "REVOKED"}
_LOST = {"NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "LAUNCH_FAILED", "RECONFIG_FAIL"}
_TOO_BIG = {"TIMEOUT", "OUT_OF_MEMORY"}
_NO_ACCOUNTING = re.compile(r"accounting storage is disabled", re.IGNORECASE)
UNKNOWN_JOB = re.compile(r"Invalid job id")
SILENT = re.compile(
    r"unable to contact|connect failure|connection (refused|reset|timed out)|timed out|zero bytes|communication"
    r"|talking to the database|standby mode|temporarily unable|munge|authentication|try again|unreachable",
    re.IGNORECASE,
)
"""What its programs say when the scheduler did not answer."""
_DAY_S = 86400.0
_MIB = 1024**2


class Record(NamedTuple):
    """What Slurm has of a job: its state, ``3:0`` (exit code and signal), and who it belongs to."""

    state: str
    exit_code: str = ""
    uid: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Slurm(Scheduler):
    """Jobs on Slurm, with or without accounting; without it an ended job is forgotten after ``MinJobAge``.

    Attributes
    ----------
    queue_is
        What a job's queue is called here: its partition or, as at NERSC, its QOS.
    looks_back_s
        A name is looked for among the jobs of this long.
    """

    queue_is: Literal["partition", "qos"] = "partition"
    looks_back_s: float = 14 * _DAY_S

    _silent: ClassVar[re.Pattern[str]] = SILENT

    def why_unavailable(self) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.why_unavailable`."""
        try:
            answer = self.ask("sinfo", "--noheader", "--format=%a")
        except UnreachableError as error:
            return error.what
        if answer.code != 0:
            return answer.told
        return "" if "up" in answer.out.decode(errors="replace").split() else "no partition of it is up"

    def find(self, name: str) -> str | None:
        """See :meth:`xpcs_assets.compute.backend.Backend.find`."""
        queued = self._queue(f"--name={name}", "--format=%A|%j")
        found = [int(row[0]) for row in queued if row[1] == name]
        since = f"--starttime=now-{math.ceil(self.looks_back_s / _DAY_S)}days"
        if not found:
            accounted = self._accounting(f"--name={name}", since, "--format=JobIDRaw,JobName") or []
            found = [int(row[0]) for row in accounted if row[1] == name]
        return str(max(found)) if found else None

    def submit(self, job: Job) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.submit`."""
        self.check(job)
        answer = self.ask("sbatch", "--parsable", *options_of(job, self.asked(job), self.queue_is), data=script(job))
        if answer.code != 0:
            raise self.refused(f"it did not take job {job.name}", answer)
        taken = re.fullmatch(r"(\d+)(;\S*)?", answer.out.decode(errors="replace").strip())
        if taken is None:
            raise self.no_answer(f"sbatch told no id for job {job.name}: {answer.told}")
        return taken[1]

    def poll(self, ids: Iterable[str]) -> dict[str, Seen]:
        """See :meth:`xpcs_assets.compute.backend.Backend.poll`."""
        asked = list(ids)
        if not asked:
            return {}
        rows = self._queue(f"--jobs={','.join(asked)}", "--format=%A|%T|%r")
        queued = {row[0]: Record(row[1], reason=row[2]) for row in rows}
        seen = {job_id: seen_of(queued[job_id]) for job_id in asked if job_id in queued}
        over = [job_id for job_id in asked if job_id not in seen or seen[job_id].phase is Phase.ENDED]
        accounted = self._accounted(over, queued) if over else {}
        for job_id in over:
            known = accounted.get(job_id)
            if known is not None and seen_of(known).phase is Phase.ENDED:
                seen[job_id] = seen_of(known)
            elif job_id in queued:
                seen[job_id] = self._shown(job_id, queued[job_id])
            else:
                seen[job_id] = Seen(
                    Phase.FORGOTTEN, reason=f"accounting alone has it as {known.state}" if known else ""
                )
        return seen

    def _end(self, job_id: str) -> Answer:
        return self.ask("scancel", job_id)

    def _queue(self, *words: str) -> list[list[str]]:
        """Rows of squeue, ended jobs included as long as the controller has them."""
        answer = self.ask("squeue", "--noheader", "--states=all", *words)
        if answer.code != 0 and not UNKNOWN_JOB.search(said(answer)):
            raise self.refused("squeue told nothing", answer)
        return _rows(answer) if answer.code == 0 else []

    def _accounting(self, *words: str) -> list[list[str]] | None:
        """Rows of sacct, one a job; None where nobody keeps accounts."""
        answer = self.ask("sacct", "--noheader", "--parsable2", "--allocations", *words)
        if answer.code != 0 and not _NO_ACCOUNTING.search(said(answer)):
            raise self.refused("sacct told nothing", answer)
        return _rows(answer) if answer.code == 0 else None

    def _accounted(self, ids: list[str], queued: dict[str, Record]) -> dict[str, Record]:
        """What accounting has of jobs; it may be down as long as the controller knows them all."""
        try:
            rows = self._accounting(f"--jobs={','.join(ids)}", "--format=JobIDRaw,State,ExitCode,UID")
        except UnreachableError:
            if any(job_id not in queued for job_id in ids):
                raise
            rows = None
        return {row[0]: Record(*row[1:4]) for row in rows or []}

    def _shown(self, job_id: str, queued: Record) -> Seen:
        """An ended job that accounting has not (yet): the controller has its exit code."""
        answer = self.ask("scontrol", "--oneliner", "show", "job", job_id)
        told = answer.out.decode(errors="replace")
        code = re.search(r"\bExitCode=(\d+:\d+)", told)
        user = re.search(r"\bUserId=[^ ]*\((\d+)\)", told)
        return seen_of(queued._replace(exit_code=code[1] if code else "", uid=user[1] if user else ""))


def options_of(job: Job, asked: Resources, queue_is: str) -> list[str]:
    """What sbatch is told of a job, beside its script."""
    options = [
        f"--job-name={job.name}",
        f"--chdir={job.folder}",
        f"--output={output_of(job).replace('%', '%%')}",
        "--no-requeue",
        "--export=NONE",
        f"--nodes={asked.nodes}",
    ]
    for value, option in (
        (math.ceil(asked.walltime_s / 60), "time"),
        (asked.gpus, "gpus"),
        (asked.memory_bytes and f"{math.ceil(asked.memory_bytes / _MIB)}M", "mem"),
        (asked.account, "account"),
        (asked.queue, queue_is),
    ):
        if value:
            options.append(f"--{option}={value}")
    return [*options, *asked.extra]


def _rows(answer: Answer) -> list[list[str]]:
    return [line.split("|") for line in answer.out.decode(errors="replace").splitlines() if line.strip()]


def seen_of(record: Record) -> Seen:
    """What a state means.

    >>> seen_of(Record("CANCELLED by 0", "0:15", "1000")).is_lost, seen_of(Record("CANCELLED by 7", "0:0", "7")).is_lost
    (True, False)
    """
    state, _, by = record.state.partition(" by ")
    why = record.reason if record.reason not in {"", "None"} else ""
    if state in _WAITING:
        return Seen(Phase.WAITING, reason=why or state)
    if state not in _ENDED | _LOST | _TOO_BIG:
        return Seen(Phase.RUNNING, reason=state)
    reason = f"{record.state}{f' ({why})' if why else ''}"
    if state in {"COMPLETED", "FAILED"}:
        code = _code(record.exit_code)
        return ended(code if code or state == "COMPLETED" else None, reason)
    is_lost = state in _LOST or bool(by and record.uid and by != record.uid)
    return ended(None, reason, is_lost=is_lost, is_too_big=state in _TOO_BIG)


def _code(said_code: str) -> int | None:
    """The exit code of Slurm's ``code:signal``; negative for a signal; None for what is neither.

    >>> _code("3:0"), _code("0:9"), _code("0:125"), _code("")
    (3, -9, None, None)
    """
    code, _, number = said_code.partition(":")
    if not code.isdigit() or int(number or 0) > 64:
        return None
    return -int(number) if int(number or 0) else int(code)
