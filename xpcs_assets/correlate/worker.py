"""The worker's command line: ``xpcs-assets correlate``. It needs numpy, h5py, hdf5plugin, numba and jax alone.

It exits 0 when the result and its report are there, 1 when it failed (the error is on stderr), 2 on wrong usage.
One worker at a time makes an output, see :mod:`xpcs_assets.correlate.publish`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from xpcs_assets.correlate.carry_out import Clock, assemble, carry_out
from xpcs_assets.correlate.command_line import Parser
from xpcs_assets.correlate.follow import Follower, Pace, check_followed
from xpcs_assets.correlate.job import Job, prepare
from xpcs_assets.correlate.publish import is_complete, only_worker, peak_memory_bytes, publish, put_so_far
from xpcs_assets.correlate.so_far import SoFar
from xpcs_assets.engine import stop
from xpcs_assets.errors import CorrelationError, XpcsAssetsError
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
    if arguments.follow:
        check_followed(job)
    with ExitStack() as stack:
        if arguments.follow and not arguments.dry_run:
            _follow(job, stack, arguments, progress)
            return 0
        prepared = prepare(job, stack, so_far=arguments.follow)
        if arguments.dry_run:
            sys.stdout.write(json.dumps(prepared.summary(), indent=1) + "\n")
            return 0
        stack.enter_context(only_worker(job.output))
        publish(prepared, progress, lambda: carry_out(prepared, progress.at), overwrite=arguments.overwrite)
    return 0


def _follow(job: Job, stack: ExitStack, arguments: argparse.Namespace, progress: Progress) -> None:
    """Correlate a run while it is being written, then publish the result of the complete one."""
    follower = Follower(job, Pace(arguments.follow_every, arguments.quiet))
    overwrite = arguments.overwrite

    def show(so_far: SoFar, clock: Clock) -> None:
        made = assemble(so_far.prepared, so_far.found(), clock)
        progress.so_far(job.output, put_so_far(so_far.prepared, *made, overwrite=overwrite))

    stack.enter_context(only_worker(job.output))
    if overwrite or not is_complete(job.output):
        follower.until_complete(show)
    complete = prepare(job, stack)

    def make() -> tuple[bytes | memoryview, dict[str, Any], Clock]:
        so_far = follower.go_on_with(complete)
        if so_far is None:
            return carry_out(complete, progress.at)
        return assemble(complete, so_far.found(), follower.clock)

    publish(complete, progress, make, overwrite=overwrite)


class Progress:
    """Says how far the work is: JSON lines, a bar on a terminal, or nothing."""

    def __init__(self, form: str) -> None:
        self._json = form == "json"
        self._bar = form == "auto" and sys.stderr.isatty()
        self._began_s = time.monotonic()
        self._last_s = 0.0

    def at(self, fraction: float) -> None:
        """Say that this much is done, and by the pace so far how long the rest takes."""
        now_s = time.monotonic()
        if fraction < 1 and now_s - self._last_s < _PROGRESS_EVERY_S:
            return
        self._last_s = now_s
        left_s = (now_s - self._began_s) * (1 - fraction) / fraction if fraction > 0 else None
        if self._json:
            left = {"seconds_left": None if left_s is None else round(left_s, 1)}
            self._line({"progress": round(fraction, 4), **left, "peak_memory_bytes": peak_memory_bytes()})
        elif self._bar:
            filled = int(40 * fraction)
            rest = "" if left_s is None else f"  {left_s:.0f} s left "
            sys.stderr.write(f"\r[{'#' * filled}{'.' * (40 - filled)}] {fraction:6.1%}{rest}" + "\n" * (fraction >= 1))
            sys.stderr.flush()

    def done(self, output: Path, report: dict[str, Any], *, reused: bool) -> None:
        """Say where the result is."""
        word = "was there already" if reused else f"{report['seconds']['total']:.2f} s"
        if self._json:
            self._line({"result": str(output), "result_digest": report["result_digest"], "reused": reused})
        else:
            sys.stdout.write(f"{output}  {report['frames']['used']} frames, {report['device']}, {word}\n")

    def so_far(self, output: Path, report: dict[str, Any]) -> None:
        """Say that there is a result of the frames so far."""
        frames = report["frames"]
        if self._json:
            self._line({"so_far": frames["used"], "expected": frames["expected"], "result": str(output)})
        else:
            sys.stdout.write(f"{output}  {frames['used']} frames so far\n")
            sys.stdout.flush()

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


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time above 0, in s")
    return seconds


def _size_bytes(text: str) -> int:
    """Bytes of ``8G``, ``500 MiB`` and the like."""
    found = _SIZE.fullmatch(text.strip())
    unit = found[2].replace("K", "k") if found else ""
    unit = "Ki" if unit == "ki" else unit
    if found is None or unit not in _UNITS or not float(found[1]) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 8G or 500MiB")
    return int(float(found[1]) * _UNITS[unit])


def _parser() -> argparse.ArgumentParser:
    parser = Parser("xpcs-assets correlate", "Correlate one run: raw file and q-map to g2.")
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
    add("--follow", action="store_true", help="correlate while the run is still being written: g2 grows with it")
    for option, default, text in (
        ("--follow-every", 5.0, "with --follow: time from one look at the file to the next"),
        ("--quiet", 10.0, "with --follow: a run that has not grown for so long is complete"),
    ):
        add(option, metavar="SECONDS", type=_seconds, default=default, help=f"{text} (default: {default:g})")
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
    metavar = None if choices else {int: "N", float: "X"}.get(kind, "FILE" if item.name.endswith("_file") else "TEXT")
    shown = f"{text} (default: {item.default})" if item.default != "" else text
    parser.add_argument(
        option, dest=item.name, type=kind, default=item.default, choices=choices or None, metavar=metavar,
        help=shown.replace("%", "%%"),
    )  # fmt: skip
