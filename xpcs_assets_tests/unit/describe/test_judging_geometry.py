"""A q-map of another detector, distance, energy or beam centre is found against the metadata."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest

from xpcs_assets.correlate.worker import main
from xpcs_assets.describe.judgement import Judge, Judgement
from xpcs_assets.describe.judging_geometry import NAMES, judge_geometry, judge_shape
from xpcs_assets.errors import ResultError
from xpcs_assets.runs.criteria import Rules
from xpcs_assets.testing.simulate import simulate
from xpcs_assets_tests.made_results import make_result

DETECTOR = "/entry/instrument/detector_1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A result, and its metadata."""
    folder = tmp_path_factory.mktemp("geometry")
    run = simulate(folder, format="imm", frames=60, shape=(48, 64), n_dynamic=4, n_static=12)
    assert main([str(run.raw), "--qmap", str(run.qmap), "--output", str(folder / "o.hdf")]) == 0
    return folder / "o.hdf", run.metadata


@pytest.fixture
def files(made: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Copies that a test may change."""
    return Path(shutil.copy(made[0], tmp_path)), Path(shutil.copy(made[1], tmp_path))


def judged(files: tuple[Path, Path]) -> dict[str, Judgement]:
    return {found.name: found for found in judge_geometry(Judge(Rules()), *files)}


def set_value(path: Path, name: str, value: float) -> None:
    with h5py.File(path, "r+") as file:
        file[name][()] = value


def test_the_q_map_of_the_run_itself_passes(files: tuple[Path, Path]) -> None:
    found = judged(files)
    assert tuple(found) == NAMES
    assert [each.passed for each in found.values()] == [True] * 4
    assert [each.value for each in found.values()] == pytest.approx([0] * 4, abs=1e-6)


@pytest.mark.parametrize(
    ("field", "factor", "name", "value"),
    [
        (f"{DETECTOR}/distance", 0.7784, "distance_deviation", 0.2847),  # the real E0173: 9.03 m against 11.6 m
        ("/entry/instrument/incident_beam/incident_energy", 1.25, "energy_deviation", 0.2),
    ],
)
def test_another_distance_or_energy_is_a_warning_of_its_own(
    files: tuple[Path, Path], field: str, factor: float, name: str, value: float
) -> None:
    with h5py.File(files[1]) as file:
        before = float(file[field][()])
    set_value(files[1], field, before * factor)
    found = judged(files)
    assert (found[name].passed, found[name].severity) == (False, "warn")
    assert found[name].value == pytest.approx(value, abs=1e-4)
    assert f"{before * factor:.4g}"[:3] in found[name].reason
    assert all(each.passed for other, each in found.items() if other != name)


def test_another_pixel_size_is_found(files: tuple[Path, Path]) -> None:
    set_value(files[0], "/xpcs/qmap/pixel_size", 172e-6)
    assert judged(files)["pixel_size_deviation"].passed is False


def test_a_beam_centre_moved_with_the_detector_is_taken_into_account(files: tuple[Path, Path]) -> None:
    with h5py.File(files[0]) as file:
        pixel_mm = float(file["/xpcs/qmap/pixel_size"][()]) * 1000
        column = float(file["/xpcs/qmap/beam_center_x"][()])
    set_value(files[1], f"{DETECTOR}/position_x", 20 * pixel_mm)
    found = judged(files)["beam_centre_shift"]
    assert (found.passed, found.unit) == (False, "pixels")
    assert found.value == pytest.approx(20, abs=0.01)
    set_value(files[0], "/xpcs/qmap/beam_center_x", column + 20)
    assert judged(files)["beam_centre_shift"].value == pytest.approx(0, abs=0.01)


def test_a_field_that_is_missing_leaves_the_others_judged(files: tuple[Path, Path]) -> None:
    with h5py.File(files[1], "r+") as file:
        del file[f"{DETECTOR}/distance"]
    found = judged(files)
    assert found["distance_deviation"].outcome == "not judged"
    assert found["distance_deviation"].reason == "the metadata do not tell it: there is no such number"
    assert found["energy_deviation"].passed


def test_without_metadata_or_result_nothing_is_judged_and_it_is_said(files: tuple[Path, Path]) -> None:
    for result, metadata in ((files[0], None), (Path("none.hdf"), files[1])):
        judgements = list(judge_geometry(Judge(Rules()), result, metadata))
        assert {(each.outcome, bool(each.reason)) for each in judgements} == {("not judged", True)}
    files[0].write_bytes(b"no result")
    with pytest.raises(ResultError, match="no HDF5 file"):
        judged(files)


def test_a_q_map_of_another_shape_quarantines() -> None:
    result = make_result()
    assert judge_shape(Judge(Rules()), result).passed
    other = type(result)(**{**vars(result), "scattering_2d": result.scattering_2d[:-2]})
    found = judge_shape(Judge(Rules()), other)
    assert (found.outcome, found.value) == ("quarantine", 2)
    assert found.reason == "the q-map is 60 x 80 pixels, the scattering pattern 58 x 80"
