"""Describing a staged run: the record lies beside it, and damaged data are said in it and stop nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.describe.describing import describe
from xpcs_assets.errors import NotFoundError
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import Drop


def staged(beamline: OpenBeamline, folder: Path) -> None:
    submit(beamline, folder, as_is=True)
    take(beamline, folder.name)
    stage(beamline, folder.name)


def test_the_record_of_a_run_lies_beside_its_staged_copy(beamline: OpenBeamline, drop: Drop) -> None:
    staged(beamline, drop(beamline))
    record, path = describe(beamline, "A001")
    assert path == beamline.root("store") / "xpcs" / "A001" / "v1" / "record.json"
    stored = json.loads(path.read_text())
    assert (stored["run_key"], stored["version"]) == ("A001", 1)
    assert record.metadata_file.endswith("A001_metadata.hdf")
    assert record.raw
    assert record.groups


def test_describing_again_writes_the_same_record(beamline: OpenBeamline, drop: Drop) -> None:
    staged(beamline, drop(beamline))
    _, path = describe(beamline, "A001")
    before = path.read_bytes()
    describe(beamline, "A001")
    assert path.read_bytes() == before


def no_hdf5(folder: Path) -> object:
    return (folder / "A001_metadata.hdf").write_bytes(b"not at all HDF5")


def cut_short(folder: Path) -> object:
    return (folder / "A001.imm").write_bytes((folder / "A001.imm").read_bytes()[:1500])


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "raw file cut short": (cut_short, "A001.imm"),
    "raw file of zeros": (lambda folder: (folder / "A001.imm").write_bytes(b"\0" * 3000), "A001.imm"),
    "metadata that are no HDF5": (no_hdf5, "A001_metadata.hdf"),
    "no metadata": (lambda folder: (folder / "A001_metadata.hdf").unlink(), "metadata"),
    "no raw file": (lambda folder: (folder / "A001.imm").unlink(), "raw file"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_described_with_what_is_wrong(beamline: OpenBeamline, drop: Drop, damage: str) -> None:
    folder = drop(beamline)
    spoil, named = DAMAGE[damage]
    spoil(folder)
    staged(beamline, folder)
    record, path = describe(beamline, "A001")
    assert path.is_file()
    assert any(named in reason for reason in record.missing), record.missing


def test_a_run_that_is_not_staged_is_not_described(beamline: OpenBeamline, drop: Drop) -> None:
    submit(beamline, drop(beamline))
    take(beamline, "A001")
    with pytest.raises(NotFoundError, match="not staged"):
        describe(beamline, "A001")
