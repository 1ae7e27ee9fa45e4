"""What the SciCat catalog does at any backend: the contract server in both versions, and a real one where named.

``XPCS_TEST_SCICAT_URL`` names a real backend, ``XPCS_TEST_SCICAT_USER`` and ``XPCS_TEST_SCICAT_PASSWORD`` an account
that may create datasets with a pid; each test there writes under a prefix of its own. pytest must be allowed to reach
it: ``--force-enable-socket``. Another client, scitacean, reads what was written.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import scitacean
from scitacean.transfer.copy import CopyFileTransfer

from xpcs_assets.catalog.dataset import Dataset, Lifecycle
from xpcs_assets.catalog.documents import derived_document, raw_document
from xpcs_assets.catalog.scicat import ScicatCatalog
from xpcs_assets.catalog.scicat_client import ScicatConfig
from xpcs_assets.catalog.scicat_compare import as_meant
from xpcs_assets.catalog.scicat_links import put_proposal, put_sample
from xpcs_assets.describe.record import Entry
from xpcs_assets.errors import CatalogError
from xpcs_assets.runs.manifest import FileEntry
from xpcs_assets.secret import SecretReference
from xpcs_assets.testing.scicat_server import ScicatServer
from xpcs_assets_tests.scicat import config_for, derived, entries, picture, raw
from xpcs_assets_tests.unit.catalog import made

REAL = os.environ.get("XPCS_TEST_SCICAT_URL", "")
PRUNED = datetime(2026, 5, 9, tzinfo=UTC)


@pytest.fixture(params=["contract v4", "contract v3", "real v4", "real v3"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ScicatConfig]:
    kind, api = request.param.split()
    if kind == "contract":
        with ScicatServer() as server:
            yield config_for(server, tmp_path, api=api)
    elif not REAL:
        pytest.skip("XPCS_TEST_SCICAT_URL names no real backend")
    else:
        yield ScicatConfig(
            REAL,
            contact_email="beamline@lbl.gov",
            username=os.environ["XPCS_TEST_SCICAT_USER"],
            password=SecretReference(variable="XPCS_TEST_SCICAT_PASSWORD"),
            pid_prefix=f"xpcs-test/{uuid.uuid4().hex}",
            api=api,
        )


@pytest.fixture
def catalog(config: ScicatConfig) -> Iterator[ScicatCatalog]:
    made = ScicatCatalog(config)
    yield made
    made.client.close()


def held(catalog: ScicatCatalog, pid: str) -> dict[str, Any]:
    found = catalog.client.get("/api/v4/datasets/{pid}", {"pid": pid}, [("include", "origdatablocks")])
    assert isinstance(found, dict)
    return found


def test_a_raw_dataset_is_held_as_it_was_meant(catalog: ScicatCatalog) -> None:
    assert not catalog.has(raw()["pid"])
    pid = catalog.put(Dataset(raw(), files=entries(10, 20, 30)))
    assert catalog.has(pid)
    assert catalog.has(raw()["pid"])
    found = held(catalog, pid)
    assert pid == f"{catalog.config.pid_prefix}/xpcs-assets/b/A001/v1"
    assert (found["size"], found["numberOfFiles"], found["ownerGroup"]) == (60, 3, "p1234")
    assert (found["proposalIds"], found["accessGroups"], found["principalInvestigators"]) == (
        ["P-1234"],
        ["staff"],
        ["unknown"],
    )
    assert datetime.fromisoformat(found["creationTime"]) == datetime(2026, 5, 1, 10, tzinfo=UTC)
    metadata = as_meant(found["scientificMetadata"])
    assert metadata["acquisition"]["entry/instrument/detector_1/frame_time"] == {"value": 0.5, "unit": "ms"}
    assert metadata["sample"]["entry/sample/temperature"].get("value") is None
    assert metadata["sample"]["entry/sample/temperature"]["not_finite"] is True


def test_when_a_run_was_measured_is_held_with_it_and_with_no_result(catalog: ScicatCatalog) -> None:
    begin, end = "2026-05-01T14:00:00.500+02:00", "2026-05-01T14:10:00+02:00"
    times = (Entry("/entry/start_time", begin), Entry("/entry/end_time", end))
    record = replace(made.described(), others=times)
    pid = catalog.put(Dataset(raw_document(record, "/staged/A001"), files=tuple(record.files)))
    found = held(catalog, pid)
    assert datetime.fromisoformat(found["startTime"]) == datetime.fromisoformat(begin)
    assert datetime.fromisoformat(found["endTime"]) == datetime.fromisoformat(end)
    assert catalog.put(Dataset(raw_document(record, "/staged/A001"), files=tuple(record.files))) == pid
    assert held(catalog, pid) == found
    result = catalog.put(Dataset(derived_document(made.derived(record)), files=entries(5000)))
    assert not held(catalog, result).get("startTime")


def test_putting_again_changes_nothing(catalog: ScicatCatalog) -> None:
    plots = [picture()]
    pid = catalog.put(Dataset(derived(), files=entries(10), pictures=tuple(plots)))
    before = held(catalog, pid)
    assert catalog.put(Dataset(derived(), files=entries(10), pictures=tuple(plots))) == pid
    assert held(catalog, pid) == before


def test_what_changed_is_brought_up_to_date_and_nothing_else(catalog: ScicatCatalog) -> None:
    pid = catalog.put(Dataset(raw(), files=entries(10, 20)))
    metadata = {
        "sample": {"entry/sample/temperature": {"value": 300.5, "unit": "K"}, "a.b": {"value": 1, "unit": ""}},
        "acquisition": {"entry/instrument/detector_1/frame_time": {"value": 0.25, "unit": "ms"}},
    }
    catalog.put(Dataset(raw(description="better", scientificMetadata=metadata), files=entries(10, 20)))
    found = held(catalog, pid)
    assert (found["description"], found["size"], found["numberOfFiles"]) == ("better", 30, 2)
    sample = as_meant(found["scientificMetadata"])["sample"]
    assert sample["a.b"] == {"value": 1, "unit": ""}
    told = {name: value for name, value in sample["entry/sample/temperature"].items() if value is not None}
    assert told == {"value": 300.5, "unit": "K"}, "the flag of the value that was NaN went with it"


def test_what_people_add_stays(catalog: ScicatCatalog) -> None:
    pid = catalog.put(Dataset(raw(), files=entries(10)))
    change = {"keywords": ["XPCS", "colloid"], "scientificMetadata": {"remark": {"value": "nice", "unit": ""}}}
    path, merge = "/api/v4/datasets/{pid}", {"Content-Type": "application/merge-patch+json"}
    counts = {"size": 10, "packedSize": 0, "numberOfFiles": 1}
    catalog.client.send("PATCH", path, {**change, **counts}, {"pid": pid}, headers=merge)
    new = {"sample": {"entry/sample/name": {"value": "silica", "unit": ""}}}
    catalog.put(Dataset(raw(keywords=["XPCS", "APS"], scientificMetadata=new), files=entries(10)))
    found = held(catalog, pid)
    assert as_meant(found["scientificMetadata"])["sample"]["entry/sample/name"]["value"] == "silica"
    assert sorted(found["keywords"]) == ["APS", "XPCS", "colloid"]
    assert as_meant(found["scientificMetadata"])["remark"] == {"value": "nice", "unit": ""}


def test_many_files_make_several_blocks_and_the_right_sums(config: ScicatConfig) -> None:
    catalog = ScicatCatalog(replace(config, files_in_block=3))
    files = entries(*range(1, 41))
    pid = catalog.put(Dataset(raw(), files=files))
    found = held(catalog, pid)
    assert (found["size"], found["numberOfFiles"]) == (sum(range(1, 41)), 40)
    listed = [one for block in found["origdatablocks"] for one in block["dataFileList"]]
    assert {(one["path"], one["size"], one["chk"]) for one in listed} == {
        (entry.path, entry.size_bytes, entry.sha256) for entry in files
    }
    assert len(found["origdatablocks"]) == 14
    assert max(len(block["dataFileList"]) for block in found["origdatablocks"]) == 3
    catalog.client.close()


def test_a_result_made_anew_replaces_its_files(catalog: ScicatCatalog) -> None:
    pid = catalog.put(Dataset(derived(), files=entries(10)))
    anew = (replace(entries(10)[0], size_bytes=12, sha256="f" * 64),)
    catalog.put(Dataset(derived(), files=anew))
    found = held(catalog, pid)
    assert [(one["size"], one["chk"]) for block in found["origdatablocks"] for one in block["dataFileList"]] == [
        (12, "f" * 64)
    ]
    assert (found["size"], found["numberOfFiles"]) == (12, 1)


def test_a_raw_datasets_bytes_never_change_under_its_pid(catalog: ScicatCatalog) -> None:
    catalog.put(Dataset(raw(), files=entries(10)))
    other = (replace(entries(10)[0], sha256="f" * 64),)
    with pytest.raises(CatalogError, match="other bytes under f0"):
        catalog.put(Dataset(raw(), files=other))


def test_a_lifecycle_changes_alone(catalog: ScicatCatalog) -> None:
    pid = catalog.put(Dataset(raw(), files=entries(10)))
    catalog.put_lifecycle(pid, Lifecycle(archived=True, archive_location="hpss:/als/A001.tar"))
    catalog.put_lifecycle(pid, Lifecycle(on_disk=False, pruned_at=PRUNED))
    found = held(catalog, pid)
    life = found["datasetlifecycle"]
    assert (life["archivable"], life["retrievable"], life["isOnCentralDisk"]) == (False, True, False)
    assert (life["storageLocation"], life["archiveStatusMessage"]) == ("hpss:/als/A001.tar", "datasetOnArchiveDisk")
    assert datetime.fromisoformat(life["dateOfDiskPurging"]) == PRUNED
    assert found["size"] == 10


def test_links_are_made_once(catalog: ScicatCatalog) -> None:
    name = f"P-{uuid.uuid4().hex[:8]}"
    for _ in range(2):
        put_proposal(catalog.client, name, title="Colloids", email="pi@lbl.gov", owner_group="p1234")
        put_sample(catalog.client, f"{name}-S1", name="silica", owner_group="p1234", proposal=name)
    assert catalog.client.get("/api/v3/proposals/{pid}", {"pid": name})["title"] == "Colloids"
    assert catalog.client.get("/api/v3/samples/{id}", {"id": f"{name}-S1"})["sampleId"] == f"{name}-S1"


def test_a_dataset_brings_its_proposal_and_sample_where_that_is_asked_for(config: ScicatConfig) -> None:
    catalog = ScicatCatalog(replace(config, make_links=True))
    proposal = f"P-{uuid.uuid4().hex[:8]}"
    document = raw(proposalIds=[proposal], sampleIds=[f"{proposal}-silica"])
    for _ in range(2):
        pid = catalog.put(Dataset(document, files=entries(10), sample="silica"))
    assert held(catalog, pid)["proposalIds"] == [proposal]
    assert catalog.client.get("/api/v3/proposals/{pid}", {"pid": proposal})["ownerGroup"] == "p1234"
    assert catalog.client.get("/api/v3/samples/{id}", {"id": f"{proposal}-silica"})["ownerGroup"] == "p1234"
    catalog.close()


def test_a_check_changes_nothing(catalog: ScicatCatalog) -> None:
    catalog.check()
    assert not catalog.has(raw()["pid"])


def reader_of(catalog: ScicatCatalog) -> scitacean.Client:
    """Another client with the token of this one."""
    token = catalog.client._api.configuration.access_token
    url = f"{catalog.config.url}/api"
    return scitacean.Client.from_token(url=url, token=token, allow_http=True, file_transfer=CopyFileTransfer())


def test_another_client_reads_what_was_written(catalog: ScicatCatalog) -> None:
    record = made.described()
    pid = catalog.put(Dataset(raw_document(record, "/staged/A001"), files=tuple(record.files)))
    derived_pid = catalog.put(
        Dataset(derived_document(made.derived(record)), files=entries(5000), pictures=(picture(),))
    )
    reader = reader_of(catalog)
    found = reader.get_dataset(pid)
    assert (found.name, found.source_folder) == ("A001", scitacean.RemotePath("/staged/A001"))
    files = {one.remote_path.posix: (one.size, one.checksum_algorithm, one.checksum()) for one in found.files}
    assert files == {entry.path: (entry.size_bytes, "sha256", entry.sha256) for entry in record.files}
    second = reader.get_dataset(derived_pid, attachments=True)
    assert [str(one) for one in second.input_datasets or ()] == [pid]
    assert [one.caption for one in second.attachments or ()] == ["caption of g2.png"]
    assert (second.size, second.number_of_files) == (5000, 1)


def test_another_client_downloads_the_files_and_verifies_their_checksums(
    catalog: ScicatCatalog, tmp_path: Path
) -> None:
    folder = tmp_path / "staged"
    folder.mkdir()
    content = b"frames" * 100
    (folder / "A001.imm").write_bytes(content)
    files = [FileEntry("A001.imm", len(content), hashlib.sha256(content).hexdigest(), 10**18)]
    pid = catalog.put(Dataset(raw(sourceFolder=str(folder)), files=files))
    reader = reader_of(catalog)
    reader.download_files(reader.get_dataset(pid), target=tmp_path / "got")
    assert (tmp_path / "got" / "A001.imm").read_bytes() == content
    (folder / "A001.imm").write_bytes(b"x" + content[1:])
    with pytest.raises(scitacean.IntegrityError):
        reader.download_files(reader.get_dataset(pid), target=tmp_path / "other")
