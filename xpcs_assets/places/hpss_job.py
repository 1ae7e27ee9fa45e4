"""The program of a job that reaches HPSS: it does one request with hsi and htar, and leaves a report of what it saw.

It runs where HPSS may be reached, such as NERSC's ``xfer`` queue, and knows the request's folder alone. What hsi and
htar end with is believed only where it says no: whatever was stored is got back and hashed, and whatever was got is as
long as HPSS says it is. A report is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpcs_assets.runs.folders import PARTIAL_SUFFIX

_ABSENT = re.compile(r"no such file|HPSS_ENOENT|does not exist|not a directory|HPSS_ENOTDIR", re.IGNORECASE)
_ROW = re.compile(r"(\d+)\s+(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s+\d+\s+[\d:]+\s+(.+)$")
_ASK_S = 600.0
"""How long a question that moves no data may take; what moves data has its job's walltime."""
_CHUNK_BYTES = 4 << 20
_SAID = 500


Run = Callable[[Sequence[str], Path, float | None], tuple[int, str]]


class HpssError(Exception):
    """What ends a request: a kind that whoever asked acts on, why, and what it is about."""

    def __init__(self, kind: str, why: str, path: str = "") -> None:
        super().__init__(why)
        self.kind, self.why, self.path = kind, why, path


@dataclass(frozen=True)
class Hpss:
    """HPSS as hsi and htar show it below a root folder.

    Attributes
    ----------
    root
        The folder in HPSS.
    hsi, htar
        The programs.
    run
        Runs them, words in the folder for so long at most; their exit code, and what they said.
    """

    root: str
    hsi: str
    htar: str
    run: Run

    def size_of(self, path: str) -> int | None:
        """Length of a file, bytes; None when HPSS says that there is none."""
        code, said = self._ask(f"ls -ld {self._full(path)}")
        if code != 0:
            if _ABSENT.search(said):
                return None
            raise HpssError("unreachable", f"hsi ls: {said}", path)
        for line in said.splitlines():
            row = _ROW.search(line)
            if row is not None and row[2].rstrip("/").rsplit("/", 1)[-1] == path.rsplit("/", 1)[-1]:
                return int(row[1]) if line.lstrip().startswith("-") else None
        raise HpssError("unreachable", f"hsi ls gave no row of it: {said}", path)

    def names(self, folder: str) -> list[str] | None:
        """Paths of the files below a folder, relative to the root; None when HPSS says that there is no such folder."""
        code, said = self._ask(f"find {self._full(folder)} -type f")
        if code != 0 and _ABSENT.search(said):
            return None
        if code != 0:
            raise HpssError("unreachable", f"hsi find: {said}", folder)
        start = f"{self.root.rstrip('/')}/"
        found = sorted(line.removeprefix(start) for line in said.splitlines() if line.startswith(start))
        return None if found == [folder] else found  # of a file, find tells itself

    def get(self, path: str, target: Path) -> str:
        """Bring a file to ``target``, which is as long as HPSS says the file is; its sha256."""
        size_bytes = self.size_of(path)
        if size_bytes is None:
            raise HpssError("missing", "no such file", path)
        code, said = self._run([self.hsi, "-q", f"get {target} : {self._full(path)}"])
        if code != 0:
            raise HpssError("unreachable", f"hsi get: {said}", path)
        came_bytes = target.stat().st_size if target.is_file() else 0
        if came_bytes != size_bytes:
            raise HpssError("error", f"hsi get brought {came_bytes} of {size_bytes} bytes", path)
        return hash_of(target)

    def store(self, source: Path, path: str, sha256: str, back: Path) -> bool:
        """Have a file there with these bytes, read back to ``back``; False when it was there before.

        It gets its name when it was read back, never over another.
        """
        if self.size_of(path) is not None:
            if self.get(path, back) != sha256:
                raise HpssError("conflict", "the name is taken by other bytes", path)
            return False
        above, _, name = f"/{path}".rpartition("/")
        stem = hashlib.sha256(name.encode()).hexdigest()[:12]
        partial = f"{above}/.{stem}-{os.urandom(4).hex()}{PARTIAL_SUFFIX}".lstrip("/")
        self._do(f"mkdir -p {self._full(above.lstrip('/'))}", path)
        self._do(f"put {source} : {self._full(partial)}", path, within_s=None)
        # One read that differs says nothing about the tape.
        if self.size_of(partial) is None or not any(self.get(partial, back) == sha256 for _ in range(2)):
            raise HpssError("differs", "what came back from HPSS is not what was put there", path)
        if self.size_of(path) is not None:
            raise HpssError("error", "another took the name meanwhile", path)
        self._do(f"mv {self._full(partial)} {self._full(path)}", path)
        if self.size_of(path) != source.stat().st_size:
            raise HpssError("differs", "it has another size under its name", path)
        return True

    def make_index(self, path: str) -> str:
        """Have htar list a bundle, beside it; why it could not, or nothing. The bundle is no worse without."""
        code, said = self._run([self.htar, "-X", "-f", self._full(path)])
        return f"htar -X: {said or f'exit code {code}'}" if code != 0 else ""

    def take_out(self, path: str, members: Sequence[str], folder: Path) -> None:
        """Bring members of a bundle below ``folder``."""
        if self.size_of(path) is None:
            raise HpssError("missing", "no such file", path)
        folder.mkdir()
        code, said = self._run([self.htar, "-x", "-f", self._full(path), *members], folder=folder)
        if code != 0:
            raise HpssError("error", f"htar -x: {said}", path)

    def _full(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}" if path else self.root

    def _ask(self, command: str) -> tuple[int, str]:
        return self._run([self.hsi, "-q", command], within_s=_ASK_S)

    def _do(self, command: str, path: str, within_s: float | None = _ASK_S) -> None:
        code, said = self._run([self.hsi, "-q", command], within_s=within_s)
        if code != 0:
            raise HpssError("unreachable", f"hsi {command.split()[0]}: {said or f'exit code {code}'}", path)

    def _run(self, words: Sequence[str], folder: Path = Path(), within_s: float | None = None) -> tuple[int, str]:
        code, said = self.run(words, folder, within_s)
        return code, said.strip() if code == 0 else said.strip()[-_SAID:]


