"""Names that a result may not take: nothing that was read for it, and nothing of somebody else's, is written over."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from xpcs_assets.errors import ConflictingBytesError
from xpcs_assets.results.provenance import REPORT_FORMAT

_BESIDE = (".json", ".lock")


def report_path(output: Path) -> Path:
    """Where the report on a result lies: beside it, ``.json``."""
    return output.with_suffix(".json")


def check_output(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse a result's name that would destroy one of its inputs, or be that of its own report; also to overwrite.

    Raises
    ------
    ConflictingBytesError
        The output or its report is one of ``inputs``, by whatever path, or the output ends in ``.json`` or ``.lock``.
    """
    if output.suffix in _BESIDE:
        raise ConflictingBytesError(
            f"{' and '.join(_BESIDE)} are the report and the lock that lie beside a result",
            where=output,
            remedy=f"Give another --output, such as {output.with_suffix('.hdf').name}",
        )
    for path in inputs:
        for made in (output, report_path(output)):
            if _same(made, path):
                raise ConflictingBytesError(
                    "this file is read for it, and would be written over", where=made, remedy="Give another --output"
                )


def check_report(path: Path) -> None:
    """Refuse to write a report over a JSON file of another kind, such as the sidecar of a raw file.

    A report that is damaged is no reason to refuse: it is written anew.

    Raises
    ------
    ConflictingBytesError
        The file is something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return
    if not isinstance(content, dict) or content.get("format") != REPORT_FORMAT:
        raise ConflictingBytesError(
            "this file is no report of xpcs-assets, and the result's would be written over it",
            where=path,
            remedy="Give another --output",
        )


def _same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False
