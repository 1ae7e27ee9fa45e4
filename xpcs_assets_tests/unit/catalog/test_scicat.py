"""Each dataset is in SciCat once, and as it was meant, whatever fails in between (F57, F58)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.catalog.dataset import Dataset, Lifecycle
from xpcs_assets.catalog.scicat import ScicatCatalog
from xpcs_assets.catalog.scicat_files import attachment_id
from xpcs_assets.errors import CatalogError, CatalogUnavailableError, SettingsError
from xpcs_assets.testing.scicat_server import ScicatServer
from xpcs_assets_tests.scicat import PREFIX, USER, config_for, derived, entries, picture, raw

PID = f"{PREFIX}/xpcs-assets/b/A001/v1"
PRUNED = datetime(2026, 5, 9, tzinfo=UTC)
HARD = ("401", "500 before", "500 after", "reset after", "page of a proxy")


@pytest.fixture
def server() -> Iterator[ScicatServer]:
    with ScicatServer() as running:
        yield running


@pytest.fixture
def catalog(server: ScicatServer, tmp_path: Path) -> Iterator[ScicatCatalog]:
    made = ScicatCatalog(config_for(server, tmp_path))
    yield made
    made.client.close()


def put_all(catalog: ScicatCatalog) -> None:
    """All that is put for a run, with a change at the end, so that every kind of request is made."""
    catalog.put(Dataset(raw(), files=entries(10, 20)))
    catalog.put(Dataset(derived(), files=entries(5), pictures=(picture(),)))
    catalog.put(Dataset(raw(description="changed"), files=entries(10, 20)))
    catalog.put_lifecycle(PID, Lifecycle(archived=True, archive_location="hpss:/A001.tar"))


def content(server: ScicatServer) -> list[Any]:
    """What the server holds, without times and names of its own."""
    own = {"createdAt", "updatedAt", "_id"}
    store = server.store
    return [
        [{name: value for name, value in one.items() if name not in own} for one in kind.values()]
        for kind in (store.datasets, store.blocks, store.attachments)
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], int]:
    """What is held, and after how many requests, when nothing fails."""
    with ScicatServer() as server:
        made = ScicatCatalog(config_for(server, tmp_path_factory.mktemp("clean")))
        put_all(made)
        made.client.close()
        return content(server), len(server.seen)


def test_each_dataset_is_there_once_with_its_files_and_plots(undisturbed: tuple[list[Any], int]) -> None:
    datasets, blocks, attachments = undisturbed[0]
    assert [one["pid"] for one in datasets] == [PID, f"{PID}/0123456789ab"]
    assert [[file["path"] for file in block["dataFileList"]] for block in blocks] == [["f0.h5", "f1.h5"], ["f0.h5"]]
    assert [one["caption"] for one in attachments] == ["caption of g2.png"]
    assert (datasets[0]["description"], datasets[0]["size"], datasets[0]["numberOfFiles"]) == ("changed", 30, 2)
    assert datasets[1]["inputDatasets"] == [PID]


@pytest.mark.parametrize("kind", HARD)
def test_any_request_may_fail_and_all_is_there_once(
    undisturbed: tuple[list[Any], int], tmp_path: Path, kind: str
) -> None:
    """For each request in turn: it fails, what was put is put again until it is taken, and nothing is there twice."""
    wanted, requests = undisturbed
    with ScicatServer() as server:
        config = replace(config_for(server, tmp_path), reads_tried=1)
        for number in range(requests):
            for documents in (server.store.datasets, server.store.blocks, server.store.attachments):
                documents.clear()
            server.faults.add(r"\w+", "/", kind, passed=number)
            catalog = ScicatCatalog(config)
            for _ in range(2):
                try:
                    put_all(catalog)
                    break
                except CatalogUnavailableError:
                    continue
            catalog.client.close()
            assert content(server) == wanted, f"request {number}"
            server.faults.ordered.clear()


@pytest.mark.parametrize("path", ["datasets$", "origdatablocks$", "attachments$"])
@pytest.mark.parametrize("kind", ["time-out before", "time-out after"])
def test_a_write_that_times_out_is_looked_for_before_it_is_made_again(
    undisturbed: tuple[list[Any], int], server: ScicatServer, tmp_path: Path, path: str, kind: str
) -> None:
    server.faults.add("POST", path, kind)
    catalog = ScicatCatalog(config_for(server, tmp_path, read_s=0.2))
    put_all(catalog)
    catalog.client.close()
    assert content(server) == undisturbed[0]
    writes = [request for request in server.seen if request[0] == "POST" and request[1].endswith(path.rstrip("$"))]
    puts = {"datasets$": 3, "origdatablocks$": 2, "attachments$": 1}[path]
    assert len(writes) == puts + (kind == "time-out before")


def test_a_session_that_ends_in_the_middle_is_begun_anew(server: ScicatServer, catalog: ScicatCatalog) -> None:
    catalog.put(Dataset(raw(), files=entries(10)))
    server.tokens.expire()
    catalog.put(Dataset(derived(), files=entries(5)))
    assert len(server.store.datasets) == 2
    assert [request for request in server.seen if request[1].endswith("login")] == [
        ("POST", "/api/v3/auth/login", 201)
    ] * 2


def test_what_the_backend_refuses_is_told_and_nothing_is_stored(server: ScicatServer, tmp_path: Path) -> None:
    catalog = ScicatCatalog(config_for(server, tmp_path, contact_email="a@b.c"))
    with pytest.raises(CatalogError, match="contactEmail") as raised:
        catalog.put(Dataset(raw(), files=entries(10)))
    assert not isinstance(raised.value, CatalogUnavailableError)
    assert server.store.datasets == {}
    catalog.client.close()


@pytest.mark.parametrize(
    "wrong", [{"nosuch": 1}, {"keywords": "XPCS"}, {"creationTime": "2026-05-01T12:00:00"}, {"owner": ""}]
)
def test_a_wrong_document_is_refused_before_it_is_sent(
    server: ScicatServer, catalog: ScicatCatalog, wrong: dict[str, Any]
) -> None:
    with pytest.raises(CatalogError):
        catalog.put(Dataset(raw(**wrong), files=entries(10)))
    assert server.seen == []


def test_an_account_without_the_right_is_told_so(server: ScicatServer, tmp_path: Path) -> None:
    config = config_for(server, tmp_path, username=USER.name)
    (tmp_path / "scicat-password").write_text(USER.password, encoding="utf-8")
    catalog = ScicatCatalog(config)
    with pytest.raises(CatalogError, match="403") as raised:
        catalog.put(Dataset(raw(), files=entries(10)))
    assert not isinstance(raised.value, CatalogUnavailableError)
    assert "right to write" in raised.value.remedy
    catalog.client.close()


def test_a_catalog_that_is_down_is_unavailable_and_takes_all_afterwards(
    undisturbed: tuple[list[Any], int], server: ScicatServer, catalog: ScicatCatalog
) -> None:
    with server.down():
        with pytest.raises(CatalogUnavailableError):
            put_all(catalog)
        with pytest.raises(CatalogUnavailableError):
            catalog.has(PID)
    put_all(catalog)
    assert content(server) == undisturbed[0]


def test_blocks_that_were_stored_late_and_twice_are_removed(server: ScicatServer, catalog: ScicatCatalog) -> None:
    catalog.put(Dataset(raw(), files=entries(10, 20)))
    (block,) = server.store.blocks.values()
    for number in range(2):
        late = {**block, "_id": f"late {number}", "createdAt": "2027-01-01T00:00:00.000Z"}
        server.store.blocks[late["_id"]] = late
    server.store.datasets[PID].update(size=90, numberOfFiles=6)
    catalog.put(Dataset(raw(), files=entries(10, 20)))
    assert list(server.store.blocks.values()) == [block]
    assert (server.store.datasets[PID]["size"], server.store.datasets[PID]["numberOfFiles"]) == (30, 2)


def test_a_block_without_checksums_is_replaced(server: ScicatServer, catalog: ScicatCatalog) -> None:
    catalog.put(Dataset(raw(), files=entries(10)))
    (block,) = server.store.blocks.values()
    block.pop("chkAlg")
    del block["dataFileList"][0]["chk"]
    catalog.put(Dataset(raw(), files=entries(10)))
    (block,) = server.store.blocks.values()
    assert (block["chkAlg"], block["dataFileList"][0]["chk"]) == ("sha256", f"{0:064x}")


def test_a_file_of_somebody_else_is_told_and_left(server: ScicatServer, catalog: ScicatCatalog) -> None:
    catalog.put(Dataset(raw(), files=entries(10)))
    (block,) = server.store.blocks.values()
    block["dataFileList"][0]["path"] = "other.h5"
    with pytest.raises(CatalogError, match=r"other\.h5"):
        catalog.put(Dataset(raw(), files=entries(10)))
    assert len(server.store.blocks) == 1


def test_a_pid_of_another_type_of_dataset_is_refused(server: ScicatServer, catalog: ScicatCatalog) -> None:
    catalog.put(Dataset(raw(), files=entries(10)))
    with pytest.raises(CatalogError, match="type raw"):
        catalog.put(Dataset(derived("xpcs-assets/b/A001/v1"), files=entries(10)))
    assert server.store.datasets[PID]["type"] == "raw"


def test_a_published_dataset_stays_published_with_its_sizes(server: ScicatServer, catalog: ScicatCatalog) -> None:
    catalog.put(Dataset(raw(), files=entries(10)))
    server.store.datasets[PID].update(isPublished=True, packedSize=7, numberOfFilesArchived=1)
    catalog.put(Dataset(raw(description="new"), files=entries(10)))
    held = server.store.datasets[PID]
    assert (held["isPublished"], held["description"], held["size"]) == (True, "new", 10)
    assert held["numberOfFilesArchived"] == 1


def test_archived_sizes_stay(server: ScicatServer, catalog: ScicatCatalog) -> None:
    catalog.put(Dataset(raw(), files=entries(10)))
    server.store.datasets[PID]["packedSize"] = 7
    catalog.put(Dataset(raw(description="new"), files=entries(10)))
    assert server.store.datasets[PID]["packedSize"] == 7


@pytest.mark.parametrize("times", [1, 2])
def test_a_change_by_somebody_else_meanwhile_is_kept(
    server: ScicatServer, catalog: ScicatCatalog, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    catalog.put(Dataset(raw(), files=entries(10)))
    read, reads = catalog._calls.read, []

    def read_then_change(pid: str) -> dict[str, Any] | None:
        found = read(pid)
        reads.append(pid)
        if 1 < len(reads) <= times + 1:  # the first one looks whose pid it is
            server.store.change(server.store.datasets[PID], {"comment": "theirs"}, server.backend.accounts["user"])
        return found

    monkeypatch.setattr(catalog._calls, "read", read_then_change)
    catalog.put(Dataset(raw(description="ours"), files=entries(10)))
    held = server.store.datasets[PID]
    assert (held["comment"], held["description"]) == ("theirs", "ours")
    assert [status for method, _, status in server.seen if method == "PATCH"] == [412] * times + [200]


def test_a_dataset_that_others_change_all_the_time_has_to_wait(
    server: ScicatServer, catalog: ScicatCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.put(Dataset(raw(), files=entries(10)))
    server.backend.store.now = datetime(2026, 6, 1, tzinfo=UTC)
    update = server.backend.datasets_v4_controller_find_by_id_and_update_v4

    def changed_first(request: Any) -> dict[str, Any]:
        server.store.change(server.store.datasets[PID], {"comment": "theirs"}, server.backend.accounts["user"])
        return update(request)

    monkeypatch.setattr(server.backend, "datasets_v4_controller_find_by_id_and_update_v4", changed_first)
    with pytest.raises(CatalogUnavailableError, match="keep changing"):
        catalog.put(Dataset(raw(description="ours"), files=entries(10)))


def test_a_block_that_is_gone_already_needs_no_removal(server: ScicatServer, catalog: ScicatCatalog) -> None:
    catalog.put(Dataset(raw(), files=entries(10)))
    catalog._calls.remove_block(PID, "gone")
    assert len(server.store.blocks) == 1


def test_a_backend_that_keeps_something_else_is_found_out(
    server: ScicatServer, catalog: ScicatCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = server.backend.datasets_v4_controller_create_v4

    def shortened(request: Any) -> dict[str, Any]:
        made = create(request)
        made["description"] = made["description"][:5]
        return made

    monkeypatch.setattr(server.backend, "datasets_v4_controller_create_v4", shortened)
    monkeypatch.setattr(server.backend.store, "change", lambda *_: None)
    with pytest.raises(CatalogError, match="something else in description"):
        catalog.put(Dataset(raw()))


def test_a_plot_is_replaced_when_it_changed(server: ScicatServer, catalog: ScicatCatalog) -> None:
    catalog.put(
        Dataset(
            derived(),
            files=entries(5),
            pictures=(
                picture(),
                picture("saxs.png"),
            ),
        )
    )
    before = {name: one["thumbnail"] for name, one in server.store.attachments.items()}
    catalog.put(
        Dataset(
            derived(),
            files=entries(5),
            pictures=(
                picture(side_px=50),
                picture("saxs.png"),
            ),
        )
    )
    after = server.store.attachments
    assert list(after) == list(before)
    assert [one["isPublished"] for one in after.values()] == [False, False]
    changed = [name for name, thumbnail in before.items() if after[name]["thumbnail"] != thumbnail]
    assert changed == [attachment_id(f"{PID}/0123456789ab", "g2.png")]


def test_a_lifecycle_needs_its_dataset_and_says_nothing_twice(server: ScicatServer, catalog: ScicatCatalog) -> None:
    with pytest.raises(CatalogError, match="no such dataset"):
        catalog.put_lifecycle(PID, Lifecycle(archived=True))
    catalog.put(Dataset(raw(), files=entries(10)))
    for _ in range(2):
        catalog.put_lifecycle(PID, Lifecycle(archived=True, on_disk=False, pruned_at=PRUNED))
    assert sum(method == "PATCH" for method, _, _ in server.seen) == 1
    life = server.store.datasets[PID]["datasetlifecycle"]
    assert (life["retrieveStatusMessage"], life["archivable"], life["publishable"]) == ("", False, False)


def test_owner_access_and_place_follow_the_rules(server: ScicatServer, tmp_path: Path) -> None:
    config = config_for(
        server,
        tmp_path,
        owner_group="{proposal}",
        access_groups=("{beamline}-staff",),
        creation_location="/APS/{beamline}",
    )
    catalog = ScicatCatalog(config)
    catalog.put(Dataset(raw(), files=entries(10)))
    catalog.put(Dataset(raw("other/1", proposalIds=[]), files=entries(10)))
    one, other = server.store.datasets.values()
    assert (one["ownerGroup"], other["ownerGroup"]) == ("P-1234", "p1234")
    assert one["accessGroups"] == ["aps-8-id-i-staff", "staff"]
    assert one["creationLocation"] == "/APS/aps-8-id-i"
    catalog.client.close()


def test_without_the_sdk_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert importlib.util.find_spec("scicat_sdk_py") is not None
    monkeypatch.setitem(sys.modules, "scicat_sdk_py", None)
    with ScicatServer() as server, pytest.raises(SettingsError, match=r"xpcs-assets\[scicat\]"):
        ScicatCatalog(config_for(server, tmp_path))
