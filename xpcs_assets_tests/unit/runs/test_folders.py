"""Where the parts of a run lie, and how long its copies stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpcs_assets.errors import SettingsError
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.runs.retention import Retention

FOLDER = VersionFolder(Path("/store"), "xpcs", "A=20b", 2)


def test_each_version_has_a_folder_of_its_own_below_its_run() -> None:
    assert FOLDER.path == Path("/store/xpcs/A=20b/v2")
    assert VersionFolder(Path("/store"), "xpcs", "A=20b", 1).path != FOLDER.path
    assert FOLDER.run == FOLDER.path.parent


def test_manifest_record_and_results_lie_beside_the_raw_files() -> None:
    parts = [FOLDER.manifest, FOLDER.raw, FOLDER.record, FOLDER.result("ab12"), FOLDER.plots("ab12")]
    assert all(part.is_relative_to(FOLDER.path) and not part.is_relative_to(FOLDER.raw / "x") for part in parts)
    assert FOLDER.result("ab12").name == "A=20b_results.hdf"
    assert FOLDER.report("ab12") == FOLDER.result("ab12").with_suffix(".json")


def test_the_report_of_a_key_with_dots_keeps_the_whole_key() -> None:
    dotted = VersionFolder(Path("/store"), "xpcs", "Strain2.04mm.x", 1)
    assert dotted.report("ab12").name == "Strain2.04mm.x_results.json"


@pytest.mark.parametrize(("keep_for_s", "min_copies"), [(0, 1), (-1, 1), (float("nan"), 1), (60, 0)])
def test_a_retention_that_protects_nothing_cannot_be_made(keep_for_s: float, min_copies: int) -> None:
    with pytest.raises(SettingsError):
        Retention(keep_for_s, min_copies)
