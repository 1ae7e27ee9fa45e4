"""The catalog in the site's database: one record however often and by how many it is put."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from xpcs_assets.catalog import tables
from xpcs_assets.catalog.embedded import EmbeddedCatalog, derived_pid, raw_pid
from xpcs_assets.copies.database import Base, migrate, open_database
from xpcs_assets.copies.tables import NoteRow
from xpcs_assets.describe.record import Record, read_record, write_record
from xpcs_assets.errors import CatalogError
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.catalog.made import derived, described, owned_by

PID = "xpcs-assets/test-beamline/A001/v1"


def pids(found: tuple[object, ...]) -> list[str]:
    return [record.run_key for record in found]  # type: ignore[attr-defined]


def test_the_migration_makes_the_very_tables_that_are_declared(catalog: EmbeddedCatalog) -> None:
    mine = {tables.RecordRow.__tablename__, NoteRow.__tablename__}
    with catalog.engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    assert [difference for difference in found if any(name in str(difference) for name in mine)] == []


def test_a_raw_record_comes_back_as_it_was_put(catalog: EmbeddedCatalog, clock: HandClock) -> None:
    assert catalog.put_raw(described(), "/staged/A001/v1/raw") == PID == raw_pid("test-beamline", "A001", 1)
    record = catalog.get(PID)
    assert (record.kind, record.beamline, record.run_key, record.version) == ("raw", "test-beamline", "A001", 1)
    assert (record.proposal, record.experiment, record.owner_group) == ("P-1234", "comm202610", "p1234")
    assert (record.access_groups, record.sample, record.state) == (["staff"], "silica in water", "complete")
    assert record.created_at == datetime(2026, 5, 1, 12, 1, tzinfo=UTC)
    assert record.recorded_at == record.updated_at == clock.now
    assert record.document["sourceFolder"] == "/staged/A001/v1/raw"


def test_an_incomplete_run_is_in_the_catalog_and_says_so(catalog: EmbeddedCatalog) -> None:
    catalog.put_raw(replace(described(), missing=("there is no metadata file",)), "/f")
    assert catalog.get(PID).state == "incomplete"


def test_a_derived_record_names_its_recipe_and_its_quality(catalog: EmbeddedCatalog) -> None:
    content = derived()
    pid = catalog.put_derived(content)
    record = catalog.get(pid)
    assert pid == derived_pid("test-beamline", "A001", 1, content.recipe.folder)
    assert (record.kind, record.analysis_key, record.state) == ("derived", "A001", "good")
    assert (record.recipe_digest, record.qmap_digest) == (content.recipe.digest, content.recipe.qmap_digest)
    assert record.quality == content.quality.to_dict()


def test_a_result_with_an_error_is_quarantined_and_one_with_a_warning_doubtful(catalog: EmbeddedCatalog) -> None:
    bad, weak = derived(good=False), derived(described("A002"))
    weak = replace(weak, quality=replace(weak.quality, judgements=_only_warning(weak.quality.judgements)))
    assert catalog.get(catalog.put_derived(bad)).state == "quarantined"
    assert catalog.get(catalog.put_derived(weak)).state == "doubtful"


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
    assert pids(catalog.search("gold")) == ["A001"]
    assert catalog.search("silica") == ()


def test_notes_stay_when_the_record_is_put_again_or_thrown_away(catalog: EmbeddedCatalog, clock: HandClock) -> None:
    catalog.put_raw(described(), "/f")
    catalog.add_note(PID, "beam was unsteady", "a scientist")
    catalog.add_note(PID, "repeat it", "another")
    catalog.put_raw(described(sample="gold"), "/f")
    with catalog.engine.begin() as connection:
        connection.execute(text("DELETE FROM catalog_records"))
    catalog.put_raw(described(), "/f")
    assert [(note.text, note.written_by) for note in catalog.notes(PID)] == [
        ("beam was unsteady", "a scientist"),
        ("repeat it", "another"),
    ]
    assert catalog.notes(PID)[0].written_at == clock.now


def test_a_note_about_nothing_is_refused(catalog: EmbeddedCatalog) -> None:
    with pytest.raises(CatalogError, match="no such record"):
        catalog.add_note(PID, "text", "somebody")


def test_writers_at_the_same_moment_make_one_record(tmp_path: Path, catalog: EmbeddedCatalog) -> None:
    def write(samples: list[str], begin: threading.Barrier, failed: list[Exception]) -> None:
        engine = open_database(f"sqlite:///{tmp_path / 'site.db'}")
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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", ["A003", "A002", "A001"]),
        ("water", ["A002", "A001"]),
        ("WATER gold", ["A002"]),
        ("water nothing", []),
        ("A00", ["A003", "A002", "A001"]),
        ("%", ["A003"]),
        ("100 %", ["A003"]),
        ("l_x", ["A003"]),
        ("g_ld", []),
        ("'; DROP TABLE catalog_records; --", []),
        ("p2-experiment", ["A002"]),
    ],
)
def test_a_search_finds_every_word_anywhere_and_newest_first(
    filled: EmbeddedCatalog, words: str, expected: list[str]
) -> None:
    assert pids(filled.search(words)) == expected


def test_filters_and_limit_narrow_the_search(filled: EmbeddedCatalog) -> None:
    filled.put_derived(derived(described("A001")))
    searches: list[tuple[Callable[[], tuple[object, ...]], list[str]]] = [
        (lambda: filled.search(beamline="other-beamline"), ["A003"]),
        (lambda: filled.search(kind="derived"), ["A001"]),
        (lambda: filled.search("water", kind="raw", proposal="P2"), ["A002"]),
        (lambda: filled.search(experiment="P2-experiment"), ["A002"]),
        (lambda: filled.search(sample="100 % gel_x"), ["A003"]),
        (lambda: filled.search(state="good"), ["A001"]),
        (lambda: filled.search(beamline="none-such"), []),
        (lambda: filled.search(kind="raw", limit=2), ["A003", "A002"]),
        (lambda: filled.records("test-beamline", limit=1), ["A001"]),
    ]
    for search, expected in searches:
        assert pids(search()) == expected


def test_has_tells_of_the_very_pid(filled: EmbeddedCatalog) -> None:
    assert filled.has(PID)
    assert not filled.has(raw_pid("test-beamline", "A001", 2))
    assert not filled.has("xpcs-assets/test-beamline/A00_/v1")


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
