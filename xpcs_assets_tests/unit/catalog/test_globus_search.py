"""The Globus Search catalog: each dataset once, seen by the right people, the same as the embedded record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import globus_sdk
import pytest

from xpcs_assets.catalog.dataset import Catalog, Dataset, Lifecycle, Picture
from xpcs_assets.catalog.documents import derived_document, raw_document, sample_of
from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.catalog.globus_search import TYPES_SUBJECT, GlobusSearchCatalog
from xpcs_assets.catalog.globus_search_content import ROOT, TYPES, document_of
from xpcs_assets.errors import CatalogError, CatalogUnavailableError, RefusedError
from xpcs_assets.testing.globus_search_server import (
    INDEX_ID,
    OPERATORS,
    OTHERS,
    STRANGER,
    USER,
    USERS,
    WRITER,
    Client,
    GlobusSearchServer,
)
from xpcs_assets_tests.globus_search import NOW, PID, config_for, dataset, document, held, ingests
from xpcs_assets_tests.unit.catalog import made

PRUNED = datetime(2026, 5, 9, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[GlobusSearchServer]:
    with GlobusSearchServer() as running:
        running.index.polls = 0
        yield running


@pytest.fixture
def there(server: GlobusSearchServer, tmp_path: Path) -> Iterator[GlobusSearchCatalog]:
    made = GlobusSearchCatalog(config_for(server, tmp_path), lambda: NOW)
    yield made
    made.close()


def found_by(server: GlobusSearchServer, client: Client | None, **query: Any) -> list[str]:
    """The subjects of datasets that somebody finds."""
    authorizer = globus_sdk.AccessTokenAuthorizer(server.token(client)) if client else None
    search = globus_sdk.SearchClient(base_url=server.url, authorizer=authorizer)
    try:
        told = search.post_search(INDEX_ID, query or {"q": "*"})
        return [one["subject"] for one in told["gmeta"] if one["subject"] != TYPES_SUBJECT]
    finally:
        search.transport.close()


def test_it_is_a_catalog(there: GlobusSearchCatalog) -> None:
    catalog: Catalog = there
    catalog.check()
    assert not catalog.has(PID)
    assert catalog.put(dataset()) == PID
    assert catalog.has(PID)


def test_a_dataset_is_held_under_its_pid_with_its_files(server: GlobusSearchServer, there: GlobusSearchCatalog) -> None:
    there.put(dataset())
    content = held(server)["content"]
    assert document_of(content) == document()
    assert content[ROOT]["files"] == [{"path": "A001.imm", "size_bytes": 10, "sha256": "a" * 64}]
    assert content[ROOT]["lifecycle"] == {}


def test_putting_again_sends_nothing(server: GlobusSearchServer, there: GlobusSearchCatalog, tmp_path: Path) -> None:
    for _ in range(3):
        there.put(dataset())
    another = GlobusSearchCatalog(config_for(server, tmp_path), lambda: NOW)
    another.put(dataset())
    another.close()
    assert ingests(server) == 1


def test_what_changed_is_sent_and_what_others_hold_beside_it_stays(
    server: GlobusSearchServer, there: GlobusSearchCatalog
) -> None:
    there.put(dataset())
    server.index.entries[PID, "a note"] = {"visible_to": ["public"], "content": {"note": "nice"}}
    there.put(dataset(description="better"))
    assert document_of(held(server)["content"])["description"] == "better"
    assert set(server.index.entries) == {(PID, PID), (PID, "a note"), (TYPES_SUBJECT, TYPES_SUBJECT)}


def test_an_entry_that_somebody_changed_is_put_right(server: GlobusSearchServer, there: GlobusSearchCatalog) -> None:
    there.put(dataset())
    held(server)["content"][ROOT]["dataset"]["description"] = "wrong"
    there.put(dataset())
    assert document_of(held(server)["content"]) == document()


@pytest.mark.parametrize("content", [{"mine": 1}, {ROOT: "mine"}, {ROOT: {"mine": 1}}])
def test_an_entry_that_is_anothers_is_left_alone(
    server: GlobusSearchServer, there: GlobusSearchCatalog, content: dict[str, Any]
) -> None:
    server.index.entries[PID, PID] = {"visible_to": [OPERATORS], "content": content}
    with pytest.raises(CatalogError, match="another's"):
        there.put(dataset())
    with pytest.raises(CatalogError, match="another's"):
        there.put_lifecycle(PID, Lifecycle(archived=True))
    assert held(server)["content"] == content


def test_as_much_as_is_configured_can_be_sent(server: GlobusSearchServer, tmp_path: Path) -> None:
    there = GlobusSearchCatalog(config_for(server, tmp_path, entry_bytes=9_900_000, timeout_s=30.0), lambda: NOW)
    many = {f"k{number:05d}": "x" * 10_000 for number in range(1100)}
    there.put(dataset(scientificMetadata=many))
    there.close()
    assert held(server)["content"][ROOT]["left_out"] > 100


def test_only_operators_and_the_groups_that_are_mapped_find_a_dataset(
    server: GlobusSearchServer, there: GlobusSearchCatalog
) -> None:
    there.put(dataset())
    other = "xpcs-assets/aps-8-id-i/A002/v1"
    there.put(dataset(pid=other, ownerGroup="p9999"))
    assert held(server)["visible_to"] == [OPERATORS, USERS]
    assert held(server, other)["visible_to"] == [OPERATORS]
    assert found_by(server, WRITER) == [PID, other]
    assert found_by(server, USER) == [PID]
    assert found_by(server, STRANGER) == found_by(server, None) == []
    assert held(server)["content"][ROOT]["groups_not_mapped"] == ["staff"]
    assert held(server, other)["content"][ROOT]["groups_not_mapped"] == ["p9999", "staff"]


def test_access_groups_see_a_dataset_too(server: GlobusSearchServer, tmp_path: Path) -> None:
    there = GlobusSearchCatalog(config_for(server, tmp_path, groups={"staff": OTHERS}), lambda: NOW)
    there.put(dataset())
    there.close()
    assert held(server)["visible_to"] == [OPERATORS, OTHERS]


def test_a_changed_rule_is_applied_when_a_dataset_is_put_again(
    server: GlobusSearchServer, there: GlobusSearchCatalog, tmp_path: Path
) -> None:
    there.put(dataset())
    closed = GlobusSearchCatalog(config_for(server, tmp_path, groups={}), lambda: NOW)
    closed.put(dataset())
    closed.close()
    assert held(server)["visible_to"] == [OPERATORS]
    assert found_by(server, USER) == []


def test_a_dataset_put_again_after_its_embargo_becomes_public_where_that_is_configured(
    server: GlobusSearchServer, tmp_path: Path
) -> None:
    now = [NOW]
    there = GlobusSearchCatalog(config_for(server, tmp_path, public_after_embargo=True), lambda: now[0])
    under_embargo = dataset(embargo_until="2026-06-30")
    there.put(under_embargo)
    assert found_by(server, None) == []
    now[0] += timedelta(days=60)
    there.put(under_embargo)
    assert found_by(server, None) == [PID]
    there.put(replace(under_embargo, embargo_until="2027-06-30"))
    assert found_by(server, None) == []
    there.close()


def test_the_types_are_fixed_first_and_once(
    server: GlobusSearchServer, there: GlobusSearchCatalog, tmp_path: Path
) -> None:
    there.put(dataset(datasetName="2026-05-01", scientificMetadata={"a": "2026-05-01", "b": 5}))
    another = GlobusSearchCatalog(config_for(server, tmp_path), lambda: NOW)
    another.put(dataset(pid="p/2", datasetName="a name", scientificMetadata={"a": 5, "b": "text"}))
    another.close()
    assert len(server.index.tasks) == 3
    before = len(server.seen)
    there.put(dataset(description="better"))
    reads = [path for method, path, _ in server.seen[before:] if (method, path[-6:]) == ("GET", "/entry")]
    assert len(reads) == 2, "the dataset before and after; the types are looked at once"
    types = server.index.entries[TYPES_SUBJECT, TYPES_SUBJECT]
    assert types == {"visible_to": [OPERATORS], "content": TYPES}


def test_a_field_of_another_type_in_the_index_is_told(server: GlobusSearchServer, there: GlobusSearchCatalog) -> None:
    server.index.mapped.take({ROOT: {"dataset": {"size": 5}}})
    with pytest.raises(CatalogError, match=r"\[xpcs_assets.dataset.size\] of type \[Integer\]"):
        there.put(dataset())
    assert not server.index.entries


def test_a_lifecycle_is_merged_and_the_rest_stays(server: GlobusSearchServer, there: GlobusSearchCatalog) -> None:
    there.put(dataset(embargo_until="2027-01-01"))
    before = held(server)["content"][ROOT]
    there.put_lifecycle(PID, Lifecycle(archived=True, archive_location="tape:/a", on_disk=True))
    there.put_lifecycle(PID, Lifecycle(on_disk=False, pruned_at=PRUNED))
    after = held(server)["content"][ROOT]
    assert after["lifecycle"] == {
        "archived": True,
        "archive_location": "tape:/a",
        "on_disk": False,
        "pruned_at": "2026-05-09T00:00:00+00:00",
    }
    changing = {"lifecycle", "digest"}
    assert {k: v for k, v in after.items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }
    assert held(server)["visible_to"] == [OPERATORS, USERS]


def test_a_lifecycle_told_twice_is_sent_once_and_stays_when_the_dataset_is_put_again(
    server: GlobusSearchServer, there: GlobusSearchCatalog
) -> None:
    there.put(dataset())
    for _ in range(2):
        there.put_lifecycle(PID, Lifecycle(archived=True))
    there.put_lifecycle(PID, Lifecycle())
    there.put(dataset())
    assert ingests(server) == 2
    there.put(dataset(description="better"))
    assert held(server)["content"][ROOT]["lifecycle"] == {"archived": True}


def test_a_lifecycle_of_what_is_not_there_is_refused(there: GlobusSearchCatalog) -> None:
    with pytest.raises(CatalogError, match="Put the dataset itself first"):
        there.put_lifecycle(PID, Lifecycle(archived=True))


def test_plots_are_linked_and_not_sent(server: GlobusSearchServer, tmp_path: Path) -> None:
    plots = (Picture("g2.png", "g2 of all bins", b"\x89PNG" + b"x" * 10**6),)
    address = "https://portal.example.org/plots/{pid}/{name}"
    there = GlobusSearchCatalog(config_for(server, tmp_path, picture_url=address), lambda: NOW)
    there.put(dataset(pictures=plots))
    there.close()
    assert held(server)["content"][ROOT]["pictures"] == [
        {"name": "g2.png", "caption": "g2 of all bins", "url": f"https://portal.example.org/plots/{PID}/g2.png"}
    ]


def test_plots_are_named_where_nobody_serves_them(server: GlobusSearchServer, there: GlobusSearchCatalog) -> None:
    there.put(dataset(pictures=(Picture("g2.png", "g2", b""),)))
    assert held(server)["content"][ROOT]["pictures"] == [{"name": "g2.png", "caption": "g2"}]


def test_a_subject_may_be_an_address(server: GlobusSearchServer, tmp_path: Path) -> None:
    there = GlobusSearchCatalog(config_for(server, tmp_path, subject="https://example.org/d/{pid}"), lambda: NOW)
    assert there.put(dataset()) == f"https://example.org/d/{PID}"
    assert there.has(PID)
    there.put_lifecycle(PID, Lifecycle(archived=True))
    there.close()
    assert (f"https://example.org/d/{PID}", PID) in server.index.entries


def test_an_account_that_is_no_operator_is_told_that_it_does_not_see_what_it_wrote(
    server: GlobusSearchServer, tmp_path: Path
) -> None:
    there = GlobusSearchCatalog(config_for(server, tmp_path, operators=(OTHERS,)), lambda: NOW)
    with pytest.raises(CatalogError, match=r"does not see what it wrote.*one of the operators"):
        there.put(dataset())
    there.close()


def test_a_dataset_that_others_write_at_the_same_moment_is_put_again_later(
    server: GlobusSearchServer, tmp_path: Path
) -> None:
    def meddle() -> None:
        server.index._queue("ingest", lambda: held(server)["content"][ROOT].update(digest="theirs"))

    there = GlobusSearchCatalog(config_for(server, tmp_path), lambda: NOW)
    there.put(dataset())
    original = server.index.ingest

    def ingest(*arguments: Any) -> dict[str, Any]:
        answer = original(*arguments)
        meddle()
        server.index.settle()
        return answer

    server.index.ingest = ingest  # type: ignore[method-assign]
    with pytest.raises(CatalogUnavailableError, match="others write"):
        there.put(dataset(description="mine"))
    there.close()


@pytest.mark.parametrize("fault", ["500 before", "500 after", "time-out after", "reset after", "401", "429"])
def test_every_request_may_fail_once_and_all_is_there_exactly_once(
    server: GlobusSearchServer, tmp_path: Path, fault: str
) -> None:
    """Each request of a whole run fails in turn, without the SDK trying again; the run is told until it is done."""

    def all_told() -> None:
        there = GlobusSearchCatalog(config_for(server, tmp_path, tries=1, timeout_s=0.3), lambda: NOW)
        try:
            there.put(dataset())
            there.put(dataset(pid="p/2", type="derived", inputDatasets=[PID]))
            there.put_lifecycle(PID, Lifecycle(archived=True))
        finally:
            there.close()

    all_told()
    requests = len(server.seen)
    for number in range(requests):
        server.index.entries.clear()
        server.faults.ordered.clear()
        server.faults.add(".*", "", fault, passed=number)
        for _ in range(5):
            try:
                all_told()
                break
            except CatalogUnavailableError:
                continue
        else:
            pytest.fail(f"request {number}: not done in five attempts")
        assert set(server.index.entries) == {(TYPES_SUBJECT, TYPES_SUBJECT), (PID, PID), ("p/2", "p/2")}
        assert held(server)["content"][ROOT]["lifecycle"] == {"archived": True}


def test_before_each_write_somebody_may_object(server: GlobusSearchServer, tmp_path: Path) -> None:
    def lost() -> None:
        raise RefusedError("another sends")

    there = GlobusSearchCatalog(config_for(server, tmp_path), lambda: NOW, lost)
    with pytest.raises(RefusedError):
        there.put(dataset())
    assert not there.has(PID)
    there.close()
    assert not server.index.tasks


def test_the_embedded_record_and_this_one_agree_field_by_field(
    server: GlobusSearchServer, there: GlobusSearchCatalog, catalog: EmbeddedCatalog
) -> None:
    record = made.described(owner=made.owned_by("P-1234", "p1234", "staff"))
    result = made.derived(record)
    embedded = [catalog.put_raw(record, "/staged/A001"), catalog.put_derived(result)]
    meant = [
        Dataset(raw_document(record, "/staged/A001"), record.owner.embargo_until, sample=sample_of(record)),
        Dataset(derived_document(result), record.owner.embargo_until, sample=sample_of(record)),
    ]
    for pid, one in zip(embedded, meant, strict=True):
        there.put(one)
        here, content = catalog.get(pid), held(server, pid)["content"]
        assert document_of(content) == here.document
        told = content[ROOT]
        assert told["left_out"] == 0
        assert told["dataset"]["type"] == here.kind
        assert told["dataset"]["ownerGroup"] == here.owner_group
        assert told["dataset"]["accessGroups"] == here.access_groups
        assert told["dataset"]["creationLocation"] == here.beamline
        assert told["embargo_until"] == here.embargo_until
        assert told["date"] == here.created_at.date().isoformat()
        assert told["sample"] == here.sample == "silica in water"
