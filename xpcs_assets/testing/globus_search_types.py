"""How Globus Search maps fields to types, and its limits: as its pages on types and limits say.

Nothing of this was measured on the service: it is what is documented, taken strictly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

FIELDS_OF_AN_INDEX = 1000
LEVELS = 20
FIELD_BYTES = 32_000
ENTRY_BYTES = 10_000_000
REQUEST_BYTES = 10_000_000
SUBJECT_BYTES = 500
PRINCIPALS = 100
ENTRIES_OF_A_SUBJECT = 10

_DATE = re.compile(
    r"\d{4}-\d\d-\d\d|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d{4}/\d\d/\d\d \d\d:\d\d:\d\d [+-]\d{4}"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?(Z|[+-]\d\d:?\d\d)"
)
_TAKES = {
    "Integer": {"Integer"},
    "Float": {"Float", "Integer"},
    "Boolean": {"Boolean"},
    "Date": {"Date"},
    "String": {"String", "Date", "Integer", "Float", "Boolean"},
    "Object": {"Object"},
}


class TaskFailure(Exception):  # noqa: N818 - it becomes the state of a task
    """Why a task failed, in the service's words."""


def type_of(value: Any) -> str:
    """The type that a value is detected as.

    >>> type_of(True), type_of(1), type_of(1.5), type_of("2026-05-01"), type_of("a"), type_of({})
    ('Boolean', 'Integer', 'Float', 'Date', 'String', 'Object')
    """
    if isinstance(value, bool):
        return "Boolean"
    if isinstance(value, str):
        return "Date" if _DATE.fullmatch(value) else "String"
    if isinstance(value, Mapping):
        return "Object"
    return "Integer" if isinstance(value, int) else "Float"


def values(content: Any, path: str = "", level: int = 0) -> Iterator[tuple[str, Any]]:
    """Every value with the path of its field: lists are many values of one field, null is none; a dot is a level."""
    if level > LEVELS:
        raise TaskFailure(f"field {path} is nested deeper than {LEVELS} levels")
    if isinstance(content, list):
        for item in content:
            yield from values(item, path, level)
    elif isinstance(content, Mapping):
        if path:
            yield path, content
        for key, value in content.items():
            yield from values(value, f"{path}.{key}" if path else key, level + 1 + key.count("."))
    elif content is not None:
        yield path, content


class Mapped:
    """The types of an index's fields, each from the first value that was met."""

    def __init__(self) -> None:
        self.types: dict[str, str] = {}

    def take(self, content: Mapping[str, Any]) -> None:
        """Map a content's new fields, or refuse it: then nothing is mapped.

        Raises
        ------
        TaskFailure
            A value does not fit its field, or a limit is passed.
        """
        if len(json.dumps(content)) > ENTRY_BYTES:
            raise TaskFailure("the entry is too large")
        types = dict(self.types)
        for path, value in values(content):
            found, had = type_of(value), types.setdefault(path, type_of(value))
            if found not in _TAKES[had]:
                raise TaskFailure(f"field [{path}] of type [{had}] does not take a value of type [{found}]")
            if isinstance(value, str) and len(value.encode()) > FIELD_BYTES:
                raise TaskFailure(f"field [{path}] is longer than {FIELD_BYTES} bytes")
        if len(types) > FIELDS_OF_AN_INDEX:
            raise TaskFailure(f"the index would have more than {FIELDS_OF_AN_INDEX} fields")
        self.types = types
