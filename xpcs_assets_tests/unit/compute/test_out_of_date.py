"""Which runs show a result that would be another if it were made now."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.analyse import correlate_settings, plan
from xpcs_assets.compute.out_of_date import OutOfDate, out_of_date
from xpcs_assets.compute.qmap_registry import add
from xpcs_assets.describe.describing import describe
from xpcs_assets.errors import NotFoundError
from xpcs_assets.stage.staging import stage
from xpcs_assets.testing.simulate import simulate
from xpcs_assets_tests.unit.conftest import Altered, Drop

REGISTRY = {"pipeline": {"correlate": {"qmap": {"in_run": "", "registry": "standard"}}}}


def shown(beamline: OpenBeamline, key: str) -> str:
    """Record what run ``key`` would be made of as its promoted result; the digest of the recipe."""
    planned = plan(beamline, key, correlate_settings(beamline).settings)
    recipe, version = planned.recipe, planned.inputs.version.version
    beamline.ledger.record_result(
        "xpcs", key, run_key=key, version=version, recipe_digest=recipe.digest, path="r.hdf",
        result_digest=f"sha256:{recipe.folder}", report={"recipe": asdict(recipe)},
    )  # fmt: skip
    beamline.ledger.promote("xpcs", key, recipe.digest)
    return recipe.digest


def staged(beamline: OpenBeamline, folder: Path) -> str:
    submit(beamline, folder, as_is=True)
    take(beamline, folder.name)
    stage(beamline, folder.name)
    return folder.name


@pytest.fixture
def maps(tmp_path: Path) -> list[Path]:
    options = {"format": "imm", "frames": 8, "shape": (48, 64), "n_dynamic": 4}
    return [simulate(tmp_path, name=f"M{k}", n_static=k, **options).qmap for k in (8, 12)]  # type: ignore[arg-type]


def test_a_corrected_map_makes_what_was_made_with_the_old_one_out_of_date_until_it_is_withdrawn(
    altered: Altered, drop: Drop, maps: list[Path]
) -> None:
    beamline = altered(REGISTRY)
    add(beamline, maps[0], "standard", by="an operator")
    made = shown(beamline, staged(beamline, drop(beamline, "A001")))
    assert list(out_of_date(beamline)) == []
    add(beamline, maps[1], "standard", by="an operator")
    (found,) = out_of_date(beamline)
    assert (found.run_key, found.differs, found.reason) == ("A001", ("q-map",), "now registry standard v2")
    wanted = plan(beamline, "A001", correlate_settings(beamline).settings).recipe.digest
    assert (found.made_of, found.wanted) == (made, wanted)
    shown(beamline, staged(beamline, drop(beamline, "A002")))
    assert [run.run_key for run in out_of_date(beamline)] == ["A001"]
    beamline.ledger.withdraw_qmap("xpcs", "standard", 2, "why", "who")
    assert [run.run_key for run in out_of_date(beamline)] == ["A002"]
    assert list(out_of_date(beamline, "A001")) == []
    assert [run.run_key for run in out_of_date(beamline, "A002")] == ["A002"]


def test_another_recipe_another_engine_and_other_raw_data_are_told_apart(
    altered: Altered, drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    beamline = altered({})
    folder = drop(beamline)
    shown(beamline, staged(beamline, folder))
    other = altered({"pipeline": {"correlate": {"stride": 2}}})
    (found,) = out_of_date(other)
    assert (found.differs, found.reason) == (("recipe",), "other settings")
    with monkeypatch.context() as patch:
        patch.setattr("xpcs_assets.engine.version.ENGINE", "another 2.0")
        (found,) = out_of_date(beamline)
    assert found.differs == ("engine",)
    assert found.reason.startswith("now another 2.0, the result's is ")
    with (folder / "A001.imm").open("ab") as file:
        file.write(b"\0")
    staged(beamline, folder)
    (found,) = out_of_date(beamline)
    assert (found.differs, found.reason) == (("raw data",), "the result is of v1, the run is at v2")


def test_a_run_of_which_it_cannot_be_told_is_listed_with_the_reason(
    altered: Altered, drop: Drop, maps: list[Path]
) -> None:
    beamline = altered(REGISTRY)
    add(beamline, maps[0], "standard", by="an operator")
    made = shown(beamline, staged(beamline, drop(beamline)))
    beamline.ledger.withdraw_qmap("xpcs", "standard", 1, "why", "who")
    (found,) = out_of_date(beamline)
    assert found == OutOfDate("A001", (), found.reason, made)
    assert "none of its 1 versions is valid" in found.reason


def test_a_run_without_a_result_is_not_out_of_date(beamline: OpenBeamline, drop: Drop) -> None:
    staged(beamline, drop(beamline))
    assert list(out_of_date(beamline)) == []
    with pytest.raises(NotFoundError):
        list(out_of_date(beamline, "A009"))


@pytest.mark.parametrize("source", [REGISTRY, {}], ids=["registry", "in the run"])
def test_a_run_whose_staged_files_are_gone_is_judged_by_its_record(
    altered: Altered, drop: Drop, maps: list[Path], source: dict[str, Any]
) -> None:
    beamline = altered(source)
    add(beamline, maps[0], "standard", by="an operator", valid_until=datetime.now(UTC))
    add(beamline, maps[1], "standard", by="an operator", valid_from=datetime.now(UTC))
    folder = drop(beamline)
    with h5py.File(folder / "A001_metadata.hdf", "r+") as file:
        del file["/entry/start_time"]
        file["/entry/start_time"] = "2025-03-01T12:00:00"
    shown(beamline, staged(beamline, folder))
    describe(beamline, "A001")
    shutil.rmtree(beamline.staged(beamline.latest("A001")).raw)
    assert list(out_of_date(beamline)) == []
    other = altered({"pipeline": {"correlate": {"qmap": {"in_run": "", "registry": "", "path": str(maps[1])}}}})
    (found,) = out_of_date(other)
    assert (found.differs, found.reason) == (("q-map",), f"now {maps[1].name}")
    beamline.staged(beamline.latest("A001")).record.unlink()
    assert [run.wanted for run in out_of_date(beamline)] == [""] * bool(source)
