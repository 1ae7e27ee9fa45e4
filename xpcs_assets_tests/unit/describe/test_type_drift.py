"""A field whose type, unit or dimensions change between runs is said, once and the same each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.describe import type_drift
from xpcs_assets.describe.describing import describe
from xpcs_assets.describe.record import Change, Drift, Entry, Record, read_record
from xpcs_assets.describe.type_drift import changes_between
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.made_results import make_record
from xpcs_assets_tests.unit.conftest import Drop

FRAME_TIME = "/entry/instrument/detector_1/frame_time"


def record_of(**about: Any) -> Record:
    entry = Entry(**{"path": "/a", "value": 1.0, "unit": "s", "dtype": "float64", "shape": (), **about})
    return replace(make_record(), others=(entry,))


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [
        ({}, {"value": 2.0}, None),
        ({}, {"dtype": "int64"}, Change("/a", "type", "float64", "int64")),
        ({}, {"dtype": "float32"}, Change("/a", "type", "float64", "float32")),
        ({"dtype": "|S17"}, {"dtype": "object"}, None),
        ({"dtype": "|S17"}, {"dtype": "string"}, None),
        ({"dtype": "|S17"}, {"dtype": "float64"}, Change("/a", "type", "text", "float64")),
        ({}, {"unit": "ms"}, Change("/a", "unit", "s", "ms")),
        ({"unit": ""}, {"unit": "ms"}, Change("/a", "unit", "", "ms")),
        ({}, {"unit_from_layout": True}, None),
        ({}, {"shape": (1, 1)}, Change("/a", "dimensions", "0", "2")),
        ({"shape": (3,)}, {"shape": (7,)}, None),
        ({}, {"shape": None}, None),
        ({}, {"path": "/b"}, None),
        ({}, {"value": None, "not_finite": True}, None),
    ],
)
def test_form_counts_and_values_do_not(before: dict[str, Any], now: dict[str, Any], change: Change | None) -> None:
    found = list(changes_between(record_of(**before), record_of(**now)))
    assert found == ([] if change is None else [change])


def run(beamline: OpenBeamline, drop: Drop, name: str, **changed: Any) -> Record:
    folder = drop(beamline, name)
    with h5py.File(folder / f"{name}_metadata.hdf", "a") as file:
        if changed:
            del file[FRAME_TIME]
            file.create_dataset(FRAME_TIME, **changed)
    submit(beamline, folder, as_is=True)
    take(beamline, name)
    stage(beamline, name)
    return describe(beamline, name)[0]


def test_a_run_is_compared_with_the_one_taken_before_it(beamline: OpenBeamline, drop: Drop) -> None:
    assert run(beamline, drop, "A001").drift == Drift()
    assert run(beamline, drop, "A002").drift == Drift("A001/v1")
    changed = run(beamline, drop, "A003", data=np.array([[1]], "i4")).drift
    assert changed is not None
    assert changed.compared_with == "A002/v1"
    assert changed.changes == (
        Change(FRAME_TIME, "type", "float64", "int32"),
        Change(FRAME_TIME, "dimensions", "0", "2"),
    )


def test_describing_again_finds_the_same_whatever_became_of_the_run_before(beamline: OpenBeamline, drop: Drop) -> None:
    run(beamline, drop, "A001")
    run(beamline, drop, "A002", data=np.float32(0.5))
    paths: dict[str, Path] = {name: describe(beamline, name)[1] for name in ("A001", "A002")}
    bytes_before = {name: path.read_bytes() for name, path in paths.items()}
    paths["A001"].unlink()
    run(beamline, drop, "A003")
    for name, path in reversed(paths.items()):
        describe(beamline, name)
        assert path.read_bytes() == bytes_before[name]
    stored = read_record(paths["A002"]).drift
    assert stored is not None
    assert [change.what for change in stored.changes] == ["type"]


def test_a_damaged_record_of_the_run_before_is_passed_over(beamline: OpenBeamline, drop: Drop) -> None:
    run(beamline, drop, "A001")
    run(beamline, drop, "A002")
    beamline.staged(beamline.latest("A002")).record.write_text("{}")
    assert run(beamline, drop, "A003").drift == Drift("A001/v1")


def test_a_record_that_was_never_compared_is_compared_now(beamline: OpenBeamline, drop: Drop) -> None:
    run(beamline, drop, "A001")
    run(beamline, drop, "A002")
    path = beamline.staged(beamline.latest("A002")).record
    path.write_text(replace(read_record(path), drift=None).to_json())
    assert describe(beamline, "A002")[0].drift == Drift("A001/v1")


def test_an_old_run_is_looked_for_beyond_the_newest(
    beamline: OpenBeamline, drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A001", "A002", "A003", "A004"):
        run(beamline, drop, name)
    beamline.staged(beamline.latest("A002")).record.unlink()
    monkeypatch.setattr(type_drift, "_FEW_RUNS", 2)
    assert describe(beamline, "A002")[0].drift == Drift("A001/v1")
