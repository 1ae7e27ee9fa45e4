"""The catalog in the site's database: one record however often and by how many it is put."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from xpcs_assets.catalog import tables
from xpcs_assets.catalog.embedded import EmbeddedCatalog, derived_pid, raw_pid
from xpcs_assets.catalog.query import Search
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.catalog.viewer import OPERATOR
from xpcs_assets.copies.database import Base, migrate, open_database
from xpcs_assets.describe.record import Record, read_record, write_record
from xpcs_assets.errors import CatalogError
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.catalog.made import derived, described, owned_by

PID = "xpcs-assets/test-beamline/A001/v1"


def test_the_migration_makes_the_very_tables_that_are_declared(catalog: EmbeddedCatalog) -> None:
    declared = {*Base.metadata.tables, *tables.made.tables}

    def is_mine(item: Any, name: str | None, kind: str, _reflected: object, _other: object) -> bool:
        if name in {"lexemes", "catalog_documents_by_lexeme"}:  # generated, on PostgreSQL alone
            return False
        table = name if kind == "table" else item.table.name
        return str(table).startswith("catalog_") and table in declared

    with catalog.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_mine})
        assert compare_metadata(context, [Base.metadata, tables.made]) == []


def test_a_raw_record_comes_back_as_it_was_put(catalog: EmbeddedCatalog, clock: HandClock) -> None:
    assert catalog.put_raw(described(), "/staged/A001/v1/raw") == PID == raw_pid("test-beamline", "A001", 1)
    record = catalog.get(PID)
    assert (record.kind, record.beamline, record.run_key, record.version) == ("raw", "test-beamline", "A001", 1)
    assert (record.proposal, record.experiment, record.owner_group) == ("P-1234", "comm202610", "p1234")
    assert (record.access_groups, record.sample, record.quality) == (["staff"], "silica in water", "complete")
    assert record.created_at == datetime(2026, 5, 1, 12, 1, tzinfo=UTC)
    assert record.recorded_at == record.updated_at == clock.now
    assert record.document["sourceFolder"] == "/staged/A001/v1/raw"


def test_an_incomplete_run_is_in_the_catalog_and_says_so(catalog: EmbeddedCatalog) -> None:
    catalog.put_raw(replace(described(), missing=("there is no metadata file",)), "/f")
    assert catalog.get(PID).quality == "incomplete"


def test_a_derived_record_names_its_recipe_and_its_quality(catalog: EmbeddedCatalog) -> None:
    content = derived()
    pid = catalog.put_derived(content)
    record = catalog.get(pid)
    assert pid == derived_pid("test-beamline", "A001", 1, content.recipe.folder)
    assert (record.kind, record.analysis_key, record.quality) == ("derived", "A001", "good")
    assert (record.recipe_digest, record.qmap_digest) == (content.recipe.digest, content.recipe.qmap_digest)
    assert record.judgements == content.quality.to_dict()


def test_a_result_with_an_error_is_quarantined_and_one_with_a_warning_doubtful(catalog: EmbeddedCatalog) -> None:
    bad, weak = derived(good=False), derived(described("A002"))
    weak = replace(weak, quality=replace(weak.quality, judgements=_only_warning(weak.quality.judgements)))
    assert catalog.get(catalog.put_derived(bad)).quality == "quarantined"
    assert catalog.get(catalog.put_derived(weak)).quality == "doubtful"


def _only_warning(judgements: tuple) -> tuple:  # type: ignore[type-arg]
    return tuple(replace(j, passed=False, reason="weak") if j.name == "hot_pixels" else j for j in judgements)


def test_a_reprocessing_and_another_version_are_records_of_their_own(catalog: EmbeddedCatalog) -> None:
    made = {
        catalog.put_raw(described(), "/f"),
        catalog.put_raw(described(version=2), "/f"),
        catalog.put_derived(derived()),
        catalog.put_derived(derived(analysis_key="A001~wide-q")),
        catalog.put_derived(derived(described(version=2))),
    }
    assert len(made) == len(catalog.records("test-beamline")) == 5


def test_the_same_put_again_changes_nothing_at_all(catalog: EmbeddedCatalog, clock: HandClock) -> None:
    catalog.put_raw(described(), "/f")
    pid = catalog.put_derived(derived())
    before = catalog.records("test-beamline")
    clock.advance(60)
    catalog.put_raw(described(), "/f")
    assert catalog.put_derived(derived()) == pid
    assert catalog.records("test-beamline") == before


def test_a_changed_put_replaces_the_record_and_keeps_when_it_was_first_put(
    catalog: EmbeddedCatalog, clock: HandClock
) -> None:
    catalog.put_raw(described(sample="silica"), "/f")
    first = clock.now
    clock.advance(60)
    catalog.put_raw(described(sample="gold"), "/f")
    (record,) = catalog.records("test-beamline")
    assert (record.sample, record.recorded_at, record.updated_at) == ("gold", first, clock.now)
    reader = CatalogReader(catalog.engine, OPERATOR)
    assert [hit.run_key for hit in reader.search(Search("gold")).hits] == ["A001"]
    assert reader.search(Search("silica")).hits == ()


def test_writers_at_the_same_moment_make_one_record(url: str, catalog: EmbeddedCatalog) -> None:
    def write(samples: list[str], begin: threading.Barrier, failed: list[Exception]) -> None:
        engine = open_database(url)
        begin.wait()
        try:
            for sample in samples:
                EmbeddedCatalog(engine).put_raw(described(sample=sample), "/f")
        except CatalogError as error:
            failed.append(error)
        finally:
            engine.dispose()

    begin, failed = threading.Barrier(4), list[Exception]()
    chosen = [[f"sample {n} {i}" for i in range(10)] for n in range(4)]
    threads = [threading.Thread(target=write, args=(samples, begin, failed)) for samples in chosen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    (record,) = catalog.records("test-beamline")
    assert record.sample in {samples[-1] for samples in chosen}
    assert record.document["scientificMetadata"]["sample"]["entry/sample/short_description"]["value"] == record.sample


def test_the_catalog_can_be_made_anew_from_the_records_beside_the_data(
    catalog: EmbeddedCatalog, clock: HandClock, tmp_path: Path
) -> None:
    runs = [described(f"A00{n}") for n in range(5)]
    for record in runs:
        catalog.put_raw(record, "/f")
        write_record(record, tmp_path / record.run_key / "record.json")
    engine = open_database(f"sqlite:///{tmp_path / 'new.db'}")
    migrate(engine)
    again = EmbeddedCatalog(engine, clock)
    for path in sorted(tmp_path.glob("*/record.json")):
        again.put_raw(read_record(path), "/f")
    assert again.records("test-beamline") == catalog.records("test-beamline")
    engine.dispose()


@pytest.fixture
def filled(catalog: EmbeddedCatalog) -> EmbeddedCatalog:
    catalog.put_raw(described("A001", sample="silica in water"), "/f")
    catalog.put_raw(described("A002", sample="Gold in WATER", owner=owned_by("P2", "g2")), "/f")
    catalog.put_raw(described("A003", sample="100 % gel_x", beamline="other-beamline"), "/f")
    return catalog


def test_has_and_existing_tell_of_the_very_pids(catalog: EmbeddedCatalog) -> None:
    catalog.put_raw(described(), "/f")
    assert catalog.has(PID)
    assert not catalog.has(raw_pid("test-beamline", "A001", 2))
    assert not catalog.has("xpcs-assets/test-beamline/A00_/v1")
    assert catalog.existing([PID, raw_pid("test-beamline", "A002", 1)]) == {PID}


def test_an_unknown_pid_is_an_error_that_names_it(catalog: EmbeddedCatalog) -> None:
    with pytest.raises(CatalogError, match="xpcs-assets/none: the catalog has no such record"):
        catalog.get("xpcs-assets/none")


def test_a_database_without_tables_is_a_catalog_error(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'empty.db'}")
    for ask in (lambda: EmbeddedCatalog(engine).put_raw(described(), "/f"), lambda: EmbeddedCatalog(engine).has(PID)):
        with pytest.raises(CatalogError, match="the catalog could not be read or written"):
            ask()
    engine.dispose()


def test_a_record_that_is_no_plain_json_is_refused_before_it_is_put(catalog: EmbeddedCatalog) -> None:
    record: Record = described()
    wrong = replace(record, raw={"format": "imm", "occupancy": float("nan")})
    with pytest.raises(CatalogError, match="no plain JSON"):
        catalog.put_raw(wrong, "/f")
    assert catalog.records("test-beamline") == ()


def test_what_is_gathered_is_written_together_and_comes_out_the_same(
    catalog: EmbeddedCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xpcs_assets.catalog.embedded._AT_ONCE", 3)
    with catalog.gathering() as gathered:
        for n in range(5):
            gathered.put_raw(described(f"A00{n}"), "/f")
        assert len(catalog.records("test-beamline")) == 3
    records = catalog.records("test-beamline")
    assert len(records) == 5
    for n in range(5):
        catalog.put_raw(described(f"A00{n}"), "/f")
    assert catalog.records("test-beamline") == records


def test_what_is_gathered_when_something_fails_is_not_written(catalog: EmbeddedCatalog) -> None:
    def half() -> None:
        with catalog.gathering() as gathered:
            gathered.put_raw(described(), "/f")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert catalog.records("test-beamline") == ()
