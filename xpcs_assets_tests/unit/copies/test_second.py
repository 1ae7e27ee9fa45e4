"""A second database beside the first, and how two ledgers are compared."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from xpcs_assets.copies.compare import compare
from xpcs_assets.copies.database import check_schema, open_database, schema_of, writing
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.copies.second import second_database
from xpcs_assets.errors import LedgerError
from xpcs_assets_tests.storage import HandClock, empty_ledger

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def what(url: str) -> list[str]:
    engine = open_database(url)
    try:
        return [event.what for event in Ledger(engine).timeline("b", "r")]
    finally:
        engine.dispose()


def test_a_second_database_is_empty_and_the_first_goes_on(ledger: Ledger, url: str) -> None:
    ledger.note("b", "r", "step", "first")
    second = second_database(url, NOW)
    assert Ledger(second.engine).timeline("b", "r") == ()
    ledger.note("b", "r", "step", "meanwhile")
    second.engine.dispose()
    second.discard()
    assert what(url) == ["first", "meanwhile"]


def test_it_takes_the_first_one_s_place_which_is_kept(ledger: Ledger, url: str) -> None:
    ledger.note("b", "r", "step", "first")
    ledger.engine.dispose()
    second_database(url, NOW).engine.dispose()  # one that was not finished is in nobody's way
    second = second_database(url, NOW)
    Ledger(second.engine).note("b", "r", "step", "second")
    kept = second.take_over()
    assert (what(url), second.taken) == (["second"], True)
    where = f"sqlite:///{kept}" if url.startswith("sqlite") else url
    engine = open_database(where, schema="" if where != url else "kept_20260501t120000000000")
    assert [event.what for event in Ledger(engine).timeline("b", "r")] == ["first"]
    engine.dispose()
    again = open_database(url)
    check_schema(again)
    with pytest.raises(LedgerError, match="never changed"), writing(again) as session:
        session.execute(text("DELETE FROM events"))
    again.dispose()


def test_where_there_was_none_nothing_is_kept(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    assert second_database(url, NOW).take_over() == ""
    engine = open_database(url)
    check_schema(engine)
    engine.dispose()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_an_empty_schema_is_filled_and_other_tables_are_left_alone(url: str) -> None:
    engine = open_database(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
        connection.exec_driver_sql("CREATE TABLE of_dagster (id int)")
    assert second_database(url, NOW).take_over() == ""
    assert schema_of(engine) is not None
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM of_dagster").scalar() == 0
    engine.dispose()


def test_a_folder_that_refuses_leaves_both(
    sqlite_ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_ledger.engine.dispose()
    second = second_database(f"sqlite:///{tmp_path / 'ledger.db'}", NOW)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(LedgerError, match=r"Permission denied.*Both are there"):
        second.take_over()
    assert not second.taken
    assert (tmp_path / "ledger.db").exists()


def test_two_ledgers_differ_by_what_one_has_more(ledger: Ledger, tmp_path: Path, clock: HandClock) -> None:
    (tmp_path / "other.db").write_bytes(empty_ledger())
    other = Ledger(open_database(f"sqlite:///{tmp_path / 'other.db'}"), clock)
    for book in (ledger, other):
        book.note("b", "r", "step", "both")
        intent = book.intend_removal("b", "r", 1, place="p", path="x", by="me", detail={})
        book.record_outcome(intent.id, {"state": "removed"})
        book.take_lease("b", "r", "stage", "h", 60)
    assert all(not each.only_old and not each.only_new for each in compare(ledger.engine, other.engine))
    other.note("b", "r", "step", "more")
    ledger.hold("b", "r", "wanted", "me")
    found = {each.table: each for each in compare(ledger.engine, other.engine)}
    assert (found["events"].same, found["events"].only_old, len(found["events"].only_new)) == (1, (), 1)
    assert (len(found["holds"].only_old), found["holds"].only_new) == (1, ())
    assert "leases" not in found
    other.engine.dispose()
