"""A beamline that anything may happen to, in any order: no file goes below its copies, and nothing untrue is told."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from xpcs_assets_tests.faults.state_machine.machine import CopiesMachine

PROFILE = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False)
# The same walks every time: what a change breaks is not left to chance. The long one is new each time.
SHORT = settings(PROFILE, max_examples=20, stateful_step_count=25, derandomize=True)
LONG = settings(PROFILE, max_examples=1000, stateful_step_count=40)
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


def walk(profile: settings) -> None:
    CopiesMachine.tally.clear()
    run_state_machine_as_test(CopiesMachine, settings=profile)
    assert CopiesMachine.tally["files removed"] > profile.max_examples / 4
    assert [name for name in MUST_HAPPEN if not CopiesMachine.tally[name]] == []


def test_whatever_happens_enough_good_copies_remain() -> None:
    walk(SHORT)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_whatever_happens_for_long_enough_good_copies_remain() -> None:
    walk(LONG)
