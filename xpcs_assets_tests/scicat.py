"""What the tests of the SciCat catalog share: requests without any client, configurations, documents, files, plots."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image

from xpcs_assets.catalog.dataset import Picture
from xpcs_assets.catalog.scicat_client import ScicatConfig
from xpcs_assets.runs.manifest import FileEntry
from xpcs_assets.secret import SecretReference
from xpcs_assets.testing.scicat_server import ACCOUNTS, ScicatServer

INGESTOR, USER = ACCOUNTS
MERGE = {"Content-Type": "application/merge-patch+json"}
PREFIX = "20.500.12345"
DATASETS, BLOCKS = "/api/v4/datasets", "/api/v4/origdatablocks"


def call(
    server: ScicatServer,
    method: str,
    path: str,
    body: Any = None,
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, Any]:
    """A request as the network sees it; ``token`` None is the ingestor's, empty none."""
    token = server.tokens.give(INGESTOR, 60) if token is None else token
    told = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        text = body if isinstance(body, str) else json.dumps(body) if body is not None else None
        connection.request(method, path, text, {**told, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def dataset(pid: str = "p/1", **changes: Any) -> dict[str, Any]:
    """The least that a dataset of version 4 needs, and its pid."""
    least = {
        "pid": pid,
        "owner": "A B",
        "ownerGroup": "group1",
        "contactEmail": "x@lbl.gov",
        "sourceFolder": "/data/run1",
        "creationTime": "2026-05-01T12:00:00Z",
        "datasetName": "run 1",
        "type": "raw",
    }
    return {name: value for name, value in {**least, **changes}.items() if value is not None}


def block(pid: str = "p/1", *, files: int = 1, size: int = 7) -> dict[str, Any]:
    """An OrigDatablock of some files of the same size."""
    entries = [
        {"path": f"f{n}.h5", "size": size, "time": "2026-05-01T12:00:00Z", "chk": "0" * 64} for n in range(files)
    ]
    return {"datasetId": pid, "size": files * size, "chkAlg": "sha256", "dataFileList": entries}


def config_for(server: ScicatServer, folder: Path, **changes: Any) -> ScicatConfig:
    """The ingestor's configuration, whose password lies in a file; it waits a second at most."""
    secret = folder / "scicat-password"
    secret.write_text(INGESTOR.password + "\n", encoding="utf-8")
    asked = {
        "contact_email": "beamline@lbl.gov",
        "username": INGESTOR.name,
        "password": SecretReference(file=str(secret)),
        "pid_prefix": PREFIX,
        "connect_s": 1.0,
        "read_s": 1.0,
    }
    return ScicatConfig(server.url, **{**asked, **changes})


def raw(pid: str = "xpcs-assets/b/A001/v1", **changes: Any) -> dict[str, Any]:
    """A raw document as ``documents.raw_document`` shapes it."""
    document = {
        "pid": pid,
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
        "size": 0,
        "numberOfFiles": 0,
        "creationTime": "2026-05-01T12:00:00+02:00",
        "dataFormat": "imm",
        "scientificMetadata": {
            "acquisition": {"entry/instrument/detector_1/frame_time": {"value": 0.5, "unit": "ms"}},
            "sample": {"entry/sample/temperature": {"value": float("nan"), "unit": "K"}},
            "record": {"manifest_digest": {"value": "sha256:" + "a" * 64, "unit": ""}},
        },
    }
    return {**document, **changes}


def derived(pid: str = "xpcs-assets/b/A001/v1/0123456789ab", **changes: Any) -> dict[str, Any]:
    """A derived document as ``documents.derived_document`` shapes it."""
    parts = {
        "datasetName": "A001 0123456789ab",
        "type": "derived",
        "inputDatasets": ["xpcs-assets/b/A001/v1"],
        "usedSoftware": ["xpcs-assets 0.1.0"],
        "jobParameters": {"recipe": {"stride": 1}},
        "scientificMetadata": {"bins": [{"bin": "q1", "tau": {"value": 0.1, "error": 0.01, "unit": "s"}}]},
    }
    return raw(pid, **{**parts, **changes})


def entries(*sizes: int) -> tuple[FileEntry, ...]:
    """Files of these sizes, each with a sha256 of its own, changed one minute after the other."""
    start = datetime(2026, 5, 1, 12, tzinfo=UTC)
    return tuple(
        FileEntry(f"f{n}.h5", size, f"{n:064x}", int((start + timedelta(minutes=n)).timestamp()) * 10**9)
        for n, size in enumerate(sizes)
    )


def picture(name: str = "g2.png", *, side_px: int = 100, noise: float = 0.0, kind: str = "PNG") -> Picture:
    """A square picture; with noise it does not compress."""
    image = Image.effect_noise((side_px, side_px), noise) if noise else Image.new("L", (side_px, side_px))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return Picture(name, f"caption of {name}", buffer.getvalue())
