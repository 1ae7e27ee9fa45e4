"""From when others see what had an embargo; what viewers are seen to see is in ``test_reader``."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from xpcs_assets.catalog.viewer import OPERATOR, Viewer, open_from


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        ("", None),
        ("never", None),
        ("2027-13-01", None),
        ("9999-12-31", None),
        ("2027-01-31", datetime(2027, 2, 1, tzinfo=UTC)),
        ("2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
        ("2027-01-31T12:00:00", datetime(2027, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_an_embargo_ends_after_its_day_and_one_that_cannot_be_read_never(until: str, expected: datetime | None) -> None:
    assert open_from(until) == expected


def test_only_an_operator_is_asked_nothing() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert OPERATOR.sees(now) is None
    assert str(Viewer().sees(now)) == str(Viewer.of(["", ""]).sees(now)) == "false"
