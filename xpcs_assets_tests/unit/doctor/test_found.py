"""Running probes: side by side, each within its time, and whatever they raise is a line."""

from __future__ import annotations

import threading

import pytest

from xpcs_assets.doctor.found import Found, Probe, Said, State, look_at_all, ok, skipped
from xpcs_assets.errors import CopyError


def fails(error: Exception) -> Probe:
    def look() -> Said:
        raise error

    return Probe("it", look)


def one(probe: Probe) -> Found:
    (found,) = look_at_all([probe], 30.0)
    return found


def test_each_probe_is_one_line_in_their_order() -> None:
    found = look_at_all([Probe("a", lambda: ok("well")), Probe("b", lambda: skipped("not now"))], 30.0)
    assert [(each.what, each.state, each.reason) for each in found] == [
        ("a", State.OK, "well"),
        ("b", State.SKIPPED, "not now"),
    ]


def test_one_that_hangs_is_wrong_and_does_not_hold_up_the_others() -> None:
    never = threading.Event()

    def hang() -> Said:
        never.wait()
        return ok()

    hanging, quick = look_at_all([Probe("dead", hang), Probe("alive", ok)], 0.5)
    never.set()
    assert (hanging.state, hanging.reason, hanging.seconds) == (State.WRONG, "no answer within 0.5 s", 0.5)
    assert hanging.remedy
    assert quick.state is State.OK


def test_all_run_at_once() -> None:
    together = threading.Barrier(5)

    def meet() -> Said:
        together.wait(20)
        return ok()

    assert {found.state for found in look_at_all([Probe("x", meet)] * 5, 30.0)} == {State.OK}


def test_an_error_of_the_package_says_what_where_and_what_to_do() -> None:
    found = one(fails(CopyError("it is full", where="/disk", remedy="Make room")))
    assert (found.state, found.reason, found.remedy) == (State.WRONG, "/disk: it is full", "Make room")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory", "/key"), "/key No such file or directory"),
        (TimeoutError(), "TimeoutError"),
        (KeyError("token=hunter2"), "the probe met an error of the program (KeyError)"),
    ],
)
def test_any_other_error_is_a_line_without_what_nobody_should_read(error: Exception, reason: str) -> None:
    found = one(fails(error))
    assert (found.state, found.reason) == (State.WRONG, reason)
