"""What stands in Globus Search of a dataset: pure functions on plain values.

The service maps each field of an index to the type of the first value that it meets there, refuses values that do not
fit, and takes 1000 fields in an index. So the fields here are few and each has one type: metadata are a list of items
with the same few fields, whatever the metadata are called and hold. :data:`TYPES` is ingested first and fixes the
types. :func:`document_of` makes the catalog's document of what stands, so that both can be compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from xpcs_assets.catalog.dataset import Dataset, Lifecycle
from xpcs_assets.catalog.documents import finite
from xpcs_assets.catalog.globus_search_config import GlobusSearchConfig
from xpcs_assets.errors import CatalogError
from xpcs_assets.readers.metadata import DETECTOR_NAME

ROOT = "xpcs_assets"
FORMAT = "xpcs-assets 1"
TEXT_LIMIT = 30_000  # bytes of a field; the service takes 32 KB
EXACT = 2**53 - 1  # the last integer that no other rounds to as a double
MOST_LEVELS = 64
MOST_FILES = 10_000
_TEXTS = (
    *("pid", "type", "datasetName", "owner", "ownerGroup", "creationLocation", "description", "sourceFolder"),
    *("creationTime", "dataFormat"),
)
_TEXT_LISTS = ("accessGroups", "proposalIds", "sampleIds", "keywords", "inputDatasets", "usedSoftware")
_NUMBERS = ("size", "numberOfFiles")
_TRUTHS = ("isPublished",)
_CUT = "[cut]"
_MOST_KEY = 500
_MOST_NAME = 1000

TYPES: dict[str, Any] = {
    ROOT: {
        "format": FORMAT,
        "digest": "a text",
        "date": "2026-01-01",  # mapped to a date
        "embargo_until": "a text",
        "sample": "a text",
        "detector": "a text",
        "groups_not_mapped": ["a text"],
        "left_out": 0,
        "dataset": {
            **dict.fromkeys(_TEXTS, "a text"),
            **{name: ["a text"] for name in _TEXT_LISTS},
            **dict.fromkeys(_NUMBERS, 0.5),
            **dict.fromkeys(_TRUTHS, False),
        },
        "fields": [
            {
                "path": ["a text"],
                "text": "a text",
                "number": 0.5,
                "truth": False,
                "json": "a text",
                "unit": "a text",
                "cut_from": 0,
            }
        ],
        "files": [{"path": "a text", "size_bytes": 0.5, "sha256": "a text"}],
        "pictures": [{"name": "a text", "caption": "a text", "url": "a text"}],
        "lifecycle": {
            "archived": False,
            "archive_location": "a text",
            "on_disk": False,
            "pruned_at": "a text",
            "kept_until": "a text",
        },
    }
}
"""A value of its type in every field, ingested before any dataset. Texts here look like no date: a date would be
mapped to a date, and refuse texts; 0.5 is no integer: an integer would refuse 0.7."""


def content_of(dataset: Dataset, config: GlobusSearchConfig, lifecycle: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a dataset's entry, without its digest.

    Parameters
    ----------
    lifecycle
        What stands there of the lifecycle, or nothing: it stays.

    Raises
    ------
    CatalogError
        The metadata are nested too deep, or hold themselves.
    """
    document = finite(_checked(dataset.document, dataset.pid))
    named = {name: value for name, value in document.items() if _fits(name, value)}
    others = {name: value for name, value in document.items() if name not in named}
    groups = [str(document.get("ownerGroup") or ""), *map(str, document.get("accessGroups") or ())]
    made = {
        "format": FORMAT,
        **_date(document.get("creationTime")),
        "embargo_until": dataset.embargo_until,
        **({"sample": _clean(dataset.sample[:_MOST_NAME])} if dataset.sample else {}),
        **_detector(document),
        "groups_not_mapped": [group for group in groups if group and group not in config.groups],
        "dataset": {name: _clean(value) for name, value in named.items()},
        "pictures": [_picture(dataset.pid, picture.name, picture.caption, config) for picture in dataset.pictures],
        "lifecycle": dict(lifecycle),
    }
    room = config.entry_bytes - len(json.dumps(made)) - 1000  # the digest and the names of the lists
    fields, room, left_out = _within(_items(others, ()), room)
    files, room, no_room = _within(map(_file, dataset.files[:MOST_FILES]), room)
    left_out += no_room + len(dataset.files[MOST_FILES:])
    if room < 0:
        raise CatalogError(f"more than {config.entry_bytes} bytes beside the metadata", where=dataset.pid)
    return {ROOT: made | {"fields": fields, "files": files, "left_out": left_out}}


