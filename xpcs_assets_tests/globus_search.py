"""What the tests of the Globus Search catalog share: configurations, datasets, what the server holds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xpcs_assets.catalog.dataset import Dataset, Picture
from xpcs_assets.catalog.globus_search import TYPES_SUBJECT
from xpcs_assets.catalog.globus_search_config import GlobusSearchConfig
from xpcs_assets.runs.manifest import FileEntry
from xpcs_assets.secret import SecretReference
from xpcs_assets.testing.globus_search_server import INDEX_ID, OPERATORS, USERS, WRITER, GlobusSearchServer

PID = "xpcs-assets/aps-8-id-i/A001/v1"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def config_for(server: GlobusSearchServer, folder: Path, **changes: Any) -> GlobusSearchConfig:
    """The writer's configuration, a confidential client whose secret lies in a file; it never waits long."""
    secret = folder / "globus-secret"
    secret.write_text(WRITER.secret + "\n", encoding="utf-8")
    asked = {
        "index_id": INDEX_ID,
        "operators": (OPERATORS,),
        "client_id": WRITER.name,
        "client_secret": SecretReference(file=str(secret)),
        "groups": {"p1234": USERS},
        "url": server.url,
        "auth_url": server.url,
        "timeout_s": 1.0,
        "tries": 2,
        "longest_sleep_s": 0.01,
        "poll_s": 0.01,
        "task_limit_s": 20.0,
    }
    return GlobusSearchConfig(**{**asked, **changes})


def document(**changes: Any) -> dict[str, Any]:
    """A raw document as ``documents.raw_document`` shapes it."""
    made = {
        "pid": PID,
        "datasetName": "A001",
        "type": "raw",
        "owner": "comm2026",
        "ownerGroup": "p1234",
        "accessGroups": ["staff"],
        "proposalIds": ["P-1234"],
        "creationLocation": "aps-8-id-i",
        "keywords": ["XPCS"],
        "isPublished": False,
        "description": "imm series of run A001",
        "sourceFolder": "/staged/A001/v1/raw",
        "size": 10,
        "numberOfFiles": 1,
        "creationTime": "2026-05-01T12:00:00+02:00",
        "dataFormat": "imm",
        "scientificMetadata": {
            "acquisition": {"entry/instrument/detector_1/frame_time": {"value": 0.5, "unit": "ms"}},
            "detector": {"entry/instrument/detector_1/detector_name": {"value": "eiger4m", "unit": ""}},
            "sample": {"entry/sample/name": {"value": "silica in water", "unit": ""}},
            "record": {"complete": {"value": True, "unit": ""}, "missing": {"value": [], "unit": ""}},
        },
    }
    return {**made, **changes}


def dataset(*, embargo_until: str = "", pictures: tuple[Picture, ...] = (), **changes: Any) -> Dataset:
    """A dataset of that document with one file."""
    files = (FileEntry("A001.imm", 10, "a" * 64),)
    return Dataset(document(**changes), embargo_until, files, pictures, sample="silica in water")


def held(server: GlobusSearchServer, pid: str = PID) -> Mapping[str, Any]:
    """What the service holds of a dataset: who sees it, and the content."""
    return server.index.entries[pid, pid]


def ingests(server: GlobusSearchServer, subject: str = PID) -> int:
    """How many datasets were sent, the entry of the types apart."""
    sent = sum(method == "POST" and path.endswith("/ingest") for method, path, _ in server.seen)
    return sent - ((TYPES_SUBJECT, TYPES_SUBJECT) in server.index.entries)
