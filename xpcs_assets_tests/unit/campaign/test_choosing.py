"""The members of a campaign: runs that were taken, by what their paths say."""

from __future__ import annotations

import shutil

import pytest

from xpcs_assets.arrive.candidates import fields_of
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.campaign.choosing import chosen
from xpcs_assets.errors import SettingsError
from xpcs_assets.runs.selection import Selection
from xpcs_assets_tests.unit.conftest import Altered


def test_all_runs_that_were_taken_are_meant_in_the_order_of_their_paths(
    beamline: OpenBeamline, runs: tuple[str, ...]
) -> None:
    assert chosen(beamline, Selection()) == runs


def test_a_run_whose_source_was_pruned_is_a_member_all_the_same(beamline: OpenBeamline, runs: tuple[str, ...]) -> None:
    shutil.rmtree(beamline.source_root / "A002")
    assert chosen(beamline, Selection.of(numbers="2-9", fields=["run=A*"])) == ("A002", "A003")


def test_a_field_that_paths_do_not_have_is_refused(beamline: OpenBeamline, runs: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match=r"have no cycle"):
        chosen(beamline, Selection.of(fields=["cycle=2025-1"]))


def test_the_fields_of_a_path_are_those_of_the_pattern(altered: Altered) -> None:
    settings = altered({"runs": {"from": {"path": "{cycle}/x_{run}/"}}}).settings
    assert fields_of(settings, "2025-1/x_A001") == {"cycle": "2025-1", "run": "A001"}
    assert [fields_of(settings, path) for path in ("2025-1/A001", "2025-1", "2025-1/x_A/b")] == [{}, {}, {}]