def with_digest(content: Mapping[str, Any], visible_to: Sequence[str]) -> dict[str, Any]:
    """Content with a digest of itself and of who sees it, which the service does not tell."""
    bare = {name: value for name, value in content[ROOT].items() if name != "digest"}
    text = json.dumps([bare, sorted(visible_to)], sort_keys=True, allow_nan=False)
    return {ROOT: bare | {"digest": "sha256:" + hashlib.sha256(text.encode()).hexdigest()}}


def lifecycle_fields(lifecycle: Lifecycle) -> dict[str, Any]:
    """What is known of a lifecycle, as it stands in an entry."""
    known = {
        "archived": lifecycle.archived,
        "archive_location": lifecycle.archive_location,
        "on_disk": lifecycle.on_disk,
        "pruned_at": None if lifecycle.pruned_at is None else _moment(lifecycle.pruned_at),
        "kept_until": None if lifecycle.kept_until is None else _moment(lifecycle.kept_until),
    }
    return {name: value for name, value in known.items() if value is not None}


def document_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """The catalog's document of what stands in an entry; whole when nothing was left out or cut.

    >>> document_of({ROOT: {"dataset": {"pid": "a"}, "fields": [{"path": ["x", "[0]", "value"], "number": 2.5,
    ... "unit": "K"}]}})
    {'pid': 'a', 'x': [{'value': 2.5, 'unit': 'K'}]}
    """
    tree: dict[str, Any] = {}
    for item in content[ROOT]["fields"]:
        _put(tree, item["path"], _value(item))
        if "unit" in item:
            _put(tree, [*item["path"][:-1], "unit"], item["unit"])
    return {**content[ROOT]["dataset"], **_with_lists(tree)}


def _checked(value: Any, where: str, level: int = 0) -> Any:
    if level > MOST_LEVELS:
        remedy = "Write the metadata flatter, and without what refers to itself"
        raise CatalogError(f"the metadata have more than {MOST_LEVELS} levels", where=where, remedy=remedy)
    if isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            _checked(item, where, level + 1)
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise CatalogError(f"a {type(value).__name__} is no plain value", where=where, remedy="Report this")
    return value


def _fits(name: str, value: Any) -> bool:
    """Whether a value of the document has the type of the field of its name."""
    if name in _TEXTS:
        return isinstance(value, str) and len(value.encode("utf-8", "replace")) <= TEXT_LIMIT
    if name in _TEXT_LISTS:
        texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return texts and len(json.dumps(value)) <= TEXT_LIMIT
    if name in _NUMBERS:
        return _is_number(value)
    return name in _TRUTHS and isinstance(value, bool)


