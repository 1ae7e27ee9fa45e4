"""Run a command apart, see that it left what it should, and leave that with a report under one name, at once.

The same on this machine and at a back end, where little more than Python is there: nothing here knows of a site. A
folder is one recipe's of one run; whoever works in it holds its lock, which goes with the command, however that ends.
"""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import json
import os
import platform
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xpcs_assets.compute.command import Command, run_command
from xpcs_assets.engine import stop
from xpcs_assets.errors import ComputeError, RefusedError
from xpcs_assets.process.call import CommandCall

LIST = "xpcs-outputs.json"
"""The report: which files there are, and what they were made with. Beside the outputs it is written last."""
OUTPUT = "output"
_MADE, _RUN, _TAKEN, _LOCK = "made", "run-", "taken", "lock"
_LOCK_EVERY_S = 0.1


def made_in(folder: Path) -> Path:
    """Where what a command has made is left, whole or not at all."""
    return folder / _MADE


def make(
    call: CommandCall,
    tell: Callable[[str], None],
    *,
    limit_s: float = float("inf"),
    environment: Mapping[str, str] | None = None,
    waits: bool = False,
    asked_at_s: float = float("inf"),
    look: Callable[[Path], None] = lambda _: None,
) -> dict[str, Any] | None:
    """Run a command in its folder, unless what it makes lies there; the report.

    Parameters
    ----------
    environment
        Variables for it beside its own.
    waits
        Whether somebody else who works in the folder is waited for; else that is a refusal.
    asked_at_s
        When it was asked for, s since 1970: what was taken away since is not made again, and None is given back.
    look
        Is called every moment with the file that gets what the command says.

    Raises
    ------
    ComputeError
        The command failed, took too long, or left not what it should; or its folder cannot be used.
    RefusedError
        It is under way already.
    """
    folder = Path(call.folder)
    try:
        with alone(folder, waits=waits) as lock:
            if _taken_at_s(folder) > asked_at_s:
                return None
            report = made_report(folder, call.digest)
            if report is not None:
                return report
            clear(folder)
            run = folder / f"{_RUN}{uuid.uuid4().hex[:12]}"
            output, log = run / OUTPUT, run / "command.log"
            output.mkdir(parents=True)
            command = Command(call.words(output), run, log, limit_s, {**(environment or {}), **call.environment})
            seconds = run_command(command, tell, keep_open=lock, look=lambda: look(log))
            report = _report(call, output, seconds)
            (run / LIST).write_text(json.dumps(report, indent=1), encoding="utf-8")
            run.rename(made_in(folder))
            return report
    except OSError as error:
        raise ComputeError(
            f"its folder cannot be used ({error.strerror})", where=folder, remedy="See its disk and permissions"
        ) from error


@contextmanager
def alone(folder: Path, *, waits: bool) -> Iterator[int]:
    """Hold a folder's lock; its descriptor.

    Raises
    ------
    RefusedError
        Somebody else has it, who is not waited for.
    """
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if not waits:
                    remedy = "Wait for its end"
                    raise RefusedError("a command is at this run already", where=folder, remedy=remedy) from error
                stop.wait(_LOCK_EVERY_S)
        yield lock
    finally:
        os.close(lock)


def made_report(work: Path, digest: str) -> dict[str, Any] | None:
    """The report on what a command has left in the folder that it works in."""
    return read_report(made_in(work), digest, made_in(work) / OUTPUT)


def read_report(folder: Path, digest: str, outputs_folder: Path | None = None) -> dict[str, Any] | None:
    """The report on outputs of a recipe that are all there, beside it if nowhere else: no byte of them is read."""
    try:
        report = json.loads((folder / LIST).read_text(encoding="utf-8"))
        outputs = {str(name): int(each["size_bytes"]) for name, each in report["outputs"].items()}
        root = outputs_folder or folder
        is_whole = all((root / name).stat().st_size == size_bytes for name, size_bytes in outputs.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(report) if outputs and is_whole and report.get("recipe_digest") == digest else None


def outputs_in(report: Mapping[str, Any]) -> dict[str, str]:
    """sha256 of each output, hex, by its path."""
    return {str(name): str(each["sha256"]) for name, each in report["outputs"].items()}


def taken(folder: Path, at_s: float) -> None:
    """What was made was taken, at ``at_s`` (s since 1970): whoever was asked for it before need not make it again."""
    (folder / _TAKEN).write_text(str(at_s), encoding="utf-8")
    clear(folder)


def clear(folder: Path) -> None:
    """Throw away what was made, and what was left by commands that were killed: nobody else is here."""
    for left in (made_in(folder), *folder.glob(f"{_RUN}*")):
        shutil.rmtree(left, ignore_errors=True)


def _taken_at_s(folder: Path) -> float:
    with suppress(OSError, ValueError):
        return float((folder / _TAKEN).read_text(encoding="utf-8"))
    return -float("inf")


def _report(call: CommandCall, output: Path, seconds: float) -> dict[str, Any]:
    outputs = {}
    for name in _left(output, call.outputs):
        with (output / name).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            outputs[name] = {"sha256": sha256, "size_bytes": os.fstat(file.fileno()).st_size}
    return {
        "recipe_digest": call.digest,
        "outputs": outputs,
        "command": list(call.command),
        "target": list(call.target),
        "context": call.context,
        "seconds": round(seconds, 3),
        "host": platform.node(),
    }


def _left(output: Path, patterns: tuple[str, ...]) -> list[str]:
    """The files that the command was to leave, by their paths below its folder."""
    names = sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if not path.is_dir())
    found: set[str] = set()
    for pattern in patterns:
        matching = fnmatch.filter(names, pattern)
        if not matching:
            raise ComputeError(f"the command ended well but left no {pattern!r}", where=output, remedy="See its log")
        found.update(matching)
    for name in sorted(found):
        path = output / name
        if path.is_symlink() or not path.is_file() or name == LIST:
            raise ComputeError("the command left something that is no plain file", where=path)
        if path.stat().st_size == 0:
            raise ComputeError("the command ended well but left an empty file", where=path, remedy="See its log")
    return sorted(found)
