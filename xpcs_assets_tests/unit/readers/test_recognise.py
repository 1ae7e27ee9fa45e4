from __future__ import annotations

import os
from pathlib import Path

import pytest

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.recognise import is_raw_name, open_raw


@pytest.mark.parametrize("name", ["a.imm", "a.bin", "a.h5", "a.hdf", "a.HDF5", "50 % µm.imm"])
def test_names_of_raw_files(name: str) -> None:
    assert is_raw_name(name)


@pytest.mark.parametrize(
    "name", ["a_metadata.hdf", "a_qmap.hdf", "a_results.hdf", "a.json", "a.imm.xpcs-partial", "imm", "a.bin.000"]
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


@pytest.mark.parametrize(("name", "reason"), [("a.2.bin.000", "Rigaku 3M"), ("a.tpx3", "Timepix")])
def test_formats_that_are_not_read_say_so(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\1" * 800)
    with pytest.raises(RawDataError, match=reason) as caught:
        open_raw(path)
    assert caught.value.remedy


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


def test_the_golden_rigaku_modules_are_refused_by_name(shared_data: Path) -> None:
    modules = sorted((shared_data / "golden" / "rigaku3m").glob("*.bin.00?"))
    assert len(modules) == 6
    with pytest.raises(RawDataError, match="6 files"):
        open_raw(modules)
    with pytest.raises(RawDataError, match="Rigaku 3M"):
        open_raw(modules[0])