def run_program(words: Sequence[str], folder: Path, within_s: float | None) -> tuple[int, str]:
    """Run a program; HpssError when it cannot be run, or takes too long."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            timeout=within_s,
            check=False,
        )
    except OSError as error:
        raise HpssError("unreachable", f"{words[0]} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise HpssError("unreachable", f"{words[0]} took longer than {within_s:g} s") from error
    return done.returncode, done.stdout.decode(errors="surrogateescape")


def hash_of(file: Path) -> str:
    """sha256 of a file, 64 hex digits."""
    digest = hashlib.sha256()
    with file.open("rb") as data:
        while chunk := data.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class Work:
    """One request, and where its files lie.

    Attributes
    ----------
    request
        As it was asked: see ``places.hpss_asking``.
    folder
        The request's folder in scratch.
    hpss
        What is asked.
    """

    request: Mapping[str, Any]
    folder: Path
    hpss: Hpss

    @property
    def path(self) -> str:
        """What it is about."""
        return str(self.request["path"])

    @property
    def data(self) -> Path:
        """Where what comes from HPSS is left."""
        return self.folder / str(self.request["data"])

    def marker(self) -> dict[str, Any]:
        """The text of the root's marker, or that there is none."""
        path, file = self.request["marker"], self.folder / f"marker-{os.getpid()}"
        if self.hpss.size_of(path) is None:
            return {"marker": None}
        self.hpss.get(path, file)
        return {"marker": file.read_text(errors="replace")}

    def look(self) -> dict[str, Any]:
        """Whether a file is there; where it is not, what root this is."""
        size_bytes = self.hpss.size_of(self.path)
        return {"size_bytes": size_bytes} | (self.marker() if size_bytes is None else {})

    def list(self) -> dict[str, Any]:
        """The files below a folder, and what root this is."""
        return {"names": self.hpss.names(self.path)} | self.marker()

    def root(self) -> dict[str, Any]:
        """What root this is."""
        return self.marker()

    def fetch(self) -> dict[str, Any]:
        """A whole file; where there is none, what root this is."""
        try:
            sha256 = self.hpss.get(self.path, self.data)
        except HpssError as error:
            if error.kind != "missing":
                raise
            return {"sha256": None} | self.marker()
        return {"sha256": sha256, "size_bytes": self.data.stat().st_size}

    def take_out(self) -> dict[str, Any]:
        """Members of a bundle: of each that came out, its length."""
        self.hpss.take_out(self.path, self.request["members"], self.data)
        there = {name: self.data / name for name in self.request["members"]}
        return {"members": {name: file.stat().st_size for name, file in there.items() if file.is_file()}}

    def store(self) -> dict[str, Any]:
        """A file, and for a bundle its index beside it and what htar lists, unless the root is another place's."""
        marker = self.marker()
        if not _is_expected(self.request["identity"], marker["marker"]):
            return {"sha256": None} | marker
        index, sha256 = self.request["index"], self.request["sha256"]
        if index is not None:
            self._refuse_other(index)
        is_new = self.hpss.store(self.folder / "out", self.path, sha256, self.data)
        told = {"sha256": sha256, "size_bytes": self.data.stat().st_size, "is_new": is_new}
        if index is None:
            return told
        self.hpss.store(self.folder / "index", index["path"], index["sha256"], self._index_back)
        return told | {"htar": self.hpss.make_index(self.path)}

    @property
    def _index_back(self) -> Path:
        return self.folder / f"{self.request['data']}-index"

    def _refuse_other(self, index: Mapping[str, str]) -> None:
        """Refuse a name whose index is taken, before a bundle of terabytes is stored under it."""
        there = self.hpss.size_of(index["path"]) is not None
        if there and self.hpss.get(index["path"], self._index_back) != index["sha256"]:
            raise HpssError("conflict", "its index is there with other bytes", index["path"])


