"""The contract server's datasets: created, read, patched and followed through their life, in versions 3 and 4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import scicat_sdk_py

from xpcs_assets.testing.scicat_routes import problems
from xpcs_assets.testing.scicat_rules import (
    RefusedByRule,
    as_utc,
    encoded,
    is_email_list,
    iso,
    lone_halves,
    merged,
    parse,
    select,
    with_si,
)

MERGE_PATCH = "application/merge-patch+json"
SUMMED_BLOCKS = 10  # read in the backend's code: its own query for the sums has the default limit
_RESET_BY_PATCH = ("size", "packedSize", "numberOfFiles")
_TIMES = ("creationTime", "startTime", "endTime")
_SINGULAR = {
    "proposalId": "proposalIds",
    "sampleId": "sampleIds",
    "instrumentId": "instrumentIds",
    "principalInvestigator": "principalInvestigators",
    "investigator": "principalInvestigators",
}
_LIFECYCLE = {
    "archivable": True,
    "retrievable": False,
    "publishable": False,
    "isOnCentralDisk": True,
    "archiveStatusMessage": "datasetCreated",
    "retrieveStatusMessage": "",
    "retrieveIntegrityCheck": False,
}


@dataclass(frozen=True)
class Account:
    """A user of the server: ``groups`` may own what it writes; ``everything``: any group may."""

    name: str
    password: str
    groups: tuple[str, ...] = ()
    everything: bool = False


@dataclass(frozen=True)
class Request:
    """What a handler gets: values of the path, of the query, headers in lower case, body, and who asks."""

    values: Mapping[str, str]
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Any
    account: Account

    @property
    def filter(self) -> str:
        """The query's filter, as text."""
        return self.query.get("filter", ["{}"])[0]


@dataclass
class Store:
    """All that the server holds, by identifier, the oldest first.

    Attributes
    ----------
    zone
        The server's own, for times that tell none.
    now
        Its clock; moves by a millisecond with each look, so that no two changes have the same time.
    """

    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    blocks: dict[str, dict[str, Any]] = field(default_factory=dict)
    attachments: dict[str, dict[str, Any]] = field(default_factory=dict)
    proposals: dict[str, dict[str, Any]] = field(default_factory=dict)
    samples: dict[str, dict[str, Any]] = field(default_factory=dict)
    instruments: dict[str, dict[str, Any]] = field(default_factory=dict)
    zone: tzinfo = timezone(timedelta(hours=-8))
    pid_rule: str = ""
    now: datetime = datetime(2026, 5, 1, 12, tzinfo=UTC)

    def stamp(self) -> str:
        """The time now."""
        self.now += timedelta(milliseconds=1)
        return iso(self.now)

    def stamped(self, body: Mapping[str, Any], account: Account) -> dict[str, Any]:
        """A new document of ``body``."""
        now = self.stamp()
        return {**body, "createdBy": account.name, "updatedBy": account.name, "createdAt": now, "updatedAt": now}

    def change(self, document: dict[str, Any], changes: Mapping[str, Any], account: Account) -> None:
        """Set keys of a document that is held."""
        document.update(changes, updatedBy=account.name, updatedAt=self.stamp())

    def dataset(self, pid: str) -> dict[str, Any]:
        """The dataset, or 404."""
        if pid not in self.datasets:
            raise RefusedByRule(404, f"dataset: {pid} not found")
        return self.datasets[pid]

    def blocks_of(self, pid: str) -> list[dict[str, Any]]:
        """The OrigDatablocks of a dataset."""
        return [block for block in self.blocks.values() if block["datasetId"] == pid]

    def attachments_of(self, pid: str) -> list[dict[str, Any]]:
        """The attachments of a dataset."""
        return [
            one
            for one in self.attachments.values()
            if any(relation["targetId"] == pid for relation in one["relationships"])
        ]


