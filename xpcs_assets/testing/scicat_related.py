"""What the contract server holds beside datasets: OrigDatablocks, attachments, proposals, samples, instruments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from xpcs_assets.testing.scicat_datasets import (
    MERGE_PATCH,
    Datasets,
    Request,
    checked,
    may_write,
    unmodified_since,
)
from xpcs_assets.testing.scicat_rules import RefusedByRule, as_utc, merged, select

DOCUMENT_LIMIT = 16 * 2**20  # of the database
_TARGETS = {"dataset", "proposal", "sample"}


class Related(Datasets):
    """The handlers, named as the SDK's operations; ``older``: the field names of a backend of version 4.27."""

    older = False

    def orig_datablocks_v4_controller_create_v4(self, request: Request) -> dict[str, Any]:
        """Create; groups are the dataset's, its size and count become the sums."""
        body = checked("CreateOrigDatablockDto", request.body)
        if not body["dataFileList"]:
            raise RefusedByRule(400, ["dataFileList should not be empty"])
        if int(body["size"]) != body["size"]:
            raise RefusedByRule(400, ["size must be an integer number"])
        dataset = self.store.dataset(body["datasetId"])
        may_write(request.account, dataset["ownerGroup"])
        files = [{**one, "time": as_utc(one["time"], self.store.zone)} for one in body["dataFileList"]]
        inherited = {name: dataset.get(name) for name in ("ownerGroup", "accessGroups", "instrumentGroup")}
        document = self.store.stamped({**body, "dataFileList": files, **inherited}, request.account)
        document |= {"_id": f"{len(self.store.blocks) + 0xB10C:024x}", "version": None}
        if len(json.dumps(document)) > DOCUMENT_LIMIT:
            raise RefusedByRule(500, "Internal server error")
        while document["_id"] in self.store.blocks:
            document["_id"] = f"{int(document['_id'], 16) + 1:024x}"
        self.store.blocks[document["_id"]] = document
        self.sum_blocks(body["datasetId"], request.account)
        return document

    orig_datablocks_controller_create_v3 = orig_datablocks_v4_controller_create_v4

    def orig_datablocks_v4_controller_find_all_v4(self, request: Request) -> list[dict[str, Any]]:
        """Look for blocks."""
        return select(self.store.blocks.values(), request.filter)

    def datasets_controller_find_all_orig_datablocks_v3(self, request: Request) -> list[dict[str, Any]]:
        """All blocks of a dataset."""
        return self.store.blocks_of(self.store.dataset(request.values["pid"])["pid"])

    def orig_datablocks_v4_controller_find_by_id_and_delete_v4(self, request: Request) -> dict[str, Any]:
        """Delete one."""
        name = request.values.get("id") or request.values["oid"]
        if name not in self.store.blocks:
            raise RefusedByRule(404, f"OrigDatablock: {name} not found")
        may_write(request.account, self.store.blocks[name]["ownerGroup"])
        block = self.store.blocks.pop(name)
        self.sum_blocks(block["datasetId"], request.account)
        return block

    datasets_controller_find_one_orig_datablock_and_remove_v3 = orig_datablocks_v4_controller_find_by_id_and_delete_v4

    def attachments_v4_controller_create_attachment_v4(self, request: Request) -> dict[str, Any]:
        """Create; a taken ``aid`` is a failure of the database, for the backend's code looks for none."""
        body = checked("CreateAttachmentV4Dto", request.body)
        relations = body.get("relationships") or []
        if any(relation["targetType"] not in _TARGETS for relation in relations):
            raise RefusedByRule(400, ["relationships.targetType must be one of dataset, proposal, sample"])
        return self._attach({**body, "relationships": relations}, request)

    def attachments_v4_controller_find_one_v4(self, request: Request) -> dict[str, Any]:
        """Read one."""
        return self._attachment(request)

    def attachments_v4_controller_find_all_v4(self, request: Request) -> list[dict[str, Any]]:
        """Look for attachments."""
        return select(self.store.attachments.values(), request.filter)

    def attachments_v4_controller_find_one_and_update_v4(self, request: Request) -> dict[str, Any]:
        """Patch one."""
        return self._patch_attachment(checked("PartialUpdateAttachmentV4Dto", request.body), request)

    def datasets_controller_create_attachment_v3(self, request: Request) -> dict[str, Any]:
        """Create, version 3: ``id`` is its name, and the answer's ``aid`` is null."""
        body = checked("CreateAttachmentV3Dto", request.body)
        relation = {"targetId": request.values["pid"], "targetType": "dataset", "relationType": "is attached to"}
        kept = {name: value for name, value in body.items() if name not in {"id", "datasetId"}}
        self.store.dataset(request.values["pid"])
        made = self._attach({**kept, "aid": body.get("id"), "relationships": [relation], "isPublished": False}, request)
        return _attachment_v3(made, request.values["pid"])

    def datasets_controller_find_all_attachments_v3(self, request: Request) -> list[dict[str, Any]]:
        """All of a dataset."""
        pid = request.values["pid"]
        return [_attachment_v3(one, pid) for one in self.store.attachments_of(self.store.dataset(pid)["pid"])]

    def datasets_controller_find_one_attachment_and_update_v3(self, request: Request) -> dict[str, Any]:
        """Change one."""
        return _attachment_v3(
            self._patch_attachment(checked("UpdateAttachmentV3Dto", request.body), request), request.values["pid"]
        )

    def proposals_controller_create_v3(self, request: Request) -> dict[str, Any]:
        """Create; the answer's ``keywords`` are null."""
        body = checked("CreateProposalDto", request.body)
        may_write(request.account, body["ownerGroup"])
        if body["proposalId"] in self.store.proposals:
            raise RefusedByRule(409, f"Proposal with {body['proposalId']} already exists")
        document = self.store.stamped({"keywords": None, "accessGroups": [], **body}, request.account)
        self.store.proposals[body["proposalId"]] = document
        return document

    def proposals_controller_find_by_id_v3(self, request: Request) -> dict[str, Any]:
        """Read one."""
        return _held(self.store.proposals, request.values["pid"], "Proposal")

    def samples_controller_create_v3(self, request: Request) -> dict[str, Any]:
        """Create; a taken name is a failure of the database, for the backend's code looks for none."""
        body = dict(request.body)
        if self.older and "sampleName" in body:
            raise RefusedByRule(400, ["property sampleName should not exist"])
        checked("CreateSampleDto", {**body, "sampleName": "-"} if self.older else body)
        may_write(request.account, body["ownerGroup"])
        name = body.setdefault("sampleId", f"sample-{len(self.store.samples)}")
        if name in self.store.samples:
            raise RefusedByRule(500, "Internal server error")
        self.store.samples[name] = self.store.stamped(body, request.account)
        return self.store.samples[name]

    def samples_controller_find_by_id_v3(self, request: Request) -> dict[str, Any]:
        """Read one."""
        return _held(self.store.samples, request.values["id"], "Sample")

    def instruments_controller_create_v3(self, request: Request) -> dict[str, Any]:
        """Create."""
        body = dict(request.body)
        if self.older and "pid" in body:
            raise RefusedByRule(400, ["property pid should not exist"])
        given = checked("CreateInstrumentDto", {**body, "pid": body.get("uniqueName", "")} if self.older else body)
        self.store.instruments[given["pid"]] = self.store.stamped(given, request.account)
        return self.store.instruments[given["pid"]]

    def instruments_controller_find_by_id_v3(self, request: Request) -> dict[str, Any]:
        """Read one."""
        return _held(self.store.instruments, request.values["id"], "Instrument")

    def _attach(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        may_write(request.account, body["ownerGroup"])
        name = body.get("aid") or f"attachment-{len(self.store.attachments)}"
        if name in self.store.attachments:
            raise RefusedByRule(500, "Internal server error")
        self.store.attachments[name] = self.store.stamped({**body, "aid": name, "_id": name}, request.account)
        return self.store.attachments[name]

    def _attachment(self, request: Request) -> dict[str, Any]:
        return _held(self.store.attachments, request.values["aid"], "Attachment")

    def _patch_attachment(self, body: dict[str, Any], request: Request) -> dict[str, Any]:
        held = self._attachment(request)
        may_write(request.account, held["ownerGroup"])
        unmodified_since(request, held)
        if request.headers.get("content-type") == MERGE_PATCH:
            body = {name: merged(held.get(name), value) for name, value in body.items()}
        self.store.change(held, body, request.account)
        return held


def _held(documents: Mapping[str, dict[str, Any]], name: str, kind: str) -> dict[str, Any]:
    if name not in documents:
        raise RefusedByRule(404, f"{kind}: {name} not found")
    return documents[name]


def _attachment_v3(document: dict[str, Any], pid: str) -> dict[str, Any]:
    return {**document, "aid": None, "id": document["aid"], "datasetId": pid}
