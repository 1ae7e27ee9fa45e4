"""Files set aside."""

from __future__ import annotations

import pytest

from xpcs_assets.copies.ledger import Aside, AsideEnd, AsideKind, Ledger, ToAside
from xpcs_assets.errors import LedgerError
from xpcs_assets_tests.storage import HandClock


def to_aside(name: str, label: str = "removal-1") -> ToAside:
    return ToAside(name, f".xpcs-aside/{label}/{name}", 10)


def intend(ledger: Ledger, *files: ToAside, run_key: str = "r", kind: AsideKind = AsideKind.TRASH) -> tuple[Aside, ...]:
    return ledger.intend_aside("b", run_key, 1, place="disk", copy_path="b/r", kind=kind, files=files)


def test_a_line_is_open_until_it_is_said_what_became_of_the_file(ledger: Ledger, clock: HandClock) -> None:
    one, two = intend(ledger, to_aside("one"), to_aside("two"))
    assert (one.path, one.aside_path, one.ended, one.ended_at) == (
        "one",
        ".xpcs-aside/removal-1/one",
        AsideEnd.OPEN,
        None,
    )
    assert ledger.aside("b") == (one, two)
    clock.advance(5)
    ledger.end_aside([one.id], AsideEnd.REMOVED)
    assert ledger.aside("b") == (two,)
    assert ledger.bytes_aside("b", "disk") == 10


def test_the_same_file_to_the_same_name_is_written_down_once(ledger: Ledger) -> None:
    assert len(intend(ledger, to_aside("one"))) == 1
    assert [row.path for row in intend(ledger, to_aside("one"), to_aside("two"))] == ["two"]
    assert len(intend(ledger, to_aside("one", "removal-2"))) == 1
    assert len(ledger.aside("b")) == 3


def test_two_runs_never_share_a_name_in_the_trash(ledger: Ledger) -> None:
    intend(ledger, to_aside("one"))
    with pytest.raises(LedgerError):
        intend(ledger, to_aside("one"), run_key="other")


@pytest.mark.parametrize(
    "wanted", [{"run_key": "x"}, {"version": 2}, {"place": "tape"}, {"copy_path": "b/x"}, {"kind": AsideKind.BAD}]
)
def test_only_what_was_asked_for_is_given(ledger: Ledger, wanted: dict[str, object]) -> None:
    intend(ledger, to_aside("one"))
    assert ledger.aside("b", **wanted) == ()  # type: ignore[arg-type]
    assert len(ledger.aside("b", run_key="r", version=1, place="disk", copy_path="b/r")) == 1


def test_bad_files_are_no_trash(ledger: Ledger) -> None:
    intend(ledger, to_aside("one"), kind=AsideKind.BAD)
    assert ledger.bytes_aside("b", "disk") == 0
    assert ledger.aside("b") == ()
