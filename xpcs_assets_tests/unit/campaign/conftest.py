"""Runs to make campaigns of, and what an analysis of one leaves in the ledger."""

from __future__ import annotations

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.campaign.campaign import Campaign, begin
from xpcs_assets_tests.unit.conftest import bare_run

RUNS = ("A001", "A002", "A003", "A010")


@pytest.fixture
def runs(beamline: OpenBeamline) -> tuple[str, ...]:
    for name in RUNS:
        submit(beamline, bare_run(beamline.source_root / name))
        take(beamline, name)
    return RUNS


@pytest.fixture
def campaign(beamline: OpenBeamline, runs: tuple[str, ...]) -> Campaign:
    made = Campaign("wide", runs, {"stride": 2}, at_once=2)
    begin(beamline, made, "a scientist")
    return made


def note_steps(beamline: OpenBeamline, run: str, *ended: str, name: str = "wide") -> None:
    """What the assets of an analysis note: ``correlation``, or ``correlation: why it failed``."""
    for step in ended:
        asset, _, why = step.partition(": ")
        what = f"failed: {why}" if why else "done"
        beamline.ledger.note("xpcs", run, asset, what, {"partition": f"{run}~{name}"})


ALL_DONE = ("correlation", "plots", "result_entry")
