"""What the asset ``metadata`` says of a record in Dagster."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from dagster import AssetsDefinition, MetadataValue, PreviewWarning, TableMetadataValue, instance_for_test, materialize

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.describe import assets
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets_tests.unit.conftest import Drop
from xpcs_assets_tests.unit.describe.test_describing import staged


def said(beamline: OpenBeamline, *keys: str) -> list[Mapping[str, Any]]:
    """The metadata of the asset for each run, one after the other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PreviewWarning)
        metadata: AssetsDefinition = assets.build(Bound.of(beamline))[0]
    told = []
    with instance_for_test() as instance:
        instance.add_dynamic_partitions("xpcs_runs", list(keys))
        for key in keys:
            result = materialize([metadata], partition_key=key, instance=instance)
            (event,) = result.get_asset_materialization_events()
            told.append({name: _plain(value) for name, value in event.materialization.metadata.items()})
    return told


def _plain(value: MetadataValue[Any]) -> Any:
    return [row.data for row in value.records] if isinstance(value, TableMetadataValue) else value.value


def test_values_are_told_as_people_read_them(beamline: OpenBeamline, drop: Drop) -> None:
    folder = drop(beamline, "A001")
    with h5py.File(folder / "A001_metadata.hdf", "a") as file:
        for name, value in (
            ("temperature", np.nan),
            ("ramp", np.arange(200.0).reshape(2, 100)),
            ("pressure", 1.5),
            ("names", ["a"] * 99),
        ):
            file[f"/entry/sample/{name}"] = value
    staged(beamline, folder)
    (told,) = said(beamline, "A001")
    sample = {row["field"]: row["value"] for row in told["sample_fields"]}
    assert sample["temperature"] == "not finite"
    assert sample["ramp"] == "2 x 100 values, 0.0 to 199.0"
    assert sample["pressure"] == "1.5"
    assert sample["names"] == "99 values, first a"


def test_a_changed_form_and_what_was_left_out_are_said(beamline: OpenBeamline, drop: Drop) -> None:
    for name in ("A001", "A002"):
        folder = drop(beamline, name)
        if name == "A002":
            with h5py.File(folder / "A002_metadata.hdf", "a") as file:
                del file["/entry/instrument/detector_1/frame_time"]
                file["/entry/instrument/detector_1/frame_time"] = np.float32(0.5)
                file["/entry/up"] = h5py.SoftLink("/entry")
        staged(beamline, folder)
    first, second = said(beamline, "A001", "A002")
    assert (first["compared_with"], first["notes"], first["complete"]) == ("no run before this one", "nothing", True)
    assert "form_changes" not in first
    assert (second["compared_with"], second["n_form_changes"]) == ("A001/v1", 1)
    (row,) = second["form_changes"]
    assert (row["what"], row["before"], row["now"]) == ("type", "float64", "float32")
    assert "leads back to a group" in second["notes"]
    assert second["complete"] is True
