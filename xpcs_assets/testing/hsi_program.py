"""What the programs hsi and htar of a fake HPSS do: see ``fake_hpss``. It runs alone, as a program, or is called."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class _EndedError(Exception):
    """The program ends: with a code, and its words."""


def run(home: Path, words: Sequence[str], folder: Path) -> tuple[int, str]:
    """Exit code and words of a call of ``hsi`` or ``htar``, whose state and faults lie in ``home``."""
    name = Path(words[0]).name
    with (home / "said.log").open("a") as log:
        log.write(" ".join((name, *words[1:])) + "\n")
    faults = _Faults(home)
    try:
        if faults.once("down"):
            _end(75, "*** hsi: Unable to setup communication to HPSS: it is in maintenance")
        time.sleep(faults.known().get("slow_s", 0))
        if faults.once("kills"):
            os.kill(os.getppid(), signal.SIGKILL)
        if name == "htar":
            _htar(faults, list(words[1:]), folder)
            return 0, ""
        return 0, _hsi(faults, list(words[1:]))
    except _EndedError as ended:
        return ended.args[0], ended.args[1]


def main(home: str) -> None:
    """Be the program that this process was started as."""
    code, said = run(Path(home), sys.argv, Path.cwd())
    sys.stdout.write(said)
    sys.exit(code)


class _Faults:
    """What goes wrong."""

    def __init__(self, home: Path) -> None:
        self.file = home / "faults.json"

    def known(self) -> dict[str, Any]:
        return dict(json.loads(self.file.read_text()))

    def once(self, fault: str) -> bool:
        """Whether it happens now; one that is a number happens so many times."""
        known = self.known()
        left = known.get(fault, 0)
        if left and left is not True:
            partial = self.file.with_suffix(".new")
            partial.write_text(json.dumps(known | {fault: left - 1}))
            partial.replace(self.file)
        return bool(left)


def _end(code: int, words: str) -> None:
    raise _EndedError(code, words)


def _hsi(faults: _Faults, words: list[str]) -> str:
    if words[:1] != ["-q"] or len(words) != 2:
        _end(64, "usage: hsi -q command")
    command, *rest = words[1].split()
    path = Path(rest[-1])
    if command in {"ls", "find", "get", "mv"} and not Path(rest[0] if command in {"find", "mv"} else path).exists():
        _end(64, f"*** hsi: HPSS_ENOENT: {path}: No such file or directory")
    if command == "ls":
        kind = "d" if path.is_dir() else "-"
        return f"{kind}rw-r-----   1 als   als   {path.stat().st_size} May  1 12:00 {path}\n"
    if command == "find":
        start = Path(rest[0])
        found = [start] if start.is_file() else sorted(each for each in start.rglob("*") if each.is_file())
        return "".join(f"{each}\n" for each in found)
    if command == "mkdir":
        path.mkdir(parents=True, exist_ok=True)
    elif command == "mv":
        Path(rest[0]).rename(path)
    elif command == "put":
        _put(faults, Path(rest[0]), path)
    elif command == "get":
        _moved(faults, "get", path, Path(rest[0]))
    else:
        _end(64, f"no such command {command}")
    return ""


def _put(faults: _Faults, local: Path, remote: Path) -> None:
    if remote.exists():
        _end(1, f"a fake HPSS never sees a name overwritten: {remote}")
    if not faults.once("put_lies"):
        _moved(faults, "put", local, remote)


def _moved(faults: _Faults, command: str, source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    middle = target.stat().st_size // 2
    if faults.once(f"{command}_truncates"):
        os.truncate(target, middle)
    if faults.once(f"{command}_flips"):
        with target.open("r+b") as file:
            file.seek(middle)
            byte = file.read(1)
            file.seek(middle)
            file.write(bytes([byte[0] ^ 1]))


def _htar(faults: _Faults, words: list[str], folder: Path) -> None:
    import tarfile

    if faults.once("htar_fails"):
        _end(70, "HTAR: HTAR FAILED")
    do, _, path, *members = words
    index = Path(f"{path}.idx")
    if do == "-X":
        with tarfile.open(path) as bundle:
            index.write_text("".join(f"{info.offset_data} {info.name}\n" for info in bundle))
        return
    if not index.exists():
        _end(70, f"ERROR: no index of {path}")
    with tarfile.open(path) as bundle:
        for name in members:
            bundle.extract(name, folder, filter="data")
