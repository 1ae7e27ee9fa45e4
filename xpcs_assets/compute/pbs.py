"""Jobs on PBS (OpenPBS and PBS Professional): qsub, qselect, qstat and qdel, and what their answers mean.

A job's own name may be longer than what ``-N`` takes, so ``-N`` gets a short form of it and the whole name travels in
the job's variable ``XPCS_JOB``, by which it is found. A job that was ended by qdel has the exit status 0: its comment
and its substate are read too.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from xpcs_assets.commands import Answer
from xpcs_assets.compute.backend import Job, Phase, Seen
from xpcs_assets.compute.scheduler import Scheduler, ended, output_of, said, script
from xpcs_assets.errors import ComputeError, UnreachableError

_VARIABLE = "XPCS_JOB"
_PREFIX = "job."  # what begins so is no number: qstat writes what looks like one as it is, and 005 is no JSON
_NAME_CHARACTERS = 15
_PATH = re.compile(r"[\w./+@=-]+")
_WAITING = {"Q", "W", "T", "H", "M"}
_ENDED = {"F", "X"}
_TERMINATED = 91
"""The substate of a job that was deleted."""
_LIMITS = range(-29, -23)
"""Killed for more processors, memory or time than it asked for."""
_REFUSED = {-10, -13, -17, -19, -21, -23, -30}
"""Never started, and never will: the user, a hook or the security of the machine is against it."""
_DELETED = re.compile(r"\b(terminated|deleted|killed by)\b", re.IGNORECASE)
_NOT_STARTED = "too many failed attempts"
_UNKNOWN_JOB = re.compile(r"Unknown Job Id\s+(\S+)")
_STRAY_ESCAPE = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})|\\')
_BARE_VALUE = re.compile(r'^(\s*"[^"\n]*"\s*:\s*)([^\s"{\[][^\n]*?)(,?\s*)$', re.MULTILINE)
_SIZE = re.compile(r"(\d+)([kmgtp]?)([bw])", re.IGNORECASE)
_UNITS: dict[str, int] = {unit: 1024**power for power, unit in enumerate(["", *"kmgtp"])}
_MIB = _UNITS["m"]


@dataclass(frozen=True)
class PBS(Scheduler):
    """Jobs on PBS. An ended job is known as long as the server keeps its history (``job_history_enable``).

    Attributes
    ----------
    chunk
        What each node is asked for besides: ``ncpus=32:system=polaris``.
    """

    chunk: str = ""

    _silent: ClassVar[re.Pattern[str]] = re.compile(
        r"cannot connect|could not connect|connection (refused|reset|timed out)|no route|timed out|pbs_iff|end of file"
        r"|communication failure|server (is )?(shutting )?down|try again|munge|unable to authenticate",
        re.IGNORECASE,
    )

    def why_unavailable(self) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.why_unavailable`."""
        try:
            answer = self.ask("qstat", "-B")
        except UnreachableError as error:
            return error.what
        return "" if answer.code == 0 else answer.told

    def find(self, name: str) -> str | None:
        """See :meth:`xpcs_assets.compute.backend.Backend.find`."""
        answer = self.ask("qselect", "-x", "-N", _short(name))
        if answer.code != 0:
            raise self.refused("qselect told nothing", answer)
        found = answer.out.decode(errors="replace").split()
        named = [
            job_id
            for job_id, told in (self._told(found) if found else {}).items()
            if _variables(told).get(_VARIABLE) == _PREFIX + name
        ]
        return max(named, key=_number, default=None)

    def submit(self, job: Job) -> str:
        """See :meth:`xpcs_assets.compute.backend.Backend.submit`."""
        self.check(job)
        if _PATH.fullmatch(job.folder) is None:
            raise ComputeError(
                f"PBS takes no such folder: {job.folder!r}", where=self.where, remedy="Name one without spaces and ':'"
            )
        answer = self.ask("qsub", *self._options(job), data=script(job))
        if answer.code != 0:
            raise self.refused(f"it did not take job {job.name}", answer)
        lines = answer.out.decode(errors="replace").split()
        if not lines or not lines[-1][0].isdigit():
            raise self.no_answer(f"qsub told no id for job {job.name}: {answer.told}")
        return lines[-1]

    def poll(self, ids: Iterable[str]) -> dict[str, Seen]:
        """See :meth:`xpcs_assets.compute.backend.Backend.poll`."""
        asked = list(ids)
        told = {_number(job_id): one for job_id, one in (self._told(asked) if asked else {}).items()}
        forgotten = Seen(Phase.FORGOTTEN)
        return {job_id: _seen(told[_number(job_id)]) if _number(job_id) in told else forgotten for job_id in asked}

    def _end(self, job_id: str) -> Answer:
        return self.ask("qdel", job_id)

    def _options(self, job: Job) -> list[str]:
        asked = self.asked(job)
        chunk = [f"select={asked.nodes}"]
        if self.chunk:
            chunk.append(self.chunk)
        if asked.gpus:
            chunk.append(f"ngpus={math.ceil(asked.gpus / asked.nodes)}")
        if asked.memory_bytes:
            chunk.append(f"mem={math.ceil(asked.memory_bytes / _MIB)}mb")
        options = ["-N", _short(job.name), "-v", f"{_VARIABLE}={_PREFIX}{job.name}", "-S", "/bin/sh", "-r", "n"]
        # What the job writes goes where it belongs while it runs (-k doe), not at its end.
        options += ["-j", "oe", "-k", "doe", "-o", output_of(job), "-l", ":".join(chunk)]
        if asked.walltime_s:
            minutes, seconds = divmod(math.ceil(asked.walltime_s), 60)
            options += ["-l", f"walltime={minutes // 60}:{minutes % 60:02}:{seconds:02}"]
        for value, option in ((asked.account, "-A"), (asked.queue, "-q")):
            if value:
                options += [option, value]
        return [*options, *asked.extra]

    def _told(self, ids: list[str]) -> dict[str, Mapping[str, Any]]:
        """What qstat has of jobs, ended ones included; who is missing is unknown to it, in its own words."""
        answer = self.ask("qstat", "-x", "-f", "-F", "json", *ids)
        unknown = {_number(job_id) for job_id in _UNKNOWN_JOB.findall(said(answer))}
        try:
            told = _parsed(answer.out.decode(errors="replace"))
        except ValueError as error:
            raise self.no_answer(f"qstat's answer cannot be read: {error}") from error
        missing = {_number(job_id) for job_id in ids} - {_number(job_id) for job_id in told} - unknown
        if missing and answer.code != 0:
            raise self.refused("qstat told nothing", answer)
        if missing:
            raise self.no_answer(f"qstat said nothing of job {min(missing)}")
        return told


