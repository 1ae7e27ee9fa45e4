"""A beamline whose staged copies, further copies and results say who may read them, by groups known by number."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.places.access import Principal
from xpcs_assets.places.posix_access import ATTRIBUTE
from xpcs_assets.stage.further import copy_further
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import Altered, bare_run

OWN, STAFF, OTHER = (Principal("group", number) for number in ("64301", "64302", "64303"))
ACCESS = {"groups": "64{group}", "staff": ["64302"]}


@pytest.fixture
def guarded(altered: Altered, tmp_path: Path) -> OpenBeamline:
    """A beamline with two guarded places; no run yet."""
    return opened(altered, tmp_path)


def opened(altered: Altered, tmp_path: Path, owner: dict[str, Any] | None = None) -> OpenBeamline:
    """That beamline, with runs of another owner."""
    (tmp_path / "mirror").mkdir(exist_ok=True)
    try:
        os.setxattr(tmp_path / "mirror", ATTRIBUTE, os.getxattr(tmp_path / "mirror", ATTRIBUTE))
    except OSError as error:
        if error.errno == 95:
            pytest.skip("the file system has no access lists")
    mirror = {"kind": "posix", "root": str(tmp_path / "mirror"), "access": ACCESS}
    return altered(
        {
            "places": {"store": {"access": ACCESS}, "mirror": mirror},
            "pipeline": {"copies": ["mirror"]},
            "runs": {"owner": owner or {"proposal": "P-1", "groups": ["301"]}},
        }
    )


def copied(beamline: OpenBeamline, name: str = "A001") -> str:
    """Take a run, stage it and copy it further; its key."""
    key = submit(beamline, bare_run(beamline.source_root / name), as_is=True).key
    take(beamline, key)
    stage(beamline, key)
    copy_further(beamline, key, "mirror")
    return key
