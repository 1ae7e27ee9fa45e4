"""What a beamline told is read by others: another SciCat client, and a Globus Search beside it, which agree."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import scitacean
import yaml
from scitacean.transfer.copy import CopyFileTransfer

from xpcs_assets.archive.archiving import archive
from xpcs_assets.audit.rebuild import rebuild
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.cataloguing import catalogue_raw
from xpcs_assets.catalog.delivery import deliver, gather, look_again, outbox_of, stands
from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.catalog.outbox import EntryState
from xpcs_assets.site import SITE_FILE, Site
from xpcs_assets.testing.globus_search_server import INDEX_ID, OPERATORS, USERS, WRITER, GlobusSearchServer
from xpcs_assets.testing.scicat_server import ScicatServer
from xpcs_assets_tests.globus_search import held
from xpcs_assets_tests.scicat import INGESTOR, PREFIX
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.catalog.told import NAME, analysed_run, described_run, opened, tell


@pytest.fixture
def server() -> Iterator[ScicatServer]:
    with ScicatServer() as running:
        yield running


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def beamline(site: Site, server: ScicatServer, clock: HandClock) -> Iterator[OpenBeamline]:
    made = opened(tell(site.home, server.url), clock)
    yield made
    made.engine.dispose()


def tell_all(beamline: OpenBeamline) -> None:
    gather(beamline)
    for _ in deliver(beamline):
        pass


def test_another_client_reads_both_datasets_and_verifies_the_bytes_where_they_lie(
    beamline: OpenBeamline, server: ScicatServer
) -> None:
    raw = described_run(beamline)
    catalogue_raw(beamline, "A001")
    derived = analysed_run(beamline)
    tell_all(beamline)
    token = server.tokens.give(INGESTOR, 60)
    reader = scitacean.Client.from_token(
        url=f"{server.url}/api", token=token, allow_http=True, file_transfer=CopyFileTransfer()
    )
    found = reader.get_dataset(f"{PREFIX}/{raw}")
    manifest = beamline.latest("A001").manifest
    files = {one.remote_path.posix: (one.size, one.checksum_algorithm, one.checksum()) for one in found.files}
    assert files == {entry.path: (entry.size_bytes, "sha256", entry.sha256) for entry in manifest.files}
    got = reader.download_files(found, target=beamline.site.home / "got")
    assert {one.local_path.name for one in got.files if one.local_path} == {entry.path for entry in manifest.files}
    second = reader.get_dataset(f"{PREFIX}/{derived}", attachments=True)
    assert [str(one) for one in second.input_datasets or ()] == [f"{PREFIX}/{raw}"]
    assert sorted(str(one.caption) for one in second.attachments or ()) == [
        "g2 with fits",
        "scattering pattern and q-map",
    ]
    (file,) = second.files
    assert file.checksum() == beamline.ledger.results("xpcs", "A001")[0].result_digest.removeprefix("sha256:")


def with_search(site: Site, url: str) -> Site:
    """Let the beamline tell a Globus Search too."""
    (site.home / "globus-secret").write_text(f"{WRITER.secret}\n", encoding="utf-8")
    file = site.home / SITE_FILE
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["catalogs"]["portal"] = {
        "kind": "globus-search",
        "index_id": INDEX_ID,
        "operators": [OPERATORS],
        "client_id": WRITER.name,
        "client_secret": {"file": "globus-secret"},
        "groups": {"p1234": USERS},
        "url": url,
        "auth_url": url,
        "timeout": 1,
        "tries": 1,
        "longest_sleep": 0.01,
        "poll": 0.01,
        "task_limit": 2,
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    file = site.home / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["pipeline"]["catalog"] = ["embedded", NAME, "portal"]
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return Site(site.home)


def test_a_search_index_is_told_the_same_through_the_same_outbox(
    site: Site, server: ScicatServer, clock: HandClock
) -> None:
    with GlobusSearchServer() as search:
        tell(site.home, server.url)
        beamline = opened(with_search(site, search.url), clock)
        raw = described_run(beamline)
        told = catalogue_raw(beamline, "A001").elsewhere
        assert told == {NAME: f"{PREFIX}/{raw}", "portal": raw}
        derived = analysed_run(beamline)
        archive(beamline, "A001")
        tell_all(beamline)
        assert {entry.state for entry in outbox_of(beamline).entries("xpcs")} == {EntryState.TOLD}
        assert stands(beamline, raw)
        entry = held(search, raw)
        record = EmbeddedCatalog(beamline.engine).get(raw)
        assert USERS in entry["visible_to"]
        text = str(entry["content"])
        assert record.proposal in text
        assert "tape:xpcs/A001/" in text
        assert (derived, derived) in search.index.entries
        clock.advance(100 * 86400)
        assert look_again(beamline, older_than_s=1.0, at_most=10) == 4
        beamline.engine.dispose()


def test_a_search_index_shows_a_dataset_to_everybody_by_itself_once_its_embargo_is_over(
    site: Site, server: ScicatServer, clock: HandClock
) -> None:
    until = clock.now.date() + timedelta(days=2)
    over_at = datetime(until.year, until.month, until.day, tzinfo=UTC) + timedelta(days=1, hours=12)
    with GlobusSearchServer() as search:
        tell(site.home, server.url)
        with_search(site, search.url)
        file = site.home / SITE_FILE
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        content["catalogs"]["portal"]["public_after_embargo"] = True
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        file = site.home / "beamlines" / "xpcs.yaml"
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        content["runs"]["owner"]["embargo_until"] = until.isoformat()
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        beamline = opened(Site(site.home), clock)
        raw = described_run(beamline)
        catalogue_raw(beamline, "A001")
        assert held(search, raw)["visible_to"] == sorted([OPERATORS, USERS])
        clock.now = over_at - timedelta(seconds=1)
        tell_all(beamline)
        assert held(search, raw)["visible_to"] == sorted([OPERATORS, USERS])
        clock.now = over_at
        assert gather(beamline) == 1
        tell_all(beamline)
        assert held(search, raw)["visible_to"] == sorted(["public", OPERATORS, USERS])
        assert gather(beamline) == 0
        beamline.engine.dispose()


def test_a_search_index_that_is_down_is_caught_up_and_keeps_no_other_catalog(
    site: Site, server: ScicatServer, clock: HandClock
) -> None:
    with GlobusSearchServer() as search:
        tell(site.home, server.url)
        beamline = opened(with_search(site, search.url), clock)
        search.stop()
        raw = described_run(beamline)
        told = catalogue_raw(beamline, "A001").elsewhere
        assert (told[NAME], told["portal"][:7]) == (f"{PREFIX}/{raw}", "waits: ")
        search.start()
        clock.advance(600)
        tell_all(beamline)
        assert (raw, raw) in search.index.entries
        assert stands(beamline, raw)
        beamline.engine.dispose()


def test_a_ledger_that_was_made_again_tells_everything_once_more_and_finds_that_it_is_there(
    beamline: OpenBeamline, server: ScicatServer
) -> None:
    described_run(beamline)
    catalogue_raw(beamline, "A001")
    beamline.place("tape")  # so that it was met before
    before, blocks = dict(server.store.datasets), dict(server.store.blocks)
    beamline.engine.dispose()
    done = rebuild(Site(beamline.site.home))
    assert done.same
    again = opened(Site(beamline.site.home), HandClock())
    tell_all(again)
    assert {entry.state for entry in outbox_of(again).entries("xpcs")} == {EntryState.TOLD}
    assert (server.store.datasets, server.store.blocks) == (before, blocks)
    again.engine.dispose()
