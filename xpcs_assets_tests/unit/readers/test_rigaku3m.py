from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers import rigaku
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.rigaku3m import N_MODULES, ORDER, SHAPE, module_place
from xpcs_assets.readers.series import Events, RawSeries
from xpcs_assets.testing.writers import Sparse
from xpcs_assets.testing.writers_files import write_rigaku3m

N_FRAMES = 12


def frames() -> list[Sparse]:
    """A few photons in every module, except in frame 5; module 2 sees nothing after frame 8."""
    rng = np.random.default_rng(7)
    made = []
    for number in range(N_FRAMES):
        lit = [
            module_place(module)[rng.choice(rigaku.SHAPE[0] * rigaku.SHAPE[1], 6, replace=False)]
            for module in range(N_MODULES)
            if number != 5 and not (module == 2 and number > 8)
        ]
        pixel = np.sort(np.concatenate(lit)) if lit else np.empty(0, np.int64)
        made.append((pixel.astype(np.int64), rng.integers(1, 4096, pixel.size)))
    return made


@pytest.fixture
def modules(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"A1.bin.00{module}" for module in range(N_MODULES)]
    write_rigaku3m(paths, frames())
    return paths


def read(series: RawSeries, begin: int, end: int, max_bytes: int = 64 << 20) -> list[dict[int, int]]:
    """Count of each lit pixel, frame by frame."""
    found: list[dict[int, int]] = [{} for _ in range(end - begin)]
    at = begin
    for chunk in series.chunks(begin, end, max_bytes=max_bytes):
        assert isinstance(chunk, Events)
        assert chunk.begin == at
        assert (np.diff(chunk.frame) >= 0).all()
        assert chunk.valid.all()
        for frame, pixel, count in zip(chunk.frame.tolist(), chunk.pixel.tolist(), chunk.count.tolist(), strict=True):
            assert pixel not in found[frame - begin]
            found[frame - begin][pixel] = count
        at = chunk.end
    assert at == end
    return found


def expected() -> list[dict[int, int]]:
    return [dict(zip(pixel.tolist(), count.tolist(), strict=True)) for pixel, count in frames()]


@pytest.mark.parametrize("max_bytes", [1, 10_000, 64 << 20])
@pytest.mark.parametrize("first_pixel", [0, rigaku.PIXEL_OFFSET])
def test_six_modules_are_one_detector(tmp_path: Path, first_pixel: int, max_bytes: int) -> None:
    paths = [tmp_path / f"A1.bin.00{module}" for module in range(N_MODULES)]
    write_rigaku3m(paths, frames(), first_pixel=first_pixel)
    with open_raw(paths) as series:
        assert (series.info.format, series.info.shape, series.info.n_recorded) == ("rigaku3m", SHAPE, N_FRAMES)
        assert read(series, 0, N_FRAMES, max_bytes) == expected()
        assert read(series, 3, 7, max_bytes) == expected()[3:7]
        assert read(series, 10, 20, max_bytes) == [*expected()[10:], *({} for _ in range(8))]


@pytest.mark.parametrize("given", [0, 3])
def test_any_one_file_brings_the_others(modules: list[Path], given: int) -> None:
    with open_raw(modules[given]) as series:
        assert list(series.info.files) == modules
        assert read(series, 0, N_FRAMES) == expected()


def test_a_module_that_ends_early_saw_nothing_more(modules: list[Path]) -> None:
    with open_raw(modules) as series:
        assert series.info.extra["first_module_to_end_frames"] == 9
        assert series.info.n_recorded == N_FRAMES


def test_the_panels_lie_as_they_are_numbered_and_gaps_are_no_good_pixels(modules: list[Path]) -> None:
    corners = [int(module_place(module)[0]) for module in ORDER]
    assert [divmod(corner, SHAPE[1]) for corner in corners] == [
        (0, 0),
        (0, 1076),
        (582, 0),
        (582, 1076),
        (1164, 0),
        (1164, 1076),
    ]
    with open_raw(modules) as series:
        good = series.info.good_pixels
    assert good is not None
    assert int(good.sum()) == N_MODULES * 512 * 1024
    assert not good[512:582].any()
    assert not good[:, 1024:1076].any()


@pytest.mark.parametrize("lost", [0, 4])
def test_a_missing_module_is_named(modules: list[Path], lost: int) -> None:
    modules[lost].unlink()
    others = [path for path in modules if path != modules[lost]]
    for given in (others, others[:1]):
        with pytest.raises(RawDataError, match=rf"1 of the six module files missing: \.bin\.00{lost}"):
            open_raw(given)


def test_modules_of_two_runs_are_refused(modules: list[Path]) -> None:
    other = modules[5].rename(modules[5].with_name("A2.bin.005"))
    with pytest.raises(RawDataError, match=r"'A2\.bin\.005' is no module file of the run"):
        open_raw([*modules[:5], other])


def test_a_pixel_outside_a_module_is_refused(modules: list[Path]) -> None:
    word = (np.uint64(N_FRAMES) << 40) | np.uint64((rigaku.PIXEL_OFFSET + 512 * 1024) << 16) | np.uint64(1)
    with modules[1].open("ab") as file:
        file.write(np.array([word], "<u8").tobytes())
    with pytest.raises(RawDataError, match="no photon events") as caught:
        open_raw(modules)
    assert caught.value.where == str(modules[1])


def test_frames_that_go_backwards_are_refused_with_module_and_byte(modules: list[Path]) -> None:
    words = np.frombuffer(modules[3].read_bytes(), "<u8")
    modules[3].write_bytes(np.concatenate([words, words[:1]]).astype("<u8").tobytes())
    with pytest.raises(RawDataError) as caught:
        open_raw(modules)
    assert str(modules[3]) in caught.value.where


def test_the_golden_run_has_the_golden_results_pattern(shared_data: Path) -> None:
    folder = shared_data / "golden" / "rigaku3m"
    (result,) = (folder / "boost_corr_result").glob("*.hdf")
    with open_raw(sorted(folder.glob("*.bin.00?"))) as series:
        assert series.info.n_recorded == 400  # its name says 500
        total = np.zeros(SHAPE[0] * SHAPE[1])
        for chunk in series.chunks(0, 400, max_bytes=1 << 22):
            assert isinstance(chunk, Events)
            total += np.bincount(chunk.pixel, chunk.count, total.size)
    with h5py.File(result, "r") as file:
        pattern = file["/xpcs/temporal_mean/scattering_2d"][0]
    seen = pattern > 0
    assert seen.sum() > 4000
    np.testing.assert_allclose((total / 400).reshape(SHAPE)[seen], pattern[seen], rtol=1e-5)
