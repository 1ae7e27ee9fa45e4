"""The run database gives each run to one, counts each failure once, and says nothing of what it was asked in vain."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from xpcs_assets.errors import RefusedError, SettingsError, UnreachableError
from xpcs_assets.run_database.database import RunDatabase
from xpcs_assets.run_database.known_run import KnownRun, RunStatus
from xpcs_assets.secret import SecretReference
from xpcs_assets.settings_run_database import RunDatabaseSettings
from xpcs_assets_tests.mongo import VARIABLE, Runs

STILL_RECENT = datetime.now(UTC) + timedelta(days=1)  # the tests may run long after they were collected
LONG_AGO = datetime.now(UTC) - timedelta(days=400)
FORCED = {"status": "failed", "forced": True}


def numbers(database: RunDatabase) -> list[int]:
    return [run.number for run in database.to_take(database.now())]


def the(database: RunDatabase, number: int) -> KnownRun:
    found = database.run(number)
    assert found is not None
    return found


def claim(database: RunDatabase, number: int) -> KnownRun:
    claimed = database.claim(the(database, number), 0, database.now())
    assert claimed is not None
    return claimed


@pytest.fixture
def other(rundb: Runs) -> Iterator[RunDatabase]:
    opened = rundb.open("another site")
    yield opened
    opened.close()


def test_runs_that_have_ended_and_that_nobody_has_are_to_be_taken_the_newest_first(
    rundb: Runs, database: RunDatabase
) -> None:
    for number in (7000, 7002, 7001):
        rundb.add(number)
    rundb.add(7003, end=None)
    rundb.add(7004, end=...)
    assert numbers(database) == [7002, 7001, 7000]


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({"processing_status": "pending"}, True),
        ({"processing_status": {"status": "pending"}}, True),
        ({"processing_status": None}, True),
        ({"processing_status": "done"}, False),
        ({"processing_status": {"status": "done"}}, False),
        ({"processing_status": {"status": "submitted"}}, False),  # another system's, which names no end
        ({"processing_status": {"status": "running", "expires": LONG_AGO}}, True),
        ({"processing_status": {"status": "failed", "time": LONG_AGO}}, True),
        ({"processing_status": {"status": "failed", "time": STILL_RECENT}}, False),
        ({"processing_status": {"status": "failed"}, "processing_failed": 2}, True),
        ({"processing_status": {"status": "failed"}, "processing_failed": 3}, False),
        ({"start": LONG_AGO}, False),
        ({"start": LONG_AGO, "tags": [{"name": "process"}]}, True),
        ({"processing_status": {"status": "failed"}, "processing_failed": 9, "tags": ["process"]}, True),
        (
            {"processing_status": FORCED, "processing_failed": 9, "tags": ["process"]},
            False,
        ),
        ({"processing_status": {"status": "done"}, "tags": [{"name": "process"}]}, False),
        ({"tags": [{"name": "abandon"}, {"name": "process"}]}, False),
        ({"tags": [{"name": "hold"}]}, False),
        ({"tags": [{"name": "holding tank"}]}, True),
    ],
)
def test_status_tags_age_and_failures_say_whether_a_run_is_to_be_taken(
    rundb: Runs, database: RunDatabase, changes: dict[str, object], taken: bool
) -> None:
    rundb.add(7000, **changes)
    assert numbers(database) == ([7000] if taken else [])


def test_numbers_and_detectors_of_the_beamline_file_limit_what_is_taken(rundb: Runs) -> None:
    rundb.add(5999)
    rundb.add(6000)
    rundb.add(6001, detectors=["other"])
    rundb.add(6002, detectors=["xams", "other"])
    limited = rundb.open(min_run_number=6000, detectors=["xams"])
    assert numbers(limited) == [6002, 6000]
    limited.close()


def test_a_number_is_that_number_alone(rundb: Runs, database: RunDatabase) -> None:
    rundb.add(6000)
    rundb.add(60)
    assert database.run(600) is None
    rundb.add(600)
    claim(database, 600)
    assert (rundb.status(600)[0], rundb.status(6000)[0], rundb.status(60)[0]) == ("submitted", "", "")


def test_a_document_without_a_whole_number_is_no_run(rundb: Runs, database: RunDatabase) -> None:
    for number in ("7000", 7000.5, True, -1):
        rundb.collection.insert_one({"number": number, "end": LONG_AGO, "tags": ["process"]})
    assert numbers(database) == []


def test_of_eight_who_try_to_claim_the_same_runs_each_run_goes_to_one(rundb: Runs) -> None:
    wanted = list(range(7000, 7020))
    for number in wanted:
        rundb.add(number)
    sites = [rundb.open(f"site {name}") for name in range(8)]

    def claim_all(site: RunDatabase) -> list[int]:
        return [run.number for run in site.to_take(site.now()) if site.claim(run, 0, site.now()) is not None]

    with ThreadPoolExecutor(8) as pool:
        claimed = [number for numbers in pool.map(claim_all, sites) for number in numbers]
    assert sorted(claimed) == wanted
    assert sorted(run.number for site in sites for run in site.mine()) == wanted
    for site in sites:
        site.close()


def test_more_runs_than_one_answer_holds_are_all_seen_and_no_more_than_a_look_takes(
    rundb: Runs, database: RunDatabase
) -> None:
    for number in range(7000, 7210):
        rundb.add(number)
    assert numbers(database) == list(range(7209, 7009, -1))


def test_a_claim_that_is_renewed_stands_and_one_that_is_not_goes_to_another(
    rundb: Runs, database: RunDatabase, other: RunDatabase
) -> None:
    rundb.add(7000)
    claimed = claim(database, 7000)
    assert numbers(other) == []
    database.renew(LONG_AGO)
    stale = the(other, 7000)
    database.renew(database.now())  # it comes back just before the other one claims
    assert other.claim(stale, 0, other.now()) is None
    database.renew(LONG_AGO)
    assert numbers(other) == [7000]
    claim(other, 7000)
    assert database.say(claimed, RunStatus.DONE, "", database.now()) is False
    assert rundb.run(7000)["processing_status"]["claimed_by"] == "another site"


def test_a_run_that_is_tagged_while_it_was_looked_at_is_not_claimed(rundb: Runs, database: RunDatabase) -> None:
    rundb.add(7000)
    seen = the(database, 7000)
    rundb.change(7000, tags=[{"name": "hold"}])
    assert database.claim(seen, 0, database.now()) is None


def test_a_failure_is_counted_once_however_often_it_is_said(rundb: Runs, database: RunDatabase) -> None:
    rundb.add(7000)
    claimed = claim(database, 7000)
    assert database.say(claimed, RunStatus.FAILED, "no disk", database.now())
    assert not database.say(claimed, RunStatus.FAILED, "no disk", database.now())
    run = rundb.run(7000)
    assert (run["processing_failed"], rundb.status(7000)) == (1, ("failed", "no disk"))
    assert run["processing_status"]["host"] == "a-host"
    assert "expires" not in run["processing_status"]


def test_a_forced_run_that_fails_beyond_the_limit_is_not_tried_for_ever(rundb: Runs, database: RunDatabase) -> None:
    rundb.add(7000, processing_failed=3, processing_status={"status": "failed"}, tags=[{"name": "process"}])
    assert numbers(database) == [7000]
    database.say(claim(database, 7000), RunStatus.FAILED, "again", LONG_AGO)
    assert numbers(database) == []
    rundb.change(7000, processing_status="pending")  # a person's word
    assert numbers(database) == [7000]


def test_a_data_entry_is_added_once_and_moved_when_the_data_are_gone(rundb: Runs, database: RunDatabase) -> None:
    rundb.add(7000, data=[{"type": "live", "host": "daq", "location": "/daq/007000"}])
    entry = {"type": "raw_records", "host": "a-host", "location": "/data/007000", "checksum": "sha256:1"}
    run = the(database, 7000)
    for _ in range(2):
        database.add_data(run, {**entry, "time": database.now()})
    assert [each["type"] for each in rundb.run(7000)["data"]] == ["live", "raw_records"]
    for _ in range(2):
        database.retire_data(run, entry)
    found = rundb.run(7000)
    assert [each["type"] for each in found["data"]] == ["live"]
    assert [each["location"] for each in found["deleted_data"]] == ["/data/007000"]


@pytest.mark.parametrize("status", [None, "on", "off", "paused"])
def test_only_a_switch_that_is_on_or_not_there_lets_runs_be_taken(
    rundb: Runs, database: RunDatabase, status: str | None
) -> None:
    if status is not None:
        rundb.switch(status)
    assert database.is_on() is (status in {None, "on"})


@pytest.mark.parametrize("carried_out", [False, True])
def test_a_claim_without_an_answer_is_found_to_be_made_or_not(
    rundb: Runs, database: RunDatabase, other: RunDatabase, carried_out: bool
) -> None:
    server = rundb.breaking()
    rundb.add(7000)
    seen, now = the(database, 7000), database.now()
    server.go_down(0, carry_out_last=carried_out)
    with pytest.raises(UnreachableError, match=r"does not answer"):
        database.claim(seen, 0, now)
    server.come_back()
    assert [run.number for run in database.mine()] == ([7000] if carried_out else [])
    assert numbers(other) == ([] if carried_out else [7000])


def test_what_the_server_refuses_is_told_by_its_code_alone(rundb: Runs, database: RunDatabase) -> None:
    rundb.add(7000, processing_failed="often")
    with pytest.raises(RefusedError, match=r"refused it \(code"):
        database.refuse(the(database, 7000), "no files", database.now())


@pytest.mark.parametrize("url", ["mongodb://reader:s3cret@host:port/", "http://reader:s3cret@host/", "s3cret"])
def test_an_address_that_is_none_is_refused_without_showing_it(
    rundb: Runs, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv(VARIABLE, url)
    settings = RunDatabaseSettings.model_validate(rundb.settings)
    wrong = RunDatabase(settings, SecretReference(variable=VARIABLE), holder="a site", host="a-host")
    with pytest.raises(SettingsError, match=r"no address of a MongoDB server") as caught:
        wrong.now()
    assert "s3cret" not in repr(caught.value)
    assert caught.value.__context__ is None
