"""The journal's file: lines, months, damage."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from xpcs_assets.copies.journal import Journal, Line
from xpcs_assets.errors import LedgerError

MAY, JUNE = datetime(2026, 5, 31, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def lines(journal: Journal, *numbers: int) -> list[Line]:
    journal.folder.mkdir(exist_ok=True)
    return [Line(number, "events", {"what": f"line {number} \udcff"}) for number in numbers]


def test_lines_come_back_in_order_over_the_months(journal: Journal) -> None:
    assert (journal.first(), journal.last(), list(journal.lines())) == (None, None, [])
    journal.append(lines(journal, 1, 2), MAY)
    journal.append(lines(journal, 3), JUNE)
    journal.append(lines(journal, 4), MAY)  # the clock went back: the order stands
    journal.append([], MAY)
    assert [path.name for path in journal.files()] == ["2026-05.jsonl", "2026-06.jsonl"]
    assert list(journal.lines()) == lines(journal, 1, 2, 3, 4)
    assert list(journal.lines(after=3)) == lines(journal, 4)
    assert [journal.first(), journal.last()] == lines(journal, 1, 4)
    assert journal.damage() == ()


@pytest.mark.parametrize("torn", [b'{"number": 3, "ta', b"\xff\xfe", b"[1]\n", b'{"number": 3, "digest": 4}\n'])
def test_a_torn_last_line_is_skipped_and_told_and_the_next_is_whole(journal: Journal, torn: bytes) -> None:
    journal.append(lines(journal, 1, 2), MAY)
    with journal.files()[0].open("ab") as file:
        file.write(torn)
    assert journal.last() == lines(journal, 2)[0]
    journal.append(lines(journal, 3), MAY)
    assert list(journal.lines()) == lines(journal, 1, 2, 3)
    assert journal.damage() == ("2026-05.jsonl:3 is torn or damaged",)


def test_a_changed_line_and_a_gap_are_told(journal: Journal) -> None:
    journal.append(lines(journal, 1, 2, 5), MAY)
    file = journal.files()[0]
    file.write_bytes(file.read_bytes().replace(b"line 2", b"line X"))
    assert journal.damage() == ("2026-05.jsonl:2 is torn or damaged", "2026-05.jsonl:3: line 5 follows line 1")


def test_a_long_last_line_is_found(journal: Journal) -> None:
    long = Line(2, "removals", {"detail": "x" * 300_000})
    journal.append([*lines(journal, 1), long], MAY)
    assert journal.last() == long


def test_a_file_without_a_sound_line_is_passed_over(journal: Journal) -> None:
    journal.append(lines(journal, 1), MAY)
    (journal.folder / "2026-06.jsonl").write_bytes(b"nothing\n")
    assert journal.last() == lines(journal, 1)[0]
    assert list(journal.lines(after=0)) == lines(journal, 1)


def test_a_journal_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"a file")
    locked = Journal(tmp_path / "journal").locked()
    with pytest.raises(LedgerError, match=r"journal could not be read or written.*has room"), locked:
        pytest.fail("it was locked")