def _short(name: str) -> str:
    """A name that every version takes; of two long ones hardly ever the same.

    >>> _short("a-run"), _short("8idi-A001-g2-attempt-1")
    ('a-run', 'j8idi-A62e86e99')
    """
    if len(name) <= _NAME_CHARACTERS and name[0].isalpha():
        return name
    return f"j{name[:6]}{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _number(job_id: str) -> int:
    """The number of ``123.server``: the server is told in a short or a long form."""
    digits = re.match(r"\d+", job_id)
    return int(digits[0]) if digits else -1


def _parsed(text: str) -> dict[str, Mapping[str, Any]]:
    r"""Jobs of what qstat calls JSON, in which numbers may be ``005`` or ``nan`` and escapes ``\,``.

    Raises
    ------
    ValueError
        It cannot be read in spite of that.

    >>> _parsed('{"Jobs":{"1.s":{\n"a":005,\n"b":"x\\,y"\n}}}')
    {'1.s': {'a': '005', 'b': 'x\\,y'}}
    """
    if not text.strip():
        return {}
    mended = _STRAY_ESCAPE.sub(lambda found: found[0] if found[1] else r"\\", text)
    mended = _BARE_VALUE.sub(lambda found: found[1] + json.dumps(found[2]) + found[3], mended)
    content = json.loads(mended, strict=False)
    jobs = content.get("Jobs") if isinstance(content, dict) else None
    return {job_id: told for job_id, told in (jobs or {}).items() if isinstance(told, dict)}


def _variables(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """A job's variables, which some versions tell in one text."""
    given = told.get("Variable_List", {})
    return given if isinstance(given, dict) else dict(one.partition("=")[::2] for one in str(given).split(","))


def _seen(told: Mapping[str, Any]) -> Seen:
    state, comment = str(told.get("job_state", "")), str(told.get("comment", ""))
    if state in _WAITING:
        special = {"H": "held", "M": "moved to another server"}.get(state, "")
        return Seen(Phase.WAITING, reason=": ".join(filter(None, (special, comment))) or state)
    if state not in _ENDED:
        return Seen(Phase.RUNNING, reason=comment or state)
    return _seen_ended(told, comment)


def _seen_ended(told: Mapping[str, Any], comment: str) -> Seen:
    code, substate = _integer(told.get("Exit_status")), _integer(told.get("substate"))
    reason = f"Exit_status {code}{f': {comment}' if comment else ''}"
    if code in _LIMITS or (code != 0 and _used_up(told)):
        return ended(None, f"more than it asked for: {reason}", is_too_big=True)
    if substate == _TERMINATED or _DELETED.search(comment):
        return Seen(Phase.ENDED, None, f"deleted: {reason}", is_lost=_NOT_STARTED in comment)
    if code is not None and code < 0:
        return ended(None, f"PBS did not run it to its end: {reason}", is_lost=code not in _REFUSED)
    return ended(256 - code if code is not None and code > 256 else code, reason)


def _used_up(told: Mapping[str, Any]) -> bool:
    """Whether a job used all the time or memory that it asked for: some versions say no more than a signal."""
    used, asked = told.get("resources_used"), told.get("Resource_List")
    if not isinstance(used, dict) or not isinstance(asked, dict):
        return False
    return any(
        (limit := measure(asked.get(name))) is not None and (measure(used.get(name)) or 0) >= limit
        for name, measure in (("walltime", _seconds), ("mem", _bytes))
    )


def _seconds(told: object) -> int | None:
    parts = str(told).split(":")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return None
    hours, minutes, seconds = map(int, parts)
    return 3600 * hours + 60 * minutes + seconds


def _bytes(told: object) -> int | None:
    found = _SIZE.fullmatch(str(told))
    if found is None:
        return None
    return int(found[1]) * _UNITS[found[2].lower()] * (8 if found[3] in "wW" else 1)  # words have eight bytes


def _integer(told: object) -> int | None:
    try:
        return int(str(told))
    except ValueError:
        return None
