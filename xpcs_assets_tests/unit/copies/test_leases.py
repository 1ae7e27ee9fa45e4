"""Holds, leases and fencing numbers."""

from __future__ import annotations

import pytest

from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.errors import RefusedError
from xpcs_assets_tests.storage import HandClock


def test_a_hold_stands_until_it_is_released(ledger: Ledger, clock: HandClock) -> None:
    ledger.hold("b", "r", "paper in review", "a scientist")
    ledger.hold("b", "r", "audit", "an operator")
    assert [(hold.reason, hold.set_by) for hold in ledger.holds("b", "r")] == [
        ("paper in review", "a scientist"),
        ("audit", "an operator"),
    ]
    clock.advance(1)
    assert ledger.release("b", "r", "an operator") == 2
    assert (ledger.holds("b", "r"), ledger.release("b", "r", "an operator")) == ((), 0)


def test_a_hold_needs_a_reason(ledger: Ledger) -> None:
    with pytest.raises(RefusedError, match="needs a reason"):
        ledger.hold("b", "r", "  ", "somebody")


def test_a_lease_is_refused_to_another_while_it_lasts(ledger: Ledger) -> None:
    with ledger.lease("b", "r", "stage", "host:1", 60) as lease:
        assert ledger.leases("b", "r") == (lease,)
        with pytest.raises(RefusedError, match="host:1 works on it"):
            ledger.take_lease("b", "r", "stage", "host:2", 60)
    assert ledger.leases("b", "r") == ()
    assert ledger.take_lease("b", "r", "stage", "host:2", 60).fencing == lease.fencing + 1


@pytest.mark.parametrize(("after_s", "is_stale"), [(59.999999, False), (60, True), (60.000001, True)])
def test_a_stale_lease_may_be_taken_over_and_a_live_one_not(
    ledger: Ledger, clock: HandClock, after_s: float, is_stale: bool
) -> None:
    ledger.take_lease("b", "r", "stage", "host:1", 60)
    clock.advance(after_s)
    if is_stale:
        assert ledger.take_lease("b", "r", "stage", "host:2", 60).fencing == 2
    else:
        with pytest.raises(RefusedError):
            ledger.take_lease("b", "r", "stage", "host:2", 60)


def test_different_work_goes_on_together_but_pruning_is_alone(ledger: Ledger) -> None:
    with ledger.lease("b", "r", "stage", "one", 60), ledger.lease("b", "r", "correlate", "two", 60):
        with pytest.raises(RefusedError, match="works on it"):
            ledger.take_lease("b", "r", "prune", "three", 60)
        ledger.take_lease("b", "other", "prune", "three", 60)
    with ledger.lease("b", "r", "prune", "three", 60), pytest.raises(RefusedError, match=r"three .*\(prune\)"):
        ledger.take_lease("b", "r", "stage", "one", 60)


def test_fencing_numbers_rise_over_all_purposes_of_a_run(ledger: Ledger) -> None:
    numbers = [ledger.take_lease("b", "r", purpose, "one", 60).fencing for purpose in ("stage", "archive", "stage")]
    assert numbers == [1, 2, 3]


def test_whoever_lost_a_lease_is_stopped_and_does_not_give_back_another_s(ledger: Ledger, clock: HandClock) -> None:
    with ledger.lease("b", "r", "stage", "one", 60) as old:
        clock.advance(61)
        new = ledger.take_lease("b", "r", "stage", "two", 60)
        for stopping in (lambda: ledger.renew(old, 60), lambda: ledger.check_lease(old)):
            with pytest.raises(RefusedError, match="another has taken it over"):
                stopping()
    assert ledger.leases("b", "r") == (new,)


@pytest.mark.parametrize(("mine", "other"), [("prune", "stage"), ("stage", "prune"), ("repair", "prune")])
@pytest.mark.parametrize("ended", [False, True])
def test_i16_f39_a_lease_that_expired_is_not_renewed_once_work_that_excludes_it_has_begun(
    ledger: Ledger, clock: HandClock, mine: str, other: str, ended: bool
) -> None:
    old = ledger.take_lease("b", "r", mine, "one", 60)
    clock.advance(60)
    if ended:
        with ledger.lease("b", "r", other, "two", 60):
            pass
    else:
        ledger.take_lease("b", "r", other, "two", 60)
    for stopping in (lambda: ledger.renew(old, 60), lambda: ledger.check_lease(old)):
        with pytest.raises(RefusedError, match=rf"two worked on it meanwhile \({other}\)"):
            stopping()
    with pytest.raises(RefusedError, match="meanwhile"), ledger.guard(old, 60):
        pytest.fail("the guarded thing was done")


def test_a_lease_that_expired_is_renewed_after_work_that_goes_on_beside_it(ledger: Ledger, clock: HandClock) -> None:
    old = ledger.take_lease("b", "r", "stage", "one", 60)
    clock.advance(60)
    ledger.take_lease("b", "r", "correlate", "two", 60)
    ledger.check_lease(ledger.renew(old, 60))


def test_an_expired_lease_does_not_stand_until_it_is_renewed(ledger: Ledger, clock: HandClock) -> None:
    lease = ledger.take_lease("b", "r", "stage", "one", 60)
    ledger.check_lease(lease)
    clock.advance(60)
    with pytest.raises(RefusedError, match="expired"):
        ledger.check_lease(lease)
    with pytest.raises(RefusedError, match="expired"), ledger.guard(lease, 60):
        pytest.fail("the guarded thing was done")
    ledger.check_lease(ledger.renew(lease, 60))


def test_a_guarded_thing_prolongs_the_lease(ledger: Ledger, clock: HandClock) -> None:
    lease = ledger.take_lease("b", "r", "prune", "one", 60)
    clock.advance(59)
    with ledger.guard(lease, 60):
        pass
    clock.advance(59)
    ledger.check_lease(lease)


def test_f49_a_hold_stops_the_next_guarded_thing(ledger: Ledger) -> None:
    lease = ledger.take_lease("b", "r", "prune", "one", 60)
    ledger.hold("b", "r", "wanted", "a scientist")
    with pytest.raises(RefusedError, match="a scientist holds it: wanted"), ledger.guard(lease, 60):
        pytest.fail("the guarded thing was done")
    ledger.release("b", "r", "a scientist")
    with ledger.guard(lease, 60):
        pass
