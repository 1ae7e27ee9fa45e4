from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import MetadataError
from xpcs_assets.readers.h5copy import copy_facts
from xpcs_assets.testing.writers import AcquisitionFacts
from xpcs_assets.testing.writers_hdf5 import write_als7011
from xpcs_assets_tests.unit.readers.conftest import SHAPE, sparse_frames

FACTS = AcquisitionFacts("MTE3", 23, 0.5, 0.4, 0.778, (3, 3), 15e-6, 0.208, "2026-11-20T10:00:00", "Fe/Gd")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "a.h5"
    write_als7011(path, SHAPE, sparse_frames(42), FACTS)
    with h5py.File(path, "a") as file:
        file["/entry1/instrument_1/detector_1/distance"].attrs["units"] = np.bytes_(b"m")
        file["/entry1/other"] = h5py.ExternalLink("b.h5", "/x")
        file["/entry1/loop"] = h5py.SoftLink("/entry1")
        file["/entry1/large"] = np.zeros(1 << 20)
    return path


def test_what_a_raw_file_says_is_copied_without_its_frames(raw: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "result.hdf", "w") as target:
        copy_facts(raw, target)
        assert target["/entry1/instrument_1/labview_data/LS_LLHTA"].shape == (23,)
        assert target["/entry1/sample_1/name"][()] == b"Fe/Gd"
        assert target["/entry1/instrument_1/detector_1/description"][()] == b"Princeton Instruments MTE3"
        assert target["/entry1/instrument_1/detector_1/distance"].attrs["units"] == b"m"
        for name in ("instrument_1/detector_1/data", "other", "loop", "large"):
            assert f"/entry1/{name}" not in target


def test_what_is_there_already_stays(raw: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "result.hdf", "w") as target:
        target["/entry1/run_id"] = "mine"
        copy_facts(raw, target)
        assert target["/entry1/run_id"][()] == b"mine"


def test_a_file_that_does_not_open_is_refused(raw: Path, tmp_path: Path) -> None:
    raw.write_bytes(raw.read_bytes()[:500])
    with h5py.File(tmp_path / "result.hdf", "w") as target, pytest.raises(MetadataError, match="does not open"):
        copy_facts(raw, target)
