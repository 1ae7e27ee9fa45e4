"""What stands in Globus Search: the whole document in few fields, each of one type for ever, within the limits."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcs_assets.catalog.dataset import Dataset, Lifecycle
from xpcs_assets.catalog.documents import finite
from xpcs_assets.catalog.globus_search_config import GlobusSearchConfig
from xpcs_assets.catalog.globus_search_content import (
    ROOT,
    TEXT_LIMIT,
    TYPES,
    content_of,
    document_of,
    lifecycle_fields,
    with_digest,
)
from xpcs_assets.errors import CatalogError
from xpcs_assets.runs.manifest import FileEntry
from xpcs_assets.secret import SecretReference
from xpcs_assets.testing.globus_search_server import INDEX_ID, OPERATORS
from xpcs_assets.testing.globus_search_types import Mapped, TaskFailure
from xpcs_assets_tests.globus_search import dataset, document

CONFIG = GlobusSearchConfig(INDEX_ID, (OPERATORS,), token=SecretReference(variable="A_TOKEN"))
KEYS = st.text(max_size=12) | st.sampled_from(["value", "unit", "[0]", "[", "[[1]", "a.b", "@context", "2026-05-01"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["2026-05-01", "2026-05-01T12:00:00Z", "2026/05/01 12:00:00 +0000", "1", "true", ""])
)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))
METADATA = st.dictionaries(KEYS, TREES, max_size=5)


def made(**changes: Any) -> dict[str, Any]:
    return content_of(Dataset(document(**changes)), CONFIG, {})


def item(content: dict[str, Any], *path: str) -> dict[str, Any]:
    (found,) = [one for one in content[ROOT]["fields"] if one["path"] == ["scientificMetadata", *path]]
    return dict(found)


def utf8(value: Any) -> Any:
    """A document as it is after lone surrogates were replaced."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


@given(METADATA, METADATA)
def test_the_document_can_be_made_of_what_stands_field_by_field(metadata: dict[str, Any], job: dict[str, Any]) -> None:
    meant = document(scientificMetadata=metadata, jobParameters=job, sampleIds=["s1"], license=None)
    assert document_of(content_of(Dataset(meant), CONFIG, {})) == utf8(finite(meant))


@given(st.lists(METADATA, min_size=2, max_size=4))
def test_no_metadata_ever_change_the_type_of_a_field(several: list[dict[str, Any]]) -> None:
    mapped = Mapped()
    mapped.take(TYPES)
    fields = dict(mapped.types)
    for metadata in several:
        mapped.take(with_digest(made(scientificMetadata=metadata), [OPERATORS]))
    assert mapped.types == fields, "no dataset brings a field of its own"
    assert len(fields) < 60


@pytest.mark.parametrize(
    ("first", "then"),
    [("2026-05-01", "yesterday"), (5, 5.5), (True, 7), (1.5, "n/a"), ([1, 2], "many"), ({"a": 1}, 3), (None, "late")],
)
def test_a_field_of_the_metadata_may_hold_something_else_in_the_next_run(first: Any, then: Any) -> None:
    mapped, plain = Mapped(), Mapped()
    mapped.take(TYPES)
    for value in (first, then):
        mapped.take(made(scientificMetadata={"field": {"value": value, "unit": ""}}))
    if first is not None and not isinstance(first, list | bool):
        plain.take({"field": first})
        with pytest.raises(TaskFailure, match="does not take"):
            plain.take({"field": then})


def test_without_the_types_a_date_among_the_texts_would_keep_all_other_texts_out() -> None:
    dated = made(scientificMetadata={"when": "2026-05-01"}, sampleIds=[], datasetName="2026-05-01")
    mapped = Mapped()
    mapped.take(dated)
    with pytest.raises(TaskFailure, match=r"\[Date\] does not take"):
        mapped.take(made())


