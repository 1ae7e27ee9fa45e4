"""Files become OrigDatablocks within limits, once; pictures become small data URLs of their own kind."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xpcs_assets.catalog.dataset import Picture
from xpcs_assets.catalog.scicat_files import blocks, data_url, plan
from xpcs_assets.errors import CatalogError
from xpcs_assets.runs.manifest import FileEntry
from xpcs_assets_tests.scicat import entries, picture


def held(files: tuple[FileEntry, ...], name: str = "1", **changes: Any) -> dict[str, Any]:
    (body,) = blocks(files, most_files=10**6, most_bytes=10**9)
    return {**body, "_id": name, "createdAt": f"2026-05-0{name}T00:00:00Z", **changes}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 60), st.integers(1, 9), st.integers(200, 3000))
def test_blocks_hold_every_file_once_within_the_limits(number: int, most_files: int, most_bytes: int) -> None:
    files = entries(*range(number))
    made = list(blocks(files, most_files=most_files, most_bytes=most_bytes))
    listed = [one for block in made for one in block["dataFileList"]]
    assert [one["path"] for one in listed] == [entry.path for entry in files]
    assert all(len(block["dataFileList"]) <= most_files for block in made)
    assert all(len(json.dumps(block["dataFileList"])) <= most_bytes for block in made)
    assert all(block["size"] == sum(one["size"] for one in block["dataFileList"]) for block in made)


def test_a_file_is_told_with_its_sha256_and_an_aware_time() -> None:
    (block,) = blocks(entries(10), most_files=5, most_bytes=10**6)
    assert block["chkAlg"] == "sha256"
    time = "2026-05-01T12:00:00+00:00"
    assert block["dataFileList"] == [{"path": "f0.h5", "size": 10, "time": time, "chk": f"{0:064x}"}]


def test_a_name_that_fills_a_block_alone_is_refused() -> None:
    with pytest.raises(CatalogError, match="larger than an OrigDatablock"):
        list(blocks([FileEntry("x" * 500, 1, "0" * 64)], most_files=5, most_bytes=300))


def test_nothing_held_is_all_missing_and_all_held_is_done() -> None:
    files = entries(1, 2)
    assert plan([], files, immutable=True, where="p").missing == files
    assert plan([held(files)], files, immutable=True, where="p").done
    assert plan([held(files[:1]), held(files[1:], "2")], files, immutable=True, where="p").done


def test_a_copy_is_stale_whichever_comes_first() -> None:
    files = entries(1, 2)
    both = [held(files, "2"), held(files, "1")]
    assert plan(both, files, immutable=True, where="p").stale == ("2",)
    assert plan(both[::-1], files, immutable=True, where="p").stale == ("2",)


def test_a_block_that_overlaps_is_stale_and_its_other_files_are_missing() -> None:
    files = entries(1, 2, 3)
    found = plan([held(files[:2], "1"), held(files[1:], "2")], files, immutable=True, where="p")
    assert (found.stale, found.missing) == (("2",), files[2:])


def test_other_bytes_are_stale_in_a_result_and_refused_in_raw_data() -> None:
    files = entries(1)
    other = (replace(files[0], sha256="f" * 64),)
    assert plan([held(other)], files, immutable=False, where="p").stale == ("1",)
    with pytest.raises(CatalogError, match="other bytes"):
        plan([held(other)], files, immutable=True, where="p")
    with pytest.raises(CatalogError, match="other bytes"):
        plan([held((replace(files[0], size_bytes=9),), chkAlg="md5")], files, immutable=True, where="p")


def test_another_kind_of_checksum_proves_nothing() -> None:
    files = entries(1)
    assert plan([held(files, chkAlg="md5")], files, immutable=True, where="p").stale == ("1",)


def test_files_that_are_not_ours_and_paths_that_are_twice_there_are_refused() -> None:
    with pytest.raises(CatalogError, match=r"has not \(f1\.h5\)"):
        plan([held(entries(1, 2))], entries(1), immutable=False, where="p")
    with pytest.raises(CatalogError, match="same path"):
        plan([], entries(1) * 2, immutable=False, where="p")


def size_of(url: str) -> tuple[str | None, tuple[int, int]]:
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return image.format, image.size


@pytest.mark.parametrize(("kind", "mime"), [("PNG", "image/png"), ("JPEG", "image/jpeg")])
def test_a_small_picture_is_attached_as_it_is(kind: str, mime: str) -> None:
    made = picture(kind=kind)
    url = data_url(made, 10**6)
    assert url.startswith(f"data:{mime};base64,")
    assert base64.b64decode(url.partition(",")[2]) == made.content


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_large_picture_is_made_smaller_until_it_fits(kind: str) -> None:
    url = data_url(picture(side_px=600, noise=80.0, kind=kind), 40_000)
    assert len(url) <= 40_000
    found, (width, height) = size_of(url)
    assert found == kind
    assert 64 <= width == height < 600


def test_a_picture_with_a_palette_can_be_made_smaller() -> None:
    buffer = io.BytesIO()
    Image.effect_noise((300, 300), 80).convert("P").save(buffer, "PNG")
    assert len(data_url(Picture("p.png", "c", buffer.getvalue()), 60_000)) <= 60_000


def test_a_picture_that_cannot_be_small_enough_is_refused() -> None:
    with pytest.raises(CatalogError, match="made smaller"):
        data_url(picture(side_px=300, noise=80.0), 500)


@pytest.mark.parametrize("content", [b"", b"<svg/>", picture().content[:60], b"GIF89a" + bytes(30)])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(CatalogError, match="cannot be read"):
        data_url(Picture("x.png", "c", content), 10**6)
