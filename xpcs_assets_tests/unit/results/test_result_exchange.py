from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import xpcs_assets
from xpcs_assets.errors import ResultError
from xpcs_assets.qmaps.rings import ring_partition
from xpcs_assets.readers.metadata import read_acquisition

SHAPE = (40, 50)
N_DELAYS, N_DYNAMIC, N_STATIC, N_FRAMES = 12, 3, 6, 200
BETA, TAU_S, FRAME_TIME_S = 0.2, 0.05, 2e-3


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A result as xpcs-eigen writes it: stride 2, scalars and lists (1, N)."""
    path = tmp_path / "B0147_att00_results.hdf"
    rings = ring_partition(SHAPE, (20, 25), 75e-6, 4.0, 10.0, np.ones(SHAPE, np.bool_), N_DYNAMIC, N_STATIC)
    tau = np.r_[1:9, 10:18:2].astype(np.float32)
    g2 = 1 + BETA * np.exp(-2 * tau * FRAME_TIME_S * 2 / TAU_S)
    values = {
        "/exchange/norm-0-g2": np.repeat(g2[:, None], N_DYNAMIC, axis=1).astype(np.float32),
        "/exchange/norm-0-stderr": np.full((N_DELAYS, N_DYNAMIC), 1e-3, np.float32),
        "/exchange/tau": tau[None],
        "/exchange/pixelSum": np.full(SHAPE, 0.5, np.float32),
        "/exchange/frameSum": np.stack([np.arange(1, N_FRAMES + 1), np.full(N_FRAMES, 0.5)]),
        "/exchange/partition-mean-total": np.arange(N_STATIC, dtype=np.float32)[None],
        "/exchange/partition-mean-partial": np.ones((10, N_STATIC), np.float32),
        "/xpcs/dqmap": rings.dynamic.astype(np.uint32),
        "/xpcs/sqmap": rings.static.astype(np.uint32),
        "/xpcs/mask": rings.mask.astype(np.uint8),
        "/xpcs/dqlist": rings.dynamic_q[None],
        "/xpcs/sqlist": np.r_[rings.static_q[:3], np.nan, rings.static_q[3:]][None],
        "/xpcs/dphilist": np.zeros((1, N_DYNAMIC)),
        "/xpcs/stride_frames": np.array([[2]]),
        "/xpcs/avg_frames": np.array([[1]]),
        "/xpcs/data_begin_todo": np.array([[1]]),
        "/xpcs/data_end_todo": np.array([[400]]),
        "/xpcs/analysis_type": np.bytes_(b"Multitau"),
        "/measurement/instrument/detector/exposure_period": np.array([[FRAME_TIME_S]]),
        "/measurement/instrument/source_begin/energy": np.array([[7.35]]),
    }
    with h5py.File(path, "w") as file:
        for name, value in values.items():
            file[name] = value
    return path


def replace(path: Path, name: str, value: object) -> None:
    with h5py.File(path, "a") as file:
        del file[name]
        if value is not None:
            file[name] = value


def test_an_old_result_opens_with_delays_in_seconds_and_frames_from_zero(old: Path) -> None:
    result = xpcs_assets.open(old)
    np.testing.assert_allclose(result.delay_s, np.r_[1:9, 10:18:2] * 2 * FRAME_TIME_S)
    assert (result.frame_time_s, result.run) == (2 * FRAME_TIME_S, "B0147_att00")
    assert result.intensity_vs_time[0].tolist() == list(range(N_FRAMES))
    assert (result.recipe.settings.begin_frame, result.recipe.settings.end_frame) == (0, 400)
    assert (result.recipe.settings.stride, result.recipe.settings.error_rule) == (2, "boost")
    assert result.n_pairs[:3].tolist() == [199, 198, 197]


def test_bins_have_their_q_and_empty_ones_are_left_out(old: Path) -> None:
    result = xpcs_assets.open(old)
    assert (result.q_inv_angstrom.shape, result.static_q.shape) == ((N_DYNAMIC,), (N_STATIC,))
    assert (np.diff(result.static_q) > 0).all()
    assert result.labels[0] == f"q = {result.q_inv_angstrom[0]:.4g} Å⁻¹"
    replace(old, "/xpcs/dphilist", np.array([[0.0, 45.0, 90.0]]))
    assert xpcs_assets.open(old).labels[1].endswith(", phi = 45 deg")


def test_its_g2_is_fitted_and_drawn_like_any_other(old: Path) -> None:
    result = xpcs_assets.open(old)
    for fit in result.fit():
        assert fit.tau_s == pytest.approx(TAU_S, rel=0.01)
    figure = result.plot()
    assert len(figure.axes) >= N_DYNAMIC


def test_a_g2_of_zero_is_undefined(old: Path) -> None:
    with h5py.File(old, "a") as file:
        file["/exchange/norm-0-g2"][4, 1] = 0
    result = xpcs_assets.open(old)
    assert np.argwhere(np.isnan(result.g2)).tolist() == [[4, 1]]
    assert np.isnan(result.g2_error[4, 1])


def test_its_metadata_are_read(old: Path) -> None:
    read = read_acquisition(old)
    assert (read.frame_time_s, read.energy_kev) == (FRAME_TIME_S, 7.35)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("/exchange/norm-0-g2", None, "it is missing"),
        ("/exchange/tau", np.ones((1, 5)), "asks for"),
        ("/exchange/norm-0-stderr", np.ones((2, 2)), "asks for"),
        ("/exchange/pixelSum", np.ones((3, 3)), "asks for"),
        ("/xpcs/dqlist", np.ones((1, 7)), "7 values for 3 bins"),
        ("/measurement/instrument/detector/exposure_period", None, "it is missing"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_named(old: Path, name: str, value: object, reason: str) -> None:
    replace(old, name, value)
    with pytest.raises(ResultError, match=reason) as caught:
        xpcs_assets.open(old)
    assert caught.value.where == f"{old}:{name}"
