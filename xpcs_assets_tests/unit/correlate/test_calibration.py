from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.correlate.calibration import read_dark, read_flat
from xpcs_assets.errors import InputError

SHAPE = (3, 4)


def series(path: Path, frames: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("/entry/data/data", data=frames, chunks=(1, *frames.shape[1:]))
    return path


def test_a_series_of_dark_frames_gives_mean_and_population_spread(tmp_path: Path) -> None:
    frames = np.random.default_rng(1).integers(90, 110, (30, *SHAPE)).astype(np.uint16)
    frames[4, 1, 1] = 65535
    dark = read_dark(series(tmp_path / "dark.h5", frames), SHAPE)
    good = np.where(frames == 65535, np.nan, frames).reshape(30, -1)
    np.testing.assert_allclose(dark.mean, np.nanmean(good, axis=0))
    np.testing.assert_allclose(dark.std, np.nanstd(good, axis=0), rtol=1e-9)


def test_a_dark_may_be_given_by_its_mean_and_spread(tmp_path: Path) -> None:
    mean, std = np.random.default_rng(1).random((2, *SHAPE))
    with h5py.File(tmp_path / "dark.h5", "w") as file:
        file["/dark/mean"], file["/dark/std"] = mean, std
    dark = read_dark(tmp_path / "dark.h5", SHAPE)
    assert np.array_equal(dark.mean, mean.ravel())
    assert np.array_equal(dark.std, std.ravel())
    with h5py.File(tmp_path / "dark.h5", "r+") as file:
        del file["/dark/std"]
    with pytest.raises(InputError, match=r"/dark/std: it is missing"):
        read_dark(tmp_path / "dark.h5", SHAPE)


def test_a_dark_of_another_detector_is_refused(tmp_path: Path) -> None:
    path = series(tmp_path / "dark.h5", np.ones((2, 4, 4), np.uint16))
    with pytest.raises(InputError, match=r"its shape is \(4, 4\), the detector's \(3, 4\)"):
        read_dark(path, SHAPE)


@pytest.mark.parametrize("form", ["npy", "h5", "series"])
def test_a_flat_field_is_read_from_what_it_was_kept_in(form: str, tmp_path: Path) -> None:
    flat = np.random.default_rng(2).normal(1, 0.1, SHAPE).astype(np.float32)
    flat[0, 1], flat[1, 2], flat[2, 3] = 0, -1, np.nan
    path = tmp_path / f"flat.{'npy' if form == 'npy' else 'h5'}"
    if form == "npy":
        np.save(path, flat)
    elif form == "h5":
        with h5py.File(path, "w") as file:
            file["/measurement/instrument/detector/flatfield"] = flat
    else:
        series(path, flat[None])
    found = read_flat(path, SHAPE)
    assert np.array_equal(found, np.where(flat > 0, flat, np.nan).ravel(), equal_nan=True)


def spoilt(kind: str, folder: Path) -> Path:
    path = folder / "flat.npy"
    if kind == "text":
        path.write_text("no array")
    elif kind == "pickle":
        np.save(path, np.array([{}, 1], object))
    elif kind == "complex":
        np.save(path, np.ones(SHAPE, complex))
    elif kind == "two frames":
        return series(folder / "flat.h5", np.ones((2, *SHAPE), np.float32))
    else:
        np.save(path, np.ones((4, 3)))
    return path


@pytest.mark.parametrize("kind", ["text", "pickle", "complex", "two frames", "shape"])
def test_what_is_no_flat_field_is_refused_with_its_file(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"flat\.(npy|h5)"):
        read_flat(spoilt(kind, tmp_path), SHAPE)
