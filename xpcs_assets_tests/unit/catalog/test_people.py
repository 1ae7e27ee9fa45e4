"""What people say about datasets stays: through a record put anew, a catalog thrown away, a ledger made again."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select, text

from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.catalog.query import Search
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.catalog.viewer import OPERATOR
from xpcs_assets.copies.database import migrate, open_database, reading, writing
from xpcs_assets.copies.journal import Journal
from xpcs_assets.copies.keeping import replay
from xpcs_assets.copies.tables import LabelRow
from xpcs_assets.errors import CatalogError, RefusedError
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.catalog.made import described

PID = "xpcs-assets/test-beamline/A001/v1"


def say(reader: CatalogReader) -> None:
    reader.comment(PID, "beam was unsteady", "a scientist")
    reader.comment(PID, "repeat it", "another")
    reader.tag(PID, "for the paper", "a scientist")
    reader.tag(PID, "wrong", "a scientist")
    reader.untag(PID, "wrong", "another")
    reader.mark(PID, "good", "a scientist")
    reader.mark(PID, "bad", "another")


def said(reader: CatalogReader) -> list[tuple[str, str, str]]:
    told = [("note", note.text, note.written_by) for note in reader.notes(PID)]
    return told + [(label.kind, label.word, label.set_by) for label in reader.labels(PID)]


WORDS = [
    ("note", "beam was unsteady", "a scientist"),
    ("note", "repeat it", "another"),
    ("tag", "for the paper", "a scientist"),
    ("mark", "bad", "another"),
]


def test_words_stay_when_the_record_is_put_again_or_thrown_away(
    catalog: EmbeddedCatalog, reader: CatalogReader, clock: HandClock
) -> None:
    catalog.put_raw(described(), "/f")
    say(reader)
    assert said(reader) == WORDS
    catalog.put_raw(described(sample="gold"), "/f")
    assert said(reader) == WORDS
    with catalog.engine.begin() as connection:
        connection.execute(text("DELETE FROM catalog_records"))
    assert reader.search(Search("gold")).hits == ()
    catalog.put_raw(described(), "/f")
    assert said(reader) == WORDS
    assert reader.notes(PID)[0].written_at == clock.now


def test_words_come_back_from_the_journal(url: str, tmp_path: Path, clock: HandClock) -> None:
    journal = Journal(tmp_path / "journal")
    engine = open_database(url, journal=journal)
    catalog, reader = EmbeddedCatalog(engine, clock), CatalogReader(engine, OPERATOR, clock)
    catalog.put_raw(described(), "/f")
    say(reader)
    engine.dispose()
    other = open_database(f"sqlite:///{tmp_path / 'again.db'}")
    migrate(other)
    with writing(other) as session:
        assert replay(session, journal.lines()) == ()
    EmbeddedCatalog(other, clock).put_raw(described(), "/f")
    assert said(CatalogReader(other, OPERATOR, clock)) == WORDS
    other.dispose()


def test_nothing_that_was_said_is_deleted(catalog: EmbeddedCatalog, reader: CatalogReader) -> None:
    catalog.put_raw(described(), "/f")
    say(reader)
    with reading(catalog.engine) as session:
        ended = [(row.word, row.set_by, row.ended_by) for row in session.scalars(select(LabelRow)) if row.ended_at]
    assert ended == [("wrong", "a scientist", "another"), ("good", "a scientist", "another")]


def test_tags_and_marks_are_searched_and_shown(catalog: EmbeddedCatalog, reader: CatalogReader) -> None:
    for run_key in ("A001", "A002"):
        catalog.put_raw(described(run_key), "/f")
    reader.tag(PID, "x", "me")
    reader.tag(PID, "y", "me")
    reader.mark(PID, "good", "me")
    for search in (Search(tags=("x",)), Search(tags=("x", "y"), mark="good"), Search("silica", mark="good")):
        (hit,) = reader.search(search).hits
        assert (hit.pid, hit.tags, hit.mark) == (PID, ("x", "y"), "good")
        assert reader.count(search).total == 1
    assert reader.search(Search(tags=("x", "z"))).hits == ()
    assert reader.search(Search(mark="bad")).hits == ()
    reader.mark(PID, "", "me")
    assert reader.untag(PID, "x", "me")
    assert not reader.untag(PID, "x", "me")
    assert reader.search(Search(mark="good")).hits == reader.search(Search(tags=("x",))).hits == ()


def test_the_same_tag_twice_is_one_and_one_that_was_taken_away_can_come_back(
    catalog: EmbeddedCatalog, reader: CatalogReader
) -> None:
    catalog.put_raw(described(), "/f")
    for _ in range(2):
        reader.tag(PID, " x ", "me")
    assert [label.word for label in reader.labels(PID)] == ["x"]
    reader.untag(PID, "x", "me")
    reader.tag(PID, "x", "another")
    assert [(label.word, label.set_by) for label in reader.labels(PID)] == [("x", "another")]


def test_words_that_are_none_are_refused(catalog: EmbeddedCatalog, reader: CatalogReader) -> None:
    catalog.put_raw(described(), "/f")
    for wrong in ("", "  ", "x" * 101, "line\nbreak"):
        with pytest.raises(RefusedError, match="is no tag"):
            reader.tag(PID, wrong, "me")
    with pytest.raises(RefusedError, match="Marks are good and bad"):
        reader.mark(PID, "splendid", "me")
    with pytest.raises(RefusedError, match="without text"):
        reader.comment(PID, " ", "me")
    with pytest.raises(CatalogError, match="no such record"):
        reader.comment(PID + "x", "text", "me")
    assert said(reader) == []
