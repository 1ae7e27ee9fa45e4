"""A metadata file in today's layout, as real ones are: half of it without units."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest


@pytest.fixture
def metadata(tmp_path: Path) -> Path:
    path = tmp_path / "A001_metadata.hdf"
    with h5py.File(path, "w") as file:
        detector = "/entry/instrument/detector_1"
        file[f"{detector}/frame_time"] = 0.001
        file[f"{detector}/count_time"] = 0.0009
        file[f"{detector}/count_time"].attrs["units"] = "s"
        file[f"{detector}/distance"] = np.array([[9030.0]])
        file[f"{detector}/distance"].attrs["units"] = "mm"
        file[f"{detector}/detector_name"] = "eiger4m"
        file[f"{detector}/position_x"] = -229.99
        file["/entry/instrument/incident_beam/incident_energy"] = 10.91
        file["/entry/instrument/incident_beam/ring_current"] = np.nan
        file["/entry/instrument/attenuator_1/attenuator_index"] = 3
        file["/entry/instrument/attenuator_2/attenuator_index"] = 7
        file["/entry/sample/qnw1_temperature"] = 25.5
        file["/entry/sample/short_description"] = "silica in water"
        file["/entry/start_time"] = "2026-05-01 14:00:00.000001"
        file["/entry/user/cycle"] = "2026-1"
        file["/entry/trace"] = np.append(np.arange(1000.0), np.inf)
        file.create_group("/entry/definition")
    return path
