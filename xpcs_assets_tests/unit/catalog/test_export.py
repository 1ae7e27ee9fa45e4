"""Tables and RO-Crates of a search."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.catalog import export
from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.catalog.export import COLUMNS, rows_of, to_csv, to_parquet, write_table
from xpcs_assets.catalog.query import Search
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.catalog.ro_crate import METADATA, crate_of, write_crate
from xpcs_assets.catalog.viewer import Viewer
from xpcs_assets.describe.record import Entry, Owner
from xpcs_assets.errors import RefusedError
from xpcs_assets_tests.unit.catalog.made import derived, described

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def reader(reader: CatalogReader, catalog: EmbeddedCatalog) -> CatalogReader:
    warm = replace(described("A001"), others=(Entry("/entry/sample/qnw1_temperature", 27.0, "degC"),))
    catalog.put_raw(warm, "/store/A001 é/raw")
    catalog.put_raw(described("A002", sample="=HYPERLINK(1)", owner=Owner("P", "", ("else",))), "/f")
    catalog.put_derived(derived())
    return reader


def test_a_table_has_a_row_a_dataset_and_quantities_in_si_units(reader: CatalogReader) -> None:
    headings, rows = rows_of(reader, Search(), ["QNW1_temperature", "tau", "none"])
    assert headings == [*COLUMNS, "qnw1_temperature (K)", "tau (s)"]
    table = {row[0]: dict(zip(headings, row, strict=True)) for row in rows}
    raw = table["xpcs-assets/test-beamline/A001/v1"]
    assert (raw["qnw1_temperature (K)"], raw["tau (s)"]) == (300.15, None)
    result = next(row for row in table.values() if row["kind"] == "derived")
    assert result["tau (s)"] == pytest.approx(derived().fits[0].tau_s)
    assert raw["created_at"] == "2026-05-01T12:01:00+00:00"


def test_an_export_holds_what_the_viewer_sees(reader: CatalogReader) -> None:
    _, rows = rows_of(CatalogReader(reader.engine, Viewer.of(["else"]), reader.clock), Search(), ["frames_recorded"])
    assert [row[3] for row in rows] == ["A002"]
    hidden = CatalogReader(reader.engine, Viewer.of(["else"]), reader.clock)
    assert hidden.numbers(["xpcs-assets/test-beamline/A001/v1"], ["frames_recorded"]) == {}


def test_csv_is_read_back_and_no_text_becomes_a_formula(reader: CatalogReader) -> None:
    table = list(csv.DictReader(io.StringIO(to_csv(*rows_of(reader, Search())).decode(), newline="")))
    assert [row["run_key"] for row in table] == ["A001", "A002", "A001"]
    assert table[1]["sample"] == "'=HYPERLINK(1)"
    assert to_csv(["a"], [["-1"], [-1], [None], ["é,\n"]]) == 'a\r\n\'-1\r\n-1\r\n\r\n"é,\n"\r\n'.encode().replace(
        b"\r\n\r\n", b'\r\n""\r\n'
    )


def test_parquet_says_what_it_needs(reader: CatalogReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(RefusedError, match=r"pyarrow, which is not installed.*xpcs-assets\[parquet\]"):
        to_parquet(*rows_of(reader, Search()))


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_parquet_is_read_back_with_times_and_numbers(reader: CatalogReader) -> None:
    import pandas as pd

    headings, rows = rows_of(reader, Search(), ["tau"])
    table = pd.read_parquet(io.BytesIO(to_parquet(headings, rows)))
    assert list(table.columns) == headings
    assert str(table["created_at"].dt.tz) == "UTC"
    assert table["tau (s)"].isna().tolist() == [False, True, True]


def test_another_kind_of_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"not written as '\.xlsx'"):
        write_table(tmp_path / "a.xlsx", ["a"], [])


def test_a_crate_is_well_formed_and_whole(reader: CatalogReader, tmp_path: Path) -> None:
    records = [reader.get(hit.pid) for hit in reader.everything(Search())]
    file = write_crate(tmp_path / "crate", crate_of(records, name="my paper", made_at=NOW))
    assert file.name == METADATA
    crate = json.loads(file.read_text("utf-8"))
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert crate["@context"] == "https://w3id.org/ro/crate/1.1/context"
    assert len(entities) == len(crate["@graph"])
    assert entities[METADATA]["about"] == {"@id": "./"}
    assert entities[METADATA]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = entities["./"]
    assert {"name", "description", "datePublished", "license"} <= root.keys()
    outside = {"https://w3id.org/ro/crate/1.1"}
    assert set(_references(crate["@graph"])) <= entities.keys() | outside
    parts = [entities[part["@id"]] for part in root["hasPart"]]
    assert [part["identifier"] for part in parts] == [record.pid for record in records]
    assert all(part["@id"].startswith("arcp://name,") and part["@id"].endswith("/") for part in parts)
    assert all("@type" in entity for entity in entities.values())


def test_a_crate_tells_what_made_a_result_and_where_files_lie(reader: CatalogReader) -> None:
    records = [reader.get(hit.pid) for hit in reader.everything(Search())]
    entities = {entity["@id"]: entity for entity in crate_of(records, name="x", made_at=NOW)["@graph"]}
    (action,) = [entity for entity in entities.values() if entity["@type"] == "CreateAction"]
    assert entities[action["object"][0]["@id"]]["identifier"] == "xpcs-assets/test-beamline/A001/v1"
    assert entities[action["result"]["@id"]]["isBasedOn"] == action["object"]
    assert {entities[tool["@id"]]["@type"] for tool in action["instrument"]} == {"SoftwareApplication"}
    assert "file:///store/A001%20%C3%A9/raw/" in entities
    values = [entity for entity in entities.values() if entity["@type"] == "PropertyValue"]
    assert {value["name"] for value in values} >= {"short_description"}


def test_a_crate_holds_what_was_fitted_with_units_and_errors(reader: CatalogReader) -> None:
    record = reader.get(next(hit.pid for hit in reader.everything(Search()) if hit.kind == "derived"))
    entities = {entity["@id"]: entity for entity in crate_of([record], name="x", made_at=NOW)["@graph"]}
    values = {entity["propertyID"]: entity for entity in entities.values() if entity["@type"] == "PropertyValue"}
    bins = [number for number, fit in enumerate(derived().fits, 1) if fit.ok]
    fitted = {f"result/bin_{number}/{name}" for number in bins for name in ("tau", "contrast", "baseline")}
    assert fitted == {name for name in values if name.startswith("result/bin_")}
    fit, tau = derived().fits[bins[0] - 1], values[f"result/bin_{bins[0]}/tau"]
    assert (tau["value"], tau["unitText"]) == (fit.tau_s, "s")
    assert tau["description"] == f"standard error {fit.tau_error_s:.3g}"
    assert tau["name"] == f"tau at {derived().labels[bins[0] - 1]}"
    (dataset,) = [entity for entity in entities.values() if entity.get("identifier") == record.pid]
    assert {each["@id"] for each in dataset["variableMeasured"]} == {value["@id"] for value in values.values()}


def test_a_crate_is_never_overwritten(tmp_path: Path) -> None:
    crate = crate_of([], name="none", made_at=NOW)
    write_crate(tmp_path, crate)
    with pytest.raises(RefusedError, match="there is a crate in this folder"):
        write_crate(tmp_path, crate)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if set(value) == {"@id"}:
            yield value["@id"]
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)
