"""Many copies at once: the same as asked one by one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from xpcs_assets.copies.ledger import BundleRun, Copy, CopyState, Errand, Evidence, JobState, Ledger, TransferState
from xpcs_assets.copies.overview import Counted
from xpcs_assets.runs.manifest import FileEntry, Manifest
from xpcs_assets_tests.storage import HandClock

FAR = timedelta(days=10_000)


def put_run(ledger: Ledger, key: str, places: Mapping[str, Evidence], size_bytes: int = 100) -> None:
    """A run with a copy in each place; those called tape are archives with one raw bundle."""
    manifest = Manifest.of(key, [FileEntry(f"{key}.imm", size_bytes, "0" * 64)])
    version = ledger.record_version("b", key, manifest, key).version
    for place, evidence in places.items():
        where = {"place": place, "path": f"b/{key}"}
        ledger.record_copy("b", key, version, **where, failure_domain=f"{place} room", evidence=evidence)
        if place == "tape":
            put_bundle(ledger, key, f"{key}.tar", evidence, version)


def put_bundle(ledger: Ledger, key: str, name: str, evidence: Evidence, version: int = 1) -> None:
    ledger.record_bundle(
        "b",
        [BundleRun(key, version)],
        place="tape",
        name=name,
        content="raw",
        size_bytes=1,
        sha256="0" * 64,
        index_digest="",
        members=[],
        evidence=evidence,
    )


BOTH = {"disk": Evidence.READ_BACK, "tape": Evidence.READ_BACK}


@pytest.fixture
def runs(ledger: Ledger, clock: HandClock) -> list[str]:
    """Seven runs, a second after each other but for two at the same moment."""
    keys = [f"r{number}" for number in range(7)]
    for key in keys:
        put_run(ledger, key, BOTH)
        clock.advance(0 if key == "r3" else 1)
    return keys


def keys_of(ledger: Ledger, **options: object) -> list[str]:
    settings = {"until": ledger.clock() + FAR} | options
    return [seen.copy.run_key for seen in ledger.copies_seen("b", "disk", **settings)]  # type: ignore[arg-type]


@pytest.mark.parametrize("page", [1, 2, 3, 6, 7, 8, 100])
def test_every_copy_is_given_once_oldest_first_whatever_the_page(ledger: Ledger, runs: list[str], page: int) -> None:
    assert keys_of(ledger, page=page) == runs


@pytest.mark.parametrize(("offset", "found"), [(-1, 1), (0, 2), (1, 2)])
def test_only_what_was_recorded_by_a_time_is_given(ledger: Ledger, runs: list[str], offset: int, found: int) -> None:
    second = ledger.copies("b", "r1")[0].recorded_at
    assert keys_of(ledger, until=second + timedelta(microseconds=offset)) == runs[:found]
    assert keys_of(ledger, after=second + timedelta(microseconds=offset)) == runs[found:]


def test_what_is_known_around_a_copy_is_what_is_known_of_it_alone(ledger: Ledger, runs: list[str]) -> None:
    ledger.hold("b", "r1", "paper", "a scientist")
    ledger.hold("b", "r2", "paper", "a scientist")
    ledger.release("b", "r2", "a scientist")
    ledger.take_lease("b", "r3", "correlate", "worker", 60)
    with ledger.lease("b", "r4", "correlate", "worker", 60):
        pass
    put_run(ledger, "other", {"disk": Evidence.READ_BACK})
    for seen in ledger.copies_seen("b", "disk", until=ledger.clock(), page=4):
        key = seen.copy.run_key
        assert seen == ledger.copy_seen(seen.copy)
        assert [other.place for other in seen.others] == ([] if key == "other" else ["tape"])
        assert seen.holds == ledger.holds("b", key)
        assert seen.leases == ledger.leases("b", key)
        assert seen.archived is (key != "other")
    assert len(ledger.holds("b", "r1")) == len(ledger.leases("b", "r3")) == 1


@pytest.mark.parametrize(
    ("state", "given"), [(state, state.value in {"present", "part removed"}) for state in CopyState]
)
def test_only_what_is_there_or_half_gone_is_given(ledger: Ledger, state: CopyState, given: bool) -> None:
    put_run(ledger, "r", BOTH)
    copy = ledger.mark_copy("b", "r", 1, place="disk", path="b/r", state=state, reason="why")
    assert (keys_of(ledger) == ["r"]) is given
    seen = ledger.copy_seen(copy)
    assert seen is not None
    assert seen.copy == copy


def test_a_copy_that_the_ledger_does_not_know_is_none(ledger: Ledger, clock: HandClock) -> None:
    now = clock.now
    strange = Copy("b", "r", 1, "disk", "b/r", "", CopyState.PRESENT, "", Evidence.READ_BACK, now, now)
    assert ledger.copy_seen(strange) is None


def test_it_is_archived_only_when_every_raw_bundle_was_read_back_and_the_copy_stands(ledger: Ledger) -> None:
    def archived() -> bool:
        return next(ledger.copies_seen("b", "disk", until=ledger.clock())).archived

    put_run(ledger, "r", BOTH)
    assert archived()
    ledger.mark_copy("b", "r", 1, place="tape", path="b/r", state=CopyState.BAD, reason="")
    assert not archived()
    ledger.mark_copy("b", "r", 1, place="tape", path="b/r", state=CopyState.PRESENT, reason="")
    put_bundle(ledger, "r", "second.tar", Evidence.SIZE)
    assert not archived()


def test_f48_versions_and_names_that_begin_alike_are_kept_apart(ledger: Ledger) -> None:
    put_run(ledger, "12", {"disk": Evidence.READ_BACK})
    for key in ("112", "1200"):
        put_run(ledger, key, BOTH)
    put_run(ledger, "12", {"tape": Evidence.READ_BACK}, size_bytes=5)  # a second version
    found = {seen.copy.run_key: seen for seen in ledger.copies_seen("b", "disk", until=ledger.clock())}
    assert (found["12"].others, found["12"].archived) == ((), False)
    assert all(len(found[key].others) == 1 for key in ("112", "1200"))


def test_a_copy_whose_path_a_later_version_has_says_so_until_that_one_is_gone(ledger: Ledger, clock: HandClock) -> None:
    def later() -> dict[tuple[str, int], int | None]:
        seen_now = ledger.copies_seen("b", "disk", until=ledger.clock() + FAR)
        return {(seen.copy.run_key, seen.copy.version): seen.taken_later for seen in seen_now}

    disk = {"disk": Evidence.READ_BACK}
    put_run(ledger, "r", disk)
    put_run(ledger, "rr", disk)
    assert later() == {("r", 1): None, ("rr", 1): None}
    clock.advance(1)
    put_run(ledger, "r", disk, size_bytes=5)
    assert later() == {("r", 1): 2, ("r", 2): None, ("rr", 1): None}
    ledger.mark_copy("b", "r", 2, place="disk", path="b/r", state=CopyState.REMOVED, reason="")
    assert later() == {("r", 1): None, ("rr", 1): None}


def test_copies_are_counted_with_those_younger_than_a_time(ledger: Ledger, runs: list[str]) -> None:
    assert ledger.count_copies("b", "disk", after=ledger.copies("b", "r1")[0].recorded_at) == Counted(7, 5)
    assert ledger.count_copies("b", "nowhere", after=ledger.clock()) == Counted(0, 0)


def test_sizes_are_those_of_the_manifests(ledger: Ledger, clock: HandClock) -> None:
    begun: datetime = clock.now
    for number in (1, 2, 3):
        clock.advance(1)
        put_run(ledger, f"r{number}", BOTH, size_bytes=number)
    copies = [ledger.copies("b", key)[0] for key in ("r3", "r1", "r3")]
    assert ledger.sizes(copies) == (3, 1, 3)
    second = timedelta(seconds=1)
    gone = copies[1]
    ledger.mark_copy("b", gone.run_key, 1, place="disk", path=gone.path, state=CopyState.REMOVED, reason="")
    assert ledger.arrived_bytes("b", "disk", after=begun + second, until=begun + 3 * second) == 2 + 3
    assert ledger.arrived_bytes("b", "disk", after=begun, until=begun + 2 * second) == 1 + 2


def test_intents_are_found_by_place_and_time(ledger: Ledger, clock: HandClock) -> None:
    for run in ("r1", "r2", "r2"):
        clock.advance(10)
        intent = ledger.intend_removal("b", run, 1, place="disk", path=f"b/{run}", by="operator", detail={})
        ledger.record_tombstone(intent.id, {})
    assert ledger.removed_since("b", "disk", clock.now - timedelta(seconds=21)) == {
        ("r1", 1, "b/r1"),
        ("r2", 1, "b/r2"),
    }
    assert ledger.removed_since("b", "disk", clock.now - timedelta(seconds=20)) == {("r2", 1, "b/r2")}
    assert ledger.removed_since("b", "disk", clock.now) == frozenset()
    assert ledger.removed_since("b", "tape", clock.now - FAR) == frozenset()


def test_a_run_that_a_service_moves_is_worked_on_until_that_has_ended(ledger: Ledger, runs: list[str]) -> None:
    def worked_on() -> dict[str, list[str]]:
        seen = ledger.copies_seen("b", "disk", until=ledger.clock() + FAR)
        return {each.copy.run_key: [lease.purpose for lease in each.leases] for each in seen if each.leases}

    ledger.intend_transfer(Errand("b", "r1", 1, "copy", "disk", "eagle"), "submission", 100, ledger.clock())
    assert worked_on() == {}, "nothing was begun"
    ledger.change_transfer("submission", state=TransferState.PAUSED, task="task 1")
    assert worked_on() == {"r1": ["transfer disk to eagle"]}
    one = ledger.copy_seen(next(copy for copy in ledger.copies("b", "r1") if copy.place == "disk"))
    assert one is not None
    assert [lease.holder for lease in one.leases] == ["task task 1"]
    ledger.change_transfer("submission", state=TransferState.DONE)
    assert worked_on() == {}


def test_a_run_that_a_back_end_analyses_is_worked_on_until_that_job_is_over(ledger: Ledger, runs: list[str]) -> None:
    def worked_on() -> dict[str, list[str]]:
        seen = ledger.copies_seen("b", "disk", until=ledger.clock() + FAR)
        return {each.copy.run_key: [lease.purpose for lease in each.leases] for each in seen if each.leases}

    jobs = [
        ledger.intend_job("b", key, 1, "correlation", backend="cluster", request={"qmap": "q"})
        for key in ("r1", "r1~wide", "r10")
    ]
    assert worked_on() == {"r1": ["analysis on cluster", "analysis on cluster"]}
    for job in jobs[:2]:
        ledger.change_job(job, JobState.DONE)
    assert worked_on() == {}
