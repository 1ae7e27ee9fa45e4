"""The backend's calls that the catalog makes, the same for versions 4 and 3 of its interface.

Each takes and gives plain documents in the shape of its version. None decides what to do about an error.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from xpcs_assets.catalog.scicat_client import MERGE_PATCH, ScicatClient
from xpcs_assets.catalog.scicat_compare import as_meant
from xpcs_assets.catalog.scicat_metadata import safe_key
from xpcs_assets.catalog.scicat_models import checked, obsolete
from xpcs_assets.errors import CatalogError

_COUNTS = ("size", "packedSize", "numberOfFiles")
_MOST_BLOCKS = 10_000
_CHANGED_MEANWHILE = 412


class Calls(ABC):
    """What the catalog asks of a backend."""

    version: ClassVar[str]

    def __init__(self, client: ScicatClient) -> None:
        self.client = client

    @abstractmethod
    def body(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """A dataset's document as this version wants it, checked."""

    @abstractmethod
    def patch(self, pid: str, changes: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
        """Change a dataset that was just read as ``held``; False when somebody changed it meanwhile."""

    @abstractmethod
    def blocks(self, pid: str) -> list[dict[str, Any]]:
        """All OrigDatablocks of a dataset."""

    @abstractmethod
    def remove_block(self, pid: str, block: str) -> None:
        """Remove one; it may be gone already."""

    @abstractmethod
    def attachment(self, pid: str, name: str) -> dict[str, Any] | None:
        """One attachment of a dataset."""

    @abstractmethod
    def attach(self, pid: str, name: str, content: Mapping[str, Any]) -> None:
        """Make an attachment: ``thumbnail``, ``caption``, ``ownerGroup``, ``accessGroups``."""

    @abstractmethod
    def attach_anew(self, pid: str, name: str, content: Mapping[str, Any]) -> None:
        """Replace what an attachment holds."""

    def create(self, body: Mapping[str, Any]) -> None:
        """Make a dataset; one that is there already stays as it is."""
        self.client.send("POST", f"/api/{self.version}/datasets", body, accept=(409,))

    def read(self, pid: str) -> dict[str, Any] | None:
        """A dataset; None when there is none."""
        found = self.client.get(f"/api/{self.version}/datasets/{{pid}}", {"pid": pid})
        return found if isinstance(found, dict) else None

    def add_block(self, pid: str, body: Mapping[str, Any]) -> None:
        """Make an OrigDatablock."""
        fitting = checked("CreateOrigDatablockDto", {**body, "datasetId": pid})
        self.client.send("POST", f"/api/{self.version}/origdatablocks", fitting)

    def set_lifecycle(self, pid: str, changes: Mapping[str, Any]) -> None:
        """Change some of a dataset's lifecycle, and nothing else of it."""
        body = checked("PartialUpdateDatasetLifecycleDto", changes)
        path = f"/api/{self.version}/datasets/{{pid}}/datasetlifecycle"
        self.client.send("PATCH", path, body, {"pid": pid}, headers={"Content-Type": MERGE_PATCH})

    def _patch(self, model: str, pid: str, changes: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
        path = f"/api/{self.version}/datasets/{{pid}}"
        body = checked(model, changes)
        answer = self.client.send("PATCH", path, body, {"pid": pid}, accept=(_CHANGED_MEANWHILE,), headers=headers)
        return answer.status != _CHANGED_MEANWHILE


class CallsV4(Calls):
    """Version 4."""

    version = "v4"

    def body(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """As it is, checked."""
        return checked("CreateDatasetDto", document)

    def patch(self, pid: str, changes: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
        """With size and counts repeated, which the backend sets to 0 otherwise, and merged deeply."""
        counts = {name: held.get(name) or 0 for name in _COUNTS}
        headers = {"Content-Type": MERGE_PATCH, **_unless_changed(held)}
        return self._patch("PartialUpdateDatasetDto", pid, {**counts, **changes}, headers)

    def blocks(self, pid: str) -> list[dict[str, Any]]:
        """In one answer: included in the dataset they would have to fit into 16 MB together."""
        asked = {
            "where": {"datasetId": pid},
            "limits": {"limit": _MOST_BLOCKS, "skip": 0, "sort": {"createdAt": "asc"}},
        }
        found = self.client.get("/api/v4/origdatablocks", query=[("filter", json.dumps(asked))]) or []
        if len(found) >= _MOST_BLOCKS:
            raise CatalogError("the dataset has too many OrigDatablocks to be compared", where=pid)
        return list(found)

    def remove_block(self, pid: str, block: str) -> None:
        """By its identifier."""
        self.client.send("DELETE", "/api/v4/origdatablocks/{id}", None, {"id": block}, accept=(404,))

    def attachment(self, pid: str, name: str) -> dict[str, Any] | None:
        """By its identifier."""
        found = self.client.get("/api/v4/attachments/{aid}", {"aid": name})
        return found if isinstance(found, dict) else None

    def attach(self, pid: str, name: str, content: Mapping[str, Any]) -> None:
        """With its relation to the dataset."""
        relation = {"targetId": pid, "targetType": "dataset", "relationType": "is attached to"}
        body = {**content, "aid": name, "isPublished": False, "relationships": [relation]}
        self.client.send("POST", "/api/v4/attachments", checked("CreateAttachmentV4Dto", body))

    def attach_anew(self, pid: str, name: str, content: Mapping[str, Any]) -> None:
        """What is given; its relations stay."""
        body = checked("PartialUpdateAttachmentV4Dto", content)
        self.client.send("PATCH", "/api/v4/attachments/{aid}", body, {"aid": name})


class CallsV3(Calls):
    """Version 3, for backends that do not serve version 4."""

    version = "v3"

    def body(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """With the singular names of version 3, checked."""
        body = obsolete(document)
        raw = body.get("type") == "raw"
        return checked("CreateRawDatasetObsoleteDto" if raw else "CreateDerivedDatasetObsoleteDto", body)

    def read(self, pid: str) -> dict[str, Any] | None:
        """With the name that a derived dataset's investigator was given under; the backend gives out the other."""
        held = super().read(pid)
        return None if held is None else {"investigator": held.get("principalInvestigator"), **held}

    def patch(self, pid: str, changes: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
        """Merged here: version 3 replaces the metadata as a whole; size and counts stay."""
        whole = dict(changes)
        if "scientificMetadata" in changes:
            old, new = as_meant(held.get("scientificMetadata") or {}), as_meant(changes["scientificMetadata"])
            whole["scientificMetadata"] = _with_safe_keys(_merged(old, new))
        raw = held.get("type") == "raw"
        model = "PartialUpdateRawDatasetObsoleteDto" if raw else "PartialUpdateDerivedDatasetObsoleteDto"
        return self._patch(model, pid, whole, _unless_changed(held))

    def blocks(self, pid: str) -> list[dict[str, Any]]:
        """All of them."""
        return list(self.client.get("/api/v3/datasets/{pid}/origdatablocks", {"pid": pid}) or [])

    def remove_block(self, pid: str, block: str) -> None:
        """By the dataset's pid and its identifier."""
        path = "/api/v3/datasets/{pid}/origdatablocks/{oid}"
        self.client.send("DELETE", path, None, {"pid": pid, "oid": block}, accept=(404,))

    def attachment(self, pid: str, name: str) -> dict[str, Any] | None:
        """Found among all of the dataset."""
        found = self.client.get("/api/v3/datasets/{pid}/attachments", {"pid": pid}) or []
        return next((dict(one) for one in found if name in {one.get("id"), one.get("aid")}), None)

    def attach(self, pid: str, name: str, content: Mapping[str, Any]) -> None:
        """Under the dataset."""
        body = checked("CreateAttachmentV3Dto", {**content, "id": name, "datasetId": pid})
        self.client.send("POST", "/api/v3/datasets/{pid}/attachments", body, {"pid": pid})

    def attach_anew(self, pid: str, name: str, content: Mapping[str, Any]) -> None:
        """All of it."""
        body = checked("UpdateAttachmentV3Dto", content)
        path = "/api/v3/datasets/{pid}/attachments/{aid}"
        self.client.send("PUT", path, body, {"pid": pid, "aid": name})


def _unless_changed(held: Mapping[str, Any]) -> dict[str, str]:
    """The backend refuses times up to that of the last change, and reads them to the millisecond."""
    if not held.get("updatedAt"):
        return {}
    after = datetime.fromisoformat(str(held["updatedAt"])) + timedelta(milliseconds=1)
    return {"If-Unmodified-Since": after.isoformat(timespec="milliseconds").replace("+00:00", "Z")}


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(new, Mapping) or not isinstance(old, Mapping):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


def _with_safe_keys(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {safe_key(key): _with_safe_keys(value) for key, value in content.items()}
    return [_with_safe_keys(item) for item in content] if isinstance(content, list) else content