def _is_expected(identity: str | None, text: str | None) -> bool:
    """Whether a marker is the one that is expected; whoever asked says why not."""
    if identity is None:
        return True
    try:
        return text is not None and json.loads(text)["identity"] == identity
    except (ValueError, KeyError, TypeError):
        return False


def do(request_file: Path, run: Run = run_program) -> None:
    """Do a request and leave its report, also when it failed."""
    request = json.loads(request_file.read_text())
    hpss = Hpss(request["root"], request["hsi"], request["htar"], run)
    work = Work(request, request_file.parent, hpss)
    doing: dict[str, Callable[[], dict[str, Any]]] = {
        "look": work.look,
        "list": work.list,
        "root": work.root,
        "fetch": work.fetch,
        "take_out": work.take_out,
        "store": work.store,
    }
    try:
        told = {"failed": "", **doing[request["do"]]()}
    except HpssError as error:
        told = {"failed": error.kind, "why": error.why, "path": error.path}
    except OSError as error:  # scratch is full or away
        told = {"failed": "error", "why": f"scratch: {error.strerror}", "path": str(error.filename or "")}
    _leave(request_file.parent / request["report"], {"job": request["job"], "ended_at_s": time.time(), **told})


def _leave(report: Path, told: Mapping[str, Any]) -> None:
    partial = report.with_name(f".{report.name}{PARTIAL_SUFFIX}")
    with partial.open("w") as file:
        json.dump(told, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(report)


if __name__ == "__main__":
    do(Path(sys.argv[1]))
