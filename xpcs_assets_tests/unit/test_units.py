"""Durations and sizes as people write them; what is neither is refused, never guessed."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from xpcs_assets.units import Seconds, SizeBytes

DURATION = TypeAdapter(Seconds)
SIZE = TypeAdapter(SizeBytes)


@pytest.mark.parametrize(
    ("text", "expected_s"),
    [("250 ms", 0.25), ("5 s", 5), ("20 minutes", 1200), ("1.5h", 5400), ("30 days", 2592000), ("2 weeks", 1209600)],
)
def test_a_duration_is_read_with_its_unit(text: str, expected_s: float) -> None:
    assert DURATION.validate_python(text) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("text", "expected_bytes"),
    [("1 kB", 1000), ("1 KiB", 1024), ("64 MiB", 64 << 20), ("65 GB", 65 * 10**9), ("2 TB", 2 * 10**12), ("1.5 B", 1)],
)
def test_a_size_is_read_with_its_unit(text: str, expected_bytes: int) -> None:
    assert SIZE.validate_python(text) == expected_bytes


def test_a_bare_number_is_seconds_or_bytes() -> None:
    assert (DURATION.validate_python(7), SIZE.validate_python(7)) == (7, 7)


@pytest.mark.parametrize(
    "value", ["", "soon", "-5 s", "5 parsecs", "5 s 3", "1e3 s", "٣ s", True, None, [], float("nan")]
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="is not a duration such as '20 minutes'"):
        DURATION.validate_python(value)


@pytest.mark.parametrize("value", ["", "5 s", "-1 GB", "5 gigabytes", False, "9" * 400])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="is not a size such as '65 GB'"):
        SIZE.validate_python(value)


def test_a_minute_is_never_read_as_a_month_or_a_metre() -> None:
    with pytest.raises(ValidationError):
        DURATION.validate_python("5 m")
