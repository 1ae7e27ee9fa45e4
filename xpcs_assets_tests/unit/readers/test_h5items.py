from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.h5items import Items


@pytest.fixture
def items(tmp_path: Path) -> Iterator[Items]:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["/entry/one"] = 2.5
        file["/entry/jittering"] = np.array([1.0, 1.0004, 0.9996])
        file["/entry/scanned"] = np.array([1.0, 2.0])
        file["/entry/nan"] = np.nan
        file["/entry/fixed"] = np.bytes_(b"fixed text")
        file["/entry/long"] = "a text of any length"
        file["/entry/image"] = np.eye(3)
        file["/entry/soft"] = h5py.SoftLink("/entry/one")
        file["/entry/beside"] = h5py.SoftLink("one")
        file["/entry/loop"] = h5py.SoftLink("/entry/loop")
        file["/entry/nowhere"] = h5py.SoftLink("/entry/gone")
        file["/entry/other"] = h5py.ExternalLink("b.h5", "/x")
        file["/entry/hidden"] = h5py.SoftLink("/entry/other")
    with h5py.File(path, "r", locking=False) as file:
        yield Items(file, path, RawDataError, "Copy it anew")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("one", 2.5),
        ("soft", 2.5),
        ("beside", 2.5),
        ("jittering", 1.0),
        ("scanned", None),
        ("nan", None),
        ("fixed", None),
        ("gone", None),
        ("nowhere", None),
        ("one/below", None),
    ],
)
def test_a_number_is_one_value_or_a_list_of_the_same(items: Items, name: str, value: float | None) -> None:
    assert items.number(f"/entry/{name}") == (None if value is None else pytest.approx(value))


def test_the_first_path_that_has_a_number_counts(items: Items) -> None:
    assert items.number("/entry/gone", "/entry/scanned", "/entry/one") == 2.5


@pytest.mark.parametrize("name", ["other", "hidden"])
def test_a_link_into_another_file_is_refused(items: Items, name: str) -> None:
    with pytest.raises(RawDataError, match=r"/entry/other leads into another file, 'b\.h5'"):
        items.get(f"/entry/{name}")


def test_a_link_that_leads_to_itself_is_refused(items: Items) -> None:
    with pytest.raises(RawDataError, match="without end"):
        items.get("/entry/loop")


def test_texts_of_both_kinds_are_read(items: Items) -> None:
    assert items.text("/entry/fixed") == "fixed text"
    assert items.text("/entry/gone", "/entry/one", "/entry/long") == "a text of any length"
    assert items.text("/entry/one") == ""


def test_an_image_is_read_in_its_shape_only(items: Items) -> None:
    found = items.image("/entry/image", (3, 3))
    assert found is not None
    np.testing.assert_array_equal(found, np.eye(3))
    assert items.image("/entry/image", (3, 4)) is None
    assert items.image("/entry/fixed", (3, 3)) is None


def test_groups_and_datasets_are_told_apart(items: Items) -> None:
    assert items.group("/entry") is not None
    assert items.dataset("/entry") is None
    assert items.group("/entry/one") is None
