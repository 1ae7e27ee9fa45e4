"""A beamline that anything may happen to, in any order: no file goes below its copies, and nothing untrue is told."""

from __future__ import annotations

import secrets
from contextlib import nullcontext

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from xpcs_assets.runs.manifest import Manifest
from xpcs_assets_tests.faults.state_machine.machine import CopiesMachine
from xpcs_assets_tests.faults.state_machine.oracle import ViolationError
from xpcs_assets_tests.faults.state_machine.world import Spec, Word

PROFILE = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False)
# The same walks every time: what a change breaks is not left to chance. They are as few as have all happen that must;
# the long ones are new each time.
SHORT = settings(PROFILE, max_examples=16, stateful_step_count=25, derandomize=True)
LONG = settings(PROFILE, max_examples=250, stateful_step_count=40)
LONG_WALKS = 4
MUST_HAPPEN = (
    "prune done",
    "prune refused",
    "killed:prune done",
    "stopped:prune refused",
    "two-pruners done",
    "stage_newest done",
    "archive_run done",
    "audit_all done",
)


def walk(machine: type[CopiesMachine], profile: settings) -> None:
    CopiesMachine.tally.clear()
    run_state_machine_as_test(machine, settings=profile)
    assert CopiesMachine.tally["files removed"] > profile.max_examples / 4
    assert [name for name in MUST_HAPPEN if not CopiesMachine.tally[name]] == []


@pytest.fixture
def start() -> int:
    """Where the choice of steps begins; pytest shows it beside a walk that failed, so that it can be gone again."""
    return secrets.randbits(32)


@pytest.mark.timeout(900)  # half a minute where nothing else runs
def test_whatever_happens_enough_good_copies_remain() -> None:
    walk(CopiesMachine, SHORT)


# In parts, so that they share the cores. An example takes one to two seconds; a part must be long for all to happen.
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(LONG_WALKS))
def test_whatever_happens_for_long_enough_good_copies_remain(part: int, start: int) -> None:
    machine = type(CopiesMachine.__name__, (CopiesMachine,), {})
    walk(seed(start)(machine), LONG)


@pytest.mark.parametrize("mended", ["mended", "not mended"])
def test_a_rotten_manifest_is_mended_and_one_that_is_made_rotten_is_noticed(
    mended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, soon = CopiesMachine(), Word(keep_for_s=1, min_copies=1, needs_archive=False, trash_for_s=0)
    domains = {"detector": "hall", "disk": "room", "mirror": "cellar", "tape": "vault"}
    try:
        state.begin(spec=Spec(domains, {"detector": soon, "mirror": soon, "disk": soon}, gathers=True), due=True)
        state.corrupt(place="mirror", number=21, how="flip")
        state.wait_until_all_is_due()
        state.corrupt(place="mirror", number=3, how="delete")
        state.wait_until_all_is_due()
        state.care(name="scrub_all", run="12")
        if mended == "not mended":
            monkeypatch.setattr(Manifest, "to_json", lambda self: "{}")
        with nullcontext() if mended == "mended" else pytest.raises(ViolationError):
            state.care(name="mend_run", run="12")
    finally:
        state.teardown()
