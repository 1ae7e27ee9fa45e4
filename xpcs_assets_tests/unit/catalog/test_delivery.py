"""Telling a SciCat on loopback of a beamline's runs: each dataset once, in order, whatever fails in between."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
import yaml

from xpcs_assets.archive.archiving import archive
from xpcs_assets.audit.runs import compare_runs
from xpcs_assets.catalog import delivery, scicat_client
from xpcs_assets.catalog.cataloguing import catalogue_raw, recatalogue
from xpcs_assets.catalog.delivery import catch_up, deliver, gather, has_turn, look_again, outbox_of, reach_of, stands
from xpcs_assets.catalog.outbox import EntryState, Outbox, What
from xpcs_assets.copies.ledger import CopyState, FindingKind, utc_now
from xpcs_assets.errors import LedgerError
from xpcs_assets.prune.pruning import catalogued, plan, prune
from xpcs_assets.site import Site
from xpcs_assets.testing.scicat_server import ScicatServer
from xpcs_assets_tests.scicat import PREFIX
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.catalog.told import NAME, analysed_run, described_run, kinds, opened, tell

DAY_S = 86400.0


@pytest.fixture
def server() -> Iterator[ScicatServer]:
    with ScicatServer() as running:
        yield running


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def beamline(site: Site, server: ScicatServer, clock: HandClock) -> Iterator[delivery.OpenBeamline]:
    made = opened(tell(site.home, server.url), clock)
    yield made
    made.engine.dispose()


def tell_all(beamline: delivery.OpenBeamline, clock: HandClock, *, rounds: int = 1) -> None:
    """As the job does it, once or with pauses in between."""
    for number in range(rounds):
        if number:
            clock.advance(DAY_S)
        gather(beamline)
        for _ in deliver(beamline):
            pass


def waits(beamline: delivery.OpenBeamline) -> int:
    return sum(entry.state is not EntryState.TOLD for entry in outbox_of(beamline).entries("xpcs"))


def test_a_run_is_told_as_soon_as_it_is_catalogued(beamline: delivery.OpenBeamline, server: ScicatServer) -> None:
    pid = described_run(beamline)
    done = catalogue_raw(beamline, "A001")
    assert done.elsewhere == {NAME: f"{PREFIX}/{pid}"}
    (held,) = server.store.datasets.values()
    assert (held["type"], held["ownerGroup"], held["proposalIds"]) == ("raw", "p1234", ["P-1234"])
    assert held["datasetlifecycle"]["isOnCentralDisk"] is True
    files = [one for block in server.store.blocks.values() for one in block["dataFileList"]]
    manifest = beamline.latest("A001").manifest
    assert {(one["path"], one["chk"]) for one in files} == {(entry.path, entry.sha256) for entry in manifest.files}


def test_a_result_is_told_with_its_file_its_plots_and_what_it_was_made_of(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock
) -> None:
    raw = described_run(beamline)
    catalogue_raw(beamline, "A001")
    pid = analysed_run(beamline)
    tell_all(beamline, clock)
    assert kinds(server) == {raw: "raw", pid: "derived"}
    held = server.store.datasets[f"{PREFIX}/{pid}"]
    assert held["inputDatasets"] == [f"{PREFIX}/{raw}"]
    assert held["usedSoftware"][0].startswith("xpcs-assets ")
    assert held["jobParameters"]["recipe_digest"].startswith("sha256:")
    (entry,) = [
        one
        for block in server.store.blocks.values()
        for one in block["dataFileList"]
        if block["datasetId"] == held["pid"]
    ]
    result = beamline.result("A001")
    assert (entry["chk"], entry["size"]) == (result.result_digest.removeprefix("sha256:"), len(b"a result"))
    captions = {one["caption"] for one in server.store.attachments.values()}
    assert captions == {"g2 with fits", "scattering pattern and q-map"}


def test_the_people_of_the_roster_are_in_the_dataset(site: Site, server: ScicatServer, clock: HandClock) -> None:
    tell(site.home, server.url)
    (site.home / "roster.yaml").write_text(
        "P-1234: {owner: Doe Group, groups: [prop1234], investigator: Jane Doe, email: jane@lbl.gov}\n"
    )
    file = site.home / "site.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "roster: {file: roster.yaml}\n", encoding="utf-8")
    beamline = opened(Site(site.home), clock)
    described_run(beamline)
    done = catalogue_raw(beamline, "A001")
    (held,) = server.store.datasets.values()
    assert (held["owner"], held["principalInvestigators"], held["contactEmail"]) == (
        "Doe Group",
        ["Jane Doe"],
        "jane@lbl.gov",
    )
    assert (held["ownerGroup"], held["accessGroups"]) == ("prop1234", ["p1234", "staff"])
    assert (done.record.owner_group, done.record.access_groups) == ("prop1234", ["p1234", "staff"])
    (site.home / "roster.yaml").write_text("P-1234: {groups: [other]}\n")
    assert recatalogue(beamline) == []
    tell_all(beamline, clock)
    (held,) = server.store.datasets.values()
    assert (held["ownerGroup"], held["accessGroups"]) == ("other", ["p1234", "staff"])
    beamline.engine.dispose()


def test_a_changed_roster_and_a_changed_rule_are_told_by_themselves(
    site: Site, server: ScicatServer, clock: HandClock
) -> None:
    def groups() -> tuple[str, list[str]]:
        tell_all(beamline, clock)
        (held,) = server.store.datasets.values()
        return held["ownerGroup"], held["accessGroups"]

    tell(site.home, server.url)
    roster = site.home / "roster.yaml"
    roster.write_text("P-1234: {groups: [prop1234]}\n")
    file = site.home / "site.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "roster: {file: roster.yaml}\n", encoding="utf-8")
    beamline = opened(Site(site.home), clock)
    described_run(beamline)
    catalogue_raw(beamline, "A001")
    assert groups() == ("prop1234", ["p1234", "staff"])
    asked = len(server.seen)
    roster.write_text("P-1234: {groups: [prop1234]}\nP-9: {groups: [other]}\n")  # it is about nothing here
    assert groups() == ("prop1234", ["p1234", "staff"])
    assert len(server.seen) == asked
    roster.write_text("P-1234: {groups: [later]}\n")
    assert groups() == ("later", ["p1234", "staff"])
    roster.write_text("P-1234: [\n")  # who may see it is not known: nothing is told, and what stands stays
    assert groups() == ("later", ["p1234", "staff"])
    roster.write_text("P-1234: {groups: [later]}\n")
    clock.advance(DAY_S)
    beamline.engine.dispose()
    text = yaml.safe_load(file.read_text(encoding="utf-8"))
    text["catalogs"][NAME] |= {"access_groups": ["{beamline}-staff"], "read": "2 s"}
    file.write_text(yaml.safe_dump(text), encoding="utf-8")
    beamline = opened(Site(site.home), clock)
    assert groups() == ("later", ["p1234", "staff", "xpcs-staff"])
    asked = len(server.seen)
    assert groups() == ("later", ["p1234", "staff", "xpcs-staff"])
    assert len(server.seen) == asked
    beamline.engine.dispose()


def test_proposal_and_sample_are_made_where_that_is_asked_for(
    site: Site, server: ScicatServer, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    beamline = opened(tell(site.home, server.url, make_links=True), clock)
    described_run(beamline)
    monkeypatch.setattr("xpcs_assets.catalog.documents.sample_of", lambda record: "silica in water")
    catalogue_raw(beamline, "A001")
    (held,) = server.store.datasets.values()
    assert set(server.store.proposals) == set(held["proposalIds"]) == {"P-1234"}
    assert set(server.store.samples) == set(held["sampleIds"]) == {"P-1234-silica-in-water-edaef6f1"}
    beamline.engine.dispose()


def test_f58_a_catalog_that_is_down_for_a_day_holds_nothing_up_and_is_caught_up_once_and_in_order(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock
) -> None:
    with server.down():
        for number in range(4):
            described_run(beamline, f"A{number}")
            done = catalogue_raw(beamline, f"A{number}")
            assert done.elsewhere[NAME].startswith("waits: ")
            assert server.url in done.elsewhere[NAME]
            clock.advance(DAY_S / 4)
        analysed_run(beamline, "A0")
        asked = len(server.seen)
        tell_all(beamline, clock)
        assert len(server.seen) == asked
        known = reach_of(beamline).of(NAME)
        assert known is not None
        assert known.down_since == clock.now - timedelta(days=1)
        assert waits(beamline) == 9
    clock.advance(600)
    tell_all(beamline, clock)
    assert waits(beamline) == 0
    assert len(server.store.datasets) == 5
    told = [
        dict(event.detail)["pid"].split("/")[2]
        for key in ("A0", "A1", "A2", "A3")
        for event in beamline.ledger.timeline("xpcs", key)
        if event.step == "catalogs" and "of the raw entry" in event.what
    ]
    assert told == ["A0", "A1", "A2", "A3"]
    created = [held["datasetName"].split()[0] for held in server.store.datasets.values()]
    assert [name for name, kind in zip(created, kinds(server).values(), strict=True) if kind == "raw"] == told
    assert list(kinds(server).values()).index("derived") > created.index("A0")
    before = len(server.seen)
    tell_all(beamline, clock)
    assert len(server.seen) == before, "what was told is not told again"


def test_a_catalog_that_is_down_is_not_asked_for_each_entry(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock
) -> None:
    server.faults.add(".*", ".*", "502 of a proxy", times=1000)
    for number in range(5):
        described_run(beamline, f"A{number}")
        catalogue_raw(beamline, f"A{number}")
    assert len(server.seen) <= 3
    assert not has_turn(beamline)
    clock.advance(30)
    assert has_turn(beamline)


def requests_of(site: Site, clock: HandClock) -> int:
    """How many requests telling of a run takes."""
    with ScicatServer() as server:
        beamline = opened(tell(site.home, server.url), clock)
        described_run(beamline)
        catalogue_raw(beamline, "A001")
        beamline.engine.dispose()
        return len(server.seen)


@pytest.mark.parametrize(
    "fault",
    ["500 after", *(pytest.param(fault, marks=pytest.mark.long) for fault in ("401", "500 before", "reset after"))],
)
def test_f57_whatever_request_fails_there_is_one_dataset_in_the_end(
    site: Site, clock: HandClock, fault: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    number = 0
    beamline = opened(tell(site.home, "http://127.0.0.1:1"), clock)
    described_run(beamline)
    beamline.engine.dispose()
    while True:
        with ScicatServer() as server:
            server.faults.add(".*", ".*", fault, passed=number)
            beamline = opened(tell(site.home, server.url), clock)
            catalogue_raw(beamline, "A001")
            outbox_of(beamline).want_again("xpcs", NAME)
            tell_all(beamline, clock, rounds=3)
            assert waits(beamline) == 0
            assert [each["datasetName"] for each in server.store.datasets.values()] == ["A001"]
            assert len(server.store.blocks) == 1
            assert next(iter(server.store.datasets.values()))["datasetlifecycle"]["isOnCentralDisk"] is True
            beamline.engine.dispose()
            if server.faults.ordered[0].times:
                break
        number += 1
    assert number > 8


def test_f57_a_time_out_after_the_dataset_was_stored_makes_no_second_one(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock
) -> None:
    described_run(beamline)
    server.faults.add("POST", "datasets$", "time-out after")
    catalogue_raw(beamline, "A001")
    tell_all(beamline, clock, rounds=2)
    assert (len(server.store.datasets), waits(beamline)) == (1, 0)


def test_f57_what_the_catalog_refuses_is_parked_with_its_reason_and_the_others_go_on(
    site: Site, server: ScicatServer, clock: HandClock
) -> None:
    beamline = opened(tell(site.home, server.url, contact_email="nobody@nowhere"), clock)
    described_run(beamline, "A001")
    done = catalogue_raw(beamline, "A001")
    assert done.elsewhere[NAME].startswith("refused: ")
    assert "contactEmail" in done.elsewhere[NAME]
    tell_all(beamline, clock, rounds=3)
    beamline.engine.dispose()
    mended = opened(tell(site.home, server.url), clock)
    described_run(mended, "A002")
    assert catalogue_raw(mended, "A002").elsewhere[NAME].startswith(PREFIX)
    (parked,) = outbox_of(mended).entries("xpcs", state=EntryState.PARKED)
    assert (parked.run_key, parked.what, parked.attempts) == ("A001", What.RAW, 1)
    assert any("refuses the raw entry" in event.what for event in mended.ledger.timeline("xpcs", "A001"))
    tell_all(mended, clock)  # the rule that it was refused by has changed
    assert (len(server.store.datasets), waits(mended)) == (2, 0)
    mended.engine.dispose()


def test_an_entry_that_alone_cannot_be_told_waits_by_itself(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock
) -> None:
    with server.down():
        for key in ("A001", "A002"):
            described_run(beamline, key)
            catalogue_raw(beamline, key)
    clock.advance(600)
    server.faults.add("POST", "datasets$", "500 before", times=2)  # it looks, and tries once more
    tell_all(beamline, clock)
    assert [held["datasetName"] for held in server.store.datasets.values()] == ["A002"]
    (late,) = [entry for entry in outbox_of(beamline).entries("xpcs", run_key="A001") if entry.what is What.RAW]
    assert (late.state, late.attempts) == (EntryState.WAITING, 1)
    assert "HTTP 500" in late.error
    assert reach_of(beamline).rests(NAME) == ""
    tell_all(beamline, clock, rounds=2)
    assert waits(beamline) == 0


def test_a_password_that_is_not_there_is_the_catalogs_trouble_and_refuses_no_entry(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock
) -> None:
    described_run(beamline)
    secret = beamline.site.home / "scicat-password"
    password = secret.read_text(encoding="utf-8")
    secret.unlink()
    assert "the secret cannot be read" in catalogue_raw(beamline, "A001").elsewhere[NAME]
    assert outbox_of(beamline).counts("xpcs", NAME)[EntryState.PARKED] == 0
    secret.write_text(password, encoding="utf-8")
    clock.advance(600)
    tell_all(beamline, clock)
    assert len(server.store.datasets) == 1


def test_a_roster_that_cannot_be_read_is_why_a_catalog_waits(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock
) -> None:
    described_run(beamline)
    catalogue_raw(beamline, "A001")
    file = beamline.site.home / "site.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "roster: {file: gone.yaml}\n", encoding="utf-8")
    again = opened(Site(beamline.site.home), clock)
    outbox_of(again).want_again("xpcs", NAME)
    tell_all(again, clock)
    assert "roster" in reach_of(again).rests(NAME)
    again.engine.dispose()


def test_a_database_that_does_not_answer_parks_nothing(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.down():
        described_run(beamline)
        catalogue_raw(beamline, "A001")
    clock.advance(600)

    def locked(*_: object) -> None:
        raise LedgerError("the ledger could not be read")

    monkeypatch.setattr(delivery, "dataset_of", locked)
    with pytest.raises(LedgerError):
        tell_all(beamline, clock)
    monkeypatch.undo()
    clock.advance(DAY_S)
    tell_all(beamline, clock)
    assert waits(beamline) == 0


def test_two_senders_at_once_never_interleave(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.down():
        for number in range(6):
            described_run(beamline, f"A{number}")
            catalogue_raw(beamline, f"A{number}")
    clock.advance(600)
    working: set[tuple[str, int]] = set()
    clashes: list[str] = []
    told = delivery._tell

    def watched(line: delivery.OpenBeamline, *parts: object) -> str:
        run = (parts[-1].run_key, parts[-1].version)  # type: ignore[attr-defined]
        clashes.extend([str(run)] if run in working else [])
        working.add(run)
        try:
            return told(line, *parts)  # type: ignore[arg-type]
        finally:
            working.discard(run)

    monkeypatch.setattr(delivery, "_tell", watched)
    senders = [threading.Thread(target=lambda: list(deliver(beamline))) for _ in range(3)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    tell_all(beamline, clock)
    assert clashes == []
    assert (len(server.store.datasets), len(server.store.blocks), waits(beamline)) == (6, 6, 0)
    posts = [path for method, path, _ in server.seen if method == "POST" and path.endswith("/datasets")]
    assert len(posts) == 6


def test_a_sender_that_lost_its_entry_makes_no_further_request(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.down():
        described_run(beamline)
        catalogue_raw(beamline, "A001")
    clock.advance(600)
    log_in = scicat_client.ScicatClient._log_in

    def sleeps(client: scicat_client.ScicatClient) -> None:
        """It is stopped past the end of its time; another takes the entry, and tells it."""
        monkeypatch.setattr(scicat_client.ScicatClient, "_log_in", log_in)
        clock.advance(DAY_S)
        assert [done.state for done in deliver(beamline)] == [EntryState.TOLD, EntryState.TOLD]
        seen.append(len([one for one in server.seen if one[0] != "GET"]))
        log_in(client)

    seen: list[int] = []
    monkeypatch.setattr(scicat_client.ScicatClient, "_log_in", sleeps)
    assert list(deliver(beamline)) == []
    writes = [one for one in server.seen if one[0] != "GET" and "login" not in one[1]]
    assert len(server.store.datasets) == 1
    assert len([path for _, path, _ in writes if path.endswith("/datasets")]) <= 2
    assert waits(beamline) == 0


def test_an_audit_names_what_a_catalog_refused_or_was_not_told_of_for_a_day(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock
) -> None:
    def untold() -> list[tuple[str, str, str, str]]:
        compare_runs(beamline)
        found = beamline.ledger.findings("xpcs", kinds=[FindingKind.UNTOLD])
        return sorted((each.place, each.path, each.run_key, each.reason) for each in found)

    with server.down():
        waits_for_it = described_run(beamline, "A001")
        catalogue_raw(beamline, "A001")
        clock.advance(DAY_S - 1)
        assert untold() == []
        clock.advance(1)
        ((place, path, run_key, reason),) = untold()  # once, though its lifecycle waits too
        assert (place, path, run_key) == (NAME, waits_for_it, "A001")
        assert reason.startswith("it waits since ")
        assert server.url in reason
    tell_all(beamline, clock)
    clock.advance(1)
    assert untold() == []
    refused = described_run(beamline, "A002")
    catalogue_raw(beamline, "A002")
    entry = outbox_of(beamline).entries("xpcs", pid=refused)[0]
    outbox_of(beamline).want_again("xpcs", NAME, pid=refused)
    claimed = outbox_of(beamline).claim("xpcs", NAME, "me", run_key="A002")
    assert claimed is not None
    outbox_of(beamline).park(claimed, "no such group")
    assert untold() == [(NAME, entry.pid, "A002", "it is refused: no such group")]
    outbox_of(beamline).retry("xpcs", NAME)
    tell_all(beamline, clock)
    clock.advance(1)
    assert untold() == []


def test_what_is_gone_from_a_catalog_is_found_and_told_again(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock
) -> None:
    for key in ("A001", "A002"):
        described_run(beamline, key)
        catalogue_raw(beamline, key)
    clock.advance(91 * DAY_S)
    assert has_turn(beamline)
    gone = f"{PREFIX}/xpcs-assets/xpcs/A001/v1"
    del server.store.datasets[gone]
    server.store.blocks = {name: block for name, block in server.store.blocks.items() if block["datasetId"] != gone}
    found: list[tuple[str, bool]] = []
    asked = look_again(
        beamline, older_than_s=DAY_S, at_most=10, told=lambda entry, there: found.append((entry.run_key, there))
    )
    assert (asked, sorted(found)) == (2, [("A001", False), ("A002", True)])
    tell_all(beamline, clock)
    assert (set(kinds(server).values()), len(server.store.datasets)) == ({"raw"}, 2)
    assert look_again(beamline, older_than_s=DAY_S, at_most=10) == 0


def test_a_catalog_that_is_named_later_is_told_of_all_runs_before(
    site: Site, server: ScicatServer, clock: HandClock
) -> None:
    alone = opened(site, clock)
    for key in ("A001", "A002"):
        described_run(alone, key)
        assert catalogue_raw(alone, key).elsewhere == {}
    analysed_run(alone)
    alone.engine.dispose()
    beamline = opened(tell(site.home, server.url), clock)
    tell_all(beamline, clock)
    assert sorted(kinds(server).values()) == ["derived", "raw", "raw"]
    beamline.engine.dispose()


def test_what_is_too_much_for_one_round_is_told_in_several(
    site: Site, server: ScicatServer, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = opened(site, clock)
    for number in range(5):
        described_run(alone, f"A{number}")
        catalogue_raw(alone, f"A{number}")
    alone.engine.dispose()
    beamline = opened(tell(site.home, server.url), clock)
    gathered = outbox_of(beamline).gather
    monkeypatch.setattr(Outbox, "gather", lambda _, *which, **of: gathered(*which, **of, limit=2))
    told = list(catch_up(beamline, rounds=2))
    assert 0 < len(told) < 10
    list(catch_up(beamline))
    assert (len(server.store.datasets), waits(beamline)) == (5, 0)
    assert list(catch_up(beamline)) == []
    beamline.engine.dispose()


def test_two_catalogs_are_told_each_by_itself(site: Site, server: ScicatServer, clock: HandClock) -> None:
    with ScicatServer() as other:
        tell(site.home, server.url, "one", "two")
        file = site.home / "site.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        content["catalogs"]["two"] = content["catalogs"]["one"] | {"url": other.url}
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        beamline = opened(Site(site.home), clock)
        described_run(beamline)
        with other.down():
            found = catalogue_raw(beamline, "A001").elsewhere
        assert found["one"].startswith(PREFIX)
        assert found["two"].startswith("waits: ")
        assert not stands(beamline, "xpcs-assets/xpcs/A001/v1")
        clock.advance(600)
        tell_all(beamline, clock)
        assert len(server.store.datasets) == len(other.store.datasets) == 1
        assert stands(beamline, "xpcs-assets/xpcs/A001/v1")
        beamline.engine.dispose()


def test_the_archive_and_the_removal_are_told_as_the_datasets_lifecycle(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock
) -> None:
    described_run(beamline)
    catalogue_raw(beamline, "A001")
    archive(beamline, "A001")
    tell_all(beamline, clock)
    (held,) = server.store.datasets.values()
    assert held["datasetlifecycle"]["retrievable"] is True
    assert held["datasetlifecycle"]["storageLocation"].startswith("tape:xpcs/A001/")
    assert held["datasetlifecycle"]["isOnCentralDisk"] is True
    for copy in beamline.ledger.copies("xpcs", "A001"):
        if copy.place != "tape":
            intent = beamline.ledger.intend_removal(
                "xpcs", "A001", 1, place=copy.place, path=copy.path, by="a test", detail={}
            )
            beamline.ledger.record_tombstone(intent.id, {})
            beamline.ledger.mark_copy(
                "xpcs", "A001", 1, place=copy.place, path=copy.path, state=CopyState.REMOVED, reason=""
            )
    removed_at = clock.now
    clock.advance(60)
    tell_all(beamline, clock)
    (held,) = server.store.datasets.values()
    assert held["datasetlifecycle"]["isOnCentralDisk"] is False
    assert held["datasetlifecycle"]["dateOfDiskPurging"].startswith(removed_at.isoformat()[:19])
    assert held["size"] == beamline.latest("A001").manifest.size_bytes


def test_f58_pruning_that_asks_for_a_catalog_entry_waits_until_every_catalog_has_it(
    beamline: delivery.OpenBeamline, server: ScicatServer, clock: HandClock
) -> None:
    clock.now = utc_now()  # a removal believes no clock that jumps
    with server.down():
        described_run(beamline)
        catalogue_raw(beamline, "A001")
    copy = next(each for each in beamline.ledger.copies("xpcs", "A001") if each.place == "detector")

    def stays() -> bool:
        return catalogued(beamline, [copy]) == set() and "it is not in the catalog" in str(refused())

    def refused() -> Exception:
        with pytest.raises(Exception, match=r"A001") as caught:
            prune(beamline, "A001", 1, copy.place, copy.path, holder="h", by="b", reason="r")
        return caught.value

    assert stays()
    assert any("it is not in the catalog" in reason for reason in plan(beamline, "detector", everything=True).reasons)
    reach_of(beamline).ask_now(NAME)
    tell_all(beamline, clock)
    assert catalogued(beamline, [copy]) == {("A001", 1)}
    assert "it is not in the catalog" not in str(refused())
    server.store.datasets.clear()  # it was told, and is gone: it is asked for now
    assert "it is not in the catalog" in str(refused())
    tell_all(beamline, clock)
    with server.down():
        assert "it is not in the catalog" in str(refused())
