"""``xpcs-assets average``: repeats of a run to one result. It needs what the worker needs.

It exits 0 when the average is there, 1 when it was refused or fewer than two runs remain, 2 on wrong usage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from xpcs_assets.correlate.command_line import Parser
from xpcs_assets.errors import ConflictingBytesError, CopyError, CorrelationError, XpcsAssetsError
from xpcs_assets.results.average import Average, average, read_members
from xpcs_assets.results.limits import Limits
from xpcs_assets.results.output_name import check_output, check_report, report_path
from xpcs_assets.results.write_average import average_bytes
from xpcs_assets.results.write_result import write_atomically


def main(argv: Sequence[str] | None = None) -> int:
    """Average results; returns the exit code."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as wrong:
        return int(wrong.code or 0)
    try:
        check_output(arguments.output, arguments.results)
        limits = Limits(_range(arguments.baseline), _range(arguments.intensity), _range(arguments.contrast))
        found = average(read_members(arguments.results), limits)
        if not arguments.dry_run:
            write_average(found, arguments.output, overwrite=arguments.overwrite)
    except XpcsAssetsError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    _tell(found)
    word = "would be averaged" if arguments.dry_run else f"averaged: {arguments.output}"
    sys.stdout.write(f"{len(found.used)} of {len(found.members)} runs {word}\n")
    return 0


def write_average(found: Average, output: Path, *, overwrite: bool = False) -> str:
    """Put an average under its name, with the report beside it; the file's digest.

    The same average that is there already is left as it is.

    Raises
    ------
    ConflictingBytesError
        Something else has this name, or its report's, and may not be overwritten.
    CopyError, NoRoomError
        It cannot be written.
    """
    image, report = average_bytes(found, output.name)
    digest = "sha256:" + hashlib.sha256(image).hexdigest()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        there = output.read_bytes() if output.exists() else None
    except OSError as error:
        raise CopyError(
            f"the output cannot be used ({error.strerror})", where=output, remedy="Check the folder's permissions"
        ) from error
    if there is not None and there != image and not overwrite:
        raise ConflictingBytesError(
            "another file has this name", where=output, remedy="Give another --output, or --overwrite it"
        )
    check_report(report_path(output))
    if there != image:
        write_atomically(output, image)
    told = {**report, "result_digest": digest, "output": output.name}
    write_atomically(report_path(output), (json.dumps(told, indent=1) + "\n").encode())
    return digest


def _tell(found: Average) -> None:
    judged = found.judged
    columns = zip(found.members, judged.baseline, judged.intensity, judged.contrast, judged.reasons, strict=True)
    for member, baseline, intensity, contrast, reason in columns:
        numbers = f"baseline {baseline:.4f}  intensity {intensity:.3f}  contrast {contrast:.4f}"
        sys.stdout.write(f"{member.result.run}  {numbers}  {'left out: ' + reason if reason else 'used'}\n")


def _range(limits: Sequence[float] | None) -> tuple[float, float] | None:
    if limits is None:
        return None
    low, high = limits
    if not low < high:
        raise CorrelationError(f"{low:g} to {high:g} is no range", remedy="Give the low limit first")
    return low, high


def _parser() -> argparse.ArgumentParser:
    parser = Parser("xpcs-assets average", "Average repeats: results of one recipe to one result.")
    add = parser.add_argument
    add("results", metavar="RESULT", type=Path, nargs="+", help="result files of the runs, all of one recipe")
    add("--output", metavar="FILE", type=Path, required=True, help="result file to make; its report lies beside it")
    auto = "(default: automatic, by the median of the runs; none with fewer than 3)"
    for option, text in (
        ("--baseline", "lowest and highest g2 at the last delays of a run that is used"),
        ("--intensity", "lowest and highest mean intensity, as a fraction of the runs' median"),
        ("--contrast", "lowest and highest contrast, g2 at the first delays less the baseline"),
    ):
        add(option, metavar=("LO", "HI"), nargs=2, type=float, help=f"{text} {auto}")
    add("--overwrite", action="store_true", help="replace another file of this name")
    add("--dry-run", action="store_true", help="say which runs would be used and why others not; write nothing")
    return parser
