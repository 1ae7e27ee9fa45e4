"""A further copy killed at every system call and commit; then made again by a fresh process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import LEASE_S, OpenBeamline
from xpcs_assets.copies.ledger import CopyState, Evidence
from xpcs_assets.stage.further import FurtherCopy, copy_further
from xpcs_assets.stage.staging import stage
from xpcs_assets.testing.faults import partials_below
from xpcs_assets_tests.faults.everywhere import everywhere
from xpcs_assets_tests.faults.test_archive_faults import KILLS, Ends, opened, site_below
from xpcs_assets_tests.unit.conftest import bare_run

RAW = "xpcs/A001/v1/raw"


def copied(beamline: OpenBeamline) -> None:
    assert isinstance(copy_further(beamline, "A001", "mirror"), FurtherCopy)


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path not in partials_below(folder)}


@pytest.mark.parametrize("ends", KILLS)
def test_a_further_copy_killed_anywhere_is_made_once_and_whole(quick_folder: Path, ends: Ends) -> None:
    start = site_below(quick_folder)
    (start / "mirror").mkdir()
    file = start / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text())
    content["places"]["mirror"] = {"kind": "posix", "root": "mirror", "failure_domain": "another town"}
    content["pipeline"]["copies"] = ["mirror"]
    file.write_text(yaml.safe_dump(content))
    with opened(start) as beamline:
        submit(beamline, bare_run(beamline.source_root / "A001"))
        take(beamline, "A001")
        stage(beamline, "A001")
        for name in beamline.settings.places:
            beamline.place(name)  # met before, as at any site that runs
        expected = files(beamline.root("store") / RAW)
    claimed = 0
    for killed in everywhere(start, cast("Any", None), ends(copied), at_least=15):
        with opened(killed.root, waited_s=LEASE_S + 1) as beamline:
            mirror = beamline.root("mirror")
            assert files(mirror / RAW).items() <= expected.items(), "a final name has other bytes than it should have"
            assert len(partials_below(mirror)) <= 1
            recorded = [copy for copy in beamline.ledger.copies("xpcs", "A001") if copy.place == "mirror"]
            if recorded or (mirror / "xpcs/A001/v1/manifest.json").exists():
                assert files(mirror / RAW) == expected, "it is called a copy and is none"
            claimed += len(recorded)
            copied(beamline)
            assert files(mirror / RAW) == expected
            assert partials_below(mirror) == ()
            (copy,) = [copy for copy in beamline.ledger.copies("xpcs", "A001") if copy.place == "mirror"]
            assert (copy.state, copy.evidence) == (CopyState.PRESENT, Evidence.READ_BACK)
            assert files(beamline.root("store") / RAW) == expected
    assert claimed, "no kill fell behind the ledger's commit"
