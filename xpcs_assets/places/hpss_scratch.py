"""The scratch folder that this machine and the jobs that reach HPSS share: requests, reports, and the bytes on the way.

Each request has a folder named by what it asks. Everything in it can be made again; it is taken away once its answer is
too old to count, and by nothing else in the package.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpcs_assets.errors import CopyError, UnderWayError
from xpcs_assets.places.files import Written, write_file_safely
from xpcs_assets.places.reading import told_as_copy_error
from xpcs_assets.places.syscalls import SYSCALLS

REQUEST, OUT, INDEX = "request.json", "out", "index"
_LOCK = "lock"
_LOCK_S = 60.0


@dataclass(frozen=True)
class Scratch:
    """The folder, as this machine sees it.

    Attributes
    ----------
    folder
        Made by an operator, for this place alone.
    fresh_s
        An answer counts for this long after its job's end.
    now
        Seconds since 1970.
    """

    folder: Path
    fresh_s: float
    now: Callable[[], float] = time.time

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time looks at requests and submits their jobs; UnderWayError when others take too long."""
        if not self.folder.is_dir():
            raise CopyError("the scratch folder is not there", where=self.folder, remedy="Mount it, or make it")
        with told_as_copy_error(self.folder):
            descriptor = SYSCALLS.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT)
        try:
            give_up_s = time.monotonic() + _LOCK_S
            while True:
                try:
                    SYSCALLS.lock(descriptor)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > give_up_s:
                        raise UnderWayError(
                            "another process asks for jobs", where=self.folder, remedy="It is asked again later"
                        ) from error
                    time.sleep(0.02)
            yield
        finally:
            SYSCALLS.close(descriptor)

    def of(self, key: str) -> Path:
        """The folder of a request."""
        return self.folder / key

    def read(self, key: str) -> dict[str, Any] | None:
        """A request as it was last written; None when there is none."""
        return _json(self.of(key) / REQUEST)

    def write(self, key: str, request: Mapping[str, Any], name: str = REQUEST) -> None:
        """Keep a request, on the disk; or its report, under its ``name``."""
        text = json.dumps(request, indent=1) + "\n"
        write_file_safely(self.of(key) / name, [text.encode()], replace=True)

    def report(self, key: str, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the job of a request has reported; None when there is no report of that very job."""
        found = _json(self.of(key) / request["report"])
        return found if found is not None and found.get("job") == request["job"] else None

    def is_fresh(self, report: Mapping[str, Any]) -> bool:
        """Whether what a job saw still counts."""
        return self.now() - float(report["ended_at_s"]) < self.fresh_s

    def answers(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any] | None]]:
        """Every request with its key and report."""
        with told_as_copy_error(self.folder):
            keys = sorted(path.name for path in self.folder.iterdir() if path.is_dir())
        for key in keys:
            request = self.read(key)
            if request is not None:
                yield key, request, self.report(key, request)

    def pour(self, name: str, chunks: Iterable[bytes], sha256: str, also: Mapping[str, str]) -> Written:
        """Write what is to be stored; see :func:`xpcs_assets.places.files.write_file_safely`."""
        return write_file_safely(self.folder / name, chunks, sha256=sha256, also=also)

    def drop(self, key: str) -> None:
        """Take a request away with all that came of it."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.of(key))

    def drop_file(self, name: str) -> None:
        """Take away bytes that were on their way and have arrived, or are made again."""
        with suppress(FileNotFoundError):
            (self.folder / name).unlink()

    def sweep(self) -> int:
        """Take away answers that count no more, and what was poured for nothing this long; how many those were."""
        swept = 0
        for key, _, report in list(self.answers()):
            if report is not None and not self.is_fresh(report):
                self.drop(key)
                swept += 1
        for file in [path for path in self.folder.rglob("*") if path.is_file() and path.name != _LOCK]:
            with suppress(FileNotFoundError):
                is_nobodys = not (file.parent / REQUEST).exists() and file.name != REQUEST
                if is_nobodys and self.now() - file.stat().st_mtime > self.fresh_s:
                    self.drop_file(str(file.relative_to(self.folder)))
                    swept += 1
        return swept


def _json(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None
