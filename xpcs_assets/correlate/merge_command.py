"""``xpcs-assets merge``: the parts of a run, correlated by several workers, to the result that one would have made.

It opens the raw file, metadata and q-map under the paths that the parts had, and reads no frames. It exits as the
worker does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from xpcs_assets.correlate.carry_out import Clock, assemble
from xpcs_assets.correlate.command_line import Parser
from xpcs_assets.correlate.job import prepare
from xpcs_assets.correlate.parts import in_order, merged, read_state
from xpcs_assets.correlate.publish import only_worker, publish
from xpcs_assets.correlate.worker import Progress
from xpcs_assets.engine import stop
from xpcs_assets.errors import CorrelationError, ResultError, XpcsAssetsError
from xpcs_assets.results.output_name import check_output

_SAME = ("recipe_digest", "engine", "inputs", "frames", "form")


def main(argv: Sequence[str] | None = None) -> int:
    """Merge states; returns the exit code."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as wrong:
        return int(wrong.code or 0)
    try:
        with stop.stoppable():
            _merge(arguments.states, arguments.output, overwrite=arguments.overwrite)
        return 0
    except XpcsAssetsError as error:
        told = error
    except KeyboardInterrupt:
        told = CorrelationError("stopped by a signal", where=arguments.output, remedy="Start it again")
    sys.stderr.write(f"error: {told}\n")
    return 1


def _merge(paths: Sequence[Path], output: Path, *, overwrite: bool) -> None:
    check_output(output, paths)
    states = in_order([read_state(path) for path in paths])
    first = states[0]
    on_gpu = any(state.report["device"] == "gpu" for state in states)
    with ExitStack() as stack:
        opened = prepare(replace(first.job, output=output, part=None, device="cpu"), stack)
        prepared = replace(opened, device="jax" if on_gpu else "cpu")
        summary = prepared.summary()
        differ = [key for key in _SAME if not _contains(first.report[key], summary[key])]
        if differ:
            raise ResultError(
                f"{', '.join(differ)} are no longer what the parts were made of",
                where=first.path,
                remedy="Put the inputs back, or correlate all parts again",
            )
        prepared.stream.invalid.clear()
        prepared.stream.invalid.update(first.invalid)
        clock = Clock()
        for phase in ("read", "correlate"):
            clock.seconds[phase] = sum(state.report["seconds"][phase] for state in states)
        stack.enter_context(only_worker(output))
        publish(
            prepared, Progress("none"), lambda: assemble(prepared, merged(prepared, states), clock), overwrite=overwrite
        )


def _contains(told: object, wanted: object) -> bool:
    """Whether a report says what is wanted; what became known by reading the run comes on top."""
    if isinstance(told, dict) and isinstance(wanted, dict):
        return all(told.get(name) == value for name, value in wanted.items())
    return told == wanted


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        "xpcs-assets merge", "Merge the states that `xpcs-assets correlate --part K/N` wrote to one result."
    )
    add = parser.add_argument
    add("states", metavar="STATE", type=Path, nargs="+", help="state files, each part once")
    add("--output", metavar="FILE", type=Path, required=True, help="result file to make; its report lies beside it")
    add("--overwrite", action="store_true", help="replace another result of this name")
    return parser
