"""What is believed of an analysis: a report that names the file that lies there, of the recipe and data asked for.

No exit code and no scheduler's word is any evidence, neither for success nor against it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpcs_assets.errors import ComputeError, ResultError
from xpcs_assets.results.output_name import report_path


@dataclass(frozen=True)
class Standing:
    """What lies where a result is to be.

    Attributes
    ----------
    report
        That of a result of the very recipe and raw data; None when there is none.
    other
        Why what lies there is not it; empty when nothing does, or nothing that is whole yet.
    """

    report: dict[str, Any] | None
    other: str = ""


def standing(path: Path, recipe_digest: str, raw_digests: Sequence[str]) -> Standing:
    """Look at what lies where a result is to be: quick, for the bytes are not read. :func:`believe` reads them.

    Parameters
    ----------
    raw_digests
        sha256 of the raw files, hex; empty where they are not known.
    """
    try:
        report = json.loads(report_path(path).read_text(encoding="utf-8"))
        used = str(report["recipe_digest"])
        raw = [str(item["digest"]).removeprefix("sha256:") for item in report["inputs"]["raw"]]
        report["result_digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return Standing(None)
    if report.get("complete") is False or not path.is_file():
        return Standing(None)
    if used != recipe_digest:
        return Standing(None, "the worker used another recipe than it was given: its xpcs-assets is of another version")
    if raw_digests and raw != list(raw_digests):
        return Standing(None, "the worker read other raw data than those of this run")
    return Standing(report)


def believe(path: Path, recipe_digest: str, report: dict[str, Any]) -> None:
    """Hold the worker to its report: the digest it names is the file's, the recipe it used is the one asked for.

    Raises
    ------
    ComputeError
        They are not.
    ResultError
        The result cannot be read.
    """
    if report.get("recipe_digest") != recipe_digest:
        raise ComputeError(
            "the worker used another recipe than it was given", where=path, remedy="Update the worker's installation"
        )
    if not path.is_file():
        raise ComputeError("the worker ended well but left no result", where=path, remedy="Correlate the run again")
    if digest_of(path) != report.get("result_digest"):
        raise ComputeError(
            "the result is not the file that the worker reported", where=path, remedy="Correlate the run again"
        )


def digest_of(path: Path) -> str:
    """``sha256:`` of a file.

    Raises
    ------
    ResultError
        It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ResultError(f"it cannot be read ({error.strerror})", where=path, remedy="See its disk") from error
