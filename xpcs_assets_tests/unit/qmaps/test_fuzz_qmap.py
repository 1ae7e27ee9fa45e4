"""Q-maps of both layouts with bytes flipped, and with datasets gone, of another type or another shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcs_assets.errors import QmapError
from xpcs_assets.qmaps.qmap import read_qmap, write_qmap
from xpcs_assets_tests.unit.qmaps.test_qmap_old import partition, write_old
from xpcs_assets_tests.unit.readers.test_fuzz import FUZZ, file_of
from xpcs_assets_tests.unit.readers.test_fuzz import little_memory as little_memory

LAYOUTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "today": ("qmap", lambda path: write_qmap(path, partition())),
    "old": ("data", lambda path: write_old(path, partition())),
}
VALUES = [
    np.zeros((0,)),
    np.zeros((0, 0), np.uint32),
    np.full((40, 60), 1 << 31, np.uint32),
    np.full((1, 1), np.iinfo(np.uint64).max),
    np.full((40, 60), -1),
    np.full((40, 60), np.nan),
    np.ones((60, 40), np.uint8),
    np.arange(3.0),
    np.array([b"q", b"phi"]),
    h5py.Empty("f8"),
    h5py.Empty("S3"),
    "text",
    np.nan,
    np.inf,
    1 << 40,
    np.ones(2, [("a", "f4"), ("b", "i2")]),
    np.zeros((2, 2, 2), np.complex128),
    True,
]

pytestmark = pytest.mark.usefixtures("little_memory")
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def whole(layout: str) -> bytes:
    with file_of("a.hdf", b"") as path:
        path.unlink()
        LAYOUTS[layout][1](path)
        return path.read_bytes()


WHOLE = {layout: whole(layout) for layout in LAYOUTS}


def names(layout: str) -> list[str]:
    with file_of("a.hdf", WHOLE[layout]) as path, h5py.File(path) as file:
        return sorted(file[LAYOUTS[layout][0]])


NAMES = {layout: names(layout) for layout in LAYOUTS}


def refused_or_sound(path: Path) -> None:
    refused = None
    try:
        qmap = read_qmap(path)
    except QmapError as error:
        refused = error
    if refused is not None:
        assert str(path) in refused.where
        assert refused.remedy
        return
    assert qmap.n_dynamic == int(qmap.dynamic.max())
    assert qmap.n_static == int(qmap.static.max())


@every_layout
def test_the_whole_files_are_sound(layout: str) -> None:
    with file_of("a.hdf", WHOLE[layout]) as path:
        assert read_qmap(path).n_static == 24


@every_layout
@FUZZ
@given(data=st.data())
def test_datasets_gone_or_of_another_kind(layout: str, data: st.DataObject) -> None:
    changes = data.draw(
        st.lists(st.tuples(st.sampled_from(NAMES[layout]), st.sampled_from([None, *VALUES])), min_size=1, max_size=3)
    )
    with file_of("a.hdf", WHOLE[layout]) as path:
        with h5py.File(path, "a") as file:
            group = file[LAYOUTS[layout][0]]
            for name, value in changes:
                if name in group:
                    del group[name]
                if value is not None:
                    group[name] = value
        refused_or_sound(path)


@every_layout
@FUZZ
@given(data=st.data())
def test_numbers_changed_within_the_arrays(layout: str, data: st.DataObject) -> None:
    with file_of("a.hdf", WHOLE[layout]) as path:
        with h5py.File(path, "a") as file:
            group = file[LAYOUTS[layout][0]]
            numeric = [name for name in NAMES[layout] if getattr(group[name], "dtype", np.dtype("S")).kind in "iuf"]
            values = group[data.draw(st.sampled_from(numeric))]
            at = data.draw(st.integers(0, values.size - 1))
            array = values[()]
            number = data.draw(st.sampled_from([0, 1, 3, 7, 100, 255]) | st.integers(0, 24))
            np.asarray(array).reshape(-1)[at : at + 1] = number
            values[...] = array
        refused_or_sound(path)


@every_layout
@FUZZ
@given(data=st.data())
def test_flipped_and_missing_bytes(layout: str, data: st.DataObject) -> None:
    content = bytearray(WHOLE[layout])
    position = st.integers(0, 4000) | st.integers(0, len(content) - 1)
    for at, value in data.draw(st.lists(st.tuples(position, st.integers(0, 255)), min_size=1, max_size=6)):
        content[at] = value
    kept = data.draw(st.just(len(content)) | st.integers(0, len(content)))
    with file_of("a.hdf", bytes(content[:kept])) as path:
        refused_or_sound(path)


def test_each_dataset_alone_of_each_kind() -> None:
    for layout, (group, _) in LAYOUTS.items():
        for name in NAMES[layout]:
            for value in VALUES:
                with file_of("a.hdf", WHOLE[layout]) as path:
                    with h5py.File(path, "a") as file:
                        del file[group][name]
                        file[group][name] = value
                    refused_or_sound(path)
