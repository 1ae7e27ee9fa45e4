"""A place that is a folder, where the contract of all places does not say enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpcs_assets.errors import NotFoundError, NotVerifiedError
from xpcs_assets.places.posix import PosixPlace
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
