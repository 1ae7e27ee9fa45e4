"""Bluesky documents of a run: ``start``, ``descriptor``, ``event`` and ``stop``, as a JSON list or as JSON lines.

Each is ``["start", {...}]`` or ``{"name": "start", "doc": {...}}``. Channels become one field each over all events,
with the unit of their descriptor; everything else of the documents is listed as it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xpcs_assets.errors import MetadataError
from xpcs_assets.readers.field import MAX_ELEMENTS, Field, Range, flattened, json_field
from xpcs_assets.readers.rawfile import cannot_open

ROOT = "/bluesky"

_HEAD_BYTES = 4096
_MAX_BYTES = 256 << 20
_MAX_DEPTH = 48
_START = re.compile(rb'\s*(?:\[\s*)?(?:\[\s*"start"\s*,\s*\{|\{\s*"name"\s*:\s*"start"\s*,\s*"doc"\s*:\s*\{)')
_LIST = re.compile(r"\s*\[\s*[\[{]")
_BETWEEN = re.compile(r"[\s,\]]*")
_COPY = "Copy the documents anew from the beamline"
_UNITS = ("units", "unit")


def sniff(path: Path) -> bool:
    """Tell whether a file holds bluesky documents, by its first bytes."""
    try:
        with path.open("rb") as file:
            return _START.match(file.read(_HEAD_BYTES)) is not None
    except OSError:
        return False


def documents_fields(path: Path) -> Iterator[Field]:
    """The leaves of the documents below ``/bluesky``, and in a last field what could not be read of them.

    Raises
    ------
    MetadataError
        The file cannot be read.
    """
    text, notes = _text(path)
    run = _Run()
    for name, document in _documents(text, notes):
        run.take(name, document)
    yield from run.fields()
    if not run.has_stopped:
        notes.append("there is no stop document: the run was cut off, or the file")
    if notes:
        yield Field(ROOT, None, dtype="file", note="; ".join(notes))


def _text(path: Path) -> tuple[str, list[str]]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise MetadataError(cannot_open(path, error).what, where=path, remedy=_COPY) from error
    notes = [f"the file is larger than {_MAX_BYTES >> 20} MiB; only so much is read"] * (len(content) > _MAX_BYTES)
    content = content[:_MAX_BYTES]
    try:
        return content.decode(), notes
    except UnicodeDecodeError as error:
        notes.append(f"byte {error.start} is no UTF-8; such bytes stand as \N{REPLACEMENT CHARACTER}")
        return content.decode(errors="replace"), notes


def _documents(text: str, notes: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each document with its name; what is damaged is said in ``notes``, and lines after a damaged one are read."""
    opened = _LIST.match(text)
    # Of a list, the documents are read one by one too: the last of a file that is cut off is lost, not all of them.
    at = opened.end() - 1 if opened else 0
    decoder = json.JSONDecoder()
    n_damaged = 0
    while (at := _after(_BETWEEN, text, at)) < len(text):
        try:
            item, at = decoder.raw_decode(text, at)
            yield _named(item)
        except (ValueError, RecursionError):
            n_damaged += 1
            line_end = text.find("\n", at)
            if opened or line_end < 0:
                break
            at = line_end
    if n_damaged:
        notes.append(f"{n_damaged} documents are damaged; the last ends at character {at} of {len(text)}")


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _named(item: Any) -> tuple[str, dict[str, Any]]:
    """Name and content of one document.

    Raises
    ------
    ValueError
        It is none.
    """
    if isinstance(item, dict):
        item = [item.get("name"), item.get("doc")]
    if not (isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], dict)):
        raise ValueError("no document")
    if _is_too_deep(item):
        raise ValueError("values within values without end")
    return item[0], item[1]


