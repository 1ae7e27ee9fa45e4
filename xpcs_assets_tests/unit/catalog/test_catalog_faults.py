"""F59 and F60 for the embedded catalog: deleted, malformed, locked, on a full disk, of a newer schema."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.catalog.query import Search
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.catalog.tables import made
from xpcs_assets.catalog.viewer import OPERATOR
from xpcs_assets.copies import database
from xpcs_assets.copies.compare import contents
from xpcs_assets.copies.database import check_schema, open_database, writing
from xpcs_assets.copies.journal import Journal
from xpcs_assets.copies.keeping import replay
from xpcs_assets.errors import CatalogError, LedgerError
from xpcs_assets_tests.storage import HandClock, empty_ledger
from xpcs_assets_tests.unit.catalog.made import derived, described

PID = "xpcs-assets/test-beamline/A001/v1"


def fill(catalog: EmbeddedCatalog) -> None:
    for n in range(1, 6):
        catalog.put_raw(described(f"A00{n}"), "/f")
    catalog.put_derived(derived())
    catalog.put_derived(derived(described("A002"), good=False))


def everything(catalog: EmbeddedCatalog) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the catalog, also of what is made of the records; without the times at which it was filled."""
    told: dict[str, list[tuple[object, ...]]] = {
        name: sorted((row,) for row in rows) for name, rows in contents(catalog.engine).items() if "catalog" in name
    }
    with catalog.engine.connect() as connection:
        for table in made.sorted_tables:
            told[table.name] = sorted(map(_plain, connection.execute(table.select())))
        for word in ("silica", "a001", "sil"):
            found = CatalogReader(catalog.engine, OPERATOR).search(Search(word)).hits
            told[f"word {word}"] = [(hit.pid, hit.state) for hit in found]
    return told


def _plain(row: object) -> tuple[object, ...]:
    return tuple(str(value) for value in row)  # type: ignore[attr-defined]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "site.db").write_bytes(empty_ledger())
    return tmp_path / "site.db"


def test_f59_a_catalog_that_was_deleted_comes_back_row_by_row_with_people_s_words(
    file: Path, tmp_path: Path, clock: HandClock
) -> None:
    journal = Journal(tmp_path / "journal")
    engine = open_database(f"sqlite:///{file}", journal=journal)
    catalog, reader = EmbeddedCatalog(engine, clock), CatalogReader(engine, OPERATOR, clock)
    fill(catalog)
    reader.tag(PID, "keep", "me")
    reader.mark(PID, "good", "me")
    reader.comment(PID, "nice", "me")
    before = everything(catalog)
    engine.dispose()
    for each in file.parent.glob("site.db*"):
        each.unlink()
    file.write_bytes(empty_ledger())
    engine = open_database(f"sqlite:///{file}")
    clock.advance(3600)
    with writing(engine) as session:
        replay(session, journal.lines())
    catalog = EmbeddedCatalog(engine, clock)
    catalog.put_derived(derived(described("A002"), good=False))  # in another order than the first time
    catalog.put_derived(derived())
    for n in range(5, 0, -1):
        catalog.put_raw(described(f"A00{n}"), "/f")
    assert everything(catalog) == before
    engine.dispose()


def _asked(engine: object) -> list[Callable[[], object]]:
    catalog, reader = EmbeddedCatalog(engine), CatalogReader(engine, OPERATOR)  # type: ignore[arg-type]
    return [
        lambda: catalog.put_raw(described(), "/f"),
        lambda: catalog.has(PID),
        lambda: reader.search(Search("silica")),
        lambda: reader.count(Search()),
        lambda: reader.comment(PID, "x", "me"),
    ]


def test_f59_a_file_without_tables_is_told_by_every_question(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'new.db'}")
    for ask in _asked(engine):
        with pytest.raises(CatalogError, match=r"no such table.*xpcs-assets rebuild"):
            ask()
    engine.dispose()


def test_f59_a_malformed_file_is_told_by_every_question(file: Path) -> None:
    engine = open_database(f"sqlite:///{file}")
    fill(EmbeddedCatalog(engine))
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    file.write_bytes(content)
    engine = open_database(f"sqlite:///{file}")
    for ask in _asked(engine):
        with pytest.raises(CatalogError, match=r"malformed.*xpcs-assets rebuild"):
            ask()
    engine.dispose()


def test_f59_a_locked_catalog_is_read_and_what_could_not_be_put_is_told(
    catalog: EmbeddedCatalog, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(catalog)
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.1)
    other = open_database(url)
    with writing(catalog.engine) as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(CatalogError, match=r"lock.*Another writer has it"):
            EmbeddedCatalog(other).put_raw(described("A009"), "/f")
        reader = CatalogReader(other, OPERATOR)
        assert len(reader.search(Search("silica")).hits) == reader.count(Search()).total == 7
    EmbeddedCatalog(other).put_raw(described("A009"), "/f")
    assert reader.count(Search()).total == 8
    other.dispose()


def test_f59_on_a_full_disk_the_record_of_before_stays_whole_in_every_table(file: Path) -> None:
    engine = open_database(f"sqlite:///{file}")
    catalog = EmbeddedCatalog(engine)
    fill(catalog)
    before = everything(catalog)
    engine.dispose()  # the bound is one connection's own
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(CatalogError, match=r"full.*has room"):
        catalog.put_raw(described("A001", sample="x " + "word " * 200_000), "/f")
    assert everything(catalog) == before
    engine.dispose()


def test_f60_a_newer_catalog_is_not_touched(catalog: EmbeddedCatalog) -> None:
    fill(catalog)
    with writing(catalog.engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LedgerError, match=r"9999, newer than.*Update xpcs-assets"):
        check_schema(catalog.engine)


def test_a_put_that_fails_in_the_middle_leaves_record_words_and_numbers_in_step(
    catalog: EmbeddedCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(catalog)
    before = everything(catalog)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("xpcs_assets.catalog.records._put_numbers", fail)
    with pytest.raises(ZeroDivisionError):
        catalog.put_raw(described("A001", sample="gold"), "/f")
    assert everything(catalog) == before
