"""Files and small pictures of figures."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xpcs_assets.errors import CopyError
from xpcs_assets.plot import figures
from xpcs_assets.plot.thumbnails import LIMIT_BYTES, markdown_image, png, save_all, thumbnail
from xpcs_assets_tests.made_results import make_result

NAMES = ["scattering", "saxs_1d", "intensity_vs_time", "g2", "tau_q"]


def test_every_thumbnail_is_a_picture_below_the_limit(tmp_path: Path) -> None:
    result = make_result(n_q=12, n_phi=2)
    _, small = save_all(result, tmp_path, result.fit(), None)
    assert list(small) == NAMES
    for name, picture in small.items():
        assert len(picture) < LIMIT_BYTES, name
        assert Image.open(io.BytesIO(picture)).width >= 500, name


def test_a_noisy_picture_is_made_small_enough() -> None:
    result = make_result()
    noise = np.random.default_rng(0).lognormal(0, 3, result.mask.shape).astype(np.float32).repeat(9, 0).repeat(9, 1)
    mask = np.ones(noise.shape, bool)
    maps = {name: getattr(result, name).repeat(9, 0).repeat(9, 1) for name in ("dynamic_map", "static_map")}
    figure = figures.scattering(replace(result, scattering_2d=noise, mask=mask, **maps))
    small, smaller = thumbnail(png(figure)), thumbnail(png(figure), 20_000)
    assert len(smaller) < 20_000 < len(small) < LIMIT_BYTES
    assert Image.open(io.BytesIO(smaller)).width < Image.open(io.BytesIO(small)).width


def test_a_limit_that_cannot_be_met_gives_the_smallest_picture() -> None:
    assert Image.open(io.BytesIO(thumbnail(png(figures.intensity_vs_time(make_result())), 10))).width == 160


def test_the_inline_picture_holds_the_very_bytes() -> None:
    picture = thumbnail(png(figures.intensity_vs_time(make_result())))
    found = re.fullmatch(r"!\[I\(t\)\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", markdown_image(picture, "I(t)"))
    assert found
    assert base64.b64decode(found[1]) == picture


def test_every_figure_becomes_a_file_and_no_partial_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PANELS_A_PAGE", 2)
    result = make_result(n_q=3)
    paths, _ = save_all(result, tmp_path / "plots", result.fit(), None)
    assert list(paths) == [*NAMES, "g2_page_1", "g2_page_2"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(f"{name}.png" for name in paths)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths.values())


def test_drawing_again_gives_the_same_bytes_and_replaces_the_files(tmp_path: Path) -> None:
    result = make_result(n_q=1)
    first = {name: path.read_bytes() for name, path in save_all(result, tmp_path, result.fit(), None)[0].items()}
    again = {name: path.read_bytes() for name, path in save_all(result, tmp_path, result.fit(), None)[0].items()}
    assert again == first


def test_another_result_replaces_the_plots_in_the_folder(tmp_path: Path) -> None:
    first = make_result(n_q=1)
    paths, _ = save_all(first, tmp_path, first.fit(), None)
    before = paths["g2"].read_bytes()
    other = make_result(n_q=1, seed=2)
    save_all(other, tmp_path, other.fit(), None)
    assert paths["g2"].read_bytes() != before


def test_a_folder_that_cannot_be_made_is_a_copy_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    result = make_result(n_q=1)
    with pytest.raises(CopyError, match="taken"):
        save_all(result, tmp_path / "taken", result.fit(), None)


def test_no_date_or_version_is_in_the_file() -> None:
    assert set(Image.open(io.BytesIO(png(figures.intensity_vs_time(make_result())))).info) <= {"dpi"}