def _is_too_deep(value: Any) -> bool:
    """Tell whether values are nested so deep that walking through them could end in an error."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [one for values in inner for one in values]
        if not level:
            return False
    return True


@dataclass
class _Column:
    """One channel over all events: its values as long as they are few, and their range."""

    unit: str = ""
    dtype: str = ""
    n: int = 0
    values: list[Any] = field(default_factory=list)
    range: Range = field(default_factory=Range)
    element: tuple[int, ...] = ()

    def add(self, value: Any) -> None:
        self.n += 1
        if len(self.values) <= MAX_ELEMENTS:
            self.values.append(value)
        try:
            array = np.asarray(value)
        except (ValueError, OverflowError):  # lists of different lengths, or numbers beyond what numpy holds
            array = np.asarray(str(value))
        self.range.add(array)
        self.element = array.shape

    def field(self, path: str) -> Field:
        if self.n == 1:
            leaf = json_field(path, self.values[0], self.unit)
            return Field(path, leaf.value, self.unit, self.dtype or leaf.dtype, leaf.not_finite, shape=leaf.shape)
        shape = (self.n, *self.element)
        leaf = json_field(path, self.values, self.unit)
        few = self.n <= MAX_ELEMENTS and isinstance(leaf.value, list)
        value = leaf.value if few else self.range.summary(shape)
        not_finite = self.range.not_finite or (few and leaf.not_finite)
        return Field(path, value, self.unit, self.dtype or "array", not_finite, shape=shape)


class _Run:
    """Gathers the documents of a file."""

    def __init__(self) -> None:
        self._listed: dict[str, Any] = {}
        self._columns: dict[str, _Column] = {}
        self._streams: dict[str, str] = {}
        self._keys: dict[str, dict[str, Any]] = {}
        self.has_stopped = False

    def take(self, name: str, document: dict[str, Any]) -> None:
        """Take a document in."""
        kind = name.removesuffix("_page")
        if kind == "descriptor":
            self._descriptor(document)
        elif kind == "event":
            self._event(document, is_page=name != kind)
        elif kind in ("datum", "stream_datum"):
            self._rows(f"{ROOT}/{kind}", document, is_page=name != kind)
        else:
            self.has_stopped |= name == "stop"
            self._list(f"{ROOT}/{name}", document)

    def fields(self) -> Iterator[Field]:
        """All that was taken in."""
        for path, value in self._listed.items():
            yield from flattened(value, path)
        for path, column in self._columns.items():
            yield column.field(path)

    def _list(self, path: str, value: Any) -> None:
        free = next(name for name in _numbered(path) if name not in self._listed)
        self._listed[free] = value

    def _descriptor(self, document: dict[str, Any]) -> None:
        base = f"{ROOT}/{document.get('name') or 'primary'}"
        uid, keys = str(document.get("uid", "")), document.get("data_keys")
        self._streams[uid] = base
        self._keys[base] = keys if isinstance(keys, dict) else {}
        for device, configured in _items(document.get("configuration")):
            if not isinstance(configured, dict):
                continue
            keys_of = configured.get("data_keys")
            for key, value in _items(configured.get("data")):
                column = self._column(f"{base}/configuration/{device}/{key}", keys_of, key)
                if not column.n:
                    column.add(value)
            rest = {name: value for name, value in configured.items() if name != "data"}
            self._list(f"{base}/configuration/{device}", rest)
        self._list(f"{base}/descriptor", {name: value for name, value in document.items() if name != "configuration"})

    def _event(self, document: dict[str, Any], *, is_page: bool) -> None:
        base = self._streams.get(str(document.get("descriptor", "")), f"{ROOT}/unknown")
        self._rows(base, {name: value for name, value in document.items() if name != "descriptor"}, is_page=is_page)

    def _rows(self, base: str, document: dict[str, Any], *, is_page: bool) -> None:
        for name, value in document.items():
            below = _items(value) if isinstance(value, dict) else [("", value)]
            for key, held in below:
                path = "/".join(filter(None, (base, name, key)))
                column = self._column(path, self._keys.get(base) if name == "data" else None, key)
                for one in held if is_page and isinstance(held, list) else [held]:
                    column.add(one)

    def _column(self, path: str, keys: Any, key: str) -> _Column:
        if path not in self._columns:
            told = keys.get(key) if isinstance(keys, dict) else None
            told = told if isinstance(told, dict) else {}
            unit = next((str(told[name]) for name in _UNITS if told.get(name)), "")
            self._columns[path] = _Column(unit, str(told.get("dtype") or ""))
        return self._columns[path]


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _numbered(path: str) -> Iterator[str]:
    """The path itself, then with numbers: a file may hold several documents of a name."""
    yield path
    number = 2
    while True:
        yield f"{path}_{number}"
        number += 1
