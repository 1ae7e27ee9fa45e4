"""How SciCat's backend changes and looks up what it is given: pure functions on plain values.

All of it was measured on a real backend, or read in its code where that is said.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import quote, unquote

EMAIL = re.compile(r"[^@\s]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}")
UNRESERVED = "!~*'()"  # of JavaScript's encodeURIComponent, beside letters, digits and "_.-~"
_SI = {
    "mm": (1e-3, "m"),
    "um": (1e-6, "m"),
    "nm": (1e-9, "m"),
    "angstrom": (1e-10, "m"),
    "Å": (1e-10, "m"),
    "ms": (1e-3, "s"),
    "us": (1e-6, "s"),
    "mA": (1e-3, "A"),
}


class RefusedByRule(Exception):  # noqa: N818 - it becomes an answer, not a failure of the server
    """A request that the backend answers with an error.

    Parameters
    ----------
    status
        Of the answer.
    message
        What it says: a text, or all that the check found.
    """

    def __init__(self, status: int, message: str | list[str]) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


def parse(text: bytes) -> Any:
    """Read JSON as JavaScript does: every number is a double, NaN and infinities are no JSON."""
    try:
        return json.loads(text, parse_int=_as_double, parse_constant=_no_json)
    except (ValueError, RecursionError) as error:
        raise RefusedByRule(400, f"Unexpected token in JSON: {error}") from error


def is_email_list(text: str) -> bool:
    """Whether every part between ``;`` is an address with a real top-level domain."""
    return bool(text) and all(EMAIL.fullmatch(part.strip()) for part in text.split(";"))


def encoded(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Percent-encode the keys, also ``.``; keys that are encoded already stay; lists are not looked into."""
    return {
        key if unquote(key) != key else quote(key, safe=UNRESERVED).replace(".", "%2E"): (
            encoded(value) if isinstance(value, Mapping) else value
        )
        for key, value in metadata.items()
    }


def with_si(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Add ``valueSI`` and ``unitSI`` beside each value with a unit.

    As in the backend's code, the last keys that begin with ``v`` and ``u`` are taken for value and unit.
    """
    return {key: _quantity(value) for key, value in metadata.items()}


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch, RFC 7396: objects deeply, null removes."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def lone_halves(patch: Mapping[str, Any], held: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[str]:
    """Where a patch names a value without its unit, or the other way round, though the dataset holds both."""
    found = []
    for key, value in patch.items():
        old = held.get(key)
        if not isinstance(value, Mapping) or not isinstance(old, Mapping):
            continue
        if {"value", "unit"} <= old.keys() and len({"value", "unit"} & value.keys()) == 1:
            found.append(".".join((*path, key)))
        found += lone_halves(value, old, (*path, key))
    return found


def as_utc(text: str, zone: tzinfo) -> str:
    """A time as the backend gives it out; one without a zone is taken for the server's own."""
    moment = datetime.fromisoformat(text)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    return iso(aware)


def iso(moment: datetime) -> str:
    """A time in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def select(documents: Iterable[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """What a filter of version 4 finds among ``documents``, which come with the oldest first.

    Raises
    ------
    RefusedByRule
        The filter is no JSON, or has a key that version 4 does not know, such as ``limits.order``.
    """
    asked = parse((text or "{}").encode())
    limits = asked.get("limits") or {}
    strange = [*(asked.keys() - {"where", "fields", "limits", "include"}), *(limits.keys() - {"limit", "skip", "sort"})]
    if strange:
        raise RefusedByRule(400, f"Property {strange[0]} should not exist in the filter object")
    found = [document for document in documents if matches(document, asked.get("where") or {})]
    for key, direction in reversed((limits.get("sort") or {"createdAt": "desc"}).items()):
        found = sorted(found, key=partial(_sort_value, key), reverse=direction == "desc")
    skip = int(limits.get("skip") or 0)
    found = found[skip : skip + int(limits.get("limit") or 10)]
    fields = asked.get("fields")
    return [{name: one[name] for name in [*fields, "_id"] if name in one} for one in found] if fields else found


def matches(document: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether a document is what a ``where`` asks for."""
    for key, wanted in where.items():
        if key in {"$and", "$or"}:
            if not (all if key == "$and" else any)(matches(document, part) for part in wanted):
                return False
        elif not _meets(_values(document, key.split(".")), wanted):
            return False
    return True


_TESTS: dict[str, Callable[[list[Any], Any], bool]] = {
    "$eq": lambda values, wanted: wanted in values,
    "$ne": lambda values, wanted: wanted not in values,
    "$in": lambda values, wanted: any(value in wanted for value in values),
    "$nin": lambda values, wanted: all(value not in wanted for value in values),
    "$gt": lambda values, wanted: any(value is not None and value > wanted for value in values),
    "$gte": lambda values, wanted: any(value is not None and value >= wanted for value in values),
    "$lt": lambda values, wanted: any(value is not None and value < wanted for value in values),
    "$lte": lambda values, wanted: any(value is not None and value <= wanted for value in values),
    "$exists": lambda values, wanted: bool(values) == wanted,
    "$regex": lambda values, wanted: any(isinstance(value, str) and re.search(wanted, value) for value in values),
}


def _sort_value(key: str, document: Mapping[str, Any]) -> str:
    return str(_values(document, key.split(".")))


def _meets(values: list[Any], wanted: Any) -> bool:
    if not (isinstance(wanted, Mapping) and all(key.startswith("$") for key in wanted)):
        return wanted in values
    strange = sorted(wanted.keys() - _TESTS.keys())
    if strange:
        raise RefusedByRule(400, f"Property {strange[0]} should not exist in the filter object")
    return all(_TESTS[name](values, value) for name, value in wanted.items())


def _values(value: Any, path: list[str]) -> list[Any]:
    """All values at a path; lists on the way are looked into, as MongoDB does."""
    if isinstance(value, list):
        return [*([value] if not path else []), *(found for item in value for found in _values(item, path))]
    if not path:
        return [value]
    return _values(value[path[0]], path[1:]) if isinstance(value, Mapping) and path[0] in value else []


def _quantity(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    units = [item for key, item in value.items() if key.startswith("u") and not key.endswith("SI")]
    values = [item for key, item in value.items() if key.startswith("v") and not key.endswith("SI")]
    if values and units and isinstance(units[-1], str) and units[-1]:
        number, unit = values[-1], units[-1]
        factor, unit_si = _SI.get(unit, (1.0, unit))
        convertible = isinstance(number, int | float) and not isinstance(number, bool)
        return {**value, "valueSI": number * factor if convertible else number, "unitSI": unit_si}
    return value if "unit" in value or "u" in value else with_si(value)


def _as_double(digits: str) -> int | float:
    value = float(digits)
    return int(Decimal(repr(value))) if math.isfinite(value) else value


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
