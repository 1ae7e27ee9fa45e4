from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.hdf5 import DATASET
from xpcs_assets.readers.inspect import inspect
from xpcs_assets.testing.simulate import simulate
from xpcs_assets.testing.writers import AcquisitionFacts, write_imm, write_metadata, write_nexus
from xpcs_assets.testing.writers_hdf5 import write_areadetector
from xpcs_assets_tests.unit.readers.conftest import N_FRAMES, SHAPE, dense, sparse_frames


@pytest.mark.parametrize("kind", ["events", "frames"])
def test_the_numbers_are_those_of_the_frames(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.imm"
    if kind == "events":
        write_imm(path, SHAPE, sparse_frames(42), frame_time_s=1e-3)
    else:
        write_nexus(path, SHAPE, sparse_frames(42))
    counts = dense(sparse_frames(42), 42)
    found = inspect(path)
    assert found.sampled == ((0, N_FRAMES),)
    assert found.size_bytes == path.stat().st_size
    assert found.occupancy == pytest.approx((counts > 0).mean())
    assert found.mean_counts == pytest.approx(counts.mean())
    assert (found.lowest, found.highest) == (0, counts.max())
    assert found.lowest_mean == pytest.approx(counts.mean(axis=0).min())
    np.testing.assert_allclose(found.intensity, counts.mean(axis=1))
    lit = counts[:, counts.any(axis=0)]
    assert found.noise_ratio == pytest.approx(np.median(lit.var(axis=0, ddof=1) / lit.mean(axis=0)))
    assert (found.n_good, found.n_masked, found.n_saturated) == (42, 0, 0)


def test_of_a_long_run_the_first_middle_and_last_frames_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_nexus(path, SHAPE, sparse_frames(42, 300))
    found = inspect(path, max_bytes=3 * 10 * 42 * 8)
    assert found.sampled == ((0, 10), (145, 155), (290, 300))
    assert found.n_sampled == 30
    counts = dense(sparse_frames(42, 300), 42)
    chosen = np.r_[0:10, 145:155, 290:300]
    assert found.mean_counts == pytest.approx(counts[chosen].mean())


def test_masked_and_saturated_pixels_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_nexus(path, SHAPE, sparse_frames(42), masked=np.array([5, 6]))
    with h5py.File(path, "a") as file:
        frame = file[DATASET][7]
        frame[1, 1] = 2**32 - 1
        file[DATASET][7] = frame
    found = inspect(path)
    assert (found.n_masked, found.n_saturated, found.n_good) == (2, 1, 39)


def test_the_detectors_own_mask_counts_as_masked(tmp_path: Path) -> None:
    run = simulate(tmp_path, format="dectris", frames=30, shape=(64, 72))
    found = inspect(run.raw)
    assert found.info.good_pixels is not None
    assert found.n_masked == run.scene.dead.size


def test_frames_that_were_dropped_are_counted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_areadetector(path, SHAPE, sparse_frames(42), frame_time_s=0.5, dropped=frozenset({3, 9}))
    found = inspect(path)
    assert (found.n_invalid, len(found.intensity)) == (2, N_FRAMES - 2)
    assert found.rate_hz == pytest.approx(2.0)


def test_the_frame_time_comes_from_the_metadata_beside_the_file(tmp_path: Path, sparse_imm: Path) -> None:
    assert inspect(sparse_imm).rate_hz is None
    metadata = tmp_path / "a_metadata.hdf"
    write_metadata(metadata, AcquisitionFacts("d", 5, 1e-3, 1e-3, 10.0, (3, 3), 75e-6, 4.0, "2026"))
    found = inspect(sparse_imm)
    assert (found.metadata, found.rate_hz) == (metadata, pytest.approx(1000.0))
    metadata.write_bytes(b"no metadata")
    assert "no HDF5 file" in inspect(sparse_imm).metadata_fault


def test_a_damaged_frame_is_an_error(nexus: Path) -> None:
    with h5py.File(nexus, "r") as file:
        chunk = file[DATASET].id.get_chunk_info(13)
    content = bytearray(nexus.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + 16] = b"\xff" * 16
    nexus.write_bytes(content)
    with pytest.raises(RawDataError, match="cannot be read"):
        inspect(nexus)