def test_every_field_that_can_be_sent_has_its_type_fixed() -> None:
    mapped = Mapped()
    mapped.take(TYPES)
    fields = set(mapped.types)
    full = Dataset(
        document(scientificMetadata={"t": "x" * (TEXT_LIMIT + 1), "n": None}),
        "2026-05-01",
        (FileEntry("a", 1, "b" * 64),),
    )
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    lifecycle = lifecycle_fields(
        Lifecycle(archived=True, archive_location="tape", on_disk=False, pruned_at=moment, kept_until=moment)
    )
    mapped.take(with_digest(content_of(full, CONFIG, lifecycle), [OPERATORS]))
    assert set(mapped.types) == fields


def test_what_scientists_search_for_has_fields_of_its_own() -> None:
    content = content_of(dataset(), CONFIG, {})[ROOT]
    assert (content["sample"], content["detector"], content["date"]) == ("silica in water", "eiger4m", "2026-05-01")
    assert content["dataset"]["proposalIds"] == ["P-1234"]
    assert item(made(), "acquisition", "entry/instrument/detector_1/frame_time", "value") == {
        "path": ["scientificMetadata", "acquisition", "entry/instrument/detector_1/frame_time", "value"],
        "number": 0.5,
        "unit": "ms",
    }


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"detector": "none"}, {"detector": {"entry/instrument/detector_1/detector_name": {"value": 4}}}],
)
def test_a_sample_or_detector_that_is_not_known_has_no_name(metadata: Any) -> None:
    assert not {"sample", "detector"} & set(made(scientificMetadata=metadata)[ROOT])


@pytest.mark.parametrize("time", ["yesterday", "", "2026-05-01T12:00:00", "0001-01-01T00:00:00+14:00"])
def test_what_is_no_time_with_a_zone_has_no_day(time: str) -> None:
    content = made(creationTime=time)
    assert "date" not in content[ROOT]
    assert content[ROOT]["dataset"]["creationTime"] == time


def test_the_day_is_that_of_utc() -> None:
    assert made(creationTime="2026-05-01T00:30:00+02:00")[ROOT]["date"] == "2026-04-30"


def test_nan_is_sent_as_null() -> None:
    content = made(scientificMetadata={"t": {"value": math.nan, "unit": "K"}, "l": {"value": [1.5, math.inf]}})
    json.dumps(content, allow_nan=False)
    assert item(content, "t", "value")["json"] == "null"
    assert item(content, "l", "value", "[1]")["json"] == "null"


def test_integers_beyond_doubles_stay_exact() -> None:
    content = made(scientificMetadata={"id": 2**60 + 1}, size=2**53 + 1)
    assert item(content, "id") == {"path": ["scientificMetadata", "id"], "json": str(2**60 + 1)}
    assert document_of(content)["size"] == 2**53 + 1
    assert "size" not in content[ROOT]["dataset"]


def test_a_named_field_of_another_type_goes_among_the_metadata() -> None:
    odd = {"description": ["two", "texts"], "keywords": "one", "isPublished": "no", "numberOfFiles": True}
    content = made(**odd)
    assert not set(odd) & set(content[ROOT]["dataset"])
    assert {name: document_of(content)[name] for name in odd} == odd


def test_no_field_at_all_is_longer_than_the_service_takes() -> None:
    long = "ä" * TEXT_LIMIT
    mapped = Mapped()
    mapped.take(TYPES)
    content = made(description=long, keywords=["k" * 50] * 1000, scientificMetadata={"t": {"value": 1, "unit": long}})
    mapped.take(content)
    assert not {"description", "keywords"} & set(content[ROOT]["dataset"])
    cut = {tuple(one["path"]): one.get("cut_from") for one in content[ROOT]["fields"]}
    assert cut["description",] == cut["scientificMetadata", "t", "unit"] == TEXT_LIMIT
    assert cut["keywords",] == 1000


def test_a_size_may_be_written_with_a_point() -> None:
    mapped = Mapped()
    mapped.take(TYPES)
    mapped.take(made(size=1e10, numberOfFiles=2.0))


