"""The outbox on both databases: what waits, in which order, who sends it, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from xpcs_assets.catalog import outbox_tables
from xpcs_assets.catalog.documents import raw_pid
from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.catalog.outbox import FIRST_PAUSE, HOLD_S, LONGEST_PAUSE, Entry, EntryState, Outbox, What
from xpcs_assets.catalog.reach import ReachBook
from xpcs_assets.copies.database import Base
from xpcs_assets.copies.ledger import BundleRun, Evidence, Ledger
from xpcs_assets.errors import RefusedError
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.catalog.made import derived, described, owned_by

B, C = "test-beamline", "scicat-prod"
PID = raw_pid(B, "A001", 1)


@pytest.fixture
def outbox(catalog: EmbeddedCatalog, clock: HandClock) -> Outbox:
    return Outbox(catalog.engine, clock)


def put_run(catalog: EmbeddedCatalog, run_key: str = "A001", *, analysed: bool = False) -> None:
    record = described(run_key)
    catalog.put_raw(record, "/staged")
    if analysed:
        catalog.put_derived(derived(record))


def claim(outbox: Outbox, holder: str = "me", **options: str) -> Entry:
    entry = outbox.claim(B, C, holder, **options)
    assert entry is not None
    return entry


def send_all(outbox: Outbox) -> list[tuple[str, What]]:
    """Send what can be sent, one after the other."""
    sent = []
    while (entry := outbox.claim(B, C, "me")) is not None:
        outbox.told(entry, f"there/{entry.pid}")
        sent.append((entry.run_key, entry.what))
    return sent


def test_the_migration_makes_the_very_tables_that_are_declared(outbox: Outbox) -> None:
    mine = {outbox_tables.OutboxRow.__tablename__, outbox_tables.ReachRow.__tablename__}
    with outbox.engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    assert [difference for difference in found if any(name in str(difference) for name in mine)] == []


def test_every_record_waits_once_and_the_lifecycle_of_raw_ones(catalog: EmbeddedCatalog, outbox: Outbox) -> None:
    put_run(catalog, analysed=True)
    assert outbox.gather(B, C) == 3
    assert outbox.gather(B, C) == 0
    found = outbox.entries(B)
    assert sorted(entry.what for entry in found) == [What.DERIVED, What.LIFECYCLE, What.RAW]
    assert {(entry.catalog, entry.run_key, entry.version, entry.state) for entry in found} == {
        (C, "A001", 1, EntryState.WAITING)
    }
    assert outbox.gather(B, "another") == 3


def test_of_a_run_the_raw_dataset_comes_before_its_results_and_these_before_the_lifecycle(
    catalog: EmbeddedCatalog, outbox: Outbox
) -> None:
    put_run(catalog, analysed=True)
    outbox.gather(B, C)
    assert [what for _, what in send_all(outbox)] == [What.RAW, What.DERIVED, What.LIFECYCLE]
    assert outbox.counts(B, C) == {EntryState.TOLD: 3, EntryState.WAITING: 0, EntryState.PARKED: 0}
    assert outbox.told_of(C, [PID, "unknown"]) == {PID}


def test_runs_are_told_in_the_order_they_came(catalog: EmbeddedCatalog, outbox: Outbox, clock: HandClock) -> None:
    for run_key in ("A003", "A001", "A002"):
        put_run(catalog, run_key)
        outbox.gather(B, C)
        clock.advance(1)
    assert [key for key, what in send_all(outbox) if what is What.RAW] == ["A003", "A001", "A002"]


def test_a_run_that_somebody_sends_is_nobody_elses_and_others_are_free(
    catalog: EmbeddedCatalog, outbox: Outbox
) -> None:
    put_run(catalog, "A001", analysed=True)
    put_run(catalog, "A002")
    outbox.gather(B, C)
    first, second = claim(outbox), claim(outbox, "another")
    assert {first.run_key, second.run_key} == {"A001", "A002"}
    assert outbox.claim(B, C, "a third") is None
    outbox.told(first, "there")
    assert claim(outbox, "a third").run_key == first.run_key


def test_a_sender_can_be_given_one_run_only(catalog: EmbeddedCatalog, outbox: Outbox) -> None:
    put_run(catalog, "A001")
    put_run(catalog, "A002")
    assert outbox.gather(B, C, run_key="A002") == 2
    assert {entry.run_key for entry in outbox.entries(B)} == {"A002"}
    outbox.gather(B, C)
    assert claim(outbox, run_key="A002").run_key == "A002"
    assert outbox.claim(B, C, "me", run_key="A002") is None


@pytest.mark.parametrize(("after_s", "free"), [(HOLD_S - 1, False), (HOLD_S, True)])
def test_what_a_dead_sender_held_is_free_when_its_time_is_over(
    catalog: EmbeddedCatalog, outbox: Outbox, clock: HandClock, after_s: float, free: bool
) -> None:
    put_run(catalog)
    outbox.gather(B, C)
    dead = claim(outbox, "dead")
    clock.advance(after_s)
    found = outbox.claim(B, C, "me")
    assert (found is not None) == free
    if found is not None:
        assert found.fencing > dead.fencing


def test_a_sender_that_wakes_up_late_writes_nothing_more(
    catalog: EmbeddedCatalog, outbox: Outbox, clock: HandClock
) -> None:
    put_run(catalog)
    outbox.gather(B, C)
    asleep = claim(outbox)
    clock.advance(HOLD_S)
    awake = claim(outbox)  # of the same name: a process number may come again
    for write in (
        lambda: outbox.renew(asleep),
        lambda: outbox.told(asleep, "there"),
        lambda: outbox.later(asleep, "why"),
        lambda: outbox.park(asleep, "why"),
        lambda: outbox.give_back(asleep, "why"),
    ):
        with pytest.raises(RefusedError, match="no longer this sender's"):
            write()
    outbox.told(awake, "there")
    assert outbox.entries(B, state=EntryState.TOLD)[0].pid_there == "there"


def test_a_sender_that_is_slow_and_says_so_keeps_its_entry(
    catalog: EmbeddedCatalog, outbox: Outbox, clock: HandClock
) -> None:
    put_run(catalog)
    outbox.gather(B, C)
    entry = claim(outbox)
    for _ in range(3):
        clock.advance(HOLD_S - 1)
        outbox.renew(entry)
    assert outbox.claim(B, C, "another") is None


def test_what_cannot_be_told_now_is_tried_again_after_pauses_that_grow(
    catalog: EmbeddedCatalog, outbox: Outbox, clock: HandClock
) -> None:
    put_run(catalog)
    outbox.gather(B, C)
    pauses = []
    for number in range(12):
        entry = claim(outbox)
        assert entry.attempts == number
        outbox.later(entry, f"why {number}")
        (waits,) = outbox.entries(B, pid=PID)
        pauses.append(waits.next_at - clock.now)
        assert outbox.claim(B, C, "me") is None
        assert waits.error == f"why {number}"
        clock.now = waits.next_at
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_what_is_parked_keeps_its_own_run_back_and_no_other(catalog: EmbeddedCatalog, outbox: Outbox) -> None:
    put_run(catalog, "A001", analysed=True)
    put_run(catalog, "A002")
    outbox.gather(B, C)
    outbox.park(claim(outbox, run_key="A001"), "unit unknown")
    assert send_all(outbox) == [("A002", What.RAW), ("A002", What.LIFECYCLE)]
    (parked,) = outbox.entries(B, state=EntryState.PARKED)
    assert (parked.pid, parked.error, parked.attempts) == (PID, "unit unknown", 1)


def test_a_result_that_is_parked_does_not_keep_the_lifecycle_back(catalog: EmbeddedCatalog, outbox: Outbox) -> None:
    put_run(catalog, analysed=True)
    outbox.gather(B, C)
    outbox.told(claim(outbox), "there")
    outbox.park(claim(outbox), "no")
    assert claim(outbox).what is What.LIFECYCLE


def test_a_person_has_it_tried_again(catalog: EmbeddedCatalog, outbox: Outbox) -> None:
    put_run(catalog, "A001")
    put_run(catalog, "A002")
    outbox.gather(B, C)
    for run_key in ("A001", "A002"):
        outbox.park(claim(outbox, run_key=run_key), "no")
    assert outbox.retry(B, C, pid=PID) == 2  # the raw dataset, and the lifecycle that waits for it
    assert [run_key for run_key, _ in send_all(outbox)] == ["A001", "A001"]
    assert outbox.retry(B, C) == 2
    assert [run_key for run_key, _ in send_all(outbox)] == ["A002", "A002"]


def test_what_changes_is_told_again_and_nothing_else(catalog: EmbeddedCatalog, outbox: Outbox) -> None:
    put_run(catalog, "A001", analysed=True)
    put_run(catalog, "A002")
    outbox.gather(B, C)
    send_all(outbox)
    catalog.put_raw(described("A001", sample="gold in glycerol"), "/staged")
    assert outbox.gather(B, C) == 1
    assert send_all(outbox) == [("A001", What.RAW)]
    assert outbox.gather(B, C) == 0


def test_what_changes_while_it_is_sent_is_sent_once_more(catalog: EmbeddedCatalog, outbox: Outbox) -> None:
    put_run(catalog)
    outbox.gather(B, C)
    entry = claim(outbox)
    catalog.put_raw(described(sample="gold"), "/staged")
    outbox.gather(B, C)
    outbox.told(entry, "there")
    (waits,) = outbox.entries(B, pid=PID)
    assert (waits.state, waits.pid_there, waits.revision) == (EntryState.WAITING, "there", entry.revision + 1)
    assert [what for _, what in send_all(outbox)] == [What.RAW, What.LIFECYCLE]


def test_data_that_move_are_told_as_a_lifecycle(catalog: EmbeddedCatalog, outbox: Outbox) -> None:
    put_run(catalog)
    outbox.gather(B, C)
    send_all(outbox)
    with catalog.engine.begin() as connection:
        connection.execute(text("UPDATE catalog_records SET state = 'pruned'"))
    assert outbox.gather(B, C) == 1
    assert send_all(outbox) == [("A001", What.LIFECYCLE)]
    assert outbox.gather(B, C) == 0


def bundle_in_archive(ledger: Ledger, name: str) -> None:
    ledger.record_bundle(
        B, [BundleRun("A001", 1)], place="tape", name=name, content="raw", size_bytes=1, sha256="0" * 64,
        index_digest="i", members=[], evidence=Evidence.READ_BACK,
    )  # fmt: skip


def test_another_place_in_the_archive_is_told_though_the_state_stays(
    catalog: EmbeddedCatalog, outbox: Outbox, clock: HandClock
) -> None:
    put_run(catalog)
    ledger = Ledger(catalog.engine, clock)
    lifecycle_told = []
    for name in ("first.zip", "second.zip"):
        clock.advance(60)
        bundle_in_archive(ledger, name)
        outbox.gather(B, C)
        lifecycle_told.append([what for _, what in send_all(outbox)])
    assert lifecycle_told == [[What.RAW, What.LIFECYCLE], [What.LIFECYCLE]]
    ledger.judge_bundle("tape", "first.zip", Evidence.SIZE)  # it does not count any more
    outbox.gather(B, C)
    assert [what for _, what in send_all(outbox)] == [What.LIFECYCLE]
    assert outbox.gather(B, C) == 0


def test_what_changes_by_time_alone_is_told_again_once(
    catalog: EmbeddedCatalog, outbox: Outbox, clock: HandClock
) -> None:
    put_run(catalog, "A001")
    put_run(catalog, "A002")
    outbox.gather(B, C)
    end = clock.now + timedelta(days=1)
    while (entry := outbox.claim(B, C, "me")) is not None:
        due = entry.what is What.RAW and entry.run_key == "A001"
        outbox.told(entry, "there", again_at=end if due else None)
    clock.now = end - timedelta(microseconds=1)
    assert outbox.gather(B, C) == 0
    clock.now = end
    assert outbox.gather(B, C) == 1
    assert send_all(outbox) == [("A001", What.RAW)]
    assert outbox.gather(B, C) == 0


def test_other_rules_have_told_again_what_they_are_about(catalog: EmbeddedCatalog, outbox: Outbox) -> None:
    put_run(catalog, "A001", analysed=True)
    catalog.put_raw(described("A002", owner=owned_by("P-2")), "/staged")
    now = {"P-1234": "old", "P-2": "old"}

    def gather_by() -> int:
        return outbox.gather(B, C, rules=now.__getitem__)

    def send() -> list[tuple[str, What]]:
        sent = []
        while (entry := outbox.claim(B, C, "me")) is not None:
            if entry.what is What.DERIVED:
                outbox.park(entry, "refused", rules=now.__getitem__)
            else:
                outbox.told(entry, "there", rules=now.__getitem__)
            sent.append((entry.run_key, entry.what))
        return sent

    gather_by()
    assert len(send()) == 5
    assert gather_by() == 0
    now["P-1234"] = "new"
    assert outbox.gather(B, C) == 0  # the rules are not known now
    assert outbox.gather(B, C, run_key="A002", rules=now.__getitem__) == 0
    assert gather_by() == 2
    assert send() == [("A001", What.RAW), ("A001", What.DERIVED)]  # the parked one too: it may be taken now
    now["P-2"] = "new"
    assert gather_by() == 1
    assert send() == [("A002", What.RAW)]
    assert gather_by() == 0


def test_what_was_told_by_rules_that_changed_meanwhile_is_told_once_more(
    catalog: EmbeddedCatalog, outbox: Outbox
) -> None:
    put_run(catalog)
    outbox.gather(B, C, rules=lambda proposal: "new")
    while (entry := outbox.claim(B, C, "me")) is not None:
        outbox.told(entry, "there", rules=lambda proposal: "old")
    assert outbox.gather(B, C, rules=lambda proposal: "new") == 1


def test_all_or_one_can_be_told_again_by_hand(catalog: EmbeddedCatalog, outbox: Outbox) -> None:
    put_run(catalog, "A001", analysed=True)
    put_run(catalog, "A002")
    outbox.gather(B, C)
    send_all(outbox)
    assert outbox.want_again(B, C, pid=PID) == 2
    assert send_all(outbox) == [("A001", What.RAW), ("A001", What.LIFECYCLE)]
    assert outbox.want_again(B, C) == 5
    assert len(send_all(outbox)) == 5


def test_a_dataset_that_was_not_seen_for_long_is_asked_for_and_told_again_when_it_is_gone(
    catalog: EmbeddedCatalog, outbox: Outbox, clock: HandClock
) -> None:
    put_run(catalog, "A001")
    put_run(catalog, "A002")
    outbox.gather(B, C)
    send_all(outbox)
    assert outbox.unseen(B, C, clock.now, 10) == ()
    clock.advance(60)
    first, second = outbox.unseen(B, C, clock.now, 10)
    assert {first.what, second.what} == {What.RAW}
    assert outbox.unseen(B, C, clock.now, 1) == (first,)
    outbox.saw(first, there=True)
    assert outbox.unseen(B, C, clock.now, 10) == (second,)
    outbox.saw(second, there=False)
    assert [what for _, what in send_all(outbox)] == [What.RAW, What.LIFECYCLE]


def test_a_turn_is_there_while_something_can_be_sent(
    catalog: EmbeddedCatalog, outbox: Outbox, clock: HandClock
) -> None:
    assert not outbox.has_turn(B, C)
    put_run(catalog)
    outbox.gather(B, C)
    assert outbox.has_turn(B, C)
    entry = claim(outbox)
    assert not outbox.has_turn(B, C)
    outbox.later(entry, "why")
    assert not outbox.has_turn(B, C)
    clock.advance(FIRST_PAUSE.total_seconds())
    assert outbox.has_turn(B, C)


def test_versions_of_a_run_do_not_wait_for_each_other(catalog: EmbeddedCatalog, outbox: Outbox) -> None:
    for version in (1, 2):
        catalog.put_raw(replace(described(), version=version), "/staged")
    outbox.gather(B, C)
    assert {claim(outbox).version, claim(outbox).version} == {1, 2}


def test_a_catalog_that_is_silent_is_asked_again_after_pauses_that_grow(
    catalog: EmbeddedCatalog, clock: HandClock
) -> None:
    reach = ReachBook(catalog.engine, clock)
    assert (reach.of(C), reach.rests(C)) == (None, "")
    pauses, began = [], clock.now
    for number in range(8):
        reach.silent(C, f"why {number}")
        known = reach.of(C)
        assert known is not None
        assert known.down_since == began
        assert reach.rests(C) == f"why {number}"
        pauses.append(known.next_at - clock.now)
        clock.now = known.next_at
        assert reach.rests(C) == ""
    assert pauses[:3] == [timedelta(seconds=30), timedelta(minutes=1), timedelta(minutes=2)]
    assert pauses[-1] == timedelta(minutes=10)
    reach.silent(C, "still")
    reach.ask_now(C)
    assert reach.rests(C) == ""
    reach.answered(C)
    known = reach.of(C)
    assert known is not None
    assert (known.down_since, known.attempts, known.error, known.answered_at) == (None, 0, "", clock.now)
