"""Metadata reach SciCat as they were meant, and what cannot is bounded and told."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpcs_assets.catalog.scicat_compare import as_meant, differs, missing_from, same, without_old_flags
from xpcs_assets.catalog.scicat_metadata import EXACT, NOTES, Limits, safe_key, sanitised
from xpcs_assets.errors import CatalogError
from xpcs_assets.testing.scicat_rules import encoded, merged, parse, with_si

TEXTS = st.text(st.characters(exclude_categories=()), max_size=8)
KEYS = TEXTS | st.sampled_from(["a.b", "$x", "50%", "%41", "__proto__", "value", "unit"])
PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS
LEAVES = PLAIN | st.just({"value": 3.0, "unit": "mm"})
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
METADATA = st.dictionaries(KEYS, TREES, max_size=4)


def stored(metadata: dict[str, Any]) -> Any:
    """What the backend holds after it got the metadata through the network."""
    return encoded(with_si(parse(json.dumps(metadata, allow_nan=False).encode())))


def notes(metadata: dict[str, Any]) -> list[str]:
    told = metadata.get(NOTES, {"value": []})["value"]
    assert isinstance(told, list)
    return told


@settings(max_examples=300, deadline=None)
@given(METADATA)
def test_what_is_sent_is_what_is_held(metadata: dict[str, Any]) -> None:
    safe = sanitised(metadata)
    assert list(missing_from(as_meant(safe), as_meant(stored(safe)))) == []


@settings(max_examples=100, deadline=None)
@given(METADATA)
def test_metadata_that_need_no_change_are_not_changed(metadata: dict[str, Any]) -> None:
    safe = sanitised(metadata)
    if NOTES not in safe and not any(key in json.dumps(metadata) for key in ("valueSI", "unitSI")):
        assert as_meant(safe) == json.loads(json.dumps(metadata))


@settings(max_examples=100, deadline=None)
@given(METADATA, METADATA)
def test_a_merge_patch_makes_old_metadata_the_new_ones(old: dict[str, Any], new: dict[str, Any]) -> None:
    held = stored(sanitised(old))
    meant = without_old_flags(sanitised(new), held)
    patched = merged(held, stored(meant))
    assert list(missing_from(_without_empty(as_meant(meant)), as_meant(patched))) == []


def _without_empty(value: Any) -> Any:
    """A mapping of nothing but nulls is nothing after a merge."""
    if not isinstance(value, dict):
        return value
    parts = {key: _without_empty(item) for key, item in value.items()}
    return {key: item for key, item in parts.items() if item is not None and item != {}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("-inf")])
def test_what_is_not_finite_becomes_null_with_a_flag(value: float) -> None:
    safe = sanitised({"t": {"value": value, "unit": "K"}, "bare": value})
    assert safe["t"] == {"value": None, "unit": "K", "not_finite": True}
    assert safe["bare"] is None
    assert [note.split(":")[0] for note in notes(safe)] == ["t/value", "bare"]


@pytest.mark.parametrize(("number", "exact"), [(EXACT, True), (-EXACT, True), (EXACT + 1, False), (-(2**60), False)])
def test_integers_that_would_be_rounded_become_texts_with_a_flag(number: int, exact: bool) -> None:
    safe = sanitised({"n": {"value": number, "unit": ""}})
    wanted = {"value": number, "unit": ""} if exact else {"value": str(number), "unit": "", "exact_as_text": True}
    assert safe["n"] == wanted


def test_a_huge_integer_is_bounded_too() -> None:
    assert len(sanitised({"n": 10**200_000})["n"]) <= 100_000


def test_values_of_numpy_and_others_become_plain() -> None:
    safe = sanitised(
        {
            "scalar": np.int32(5),
            "array": np.array([[1.5, np.nan]]),
            "bytes": b"ab\xff",
            "time": datetime(2026, 5, 1, tzinfo=UTC),
            "path": PurePosixPath("/a"),
            "complex": 1 + 2j,
            "set": {"b", "a"},
            "object": object(),
        }
    )
    del safe[NOTES]
    assert safe == {
        "scalar": 5,
        "array": [[1.5, None]],
        "bytes": "ab\ufffd",
        "time": "2026-05-01T00:00:00+00:00",
        "path": "/a",
        "complex": [1.0, 2.0],
        "set": ["a", "b"],
        "object": "[cut]",
    }


def test_a_large_array_is_summarised() -> None:
    safe = sanitised({"mask": np.arange(200_000).reshape(400, 500)})
    assert safe["mask"] == {"shape": [400, 500], "dtype": "int64", "first": [*range(10)]}
    assert "summarised" in notes(safe)[0]


def test_a_long_text_is_cut_and_told_with_its_digest() -> None:
    safe = sanitised({"log": {"value": "x" * 10_000_000, "unit": ""}})
    assert len(safe["log"]["value"]) == 100_000
    assert safe["log"]["cut"] is True
    assert "10000000 characters (sha256 " in notes(safe)[0]


def test_too_many_keys_are_cut_and_counted() -> None:
    safe = sanitised({f"k{number}": number for number in range(200_000)})
    assert 90_000 < len(safe) <= 100_001
    assert "200000 keys" in notes(safe)[0]


def test_many_long_texts_together_stay_below_what_one_request_takes() -> None:
    safe = sanitised({f"k{number}": "ä" * 100_000 for number in range(100)})
    assert len(json.dumps(safe, ensure_ascii=False).encode()) < 7 * 2**20


def test_too_deep_a_tree_is_cut() -> None:
    tree: dict[str, Any] = {}
    for _ in range(5000):
        tree = {"in": tree}
    safe = sanitised(tree)
    assert json.dumps(safe).count('"in"') == 32
    assert "deeper than 32" in notes(safe)[0]


def test_what_holds_itself_is_refused() -> None:
    metadata: dict[str, Any] = {"a": {"b": []}}
    metadata["a"]["b"].append(metadata["a"])
    with pytest.raises(CatalogError, match="hold themselves") as raised:
        sanitised(metadata)
    assert raised.value.where == "a/b/0"


def test_what_is_held_twice_is_not_refused() -> None:
    shared = {"value": 1, "unit": ""}
    assert sanitised({"a": shared, "b": [shared, shared]})["b"] == [shared, shared]


@pytest.mark.parametrize(
    ("key", "safe"),
    [
        ("a.b", "a%2Eb"),
        ("$x", "%24x"),
        ("entry/x y", "entry%2Fx%20y"),
        ("%41", "%2541"),
        ("Å", "%C3%85"),
        ("a_b-c~", "a_b-c~"),
    ],
)
def test_keys_are_encoded_as_the_backend_does_it(key: str, safe: str) -> None:
    assert safe_key(key) == safe
    assert list(encoded({safe_key(key): 1})) == [safe], "the backend leaves it alone"
    assert as_meant({safe: 1}) == {key: 1}


def test_names_that_javascript_keeps_for_itself_survive() -> None:
    assert safe_key("__proto__") != "__proto__"
    assert as_meant(stored(sanitised({"__proto__": {"constructor": 1}}))) == {"__proto__": {"constructor": 1}}


def test_odd_keys_are_bounded_and_told_apart() -> None:
    safe = sanitised({"x" * 600 + "a": 1, "x" * 600 + "b": 2, "": 3, "\ud800": 4, 5: 6})
    assert len(safe) == 6
    assert max(map(len, safe)) < 520
    assert safe["5"] == 6


def test_two_keys_of_the_same_name_keep_the_first() -> None:
    safe = sanitised({1: "a", "1": "b"})
    assert safe["1"] == "a"
    assert "same name" in notes(safe)[0]


def test_notes_are_bounded_and_counted() -> None:
    told = notes(sanitised({f"k{number}": float("nan") for number in range(1000)}))
    assert len(told) == 101
    assert told[-1] == "and 900 more"


def test_limits_can_be_given() -> None:
    assert sanitised({"a": "xyz"}, Limits(text=2))["a"] == "xy"


@pytest.mark.parametrize(
    ("meant", "held", "path"),
    [
        ({"a": 1}, {"a": 2}, "a"),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a/b[1]"),
        ({"a": [1]}, {"a": [1, 2]}, "a"),
        ({"a": {"b": 1}}, {"a": 5}, "a"),
        ({"a": 1}, {"a": True}, "a"),
        (5, 6, ""),
    ],
)
def test_a_difference_is_found_with_its_path(meant: Any, held: Any, path: str) -> None:
    assert list(missing_from(meant, held)) == [path]


@pytest.mark.parametrize(
    ("meant", "held"), [({"a": None}, {}), ({"a": 1}, {"a": 1.0, "b": 2}), ({}, None), ([1, {"a": 1}], [1, {"a": 1}])]
)
def test_null_is_nothing_and_what_others_added_is_no_difference(meant: Any, held: Any) -> None:
    assert list(missing_from(meant, held)) == []


@pytest.mark.parametrize(
    ("name", "meant", "held", "alike"),
    [
        ("creationTime", "2026-05-01T12:00:00+02:00", "2026-05-01T10:00:00.000Z", True),
        ("creationTime", "2026-05-01T12:00:00.0004Z", "2026-05-01T12:00:00.000Z", True),
        ("creationTime", "2026-05-01T12:00:01Z", "2026-05-01T12:00:00Z", False),
        ("creationTime", "2026-05-01T12:00:01Z", None, False),
        ("sourceFolder", "/a/", "/a", True),
        ("size", 0, None, True),
        ("description", "", None, True),
        ("description", "a", "b", False),
        ("accessGroups", ["a"], ["a", "b"], False),
    ],
)
def test_fields_are_compared_by_their_meaning(name: str, meant: Any, held: Any, alike: bool) -> None:
    assert same(name, meant, held) is alike


def test_keywords_of_others_and_publication_are_no_difference() -> None:
    held = {"keywords": ["a", "b"], "isPublished": True}
    assert not differs("keywords", ["a"], held)
    assert differs("keywords", ["c"], held)
    assert not differs("isPublished", meant=False, held=held)
