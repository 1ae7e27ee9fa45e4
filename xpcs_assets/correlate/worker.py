"""The worker's command line: ``xpcs-assets correlate``. It needs numpy, h5py, hdf5plugin, numba and jax alone.

It exits 0 when the result and its report are there, 1 when it failed (the error is on stderr), 2 on wrong usage.
One worker at a time makes an output: another one waits for it, then finds the result and takes it as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from xpcs_assets.correlate.carry_out import Clock, carry_out
from xpcs_assets.correlate.job import Job, prepare
from xpcs_assets.correlate.prepared import Prepared
from xpcs_assets.engine import stop
from xpcs_assets.errors import (
    ConflictingBytesError,
    CopyError,
    CorrelationError,
    ResultError,
    XpcsAssetsError,
)
from xpcs_assets.results.result import read_provenance
from xpcs_assets.results.write_result import write_atomically
from xpcs_assets.runs.recipe import AnalysisSettings

_PROGRESS_EVERY_S = 0.5
_LOCK_EVERY_S = 0.1
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_PART = re.compile(r"(\d+)/(\d+)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]?i?)B?")


def main(argv: Sequence[str] | None = None) -> int:
    """Correlate one run; returns the exit code."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as wrong:
        return int(wrong.code or 0)
    progress = Progress(arguments.progress)
    try:
        with stop.stoppable():
            return _run(arguments, progress)
    except XpcsAssetsError as error:
        progress.failed(error)
    except KeyboardInterrupt:
        progress.failed(CorrelationError("stopped by a signal", where=arguments.output, remedy="Start it again"))
    except MemoryError:
        progress.failed(
            CorrelationError("out of memory", where=arguments.output, remedy="Give --memory a smaller size")
        )
    return 1


def _run(arguments: argparse.Namespace, progress: Progress) -> int:
    job = _job(arguments)
    with ExitStack() as stack:
        prepared = prepare(job, stack)
        if arguments.dry_run:
            sys.stdout.write(json.dumps(prepared.summary(), indent=1) + "\n")
            return 0
        publish(
            prepared, stack, progress, lambda: carry_out(prepared, progress.at), overwrite=arguments.overwrite
        )  # fmt: skip
    return 0


