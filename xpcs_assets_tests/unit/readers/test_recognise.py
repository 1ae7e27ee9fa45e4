from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.recognise import is_raw_name, is_ufxc, open_raw
from xpcs_assets.testing.scene import Format
from xpcs_assets.testing.simulate import simulate
from xpcs_assets.testing.writers import write_rigaku

FORMATS: tuple[Format, ...] = get_args(Format)


def ufxc_words(n_frames: int = 5000) -> bytes:
    """One photon a frame; the frame number starts anew after 2047."""
    frame, pixel = np.arange(n_frames) % 2048, np.arange(n_frames) * 37 % 32768
    return (frame << 21 | 1 << 15 | pixel).astype("<u4").tobytes()


@pytest.mark.parametrize(
    "name",
    [
        "a.imm",
        "a.bin",
        "a.h5",
        "a.hdf",
        "a.HDF5",
        "50 % µm.imm",
        "a.bin.000",
        "A.BIN.005",
        "a_master.h5",
        "a.edf",
        "a.npy",
    ],
)
def test_names_of_raw_files(name: str) -> None:
    assert is_raw_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "a_metadata.hdf",
        "a_qmap.hdf",
        "a_results.hdf",
        "a.json",
        "a.imm.xpcs-partial",
        "imm",
        "a.bin.006",
        "a_data_000001.h5",
        "a_mask.npy",
    ],
)
def test_names_of_other_files(name: str) -> None:
    assert not is_raw_name(name)


def test_imm_is_found_by_content_whatever_the_name(tmp_path: Path, sparse_imm: Path) -> None:
    with open_raw(sparse_imm.rename(tmp_path / "a.h5")) as series:
        assert series.info.format == "imm"


def test_one_file_may_come_as_a_sequence(sparse_imm: Path) -> None:
    with open_raw([sparse_imm]) as series:
        assert series.info.files == (sparse_imm,)


@pytest.mark.parametrize("n_files", [0, 2])
def test_no_or_several_files_are_refused(sparse_imm: Path, n_files: int) -> None:
    with pytest.raises(RawDataError, match=f"{n_files} files") as caught:
        open_raw([sparse_imm] * n_files)
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["a.imm", "a.bin", "a.h5", "a"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch()
    with pytest.raises(RawDataError, match="0 bytes"):
        open_raw(path)


def test_hdf5_that_is_no_hdf5_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"this is no detector's file\n" * 100)
    with pytest.raises(RawDataError, match="no HDF5 file"):
        open_raw(path)


def test_an_unknown_file_is_refused_with_what_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" * 1000)
    with pytest.raises(RawDataError, match="no raw file of a known format") as caught:
        open_raw(path)
    assert "IMM" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.tpx3", b"\1" * 800, "Timepix"),
        ("a.tpx4", b"\1" * 800, "Timepix"),
        ("a.bin", b"TPX3" + b"\1" * 796, "Timepix"),
        ("a.bin", ufxc_words(), "UFXC"),
        ("a", ufxc_words(), "UFXC"),
        ("a.edf.gz", b"\x1f\x8b" + b"\1" * 798, "gzip"),
    ],
)
def test_formats_that_are_not_read_say_so(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RawDataError, match=reason) as caught:
        open_raw(path)
    assert caught.value.remedy


def test_a_rigaku_file_is_never_taken_for_one_of_ufxc(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_rigaku(path, [(np.arange(40) * 3, np.full(40, 2))] * 20)
    assert not is_ufxc(path.read_bytes())
    with open_raw(path) as series:
        assert series.info.format == "rigaku500k"


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match="no such file"):
        open_raw(tmp_path / "gone.imm")
    with pytest.raises(RawDataError, match="no regular file"):
        open_raw(tmp_path)


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "a.imm"
    os.mkfifo(path)
    with pytest.raises(RawDataError, match="no regular file"):
        open_raw(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_refused(sparse_imm: Path) -> None:
    sparse_imm.chmod(0)
    with pytest.raises(RawDataError, match="cannot be opened"):
        open_raw(sparse_imm)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_simulated_format_is_found_without_its_name(tmp_path: Path, kind: Format) -> None:
    if kind == "rigaku3m":
        pytest.skip("six files are one run by their names")
    run = simulate(tmp_path, format=kind, frames=40, shape=None if kind == "rigaku500k" else (64, 72))
    with open_raw(run.raw) as series:
        by_name = series.info.format
    with open_raw(run.raw.rename(run.raw.with_name("without a suffix"))) as series:
        assert series.info.format == by_name


def test_files_of_several_runs_are_refused(tmp_path: Path, sparse_imm: Path, dense_imm: Path) -> None:
    with pytest.raises(RawDataError, match="2 files"):
        open_raw([sparse_imm, dense_imm])
