"""A person's word about a list of removals."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from xpcs_assets.copies.approvals import VALID_FOR
from xpcs_assets.copies.database import writing
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.errors import LedgerError
from xpcs_assets_tests.storage import HandClock

MICROSECOND = timedelta(microseconds=1)


def test_an_approval_says_who_when_how_many_and_which(ledger: Ledger, clock: HandClock) -> None:
    given = ledger.approve("b", "disk", "sha256:1", ["one", "two"], "operator")
    assert (given.approved_by, given.at, given.copies, given.items) == ("operator", clock.now, 2, {"one", "two"})
    assert ledger.approvals("b", "disk") == (given,)
    assert ledger.approvals("b", "tape") == ledger.approvals("c", "disk") == ()


@pytest.mark.parametrize(
    ("after", "holds"),
    [
        (-MICROSECOND, False),  # given in the future: a clock is wrong
        (timedelta(0), True),
        (VALID_FOR - MICROSECOND, True),
        (VALID_FOR, False),
        (VALID_FOR + MICROSECOND, False),
    ],
)
def test_a_word_holds_for_a_day(ledger: Ledger, clock: HandClock, after: timedelta, holds: bool) -> None:
    ledger.approve("b", "disk", "sha256:1", ["one"], "operator")
    clock.now += after
    assert bool(ledger.approvals("b", "disk")) is holds


@pytest.mark.parametrize("change", ["UPDATE approvals SET copies = 1000", "DELETE FROM approvals"])
def test_a_word_is_neither_changed_nor_taken_out(ledger: Ledger, change: str) -> None:
    ledger.approve("b", "disk", "sha256:1", ["one"], "operator")
    with pytest.raises(LedgerError, match="never changed or deleted"), writing(ledger.engine) as session:
        session.execute(text(change))
