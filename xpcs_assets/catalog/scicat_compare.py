"""What SciCat holds against what was meant: pure functions on plain values.

What people add in SciCat (keys, keywords, publication) is no difference and stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

from xpcs_assets.catalog.scicat_metadata import FLAGS

_TIMES = {"creationTime", "startTime", "endTime", "dateOfDiskPurging", "archiveRetentionTime"}
_ONLY_WHEN_MADE = {"pid", "type", "isPublished"}
_PEOPLE_ADD = {"keywords"}
_SAME_TIME = timedelta(milliseconds=1)


def holds(content: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    """Whether all of ``content`` is held."""
    return all(same(field, value, held.get(field)) for field, value in content.items())


def differs(name: str, meant: Any, held: Mapping[str, Any]) -> bool:
    """Whether SciCat holds something else under a name, of what is ours to change."""
    meant = change(name, meant, held)
    if name in _ONLY_WHEN_MADE:
        return False
    return not same(name, meant, held.get(name))


def change(name: str, meant: Any, held: Mapping[str, Any]) -> Any:
    """What to write under a name: keywords with those of others, metadata without flags that no longer hold."""
    old = held.get(name)
    if name in _PEOPLE_ADD:
        return [*dict.fromkeys([*(old or ()), *meant])]
    return without_old_flags(meant, old) if name == "scientificMetadata" else meant


def same(name: str, meant: Any, held: Any) -> bool:
    """Whether two values of a field mean the same."""
    if name in _TIMES and meant and held:
        return abs(_moment(meant) - _moment(held)) < _SAME_TIME
    if name == "sourceFolder":
        return str(meant).rstrip("/") == str(held).rstrip("/")
    return (not meant and not held) or next(missing_from(as_meant(meant), as_meant(held)), None) is None


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))


def as_meant(metadata: Any) -> Any:
    """What a backend holds, with its keys decoded, and without the SI values that it added.

    >>> as_meant({"a%2Eb": {"value": 3, "unit": "mm", "valueSI": 0.003, "unitSI": "m"}})
    {'a.b': {'value': 3, 'unit': 'mm'}}
    """
    if isinstance(metadata, Mapping):
        added = {"valueSI", "unitSI"} if "valueSI" in metadata and "value" in metadata else set()
        return {unquote(key): as_meant(value) for key, value in metadata.items() if key not in added}
    return [as_meant(value) for value in metadata] if isinstance(metadata, list) else metadata


def missing_from(meant: Any, held: Any, path: str = "") -> Iterator[str]:
    """Where ``held`` is not what was meant. Null and nothing are the same; keys that others added do not count."""
    if isinstance(meant, Mapping):
        other = held if isinstance(held, Mapping) else {}
        if meant and not isinstance(held, Mapping):
            yield path
            return
        for key, value in meant.items():
            yield from missing_from(value, other.get(key), f"{path}/{key}" if path else key)
    elif isinstance(meant, list) and isinstance(held, list) and len(meant) == len(held):
        for place, (one, other) in enumerate(zip(meant, held, strict=True)):
            yield from missing_from(one, other, f"{path}[{place}]")
    elif meant != held or isinstance(meant, bool) != isinstance(held, bool):
        yield path


def without_old_flags(meant: Any, held: Any) -> Any:
    """What was meant, with null for each flag that is held and no longer meant: a merge would keep it."""
    if not isinstance(meant, Mapping) or not isinstance(held, Mapping):
        return meant
    by_name = {unquote(key): value for key, value in held.items()}
    old = {flag: None for flag in FLAGS if flag in by_name and flag not in meant}
    return {key: without_old_flags(value, by_name.get(unquote(key))) for key, value in meant.items()} | old
