"""Whether what is known of a run is what a rule wants: name patterns, and comparisons with a number."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Iterator

Wanted = str | int | float | bool

_COMPARISON = re.compile(r"(>=|<=|==|!=|>|<)(.*)")
_COMPARED = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


def fits(value: object, wanted: Wanted) -> bool:
    """Tell whether a value, or one of a list's, is what is wanted; what is compared with a number must be one.

    >>> fits("burst_1", "burst*"), fits([2.0, 5.0], ">= 4"), fits("fast", "> 4"), fits(None, "*")
    (True, True, False, False)
    """
    return any(_fits_one(each, wanted) for each in _each(value))


def problem_with(wanted: Wanted) -> str:
    """Why nothing can be matched with this; empty when it can.

    >>> problem_with("> fast"), problem_with(">= 1e3")
    ("'> fast' compares with no number", '')
    """
    compared = _COMPARISON.fullmatch(wanted) if isinstance(wanted, str) else None
    if compared is not None and _number(compared[2]) is None:
        return f"{wanted!r} compares with no number"
    return ""


def _each(value: object) -> Iterator[object]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _each(item)
    elif value is not None and not isinstance(value, dict):  # of a long array there is only a summary
        yield value


def _fits_one(value: object, wanted: Wanted) -> bool:
    number = _number(value)
    if not isinstance(wanted, str):
        return number is not None and number == float(wanted)
    compared = _COMPARISON.fullmatch(wanted)
    if compared is None:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return fnmatch.fnmatchcase(text, wanted)
    limit = _number(compared[2])
    return number is not None and limit is not None and bool(_COMPARED[compared[1]](number, limit))


def _number(value: object) -> float | None:
    if not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