def test_a_text_that_is_too_long_is_cut_and_says_how_long_it_was() -> None:
    cut = item(made(scientificMetadata={"log": {"value": "ä" * 10**6, "unit": ""}}), "log", "value")
    assert len(cut["text"].encode()) <= TEXT_LIMIT
    assert cut["text"].endswith("[cut]")
    assert cut["cut_from"] == 10**6


def test_a_list_that_is_too_long_is_cut_and_says_how_long_it_was() -> None:
    cut = item(made(scientificMetadata={"x": list(range(10**5))}), "x")
    assert cut["cut_from"] == 10**5
    assert cut["number"][:3] == [0, 1, 2]
    assert len(json.dumps(cut["number"])) <= TEXT_LIMIT


def test_two_names_that_are_too_long_stay_two() -> None:
    content = made(scientificMetadata={"k" * 10**5 + "1": 1, "k" * 10**5 + "2": 2})
    fields = [one for one in content[ROOT]["fields"] if one["path"][0] == "scientificMetadata"]
    assert len({tuple(one["path"]) for one in fields}) == 2
    assert all(len(one["path"][1]) < 600 for one in fields)


def test_metadata_that_do_not_fit_are_left_out_and_counted_and_the_first_stay() -> None:
    metadata = {"sample": {"name": {"value": "silica", "unit": ""}}} | {f"k{n:06d}": n for n in range(10**5)}
    content = content_of(Dataset(document(scientificMetadata=metadata)), CONFIG, {})
    assert len(json.dumps(content)) < CONFIG.entry_bytes
    kept = [one for one in content[ROOT]["fields"] if one["path"][0] == "scientificMetadata"]
    assert kept[0]["path"] == ["scientificMetadata", "sample", "name", "value"]
    assert content[ROOT]["left_out"] == 10**5 + 1 - len(kept) > 0


def test_files_that_do_not_fit_are_left_out_and_counted() -> None:
    files = tuple(FileEntry(f"{n}.imm", n, f"{n:064x}") for n in range(12_000))
    content = content_of(Dataset(document(), files=files), CONFIG, {})
    assert content[ROOT]["files"][1] == {"path": "1.imm", "size_bytes": 1, "sha256": f"{1:064x}"}
    assert (len(content[ROOT]["files"]), content[ROOT]["left_out"]) == (10_000, 2000)


def test_a_dataset_whose_names_alone_are_too_much_is_refused() -> None:
    small = GlobusSearchConfig(INDEX_ID, (OPERATORS,), token=SecretReference(variable="A"), entry_bytes=10_000)
    with pytest.raises(CatalogError, match="10000 bytes beside the metadata"):
        content_of(Dataset(document(description="x" * 9500)), small, {})


def test_metadata_that_hold_themselves_or_are_too_deep_are_refused() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = [loop, loop]
    with pytest.raises(CatalogError, match="64 levels"):
        made(scientificMetadata=loop)


def test_what_is_no_plain_value_is_refused() -> None:
    with pytest.raises(CatalogError, match="ndarray is no plain value"):
        made(scientificMetadata={"a": np.zeros(3)})


def test_invalid_utf_8_is_replaced() -> None:
    content = made(scientificMetadata={"a\ud800": "b\udfff"})
    json.dumps(content, ensure_ascii=False).encode()
    assert item(content, "a?")["text"] == "b?"


def test_the_digest_tells_of_content_and_of_who_sees_it() -> None:
    first = with_digest(made(), [OPERATORS])
    digest = first[ROOT]["digest"]
    assert with_digest(first, [OPERATORS]) == first
    assert with_digest(made(), [OPERATORS, "public"])[ROOT]["digest"] != digest
    assert with_digest(made(description="other"), [OPERATORS])[ROOT]["digest"] != digest


def test_of_a_lifecycle_only_what_is_known_is_told() -> None:
    assert lifecycle_fields(Lifecycle()) == {}
    pruned = datetime.fromisoformat("2026-05-09T02:00:00+02:00")
    assert lifecycle_fields(Lifecycle(archived=False, pruned_at=pruned)) == {
        "archived": False,
        "pruned_at": "2026-05-09T00:00:00+00:00",
    }
