"""The rules, each with both of its sides."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xpcs_assets.copies.ledger import Copy, CopyState, Evidence, Hold, Lease
from xpcs_assets.prune.rules import Eligible, Situation, Stays, counting, judge, judge_emptying, kept_until
from xpcs_assets.runs.retention import Retention

TAKEN = datetime(2024, 5, 1, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
RETENTION = Retention(keep_for_s=7200, min_copies=2)
DUE = TAKEN + timedelta(hours=2)


def copy_in(place: str, domain: str, **changes: object) -> Copy:
    copy = Copy("b", "r", 1, place, "b/r", domain, CopyState.PRESENT, "", Evidence.READ_BACK, TAKEN, TAKEN)
    return replace(copy, **changes)  # type: ignore[arg-type]


VICTIM = copy_in("detector", "room 1")
OTHERS = (copy_in("disk", "room 2"), copy_in("tape", "vault"))
SITUATION = Situation(VICTIM, DUE, RETENTION, OTHERS, (), (), archived=True, catalogued=True)


def reasons(situation: Situation) -> str:
    judgement = judge(situation)
    assert isinstance(judgement, Stays)
    return "; ".join(judgement.reasons)


@pytest.mark.parametrize(
    ("offset", "may_go"), [(-MICROSECOND, False), (timedelta(0), True), (MICROSECOND, True), (timedelta(days=9), True)]
)
def test_f42_a_copy_goes_when_its_time_is_over_and_not_before(offset: timedelta, may_go: bool) -> None:
    judgement = judge(replace(SITUATION, now=DUE + offset))
    assert judgement == (Eligible(DUE) if may_go else Stays(("its place keeps it until 2024-05-01 14:00:00 UTC",)))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(age_s=st.floats(0, 1e9), keep_for_s=st.floats(1e-3, 1e9))
def test_f42_the_younger_is_never_chosen(age_s: float, keep_for_s: float) -> None:
    age, keep_for = timedelta(seconds=age_s), timedelta(seconds=keep_for_s)
    retention = Retention(keep_for_s, min_copies=2)
    judgement = judge(replace(SITUATION, now=TAKEN + age, retention=retention))
    assert isinstance(judgement, Eligible) is (age >= keep_for)
    assert kept_until(VICTIM, retention) == TAKEN + keep_for


@pytest.mark.parametrize("year", [1970, 2000, 2100])
def test_f42_a_year_far_away_does_not_turn_the_comparison(year: int) -> None:
    then = datetime(year, 1, 1, tzinfo=UTC)
    victim = replace(VICTIM, recorded_at=then)
    others = tuple(replace(other, verified_at=then) for other in OTHERS)
    young = replace(SITUATION, copy=victim, others=others, now=then + timedelta(hours=1))
    assert isinstance(judge(young), Stays)
    assert isinstance(judge(replace(young, now=then + timedelta(hours=2))), Eligible)


@pytest.mark.parametrize(("offset", "says"), [(MICROSECOND, True), (timedelta(0), False)])
def test_f43_a_copy_from_the_future_stays(offset: timedelta, says: bool) -> None:
    assert ("in the future" in reasons(replace(SITUATION, now=TAKEN - offset))) is says


@pytest.mark.parametrize(("offset", "counts"), [(-MICROSECOND, True), (timedelta(0), True), (MICROSECOND, False)])
def test_f43_evidence_from_the_future_does_not_count(offset: timedelta, counts: bool) -> None:
    others = (replace(OTHERS[0], verified_at=DUE + offset), OTHERS[1])
    assert isinstance(judge(replace(SITUATION, others=others)), Eligible) is counts


def test_f44_a_place_without_a_readable_retention_keeps_everything() -> None:
    assert reasons(replace(SITUATION, retention=None)) == "place 'detector' has no retention that can be read"


@pytest.mark.parametrize("state", CopyState)
def test_only_what_is_there_or_half_gone_may_go(state: CopyState) -> None:
    judgement = judge(replace(SITUATION, copy=replace(VICTIM, state=state)))
    assert isinstance(judgement, Eligible) is (state in {CopyState.PRESENT, CopyState.PART_REMOVED})


def test_f39_a_hold_or_a_lease_keeps_it() -> None:
    hold = Hold("b", "r", "paper", "a scientist", TAKEN, None, None)
    lease = Lease("b", "r", "correlate", "host:1", 3, DUE)
    assert reasons(replace(SITUATION, holds=(hold,))) == "a scientist holds it: paper"
    assert reasons(replace(SITUATION, leases=(lease,))) == "host:1 works on it (correlate)"


@pytest.mark.parametrize(("field", "reason"), [("archived", "not archived"), ("catalogued", "not in the catalog")])
def test_a_step_that_is_needed_and_missing_keeps_it(field: str, reason: str) -> None:
    missing = replace(SITUATION, **{field: False})  # type: ignore[arg-type]
    assert reason in reasons(missing)
    not_needed = replace(
        RETENTION, **{"archived": {"needs_archive": False}, "catalogued": {"needs_catalog": False}}[field]
    )
    assert isinstance(judge(replace(missing, retention=not_needed)), Eligible)


@pytest.mark.parametrize(("min_copies", "may_go"), [(1, True), (2, True), (3, False)])
def test_enough_other_copies_must_remain(min_copies: int, may_go: bool) -> None:
    situation = replace(SITUATION, retention=replace(RETENTION, min_copies=min_copies))
    assert isinstance(judge(situation), Eligible) is may_go
    if not may_go:
        assert reasons(situation) == "2 other verified copies (disk, tape) in other failure domains, 3 are needed"


@pytest.mark.parametrize(
    "changes",
    [
        {"state": CopyState.LOST},
        {"state": CopyState.BAD},
        {"state": CopyState.PART_REMOVED},
        {"state": CopyState.REMOVED},
        {"evidence": Evidence.SIZE},
        {"evidence": Evidence.LEDGER},
        {"failure_domain": "room 1"},
        {"failure_domain": "vault"},
        {"failure_domain": ""},
        {"version": 2},
        {"run_key": "r2"},
        {"beamline": "c"},
    ],
)
def test_a_copy_that_does_not_count_is_not_counted(changes: dict[str, object]) -> None:
    others = (replace(OTHERS[0], **changes), OTHERS[1])  # type: ignore[arg-type]
    assert [copy.place for copy in counting(VICTIM, others, DUE)] in (["tape"], ["disk"])
    assert "1 other verified copies" in reasons(replace(SITUATION, others=others))


def test_a_service_s_own_checksum_counts() -> None:
    others = (replace(OTHERS[0], evidence=Evidence.SERVICE), OTHERS[1])
    assert isinstance(judge(replace(SITUATION, others=others)), Eligible)


def test_every_reason_is_given_at_once() -> None:
    situation = replace(SITUATION, now=TAKEN, others=(), archived=False, catalogued=False)
    assert reasons(situation).count(";") == 3
    assert "0 other verified copies (none)" in reasons(situation)


IN_TRASH = replace(SITUATION, copy=replace(VICTIM, state=CopyState.IN_TRASH))
GRACE = replace(RETENTION, trash_for_s=3600)


@pytest.mark.parametrize(
    ("offset", "reason"),
    [
        (-2 * timedelta(hours=2), "in the future"),
        (-MICROSECOND, "the trash keeps it until 2024-05-01 13:00:00 UTC"),
        (timedelta(0), ""),
        (MICROSECOND, ""),
    ],
)
def test_bytes_in_the_trash_go_when_the_grace_is_over_and_not_before(offset: timedelta, reason: str) -> None:
    now = TAKEN + timedelta(hours=1) + offset
    others = tuple(replace(other, verified_at=TAKEN - timedelta(days=1)) for other in OTHERS)
    judgement = judge_emptying(replace(IN_TRASH, now=now, retention=GRACE, others=others), TAKEN)
    if reason:
        assert isinstance(judgement, Stays)
        assert reason in judgement.reasons[0]
    else:
        assert judgement == Eligible(TAKEN + timedelta(hours=1))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"retention": None}, "has no retention"),
        ({"others": ()}, "0 other verified copies"),
        ({"archived": False}, "not archived"),
        ({"catalogued": False}, "not in the catalog"),
        ({"holds": (Hold("b", "r", "paper", "a scientist", TAKEN, None, None),)}, "a scientist holds it"),
        ({"leases": (Lease("b", "r", "view", "viewer", 3, DUE),)}, "viewer works on it"),
    ],
)
def test_bytes_in_the_trash_go_by_the_rules_of_a_removal(changes: dict[str, object], reason: str) -> None:
    judgement = judge_emptying(replace(IN_TRASH, **({"retention": GRACE} | changes)), TAKEN)  # type: ignore[arg-type]
    assert isinstance(judgement, Stays)
    assert len(judgement.reasons) == 1
    assert reason in judgement.reasons[0]


@pytest.mark.parametrize(
    "taken",
    [
        datetime(2026, 3, 29, 0, 30, tzinfo=UTC),  # the night in which clocks change in Europe
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2016, 12, 31, 23, 0, tzinfo=UTC),  # a leap second at its end
        datetime(2000, 2, 29, 23, tzinfo=UTC),
    ],
)
def test_f42_summer_time_leap_seconds_and_leap_days_change_no_age(taken: datetime) -> None:
    others = tuple(replace(other, verified_at=taken) for other in OTHERS)
    situation = replace(SITUATION, copy=replace(VICTIM, recorded_at=taken), others=others)
    due = taken + timedelta(seconds=RETENTION.keep_for_s)
    for zone in (UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-5))):
        assert isinstance(judge(replace(situation, now=(due - MICROSECOND).astimezone(zone))), Stays)
        assert judge(replace(situation, now=due.astimezone(zone))) == Eligible(due)