def _items(value: Any, path: tuple[str, ...], unit: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """Every value of the metadata as an item: where it stands, and the value under the name of its type."""
    if isinstance(value, Mapping) and value:
        told = {"unit": _clean(value["unit"])} if _is_quantity(value) else None
        for key, item in value.items():
            if told is None or key != "unit":
                yield from _items(item, (*path, _escaped(str(key))), told if key == "value" else None)
    elif isinstance(value, list) and value and not _is_uniform(value):
        for place, item in enumerate(value):
            yield from _items(item, (*path, f"[{place}]"))
    else:
        yield {"path": [_clean(part) for part in path], **_typed(value), **(unit or {})}


def _typed(value: Any) -> dict[str, Any]:
    one = value[0] if isinstance(value, list) and value else value
    if isinstance(one, bool):
        return _cut("truth", value)
    if isinstance(one, str):
        return _cut("text", _clean(value))
    return _cut("number", value) if _is_number(one) else _cut("json", json.dumps(value))


def _cut(name: str, value: Any) -> dict[str, Any]:
    """A value under its name; one that the service does not take is cut, with its length beside it."""
    if isinstance(value, list):
        kept, _, left_out = _within(iter(value), TEXT_LIMIT)
        return {name: kept} if not left_out else {name: kept, "cut_from": len(value)}
    if isinstance(value, str) and len(value.encode()) > TEXT_LIMIT:
        cut = value.encode()[: TEXT_LIMIT - len(_CUT)].decode("utf-8", "ignore")
        return {name: cut + _CUT, "cut_from": len(value)}
    return {name: value}


def _within(items: Iterator[Any], room: int) -> tuple[list[Any], int, int]:
    """The first items that fit, the bytes that they leave, and how many others there are."""
    kept: list[Any] = []
    for item in items:
        size = len(json.dumps(item)) + 2
        if size > room:
            return kept, room, 1 + sum(1 for _ in items)
        kept.append(item)
        room -= size
    return kept, room, 0


def _is_quantity(value: Mapping[str, Any]) -> bool:
    inner = value.get("value", {})
    plain = not isinstance(inner, Mapping | list) or not inner or (isinstance(inner, list) and _is_uniform(inner))
    unit = value.get("unit")
    return "value" in value and plain and isinstance(unit, str) and len(unit.encode("utf-8", "replace")) <= TEXT_LIMIT


def _is_uniform(values: list[Any]) -> bool:
    """Whether all of a list has one type that a field can have."""
    kinds = {bool if isinstance(one, bool) else str if isinstance(one, str) else _is_number(one) for one in values}
    return len(kinds) == 1 and kinds != {False}


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (isinstance(value, float) or abs(value) <= EXACT)
    )


def _value(item: Mapping[str, Any]) -> Any:
    if "json" in item:
        return item["json"] if "cut_from" in item else json.loads(item["json"])
    return next(item[name] for name in ("text", "number", "truth") if name in item)


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _with_lists(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    if tree and all(part.startswith("[") and not part.startswith("[[") for part in tree):
        return [_with_lists(item) for item in tree.values()]
    return {part.removeprefix("[") if part.startswith("[[") else part: _with_lists(item) for part, item in tree.items()}


def _escaped(key: str) -> str:
    """A key that is told from the place in a list, and not too long for the service."""
    if len(key) > _MOST_KEY:
        digest = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
        key = f"{key[:_MOST_KEY]}{_CUT}{digest[:12]}"
    return f"[{key}" if key.startswith("[") else key


def _clean(value: Any) -> Any:
    """Texts that are valid UTF-8."""
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) and not value.isascii() else value


def _date(creation_time: Any) -> dict[str, str]:
    """The day in UTC, for histograms; what is no time with a zone has none."""
    try:
        moment = datetime.fromisoformat(str(creation_time))
        return {} if moment.tzinfo is None else {"date": moment.astimezone(UTC).date().isoformat()}
    except (ValueError, OverflowError):
        return {}


def _detector(document: Mapping[str, Any]) -> dict[str, str]:
    """What the metadata call the detector, for facets."""
    metadata = document.get("scientificMetadata")
    groups = [group for group in metadata.values() if isinstance(group, Mapping)] if isinstance(metadata, dict) else []
    for path in DETECTOR_NAME:
        for group in groups:
            found = group.get(path.removeprefix("/"))
            if isinstance(found, Mapping) and isinstance(found.get("value"), str) and found["value"]:
                return {"detector": _clean(found["value"][:_MOST_NAME])}
    return {}


def _picture(pid: str, name: str, caption: str, config: GlobusSearchConfig) -> dict[str, str]:
    address = config.picture_address(pid, name)
    return {"name": _clean(name), "caption": _clean(caption), **({"url": address} if address else {})}


def _file(entry: Any) -> dict[str, Any]:
    return {"path": _clean(entry.path), "size_bytes": entry.size_bytes, "sha256": entry.sha256}


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
