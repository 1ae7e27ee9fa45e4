"""Metadata made safe for SciCat: pure functions on plain values.

The backend refuses NaN, rounds integers beyond 2^53, percent-encodes keys and adds values in SI units. What is sent
here comes back as it was sent; what had to be changed for that is told in a note.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from xpcs_assets.errors import CatalogError

NOTES = "changed_for_the_catalog"
FLAGS = frozenset({"not_finite", "exact_as_text", "cut", "changed", "note", NOTES})  # told only while they hold
EXACT = 2**53 - 1  # the last integer that no other rounds to as a double
MAX_DEPTH = 32  # below the 100 levels of a document of MongoDB
MAX_KEYS = 100_000
MAX_TEXT = 100_000
MAX_BYTES = 6 * 2**20  # a third of what the backend takes in one request
MAX_KEY = 500
MAX_NOTES = 100
_UNRESERVED = "!~*'()"  # of JavaScript's encodeURIComponent, beside letters, digits and "_.-~"
_NAMES_OF_JAVASCRIPT = {"__proto__", "constructor", "prototype"}
_CUT = "[cut]"


@dataclass(frozen=True)
class Limits:
    """How much metadata one dataset may hold: levels, keys, characters of a text and a key, bytes in all."""

    depth: int = MAX_DEPTH
    keys: int = MAX_KEYS
    text: int = MAX_TEXT
    key: int = MAX_KEY
    size_bytes: int = MAX_BYTES


def sanitised(metadata: Mapping[str, Any], limits: Limits | None = None) -> dict[str, Any]:
    """Metadata that the backend stores as they are.

    NaN and infinities become null, integers beyond 2^53 texts, both with a flag beside them where a quantity holds
    them; arrays become lists; keys are percent-encoded. What is beyond the limits is cut. Every change is a note
    under :data:`NOTES`.

    Raises
    ------
    CatalogError
        Something holds itself.

    >>> sanitised({"a.b": {"value": float("nan"), "unit": "K"}})["a%2Eb"]
    {'value': None, 'unit': 'K', 'not_finite': True}
    """
    made = _Sanitiser(limits or Limits())
    content: dict[str, Any] = made.mapping(metadata, ())
    return content | ({NOTES: {"value": made.told(), "unit": ""}} if made.changes else {})


def safe_key(key: str) -> str:
    """A key that MongoDB takes and JavaScript leaves alone, encoded as the backend itself does it.

    >>> safe_key("/entry/a.b"), safe_key("$x"), safe_key("50%"), safe_key("__proto__")
    ('%2Fentry%2Fa%2Eb', '%24x', '50%25', '%5F_proto__')
    """
    if key in _NAMES_OF_JAVASCRIPT:
        return f"%{ord(key[0]):02X}{key[1:]}"
    return quote(key, safe=_UNRESERVED).replace(".", "%2E")


@dataclass
class _Sanitiser:
    limits: Limits
    notes: list[str] = field(default_factory=list)
    changes: int = 0
    keys_used: int = 0
    bytes_used: int = 0
    within: list[int] = field(default_factory=list)

    def told(self) -> list[str]:
        """The notes, and how many more there were."""
        more = self.changes - len(self.notes)
        return [*self.notes, *([f"and {more} more"] if more else [])]

    def note(self, path: tuple[str, ...], what: str) -> None:
        """Remember a change; the first hundred with their words."""
        self.changes += 1
        if len(self.notes) < MAX_NOTES:
            self.notes.append(f"{'/'.join(path)[:200]}: {what}")

    def mapping(self, content: Mapping[Any, Any], path: tuple[str, ...]) -> dict[str, Any]:
        """A mapping with safe keys and values, and flags beside the value of a quantity."""
        result: dict[str, Any] = {}
        flags: dict[str, Any] = {}
        with _Within(self, content, path):
            for key, value in content.items():
                name = self.key(key, path)
                if self._full(len(name)):
                    self.note((*path, name), f"this and what follows of {len(content)} keys does not fit")
                    break
                if name in result:
                    self.note((*path, name), "two keys of the same name, the first is kept")
                    continue
                before = self.changes
                result[name] = self.value(value, (*path, name))
                if key == "value" and self.changes > before:
                    flags |= _flags(value)
        return result | {name: flag for name, flag in flags.items() if name not in result}

    def value(self, value: Any, path: tuple[str, ...]) -> Any:
        """A value that is plain JSON and survives the backend."""
        if getattr(value, "size", 0) > self.limits.keys and hasattr(value, "ravel"):
            self.note(path, f"an array of {value.size} numbers, summarised")
            shape, dtype = [int(length) for length in value.shape], str(value.dtype)
            return {"shape": shape, "dtype": dtype, "first": self.value(value.ravel()[:10], (*path, "first"))}
        value = _plain(value)
        if isinstance(value, str):
            return self._text(value, path)
        if value is None or isinstance(value, bool | int | float):
            return self._number(value, path)
        if len(path) >= self.limits.depth:
            self.note(path, f"nested deeper than {self.limits.depth} levels")
            return _CUT
        if isinstance(value, Mapping):
            return self.mapping(value, path)
        if isinstance(value, list | tuple):
            return self._list(value, path)
        if isinstance(value, set | frozenset):
            return self._list(sorted(value, key=str), path)
        self.note(path, f"a {type(value).__name__} is no plain value")
        return _CUT

    def key(self, key: Any, path: tuple[str, ...]) -> str:
        """A safe key; a long one is cut and told apart by a digest."""
        name = key if isinstance(key, str) else str(key)
        text = _utf8(name) or "_"
        if len(text) > self.limits.key:
            text = f"{text[: self.limits.key]}~{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        if text != name:
            self.note((*path, text[:50]), "its name is empty, too long or not valid")
        return safe_key(text)

    def _list(self, items: list[Any] | tuple[Any, ...], path: tuple[str, ...]) -> list[Any]:
        result = []
        with _Within(self, items, path):
            for place, item in enumerate(items):
                if self._full(2):
                    self.note(path, f"{len(items)} items, the first {place} are kept")
                    break
                result.append(self.value(item, (*path, str(place))))
        return result

    def _number(self, value: bool | float | None, path: tuple[str, ...]) -> Any:
        self.bytes_used += 8
        if isinstance(value, float) and not math.isfinite(value):
            self.note(path, f"it is {value}")
            return None
        if isinstance(value, int) and abs(value) > EXACT:
            self.note(path, "an integer beyond 2^53, kept as a text")
            return str(value) if value.bit_length() < 4096 else hex(value)[: self.limits.text]
        return value

    def _text(self, value: str, path: tuple[str, ...]) -> str:
        text = _utf8(value)
        if text != value:
            self.note(path, "not valid as UTF-8")
        if len(text) > self.limits.text:
            digest = hashlib.sha256(text.encode()).hexdigest()
            self.note(path, f"{len(text)} characters (sha256 {digest}), the first {self.limits.text} are kept")
            text = text[: self.limits.text]
        self.bytes_used += len(text.encode())
        return text

    def _full(self, size_bytes: int) -> bool:
        """Count one more key or item; whether there is no room for it."""
        self.keys_used += 1
        self.bytes_used += size_bytes + 4
        return self.keys_used > self.limits.keys or self.bytes_used > self.limits.size_bytes


class _Within:
    """Refuses what holds itself."""

    def __init__(self, made: _Sanitiser, content: object, path: tuple[str, ...]) -> None:
        if id(content) in made.within:
            remedy = "Write the metadata without what refers to itself"
            raise CatalogError("the metadata hold themselves", where="/".join(path), remedy=remedy)
        self.made, self.content = made, content

    def __enter__(self) -> None:
        self.made.within.append(id(self.content))

    def __exit__(self, *_: object) -> None:
        self.made.within.pop()


def _plain(value: Any) -> Any:
    """Numpy's scalars and arrays, bytes, times and paths as plain values."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, complex):
        return [value.real, value.imag]
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value) if isinstance(value, PurePath) else value


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def _flags(value: Any) -> dict[str, Any]:
    value = _plain(value)
    if isinstance(value, float):
        return {"not_finite": True}
    if isinstance(value, list | tuple):
        return {"changed": True}
    return {"exact_as_text": True} if isinstance(value, int) else {"cut": True}
