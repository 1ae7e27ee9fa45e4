"""A place that is a folder, where the contract of all places does not say enough."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from xpcs_assets.errors import NotFoundError, NotVerifiedError, RemovalRefusedError
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.runs.folders import ASIDE_FOLDER
from xpcs_assets.testing.faults import Fault, FaultySyscalls


def test_settling_syncs_every_folder_above_the_files_and_follows_no_link(tmp_path: Path) -> None:
    fault = Fault()
    place = PosixPlace("disk", tmp_path, calls=FaultySyscalls(fault))
    for path in ("a/b/x", "a/c/y", "z"):
        place.put(path, [b"data"])
    fault.steps.clear()
    place.settle(["a/b/x", "a/c/y", "z"])
    assert fault.steps.count("fsync") == 4  # the root, a, b and c
    (tmp_path / "a" / "link").symlink_to(tmp_path)
    with pytest.raises(NotVerifiedError, match="through a link"):
        place.settle(["a/link/z"])
    with pytest.raises(NotFoundError):
        place.settle(["gone/z"])


class Asked:
    """A permit that notes when it was asked, among the calls of the system; refuses from the ``refuses``-th time on."""

    def __init__(self, fault: Fault, refuses: int = 10) -> None:
        self.steps, self.left = fault.steps, refuses

    def allow(self, place: str, path: str) -> None:
        self.left -= 1
        if not self.left:
            raise RemovalRefusedError("not any more")
        self.steps.append("asked")


def test_f41_the_permit_is_asked_right_before_a_name_goes(tmp_path: Path) -> None:
    fault = Fault()
    place = PosixPlace("disk", tmp_path, calls=FaultySyscalls(fault))
    for path in ("a/removed", "a/moved", "a/taken", f"{ASIDE_FOLDER}/label/a/taken"):
        place.put(path, [b"data"])
    for act, then in (
        (lambda: place.remove("a/removed", Asked(fault)), ["unlink"]),
        (lambda: place.set_aside("a/moved", "label", Asked(fault)), ["link"]),
        (lambda: place.set_aside("a/taken", "label", Asked(fault)), ["link", "unlink"]),  # the same bytes are there
    ):
        fault.steps.clear()
        act()
        assert [after for asked, after in pairwise(fault.steps) if asked == "asked"] == then


def test_f41_a_permit_that_ends_while_bytes_are_compared_keeps_the_name(tmp_path: Path) -> None:
    place = PosixPlace("disk", tmp_path)
    for path in ("a", f"{ASIDE_FOLDER}/label/a"):
        place.put(path, [b"data"])
    with pytest.raises(RemovalRefusedError):
        place.set_aside("a", "label", Asked(Fault(), refuses=2))
    assert (tmp_path / "a").read_bytes() == b"data"
