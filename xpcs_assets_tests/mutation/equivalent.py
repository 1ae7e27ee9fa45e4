"""Mutants that no test can notice because they do the same, each with the reason."""

from __future__ import annotations

_BOTH = "a retention has both marks or none: with one alone it cannot be made"
_FOR_MYPY = "it names a type, which nothing asks for while the program runs"

EQUIVALENT: dict[str, dict[str, str]] = {
    "xpcs_assets.prune.marks": {
        "by_marks: retention.high_water is None or retention.low_water is None -> retention.low_water is None": _BOTH,
        "by_marks: retention.high_water is None or retention.low_water is None -> retention.high_water is None": _BOTH,
        "by_marks: retention.high_water is None or retention.low_water is None -> "
        "retention.high_water is None and retention.low_water is None": _BOTH,
    },
    "xpcs_assets.prune.limits": {
        "Which: (str, int, str) -> (int, str)": _FOR_MYPY,
        "Which: (str, int, str) -> (str, str)": _FOR_MYPY,
        "Which: (str, int, str) -> (str, int)": _FOR_MYPY,
    },
}
