"""Put a result and its report under their names: once, whole, by one worker at a time.

A worker holds the output's lock while it works: another one waits for it, then finds the result and takes it. A result
of a run that was still being written says so (``complete: false``), and is never taken for the run's.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from xpcs_assets.correlate.carry_out import Clock
from xpcs_assets.correlate.prepared import Prepared
from xpcs_assets.engine import stop
from xpcs_assets.errors import ConflictingBytesError, CopyError, ResultError
from xpcs_assets.results.output_name import report_path
from xpcs_assets.results.result import read_provenance
from xpcs_assets.results.write_result import write_atomically

_LOCK_EVERY_S = 0.1


class Told(Protocol):
    """Who is told that a result is there."""

    def done(self, output: Path, report: dict[str, Any], *, reused: bool) -> None:
        """Say where the result is."""
        ...


def publish(
    prepared: Prepared,
    told: Told,
    make: Callable[[], tuple[bytes | memoryview, dict[str, Any], Clock]],
    *,
    overwrite: bool,
) -> None:
    """Put a result and its report under their names, unless they are there; the caller is the :func:`only_worker`.

    Raises
    ------
    ConflictingBytesError
        The name is taken by something else and may not be overwritten.
    CopyError, NoRoomError
        It cannot be written.
    """
    output = prepared.job.output
    report = _existing(prepared, overwrite=overwrite)
    reused = report is not None
    if report is None:
        report = put(output, *make())
    elif _stored_report(output) != report:
        _put_report(output, report)
    told.done(output, report, reused=reused)


def put(output: Path, image: bytes | memoryview, report: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """Write a result and its report, which is given back with what became known by writing.

    Raises
    ------
    CopyError, NoRoomError
        It cannot be written.
    """
    stop.check()
    since_s = time.monotonic()
    write_atomically(output, image)
    clock.add("write", since_s)
    report |= {
        "result_digest": "sha256:" + hashlib.sha256(image).hexdigest(),
        "seconds": clock.rounded(),
        "output": output.name,
        "host": platform.node(),
        "peak_memory_bytes": peak_memory_bytes(),
    }
    _put_report(output, report)
    return report


def peak_memory_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def put_so_far(
    prepared: Prepared,
    image: bytes | memoryview,
    report: dict[str, Any],
    clock: Clock,
    *,
    overwrite: bool,
) -> dict[str, Any]:
    """Write the result of a run that is still being written over the one before; as :func:`put`.

    Raises
    ------
    ConflictingBytesError
        The name is taken by something else and may not be overwritten.
    CopyError, NoRoomError
        It cannot be written.
    """
    _existing(prepared, overwrite=overwrite)
    return put(prepared.job.output, image, report, clock)


def is_complete(output: Path) -> bool:
    """Tell whether a name is taken, and not by a result of a run that was still being written."""
    try:
        return output.exists() and read_provenance(output).get("complete") is not False
    except ResultError:
        return True


def _existing(prepared: Prepared, *, overwrite: bool) -> dict[str, Any] | None:
    """The report of a result that is there already and is of this very job; None when it is to be made.

    Raises
    ------
    ConflictingBytesError
        The name is taken by something else and may not be overwritten.
    """
    output = prepared.job.output
    if not output.exists() or overwrite:
        return None
    wanted = prepared.summary()
    try:
        found = read_provenance(output)
    except ResultError as error:
        found = {"damage": error.what}
    if found.get("complete") is False and _same_run(found, wanted):
        return None
    keys = ("recipe_digest", "inputs", "frames", "part")
    # Which frames did not count follows from these, and is only known when the run was read.
    found = {**found, "frames": {name: found.get("frames", {}).get(name) for name in wanted["frames"]}}
    if not all(_digests(found.get(key)) == _digests(wanted.get(key)) for key in keys):
        raise ConflictingBytesError(
            "another result has this name", where=output, remedy="Give another --output, or --overwrite it"
        )
    with output.open("rb") as file:
        digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    stored = _stored_report(output)
    return stored if stored.get("result_digest") == digest else {**found, "result_digest": digest}


def _same_run(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether both are of one recipe and of raw files of one name, however many bytes these had."""
    named = [[file["name"] for file in report["inputs"]["raw"]] for report in (found, wanted)]
    return named[0] == named[1] and found["recipe_digest"] == wanted["recipe_digest"]


def _put_report(output: Path, report: dict[str, Any]) -> None:
    write_atomically(report_path(output), (json.dumps(report, indent=1) + "\n").encode())


def _stored_report(output: Path) -> dict[str, Any]:
    """The report beside a result; empty when there is none that can be read."""
    try:
        content = json.loads(report_path(output).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _digests(value: Any) -> Any:
    """A report's value without the files' names: bytes count, not what they are called."""
    if isinstance(value, dict):
        return value.get("digest") or {key: _digests(item) for key, item in value.items()}
    return [_digests(item) for item in value] if isinstance(value, list) else value


@contextmanager
def only_worker(output: Path) -> Iterator[None]:
    """Hold the output's lock; wait for whoever holds it. The lock goes with the process, however that ends.

    Raises
    ------
    CopyError
        The output's folder cannot be made or used.
    """
    path = output.with_suffix(".lock")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        while True:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            _take(lock)
            # The one before removes the file while it holds the lock: what was locked here may be gone.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(lock).st_ino:
                    break
            os.close(lock)
    except OSError as error:
        raise CopyError(
            f"the output's folder cannot be used ({error.strerror})", where=path, remedy="Check its permissions"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(lock)


def _take(lock: int) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            stop.wait(_LOCK_EVERY_S)
