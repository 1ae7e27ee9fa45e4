"""One field of metadata as plain values, and how much of a file is taken into a run's record.

Whatever a file holds, its record stays within these bounds, and what they leave out is said in a field's note. A record
does not depend on how long reading takes: the bounds are of size alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_ELEMENTS = 64
"""Arrays beyond this many elements are summarised."""
MAX_FIELDS = 20_000
"""Fields of one file that are listed."""
MAX_TEXT = 1 << 14
"""Characters of one text that are kept."""
MAX_TEXTS = 1 << 24
"""Characters of all texts of one file that are kept."""

_SPENT = "the file's texts are longer together than is kept; it is in the file"


@dataclass(frozen=True)
class Field:
    """One leaf.

    Attributes
    ----------
    path
        Its path in the file; an attribute is ``<path>@<name>``.
    value
        Plain JSON values; NaN and infinities are None. An array beyond 64 elements is
        ``{"shape", "min", "max", "first"}``, over its finite elements; compounds are by their members' names.
    unit
        As the file tells it; may be empty.
    dtype
        As stored; ``group`` for an empty group, ``link`` for a link that leads nowhere.
    not_finite
        Some element is NaN or infinite.
    note
        Why the value could not be read, or not all of it; empty when it was.
    shape
        Of the value as stored; None where there is no array.
    """

    path: str
    value: Any
    unit: str = ""
    dtype: str = ""
    not_finite: bool = False
    note: str = ""
    shape: tuple[int, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def bounded(leaves: Iterable[Field]) -> list[Field]:
    """The leaves of one file within the bounds; what was left out is said, in a last field if need be."""
    listed: list[Field] = []
    texts = Texts()
    for leaf in leaves:
        if len(listed) == MAX_FIELDS:
            note = f"the file has more than {MAX_FIELDS} fields; those that follow are not listed here"
            listed.append(Field("/", None, dtype="file", note=note))
            break
        listed.append(texts.cut(leaf))
    return listed


class Texts:
    """Keeps the texts of one file within their bounds."""

    def __init__(self) -> None:
        self._left = MAX_TEXTS
        self._cut = 0

    def cut(self, leaf: Field) -> Field:
        """The field with its texts as valid UTF-8 and of bounded length; its note says what was cut."""
        self._cut = 0
        spent = self._left <= 0
        path, unit, note = (_valid(text)[:MAX_TEXT] for text in (leaf.path, leaf.unit, leaf.note))
        value = self._within(leaf.value)
        if self._cut:
            why = _SPENT if spent else f"a text of {self._cut} characters is cut; the whole is in the file"
            note = "; ".join(filter(None, (note, why)))
        changed = (path, value, unit, leaf.dtype[:MAX_ELEMENTS], leaf.not_finite, note, leaf.shape)
        return leaf if changed == tuple(vars(leaf).values()) else Field(*changed)

    def _within(self, value: Any) -> Any:
        if isinstance(value, str):
            kept = _valid(value[: min(MAX_TEXT, max(self._left, 0))])
            if len(kept) < len(value):
                self._cut = max(self._cut, len(value))
            self._left -= len(kept)
            return kept
        if isinstance(value, list):
            return [self._within(item) for item in value]
        if isinstance(value, dict):
            return {_valid(name)[:MAX_TEXT]: self._within(item) for name, item in value.items()}
        return value


def _valid(text: str) -> str:
    """The text with what is no Unicode character written out: lone surrogates cannot be stored."""
    return text.encode("utf-8", "backslashreplace").decode()


def plain(value: Any) -> tuple[Any, bool]:
    """Plain JSON values of what numpy and h5py give, and whether some element was not finite.

    >>> plain(np.array([[2.5]])), plain(float("nan")), plain(b"8-ID")
    ((2.5, False), (None, True), ('8-ID', False))
    """
    if getattr(value, "shape", ()) is None:  # h5py's Empty, told without importing it: definitions load this
        return None, False
    array = np.asarray(value)
    if array.dtype.names:
        return _members(array)
    not_finite = array.dtype.kind in "fc" and not bool(np.isfinite(array).all())
    if array.size == 1:
        return scalar(array.reshape(-1)[0]), not_finite
    if array.size <= MAX_ELEMENTS:
        return _nested(array.tolist()), not_finite
    return Range.of([array]).summary(array.shape), not_finite


def _members(array: NDArray[Any]) -> tuple[dict[str, Any], bool]:
    found = {name: plain(array[name]) for name in array.dtype.names or ()}
    return {name: value for name, (value, _) in found.items()}, any(flag for _, flag in found.values())


@dataclass
class Range:
    """First, lowest and highest of values that come in pieces.

    Attributes
    ----------
    first
        The first value; None before there is one.
    low, high
        Of the finite numbers; None where there are none.
    has_numbers
        Whether there were numbers.
    not_finite
        Whether some were NaN or infinite.
    """

    first: Any = None
    low: float | int | None = None
    high: float | int | None = None
    has_numbers: bool = False
    not_finite: bool = False
    _begun: bool = False

    @classmethod
    def of(cls, pieces: Iterable[NDArray[Any]]) -> Range:
        """Go through arrays, one at a time."""
        found = cls()
        for piece in pieces:
            found.add(piece)
        return found

    def add(self, piece: NDArray[Any]) -> None:
        """Take an array of any shape in."""
        if not piece.size:
            return
        if not self._begun:
            self.first, self._begun = scalar(piece.reshape(-1)[0]), True
        if piece.dtype.kind not in "biuf":
            return
        self.has_numbers = True
        finite = piece if piece.dtype.kind != "f" else piece[np.isfinite(piece)]
        self.not_finite |= finite.size < piece.size
        if finite.size:
            low, high = scalar(finite.min()), scalar(finite.max())
            self.low = low if self.low is None else min(self.low, low)
            self.high = high if self.high is None else max(self.high, high)

    def summary(self, shape: Iterable[int]) -> dict[str, Any]:
        """What stands for an array of this shape."""
        summary: dict[str, Any] = {"shape": list(shape), "first": self.first}
        return summary | ({"min": self.low, "max": self.high} if self.has_numbers else {})


def _nested(value: Any) -> Any:
    return [_nested(item) for item in value] if isinstance(value, list) else scalar(value)


def scalar(value: Any) -> Any:
    """One value as JSON has it; None where it is not finite."""
    if isinstance(value, np.floating):
        value = float(value)
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, complex):
        return {"real": scalar(value.real), "imaginary": scalar(value.imag)}
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def flattened(value: Any, path: str) -> Iterator[Field]:
    """The leaves of nested plain values, such as a JSON document: one a key, lists as one leaf.

    A ``/`` in a key is written ``%2F``.
    """
    stack: list[tuple[str, Any]] = [(path, value)]
    while stack:
        here, item = stack.pop()
        if isinstance(item, dict) and item:
            below = [(f"{here}/{key.replace('%', '%25').replace('/', '%2F')}", each) for key, each in item.items()]
            stack += reversed(below)
        else:
            yield json_field(here, item)


def json_field(path: str, value: Any, unit: str = "") -> Field:
    """A leaf of one JSON value that is no object with keys; long lists are summarised."""
    if not isinstance(value, list | dict):
        return Field(path, scalar(value), unit, _kind(value), isinstance(value, float) and not math.isfinite(value))
    leaves = list(_leaves(value))
    not_finite = any(isinstance(leaf, float) and not math.isfinite(leaf) for leaf in leaves)
    shape = (len(value),) if isinstance(value, list) else None
    if len(leaves) <= MAX_ELEMENTS:
        return Field(path, _json(value), unit, "array" if shape else "object", not_finite, shape=shape)
    numbers = [leaf for leaf in leaves if isinstance(leaf, int | float) and not isinstance(leaf, bool)]
    found: dict[str, Any] = {"shape": [len(value)], "first": scalar(leaves[0])}
    if numbers:
        finite = [number for number in numbers if math.isfinite(number)]
        found |= {"min": min(finite, default=None), "max": max(finite, default=None)}
    return Field(path, found, unit, "array", not_finite, shape=shape)


def _leaves(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += reversed(item)
        elif isinstance(item, dict):
            stack += reversed(item.values())
        else:
            yield item


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    return scalar(value)


def _kind(value: Any) -> str:
    """What JSON calls the type of a value.

    >>> [_kind(value) for value in (None, True, 1, 1.5, "x")]
    ['null', 'boolean', 'integer', 'number', 'string']
    """
    kinds = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (dict, "object"))
    return next((word for kind, word in kinds if isinstance(value, kind)), "null")
