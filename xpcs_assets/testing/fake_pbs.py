r"""A stand-in for PBS: qsub, qselect, qstat and qdel that keep their state in a folder and really run the jobs.

They answer as OpenPBS 23 does: ``qstat -F json`` holds ``005`` and ``\,``, which are no JSON; a job that was ended by
qdel has ``Exit_status`` 0; history is kept; exit codes are the last byte of the server's error numbers.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

from xpcs_assets.testing.fake_batch import DOWN, LOSES_ANSWERS, Batch

SERVER = "pbs01"
_PROGRAMS = ("qsub", "qselect", "qstat", "qdel")
_UNKNOWN_JOB, _FINISHED, _NO_CONNECTION = 153, 35, 255
_TERMINATED, _ENDED_WELL, _FAILED = 91, 92, 93
_WALLTIME = -29


class FakePbs(Batch):
    """The stand-in, installed in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.install(__name__, _PROGRAMS)


def main(folder: str, program: str, words: list[str]) -> int:
    """What each of its programs calls."""
    batch = Batch(Path(folder))
    if batch.fault == DOWN:
        print(f"Connection refused\n{program}: cannot connect to server {SERVER} (errno=111)", file=sys.stderr)  # noqa: T201
        return _NO_CONNECTION
    return {"qsub": _qsub, "qselect": _qselect, "qstat": _qstat, "qdel": _qdel}[program](batch, words)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _qsub(batch: Batch, words: list[str]) -> int:
    parser = _Parser("qsub", add_help=False)
    for letter in "NojkSrAqv":
        parser.add_argument(f"-{letter}", default="")
    parser.add_argument("-l", action="append", default=[])
    asked = parser.parse_args(words)
    if len(asked.N) > 15 or not asked.N[:1].isalpha():
        return _fails("qsub: illegal -N value", 2)
    if asked.q == "nowhere":
        return _fails("qsub: Unknown queue", 170)
    resources = dict(one.partition("=")[::2] for one in asked.l)
    walltime = resources.get("walltime", "0:00:00")
    hours, minutes, seconds = map(int, walltime.split(":"))
    told = {
        "Job_Name": asked.N,
        "Job_Owner": "operator@login1",
        "queue": asked.q or "workq",
        "Rerunable": asked.r,
        "Variable_List": dict(one.partition("=")[::2] for one in asked.v.split(",")),
        "Resource_List": {"walltime": walltime, "select": resources["select"]},
        "Account_Name": asked.A,
    }
    number = batch.take(
        told,
        sys.stdin.buffer.read(),
        output=asked.o,
        cwd="/",
        walltime_s=3600 * hours + 60 * minutes + seconds,
    )
    if batch.fault == LOSES_ANSWERS:
        return _fails(f"qsub: End of File\nqsub: cannot connect to server {SERVER} (errno=15031)", _NO_CONNECTION)
    return _says(f"{number}.{SERVER}")


def _qselect(batch: Batch, words: list[str]) -> int:
    parser = _Parser("qselect", add_help=False)
    parser.add_argument("-x", action="store_true")
    parser.add_argument("-N", required=True)
    asked = parser.parse_args(words)
    found = [number for number in batch.numbers() if batch.told(number)["Job_Name"] == asked.N]
    return _says("\n".join(f"{number}.{SERVER}" for number in found if asked.x or not _is_over(batch, number)))


def _qstat(batch: Batch, words: list[str]) -> int:
    if words == ["-B"]:
        return _says(f"Server             Max   Tot   Que   Run\n{SERVER}   0   0   0   0   Active")
    if words[:4] != ["-x", "-f", "-F", "json"]:
        return _fails("qstat: conflicting options.", 2)
    known: list[int] = []
    unknown: list[int] = []
    for job_id in words[4:]:
        number = int(job_id.partition(".")[0])
        (known if number in batch.numbers() else unknown).append(number)
    told = {f"{number}.{SERVER}": _shown(batch, number) for number in known}
    content = {"timestamp": 1792000000, "pbs_version": "23.06.06", "pbs_server": SERVER, "Jobs": told}
    if told or not unknown:
        _says(_spoilt(json.dumps(content, indent=4, separators=(",", ":"))))
    return _fails("\n".join(f"qstat: Unknown Job Id {one}.{SERVER}" for one in unknown), _UNKNOWN_JOB) if unknown else 0


def _qdel(batch: Batch, words: list[str]) -> int:
    number = int(words[0].partition(".")[0])
    if number not in batch.numbers():
        return _fails(f"qdel: Unknown Job Id {words[0]}", _UNKNOWN_JOB)
    if _is_over(batch, number):
        return _fails(f"qdel: Job has finished {words[0]}", _FINISHED)
    batch.change(number, deleted=True)
    batch.kill(number)
    return 0


def _is_over(batch: Batch, number: int) -> bool:
    told = batch.told(number)
    return "code" in told or bool(told.get("deleted"))


def _shown(batch: Batch, number: int) -> dict[str, Any]:
    """A job as qstat shows it."""
    told = batch.told(number)
    own = {name: told[name] for name in ("Job_Name", "Job_Owner", "queue", "Rerunable", "Resource_List")}
    ran = f"Job run at Sat Nov 21 at 10:00 on ({SERVER}:ncpus=1)"
    variables = {**told["Variable_List"], "PBS_O_PATH": "/bin,/usr/bin", "OMP_NUM_THREADS": "005"}
    shown = {**own, "job_state": "R", "substate": 42, "comment": ran, "Variable_List": variables}
    if told.get("deleted"):
        shown |= {"job_state": "F", "substate": _TERMINATED, "Exit_status": 0, "comment": f"{ran} and terminated"}
    elif told.get("late"):
        shown |= {"job_state": "F", "substate": _FAILED, "Exit_status": _WALLTIME, "comment": f"{ran} and failed"}
    elif "code" in told:
        code = told["code"]
        how = (_ENDED_WELL, "finished") if code == 0 else (_FAILED, "failed")
        shown |= {"job_state": "F", "substate": how[0], "comment": f"{ran} and {how[1]}"}
        shown["Exit_status"] = code if code >= 0 else 256 - code
    return shown


def _spoilt(text: str) -> str:
    """JSON as qstat writes it: a comma in a variable is escaped, and what looks like a number has no quotes."""
    spoilt = re.sub(r'("PBS_O_PATH":"[^"]*)"', lambda found: found[0].replace("/bin,", r"/bin\,"), text)
    return spoilt.replace('"005"', "005")


def _says(text: str) -> int:
    if text:
        print(text)  # noqa: T201
    return 0


def _fails(text: str, code: int) -> int:
    print(text, file=sys.stderr)  # noqa: T201
    return code
