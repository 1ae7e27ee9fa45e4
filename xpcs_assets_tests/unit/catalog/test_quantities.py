"""Numbers with units: what is searched of a record, what compares with what, and ranges as people write them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from xpcs_assets.catalog.quantities import (
    MOST_NUMBERS,
    UNITS,
    Range,
    nearest_names,
    numbers_of,
    numbers_of_result,
    to_si,
)
from xpcs_assets.describe.record import Entry
from xpcs_assets.errors import RefusedError
from xpcs_assets_tests.unit.catalog.made import derived, described


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (1.5, "keV", (1500.0, "eV")),
        (20.0, "degC", (293.15, "K")),
        (5.0, "µm", (5e-6, "m")),
        (5.0, "\u03bcs", (5e-6, "s")),
        (0.01, "1/angstrom", (1e8, "1/m")),
        (1.0, "Å", (1e-10, "m")),
        (180.0, "deg", (math.pi, "rad")),
        (3.0, "h", (10800.0, "s")),
        (100.0, "mA", (0.1, "A")),
        (12.0, " % ", (0.12, "")),
        (7.0, "counts/ABC", (7.0, "counts/ABC")),
        (7.0, "C", (7.0, "C")),
    ],
)
def test_units_become_si_and_unknown_ones_stay(value: float, unit: str, expected: tuple[float, str]) -> None:
    found = to_si(value, unit)
    assert (found[0], found[1]) == (pytest.approx(expected[0]), expected[1])


def test_every_si_unit_is_its_own() -> None:
    assert {si for _, _, si in UNITS.values()} <= UNITS.keys() | {"1/m"}
    assert all(UNITS[si][:2] == (1.0, 0.0) for _, _, si in UNITS.values() if si in UNITS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("temperature > 300 K", Range("temperature", 300, unit="K", open_lower=True)),
        ("Exposure<=1e-3 s", Range("exposure", upper=1e-3, unit="s")),
        ("x<-5", Range("x", upper=-5, open_upper=True)),
        ("x>=.5", Range("x", 0.5)),
        ("x=5 mm", Range("x", 5, 5, "mm")),
        ("energy=7..12.5 keV", Range("energy", 7, 12.5, "keV")),
        ("energy = -7 .. 12 keV", Range("energy", -7, 12, "keV")),
        ("*/x>3 1/Å", Range("*/x", 3, unit="1/Å", open_lower=True)),
    ],
)
def test_ranges_are_read_as_people_write_them(text: str, expected: Range) -> None:
    assert Range.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "temperature", "temperature>", ">5", "x=1..", "x>5 6", "x>>5", "a<x<5", "x=nan", "x>inf K"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(RefusedError, match="is no range"):
        Range.parse(text)


def with_fields(*entries: Entry, others: tuple[Entry, ...] = ()) -> Any:
    return replace(described(), raw={"frames_recorded": 10, "format": "imm"}, groups={"sample": entries}, others=others)


def test_scalars_are_taken_with_their_units_and_nothing_else() -> None:
    record = with_fields(
        Entry("/a/temperature", 27.0, "degC"),
        Entry("/a/flag", value=True),
        Entry("/a/text", "5"),
        Entry("/a/none", None, not_finite=True),
        Entry("/a/list", [1, 2]),
        Entry("/a/huge", 10**400),
        Entry("/a/Count", 3),
    )
    found = {number.path: (number.name, number.value, number.unit, number.si_unit) for number in numbers_of(record)}
    assert found == {
        "raw/frames_recorded": ("frames_recorded", 10.0, "", ""),
        "/a/temperature": ("temperature", 27.0, "degC", "K"),
        "/a/Count": ("count", 3.0, "", ""),
    }


def test_of_too_many_numbers_those_that_people_look_at_are_kept() -> None:
    record = with_fields(Entry("/a/temperature", 300.0, "K"), others=tuple(Entry(f"/o/{n}", n) for n in range(10_000)))
    found = numbers_of(record, [("result/tau", 1.0, "s")])
    assert len(found) == MOST_NUMBERS
    assert [number.path for number in found[:3]] == ["result/tau", "raw/frames_recorded", "/a/temperature"]


def test_a_result_tells_its_good_fits_by_bin() -> None:
    content = derived()
    bad = replace(content, fits=[replace(fit, ok=False) for fit in content.fits], law=None)
    found = {path: unit for path, _, unit in numbers_of_result(content)}
    assert found["result/bin_1/tau"] == "s"
    assert "result/tau_q_exponent" in found
    assert list(numbers_of_result(bad)) == []


def test_names_near_to_one_that_is_not_there_are_told() -> None:
    there = ["temperature_a", "qnw1_temperature", "frame_time", "tau"]
    assert nearest_names("Temperature", there) == ["temperature_a", "qnw1_temperature"]
    assert nearest_names("*taux*", there) == ["tau"]
