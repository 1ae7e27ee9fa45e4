"""The SciCat catalog: each dataset once, whatever fails in between, and what SciCat holds is what was meant.

The pid is ours and is what makes a second attempt harmless: a dataset that is there already is compared and brought
up to date. After an error that may have stored something, the catalog looks before it writes again. What people add
in SciCat (keys, keywords, publication) stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from xpcs_assets.catalog.dataset import Dataset, Lifecycle, Picture
from xpcs_assets.catalog.scicat_calls import Calls, CallsV3, CallsV4
from xpcs_assets.catalog.scicat_client import ScicatClient, ScicatConfig
from xpcs_assets.catalog.scicat_compare import change, differs, holds, same
from xpcs_assets.catalog.scicat_files import Plan, attachment_id, blocks, data_url, plan
from xpcs_assets.catalog.scicat_links import put_proposal, put_sample
from xpcs_assets.catalog.scicat_metadata import EXACT, sanitised
from xpcs_assets.errors import CatalogError, CatalogUnavailableError
from xpcs_assets.runs.manifest import FileEntry

_ATTEMPTS = 3
_TREES = ("scientificMetadata", "jobParameters")


class ScicatCatalog:
    """The catalog at one backend.

    Parameters
    ----------
    config
        The backend, the account and the rules.
    before_write
        Called before each request that may change something; what it raises keeps the request from being made.
    """

    def __init__(self, config: ScicatConfig, before_write: Callable[[], object] = lambda: None) -> None:
        self.config = config
        self.client = ScicatClient(config, before_write)
        self._calls: Calls = CallsV3(self.client) if config.api == "v3" else CallsV4(self.client)

    def pid(self, pid: str) -> str:
        """A record's pid as SciCat has it: with the prefix."""
        prefix = self.config.pid_prefix.strip("/")
        return pid if not prefix or pid.startswith(f"{prefix}/") else f"{prefix}/{pid}"

    def close(self) -> None:
        """Close its connections."""
        self.client.close()

    def changes_at(self, dataset: Dataset) -> None:
        """Never: time alone changes nothing that SciCat is told."""

    def check(self) -> None:
        """Ask whether SciCat answers and knows the account; changes nothing.

        Raises
        ------
        CatalogUnavailableError
            It does not answer, is not well, or refuses the log-in.
        """
        self.client.check()

    def has(self, pid: str) -> bool:
        """Whether there is a dataset of this pid.

        Raises
        ------
        CatalogUnavailableError
            SciCat does not answer.
        """
        return self._calls.read(self.pid(pid)) is not None

    def put(self, dataset: Dataset) -> str:
        """Put a dataset with its files and plots, or bring it up to date; returns its pid.

        Raises
        ------
        CatalogUnavailableError
            SciCat does not answer, or not now: put it again later.
        CatalogError
            It is refused, the pid is taken by other data, or a plot cannot be attached.
        """
        body = self._calls.body(self._completed(dataset.document, dataset.files))
        pid = str(body["pid"])
        if self.config.make_links:
            self._make_links(body, dataset.sample)
        thumbnails = [(one, data_url(one, self.config.attachment_bytes)) for one in dataset.pictures]
        self._surely(partial(self._calls.create, body), partial(self.has, pid))
        self._refuse_other_type(body, self._read(pid))  # before anything is written into what is another's
        self._put_files(pid, dataset.files, immutable=not dataset.derived)
        for picture, thumbnail in thumbnails:
            self._attach(pid, picture, thumbnail, body)
        self._bring_up_to_date(pid, body)
        return pid

    def put_lifecycle(self, pid: str, lifecycle: Lifecycle) -> None:
        """Tell where a dataset's data are; what else its lifecycle says stays.

        Raises
        ------
        CatalogUnavailableError
            SciCat does not answer, or not now: put it again later.
        CatalogError
            There is no such dataset, or it is refused.
        """
        name = self.pid(pid)
        wanted = _fields(lifecycle)
        differs = self._not_so(name, wanted)
        if differs:
            changes = {field: wanted[field] for field in differs}
            self._surely(partial(self._calls.set_lifecycle, name, changes), lambda: not self._not_so(name, wanted))
            differs = self._not_so(name, wanted)
        if differs:
            raise CatalogError(f"SciCat does not keep {', '.join(differs)} of the lifecycle", where=name)

    def _not_so(self, pid: str, wanted: Mapping[str, Any]) -> list[str]:
        held = self._read(pid).get("datasetlifecycle") or {}
        return [field for field in wanted if not same(field, wanted[field], held.get(field))]

    def _make_links(self, body: Mapping[str, Any], sample: str) -> None:
        """Make the proposal and the sample that a dataset names, where they are not there."""
        words = {"owner_group": str(body["ownerGroup"])}
        proposal = next(iter(body.get("proposalIds") or [body.get("proposalId") or ""]), "")
        if proposal:
            title = f"Proposal {proposal}"
            put_proposal(self.client, proposal, title=title, email=str(body["contactEmail"]), **words)
        name = next(iter(body.get("sampleIds") or [body.get("sampleId") or ""]), "")
        if name:
            put_sample(self.client, name, name=sample or name, proposal=proposal, **words)

    def _completed(self, document: Mapping[str, Any], files: Sequence[FileEntry]) -> dict[str, Any]:
        """The document with what SciCat needs beside it: pids with the prefix, contact, owner, groups, sums."""
        config = self.config
        words = {
            "group": str(document["ownerGroup"]),
            "proposal": next(iter(document.get("proposalIds") or ()), ""),
            "beamline": str(document.get("creationLocation") or ""),
        }
        own = {str(group) for group in document.get("accessGroups") or ()}
        others = {config.filled(pattern, **words) for pattern in config.access_groups}
        owner_group = config.filled(config.owner_group, **words) or words["group"]
        body: dict[str, Any] = {
            "contactEmail": config.contact_email,
            "principalInvestigators": [config.principal_investigator],
            **{name: value for name, value in document.items() if value is not None},
            "pid": self.pid(str(document["pid"])),
            "ownerGroup": owner_group,
            "accessGroups": sorted((own | others) - {"", owner_group}),
            "creationLocation": config.filled(config.creation_location, **words),
            "size": sum(entry.size_bytes for entry in files),
            "numberOfFiles": len(files),
        }
        if body["size"] > EXACT or not body.get("owner"):
            what = "the dataset names no owner" if not body.get("owner") else "the size is beyond 2^53 bytes"
            raise CatalogError(what, where=body["pid"], remedy="SciCat would refuse or round it: mend the record")
        body |= {name: sanitised(document[name]) for name in _TREES if document.get(name)}
        inputs = document.get("inputDatasets")
        return body | ({"inputDatasets": [self.pid(str(pid)) for pid in inputs]} if inputs else {})

    def _put_files(self, pid: str, files: Sequence[FileEntry], *, immutable: bool) -> None:
        """Write the OrigDatablocks that are missing, then remove those that are stale, until nothing is to do."""
        limits = {"most_files": self.config.files_in_block, "most_bytes": self.config.bytes_in_block}
        look = partial(self._plan, pid, files, immutable=immutable)
        for _ in range(_ATTEMPTS):
            found = look()
            if found.done:
                return
            for block in blocks(found.missing, **limits):
                first = block["dataFileList"][0]["path"]
                self._surely(partial(self._calls.add_block, pid, block), partial(_is_told, first, look))
            for name in found.stale:
                self._surely(partial(self._calls.remove_block, pid, name), partial(_is_gone, name, look))
        if not look().done:
            raise CatalogUnavailableError("SciCat does not keep the files that it is told", where=pid)

    def _plan(self, pid: str, files: Sequence[FileEntry], *, immutable: bool) -> Plan:
        return plan(self._calls.blocks(pid), files, immutable=immutable, where=pid)

    def _attach(self, pid: str, picture: Picture, thumbnail: str, body: Mapping[str, Any]) -> None:
        groups = {"ownerGroup": body["ownerGroup"], "accessGroups": body["accessGroups"]}
        content = {"thumbnail": thumbnail, "caption": picture.caption, **groups}
        name = attachment_id(pid, picture.name)
        held = self._calls.attachment(pid, name)
        is_there = partial(self._is_attached, pid, name, content)
        if held is None:
            self._surely(partial(self._calls.attach, pid, name, content), is_there)
        elif not holds(content, held):
            self._surely(partial(self._calls.attach_anew, pid, name, content), is_there)
        else:
            return
        if not is_there():
            raise CatalogError("SciCat does not keep the plot that it is given", where=f"{pid}: {picture.name}")

    def _is_attached(self, pid: str, name: str, content: Mapping[str, Any]) -> bool:
        held = self._calls.attachment(pid, name)
        return held is not None and holds(content, held)

    def _bring_up_to_date(self, pid: str, body: Mapping[str, Any]) -> None:
        """Compare what SciCat holds with what was meant, and change what differs."""
        in_time = True
        for _ in range(_ATTEMPTS):
            held = self._read(pid)
            self._refuse_other_type(body, held)
            changes = {name: change(name, value, held) for name, value in body.items() if differs(name, value, held)}
            if not changes:
                return
            try:
                in_time = self._calls.patch(pid, changes, held)
            except CatalogUnavailableError:
                if not self._is_as_meant(pid, body):
                    raise
        if self._is_as_meant(pid, body):
            return
        if not in_time:
            raise CatalogUnavailableError("others keep changing the dataset in SciCat", where=pid)
        remedy = "Compare the dataset in SciCat with the record beside the data"
        raise CatalogError(f"SciCat holds something else in {', '.join(sorted(changes))}", where=pid, remedy=remedy)

    def _refuse_other_type(self, body: Mapping[str, Any], held: Mapping[str, Any]) -> None:
        if held.get("type") != body["type"]:
            remedy = "Somebody else has the pid: give this site a prefix of its own"
            raise CatalogError(
                f"the pid is taken by a dataset of type {held.get('type')}", where=str(body["pid"]), remedy=remedy
            )

    def _is_as_meant(self, pid: str, body: Mapping[str, Any]) -> bool:
        held = self._read(pid)
        return not any(differs(name, value, held) for name, value in body.items())

    def _read(self, pid: str) -> dict[str, Any]:
        held = self._calls.read(pid)
        if held is None:
            raise CatalogError("SciCat has no such dataset", where=pid, remedy="Put the dataset itself first")
        return held

    def _surely(self, write: Callable[[], object], written: Callable[[], bool]) -> None:
        """Write; after an error that may have stored it, look, and write once more only when it is not there."""
        try:
            write()
        except CatalogUnavailableError:
            if not written():
                write()


def _fields(lifecycle: Lifecycle) -> dict[str, Any]:
    """SciCat's fields of what is known of a lifecycle."""
    archived = lifecycle.archived
    known = {
        "archivable": None if archived is None else not archived,
        "retrievable": archived,
        "archiveStatusMessage": "datasetOnArchiveDisk" if archived else None,
        "storageLocation": lifecycle.archive_location,
        "isOnCentralDisk": lifecycle.on_disk,
        "dateOfDiskPurging": lifecycle.pruned_at,
        "archiveRetentionTime": lifecycle.kept_until,
    }
    return {name: value for name, value in known.items() if value is not None}


def _is_told(path: str, look: Callable[[], Plan]) -> bool:
    return path not in {entry.path for entry in look().missing}


def _is_gone(name: str, look: Callable[[], Plan]) -> bool:
    return name not in look().stale
