"""Folders reached by descriptors: made where they are missing, also while others take empty ones away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xpcs_assets.errors import NotFoundError
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.syscalls import Syscalls


class TakenAway(Syscalls):
    """Another process removes each folder that was made, so many times, before it is opened."""

    def __init__(self, times: int) -> None:
        self.times = times

    def mkdir(self, name: str, folder: int) -> None:
        super().mkdir(name, folder)
        if self.times:
            self.times -= 1
            os.rmdir(name, dir_fd=folder)


def test_a_folder_that_another_takes_away_while_it_is_empty_is_made_again(tmp_path: Path) -> None:
    PosixPlace("disk", tmp_path, calls=TakenAway(2)).put("a/b/x", [b"data"])
    assert (tmp_path / "a" / "b" / "x").read_bytes() == b"data"


def test_a_folder_that_is_always_taken_away_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        PosixPlace("disk", tmp_path, calls=TakenAway(1000)).put("a/x", [b"data"])
    assert list(tmp_path.iterdir()) == []
