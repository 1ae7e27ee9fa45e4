"""A small run whose frames a test chooses, and the reference g2 of what should have been correlated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xpcs_assets.correlate.worker import main
from xpcs_assets.readers.hdf5 import DATASET
from xpcs_assets.results.result import Result, open_result
from xpcs_assets.testing.simulate import SimulatedRun
from xpcs_assets_tests.unit.engine.reference import Reference, correlate


@dataclass
class MadeRun:
    """Files of a run in a folder of its own."""

    folder: Path
    raw: Path
    metadata: Path
    qmap: Path

    def set_counts(self, counts: ArrayLike) -> None:
        """Write (T, rows, columns) or (T, rows * columns) values as the raw file's frames."""
        with h5py.File(self.raw, "r+") as file:
            shape = file[DATASET].shape[1:]
            del file[DATASET]
            array = np.asarray(counts).reshape(-1, *shape)
            file.create_dataset(DATASET, data=array, chunks=(1, *shape))

    def set_metadata(self, name: str, value: ArrayLike) -> None:
        with h5py.File(self.metadata, "r+") as file:
            if name in file:
                del file[name]
            file[name] = value

    def counts(self) -> NDArray[Any]:
        """(T, rows * columns) as stored."""
        with h5py.File(self.raw) as file:
            frames = file[DATASET][()]
        return np.asarray(frames.reshape(len(frames), -1))

    def run(self, *options: str, name: str = "out.hdf") -> Result:
        """Correlate with these options."""
        output = self.folder / name
        assert main([str(self.raw), "--qmap", str(self.qmap), "--output", str(output), *options]) == 0
        return open_result(output)

    def report(self, name: str = "out.hdf") -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / name).with_suffix(".json").read_text())
        return content


def made_of(run: SimulatedRun, folder: Path) -> MadeRun:
    """The copy of a simulated run in ``folder``."""
    return MadeRun(folder, *(folder / path.name for path in (run.raw, run.metadata, run.qmap)))


def reference(counts: ArrayLike, result: Result, valid: ArrayLike | None = None) -> Reference:
    """The definition on (T, pixels) float64 values with the result's own maps."""
    array = np.asarray(counts, np.float64)
    dynamic, static = (np.where(result.mask, map_, 0) for map_ in (result.dynamic_map, result.static_map))
    return correlate(array, np.ones(len(array), bool) if valid is None else valid, dynamic, static)


def assert_same(result: Result, expected: Reference, atol: float = 2e-6) -> None:
    """g2 and its errors are the reference's."""
    assert result.delay_frames.tolist() == expected.delay
    assert result.n_pairs.tolist() == expected.n_pairs
    np.testing.assert_allclose(result.g2, expected.g2, atol=atol)
    np.testing.assert_allclose(result.g2_error, expected.error, atol=atol, rtol=1e-4)