def checked(model: str, body: Any) -> dict[str, Any]:
    """The body, when it fits a model of the SDK; else 400."""
    found = problems(getattr(scicat_sdk_py, model), body)
    for name in ("contactEmail", "ownerEmail"):
        if not found and body.get(name) is not None and not is_email_list(str(body[name])):
            found.append(f"{name}: Expected an email or a list of semicolon separated emails")
    if found:
        raise RefusedByRule(400, found)
    return dict(body)


def may_write(account: Account, group: str) -> None:
    """403 unless the account may write for the group."""
    if not account.everything and group not in account.groups:
        raise RefusedByRule(403, "Unauthorized access")


def unmodified_since(request: Request, document: Mapping[str, Any]) -> None:
    """412 when the document changed at or after the time of the header."""
    told = request.headers.get("if-unmodified-since")
    if told and datetime.fromisoformat(told) <= datetime.fromisoformat(document["updatedAt"]):
        raise RefusedByRule(412, "Resource has been modified on server")


class Datasets:
    """The handlers, named as the SDK's operations."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def datasets_v4_controller_create_v4(self, request: Request) -> dict[str, Any]:
        """Create, version 4."""
        return self._create(checked("CreateDatasetDto", request.body), request.account)

    def datasets_controller_create_v3(self, request: Request) -> dict[str, Any]:
        """Create, version 3: the model depends on the type; singular names become lists."""
        kind = request.body.get("type") if isinstance(request.body, dict) else None
        models = {"raw": "CreateRawDatasetObsoleteDto", "derived": "CreateDerivedDatasetObsoleteDto"}
        body = checked(models.get(str(kind), "CreateDatasetDto"), request.body)
        if kind == "raw" and "sampleId" not in body:
            body["sampleId"] = None  # becomes a list with null in it
        return _obsolete(self._create(_current(body), request.account))

    def datasets_v4_controller_find_by_id_v4(self, request: Request) -> dict[str, Any]:
        """Read one, with what ``include`` names."""
        return self._with(self.store.dataset(request.values["pid"]), request.query.get("include", []))

    def datasets_controller_find_by_id_v3(self, request: Request) -> dict[str, Any]:
        """Read one, version 3."""
        return _obsolete(self.store.dataset(request.values["pid"]))

    def datasets_v4_controller_find_all_v4(self, request: Request) -> list[dict[str, Any]]:
        """Look for datasets."""
        found = select(self.store.datasets.values(), request.filter)
        return [self._with(one, _included(request.filter)) for one in found]

    def datasets_v4_controller_count_v4(self, request: Request) -> dict[str, int]:
        """How many there are."""
        return {"count": len(self.store.datasets)}

    def datasets_v4_controller_find_by_id_and_update_v4(self, request: Request) -> dict[str, Any]:
        """Patch, version 4: what is not given of size and counts becomes 0."""
        body = checked("PartialUpdateDatasetDto", request.body)
        held = self._writable(request)
        unmodified_since(request, held)
        halves = lone_halves(body.get("scientificMetadata") or {}, held["scientificMetadata"])
        if halves:
            raise RefusedByRule(400, f"Original dataset contains both value and unit in {', '.join(halves)}")
        changes = self._shaped({**dict.fromkeys(_RESET_BY_PATCH, 0), **body})
        if request.headers.get("content-type") == MERGE_PATCH:
            changes = {name: merged(held.get(name), value) for name, value in changes.items()}
        else:
            changes = {name: value for name, value in changes.items() if value is not None}
        self.store.change(held, changes, request.account)
        return held

    def datasets_controller_find_by_id_and_update_v3(self, request: Request) -> dict[str, Any]:
        """Patch, version 3: what is not given stays."""
        held = self._writable(request)
        unmodified_since(request, held)
        models = {"raw": "PartialUpdateRawDatasetObsoleteDto", "derived": "PartialUpdateDerivedDatasetObsoleteDto"}
        body = checked(models.get(held["type"], "PartialUpdateDatasetDto"), request.body)
        changes = {name: value for name, value in self._shaped(_current(body)).items() if value is not None}
        self.store.change(held, changes, request.account)
        return _obsolete(held)

    def datasets_v4_controller_find_by_id_and_update_lifecycle_v4(self, request: Request) -> dict[str, Any]:
        """Patch the lifecycle: what is given is written, also when it is a default."""
        body = checked("PartialUpdateDatasetLifecycleDto", request.body)
        if not body:
            raise RefusedByRule(400, "dataset lifecycle DTO must not be empty")
        held = self._writable(request)
        self.store.change(held, {"datasetlifecycle": merged(held["datasetlifecycle"], body)}, request.account)
        return dict(held["datasetlifecycle"])

    datasets_controller_find_by_id_and_update_lifecycle_v3 = datasets_v4_controller_find_by_id_and_update_lifecycle_v4

    def sum_blocks(self, pid: str, account: Account) -> None:
        """Write the sums over a dataset's newest OrigDatablocks onto it."""
        blocks = sorted(self.store.blocks_of(pid), key=lambda block: str(block["createdAt"]))[-SUMMED_BLOCKS:]
        sums = {
            "size": sum(block["size"] for block in blocks),
            "numberOfFiles": sum(len(block["dataFileList"]) for block in blocks),
        }
        self.store.change(self.store.dataset(pid), sums, account)

    def _create(self, body: dict[str, Any], account: Account) -> dict[str, Any]:
        pid = body.setdefault("pid", f"undefined/{len(self.store.datasets)}")
        may_write(account, body["ownerGroup"])
        if not body.get("owner"):
            raise RefusedByRule(500, "Something went wrong. Please try again later.")
        if pid in self.store.datasets:
            raise RefusedByRule(409, f"A dataset with pid {pid} already exists!")
        defaults = {
            **dict.fromkeys((*_RESET_BY_PATCH, "numberOfFilesArchived"), 0),
            **{name: [] for name in ("accessGroups", "keywords", "techniques", "sharedWith", "relationships")},
            "isPublished": False,
            "scientificMetadata": {},
            "version": "v4",
        }
        shaped = self._shaped({name: value for name, value in body.items() if value is not None})
        lifecycle = {**_LIFECYCLE, **shaped.pop("datasetlifecycle", {})}
        document = self.store.stamped({**defaults, **shaped, "datasetlifecycle": lifecycle, "_id": pid}, account)
        self.store.datasets[pid] = document
        return document

    def _shaped(self, body: Mapping[str, Any]) -> dict[str, Any]:
        shaped = dict(body)
        for name in _TIMES:
            if shaped.get(name):
                shaped[name] = as_utc(shaped[name], self.store.zone)
        if shaped.get("scientificMetadata"):
            shaped["scientificMetadata"] = encoded(with_si(shaped["scientificMetadata"]))
        if shaped.get("sourceFolder"):
            shaped["sourceFolder"] = shaped["sourceFolder"].rstrip("/")
        return shaped

    def _writable(self, request: Request) -> dict[str, Any]:
        held = self.store.dataset(request.values["pid"])
        may_write(request.account, held["ownerGroup"])
        return held

    def _with(self, document: dict[str, Any], include: Iterable[str]) -> dict[str, Any]:
        there_are = {"origdatablocks": self.store.blocks_of, "attachments": self.store.attachments_of}
        return {**document, **{name: there_are[name](document["pid"]) for name in include if name in there_are}}


def _included(text: str) -> list[str]:
    """What a filter asks to be included."""
    return [str(name) for name in parse(text.encode()).get("include") or []]


def _current(body: dict[str, Any]) -> dict[str, Any]:
    """Version 3's singular names as version 4's lists."""
    named = {plural: [body[name]] for name, plural in _SINGULAR.items() if name in body}
    return {**{name: value for name, value in body.items() if name not in _SINGULAR}, **named}


def _obsolete(document: dict[str, Any]) -> dict[str, Any]:
    """A document as version 3 gives it out: with the singular names beside the lists."""
    given = [name for name in _SINGULAR if name != "investigator"]
    first = {name: document[_SINGULAR[name]][0] for name in given if document.get(_SINGULAR[name])}
    return {**document, **{name: value for name, value in first.items() if value is not None}}
