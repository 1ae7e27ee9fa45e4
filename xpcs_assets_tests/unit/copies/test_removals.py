"""Intents, tombstones and outcomes."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from xpcs_assets.copies.database import writing
from xpcs_assets.copies.ledger import Ledger, Removal, RemovalKind
from xpcs_assets.errors import LedgerError, NotFoundError


def intend(ledger: Ledger) -> Removal:
    return ledger.intend_removal("b", "r", 1, place="disk", path="b/r", by="operator", detail={"files": 3})


def test_the_lines_of_a_removal_belong_together(ledger: Ledger) -> None:
    intent = intend(ledger)
    ledger.record_tombstone(intent.id, {"witnesses": ["tape"]})
    ledger.record_outcome(intent.id, {"state": "removed"})
    lines = ledger.removals("b", "r")
    assert [line.kind for line in lines] == [RemovalKind.INTENT, RemovalKind.TOMBSTONE, RemovalKind.OUTCOME]
    assert [line.intent for line in lines] == [None, intent.id, intent.id]
    assert {(line.place, line.path, line.removed_by) for line in lines} == {("disk", "b/r", "operator")}
    assert [line.detail for line in ledger.removals("b", "r", RemovalKind.TOMBSTONE)] == [{"witnesses": ["tape"]}]
    assert ledger.removals("b", "other") == ()


def test_a_tombstone_needs_an_intent(ledger: Ledger) -> None:
    intent = intend(ledger)
    tombstone = ledger.record_tombstone(intent.id, {})
    for wrong in (99, tombstone.id):
        with pytest.raises(NotFoundError, match=f"no intent {wrong}"):
            ledger.record_tombstone(wrong, {})


@pytest.mark.parametrize("change", ["UPDATE removals SET removed_by = 'nobody'", "DELETE FROM removals"])
def test_a_removal_s_lines_can_neither_be_changed_nor_deleted(ledger: Ledger, change: str) -> None:
    intent = intend(ledger)
    with pytest.raises(LedgerError, match="never changed or deleted"), writing(ledger.engine) as session:
        session.execute(text(change))
    assert ledger.removals("b", "r") == (intent,)