def publish(
    prepared: Prepared,
    stack: ExitStack,
    progress: Progress,
    make: Callable[[], tuple[bytes | memoryview, dict[str, Any], Clock]],
    *,
    overwrite: bool,
) -> None:
    """Put a result and its report under their names, unless they are there; ``stack`` holds the output's lock.

    Raises
    ------
    ConflictingBytesError
        The name is taken by something else and may not be overwritten.
    CopyError, NoRoomError
        It cannot be written.
    """
    output = prepared.job.output
    stack.enter_context(_only_worker(output))
    report = _existing(prepared, overwrite=overwrite)
    reused = report is not None
    if report is None:
        image, report, clock = make()
        stop.check()
        since_s = time.monotonic()
        write_atomically(output, image)
        clock.add("write", since_s)
        report |= {
            "result_digest": "sha256:" + hashlib.sha256(image).hexdigest(),
            "seconds": clock.rounded(),
            "output": output.name,
            "host": platform.node(),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    if not reused or _stored_report(output) != report:
        write_atomically(report_path(output), (json.dumps(report, indent=1) + "\n").encode())
    progress.done(output, report, reused=reused)


def report_path(output: Path) -> Path:
    """Where the report on a result lies: beside it, ``.json``."""
    return output.with_suffix(".json")


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
def _only_worker(output: Path) -> Iterator[None]:
    """Hold the output's lock; wait for whoever holds it. The lock goes with the process, however that ends."""
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


class Progress:
    """Says how far the work is: JSON lines, a bar on a terminal, or nothing."""

    def __init__(self, form: str) -> None:
        self._json = form == "json"
        self._bar = form == "auto" and sys.stderr.isatty()
        self._last_s = 0.0

    def at(self, fraction: float) -> None:
        """Say that this much is done."""
        now_s = time.monotonic()
        if fraction < 1 and now_s - self._last_s < _PROGRESS_EVERY_S:
            return
        self._last_s = now_s
        if self._json:
            self._line({"progress": round(fraction, 4)})
        elif self._bar:
            filled = int(40 * fraction)
            sys.stderr.write(f"\r[{'#' * filled}{'.' * (40 - filled)}] {fraction:6.1%}" + "\n" * (fraction >= 1))
            sys.stderr.flush()

    def done(self, output: Path, report: dict[str, Any], *, reused: bool) -> None:
        """Say where the result is."""
        word = "was there already" if reused else f"{report['seconds']['total']:.2f} s"
        if self._json:
            self._line({"result": str(output), "result_digest": report["result_digest"], "reused": reused})
        else:
            sys.stdout.write(f"{output}  {report['frames']['used']} frames, {report['device']}, {word}\n")

    def failed(self, error: XpcsAssetsError) -> None:
        """Say why it failed."""
        if self._json:
            told = {"error": error.what, "where": error.where, "remedy": error.remedy}
            self._line({**told, "kind": type(error).__name__})
        else:
            sys.stderr.write(f"error: {error}\n")

    @staticmethod
    def _line(content: dict[str, Any]) -> None:
        # Whoever listened may have been killed: the work is worth finishing, a retried run will find the result.
        with suppress(BrokenPipeError):
            sys.stderr.write(json.dumps(content) + "\n")
            sys.stderr.flush()


def _job(arguments: argparse.Namespace) -> Job:
    names = [item.name for item in fields(AnalysisSettings)]
    settings = AnalysisSettings(**{name: getattr(arguments, name) for name in names})
    return Job(
        raw=tuple(arguments.raw),
        qmap=arguments.qmap,
        output=arguments.output,
        settings=settings,
        metadata=arguments.metadata,
        frames_field=arguments.frames_field,
        raw_digests=tuple(arguments.raw_digest),
        device=arguments.device,
        memory_bytes=arguments.memory,
        kernel=arguments.kernel,
        part=arguments.part,
    )


def _part(text: str) -> tuple[int, int]:
    """Number and count of ``2/4``."""
    found = _PART.fullmatch(text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no part such as 2/4")
    return int(found[1]), int(found[2])


def _size_bytes(text: str) -> int:
    """Bytes of ``8G``, ``500 MiB`` and the like."""
    found = _SIZE.fullmatch(text.strip())
    unit = found[2].replace("K", "k") if found else ""
    unit = "Ki" if unit == "ki" else unit
    if found is None or unit not in _UNITS or not float(found[1]) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 8G or 500MiB")
    return int(float(found[1]) * _UNITS[unit])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="xpcs-assets correlate", description="Correlate one run: raw file and q-map to g2.", allow_abbrev=False
    )
    add = parser.add_argument
    add("raw", metavar="RAW", type=Path, nargs="+", help="raw file (or files) of one run")
    add("--qmap", metavar="FILE", type=Path, required=True, help="mask and bins, as pySimpleMask saves them")
    add("--output", metavar="FILE", type=Path, required=True, help="result file to make; its report lies beside it")
    add("--metadata", metavar="FILE", type=Path, help="companion file (default: beside the raw file)")
    add("--frames-field", metavar="PATH", default="", help="metadata field that holds the number of frames")
    add("--raw-digest", metavar="SHA256", action="append", default=[], help="known sha256 of each raw file")
    add("--device", choices=("auto", "cpu", "gpu"), default="auto", help="where to compute")
    add("--memory", metavar="SIZE", type=_size_bytes, default=0, help="bound on the sums (default: half of the memory)")
    add(
        "--kernel",
        choices=("auto", "frames", "events"),
        default="auto",
        help="form of the engine (default: by occupancy)",
    )
    add("--part", metavar="K/N", type=_part, help="correlate part K of N of the pixels to a state for `merge`")
    for item in fields(AnalysisSettings):
        _add_setting(parser, item)
    add("--overwrite", action="store_true", help="replace another result of this name")
    add("--dry-run", action="store_true", help="check all inputs, print what would be done, write nothing")
    add("--progress", choices=("auto", "json", "none"), default="auto", help="how to report progress on stderr")
    return parser


def _add_setting(parser: argparse.ArgumentParser, item: Field[Any]) -> None:
    option, text, choices = (item.metadata[key] for key in ("option", "text", "choices"))
    if isinstance(item.default, bool):
        parser.add_argument(option, dest=item.name, action="store_true", help=text)
        return
    kind = type(item.default)
    metavar = None if choices else {int: "N", float: "X"}.get(kind, "TEXT")
    shown = f"{text} (default: {item.default})" if item.default != "" else text
    parser.add_argument(
        option, dest=item.name, type=kind, default=item.default, choices=choices or None, metavar=metavar,
        help=shown.replace("%", "%%"),
    )  # fmt: skip
