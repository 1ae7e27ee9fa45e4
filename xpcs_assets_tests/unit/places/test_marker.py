"""The marker in a place's root: one, whole, and never replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xpcs_assets.errors import CopyError, NotVerifiedError
from xpcs_assets.places.marker import Marker, leave_marker, read_marker
from xpcs_assets.places.syscalls import Syscalls
from xpcs_assets.runs.folders import MARKER

OURS, OTHERS = Marker("0f" * 16, "here", "now"), Marker("e1" * 16, "there", "then")


def test_what_is_left_is_read_back(tmp_path: Path) -> None:
    assert read_marker(tmp_path) is None
    assert (leave_marker(tmp_path, OURS), read_marker(tmp_path)) == (OURS, OURS)
    assert json.loads((tmp_path / MARKER).read_text())["format"] == "xpcs-assets place 1"


def test_each_new_identity_is_another() -> None:
    drawn = {Marker.new("here", "now").identity for _ in range(50)}
    assert len(drawn) == 50
    assert {len(identity) for identity in drawn} == {32}


def test_a_marker_that_is_there_stays(tmp_path: Path) -> None:
    leave_marker(tmp_path, OTHERS)
    assert (leave_marker(tmp_path, OURS), read_marker(tmp_path)) == (OTHERS, OTHERS)


def test_of_two_that_come_at_once_the_first_is_taken_by_both(tmp_path: Path) -> None:
    class Racing(Syscalls):
        def link(self, existing: str, name: str, folder: int, new_folder: int) -> None:
            leave_marker(tmp_path, OTHERS)
            super().link(existing, name, folder, new_folder)

    assert (leave_marker(tmp_path, OURS, Racing()), read_marker(tmp_path)) == (OTHERS, OTHERS)
    assert [path.name for path in tmp_path.iterdir()] == [MARKER]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        json.dumps({"identity": "0f" * 16}),
        OURS.to_json().replace("0f0f", "zzzz"),
        OURS.to_json().replace("0f0f", "0f"),
        OURS.to_json().replace("place 1", "place 2"),
    ],
)
def test_a_damaged_marker_is_an_error_and_never_an_absence(tmp_path: Path, text: str) -> None:
    (tmp_path / MARKER).write_text(text)
    for asking in (lambda: read_marker(tmp_path), lambda: leave_marker(tmp_path, OURS)):
        with pytest.raises(NotVerifiedError, match="marker"):
            asking()
    assert (tmp_path / MARKER).read_text() == text


def test_a_folder_that_is_not_there_has_no_marker_to_speak_of(tmp_path: Path) -> None:
    for asking in (lambda: read_marker(tmp_path / "no"), lambda: leave_marker(tmp_path / "no", OURS)):
        with pytest.raises(CopyError, match=r"root is not there\. Mount its disk"):
            asking()
    assert list(tmp_path.iterdir()) == []
