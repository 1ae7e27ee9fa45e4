"""The Globus Search catalog: one entry a dataset, seen by those who may see it, and every write followed to its end.

Subject and id are made of our pid, so that an entry told twice stands once. What stands is compared with what is
meant, and written only when it differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from xpcs_assets.catalog.dataset import Dataset, Lifecycle
from xpcs_assets.catalog.globus_search_client import GlobusSearchClient
from xpcs_assets.catalog.globus_search_config import GlobusSearchConfig
from xpcs_assets.catalog.globus_search_content import ROOT, TYPES, content_of, lifecycle_fields, with_digest
from xpcs_assets.copies.clock import Clock, utc_now
from xpcs_assets.errors import CatalogError, CatalogUnavailableError

TYPES_SUBJECT = "xpcs-assets:field-types"


class GlobusSearchCatalog:
    """The catalog in one index. Not for several threads at once.

    Parameters
    ----------
    config
        The index, the account, and who sees what.
    clock
        Wall time, for embargoes.
    before_write
        Called before each request that may change something; what it raises keeps the request from being made.
    """

    def __init__(
        self, config: GlobusSearchConfig, clock: Clock = utc_now, before_write: Callable[[], object] = lambda: None
    ) -> None:
        self.config = config
        self.clock = clock
        self.client = GlobusSearchClient(config, before_write)
        self._types_stand = False

    def close(self) -> None:
        """Close its connections."""
        self.client.close()

    def put(self, dataset: Dataset) -> str:
        """Put a dataset, or bring it up to date; returns its subject.

        Raises
        ------
        CatalogUnavailableError
            The service does not answer, or has not written it in time: put it again later.
        CatalogError
            It is refused, or the task that was to write it failed.
        """
        held = self._held(dataset.pid)
        lifecycle = {} if held is None else held.get("lifecycle", {})
        self._bring(dataset.pid, held, content_of(dataset, self.config, lifecycle))
        return self.config.subject_of(dataset.pid)

    def put_lifecycle(self, pid: str, lifecycle: Lifecycle) -> None:
        """Tell where a dataset's data are; what else its lifecycle says stays, and so does the rest of the entry.

        Raises
        ------
        CatalogUnavailableError
            The service does not answer, or has not written it in time: put it again later.
        CatalogError
            There is no such entry, or it is refused.
        """
        held = self._held(pid)
        if held is None:
            raise CatalogError("Globus Search has no such entry", where=pid, remedy="Put the dataset itself first")
        merged = {**held.get("lifecycle", {}), **lifecycle_fields(lifecycle)}
        self._bring(pid, held, {ROOT: {**held, "lifecycle": merged}})

    def has(self, pid: str) -> bool:
        """Whether there is an entry of a dataset that the account can see.

        Raises
        ------
        CatalogUnavailableError
            The service does not answer.
        """
        return self._held(pid) is not None

    def changes_at(self, dataset: Dataset) -> datetime | None:
        """When everybody is to see a dataset that they do not see now; None for never."""
        opens_at = self.config.public_from(dataset.embargo_until)
        return None if opens_at is None or opens_at <= self.clock() else opens_at

    def check(self) -> None:
        """Ask whether the index is open and the account may write to it; changes nothing.

        Raises
        ------
        CatalogUnavailableError
            No answer, or the index is not open.
        CatalogError
            There is no such index, or the account may not write to it.
        """
        self.client.check()

    def _held(self, pid: str) -> Mapping[str, Any] | None:
        """What stands there of a dataset."""
        content = self.client.entry(self.config.subject_of(pid), pid)
        if content is None:
            return None
        held = content.get(ROOT)
        if not isinstance(held, dict) or not isinstance(held.get("dataset"), dict):
            raise CatalogError("the entry is another's", where=pid, remedy="Remove it from the index")
        return held

    def _bring(self, pid: str, held: Mapping[str, Any] | None, content: Mapping[str, Any]) -> None:
        """Write an entry where something else stands, and see that it stands."""
        visible_to = self._visible_to(content[ROOT])
        meant = with_digest(content, visible_to)
        if held == meant[ROOT]:
            return
        self._fix_types()
        self.client.ingest(self.config.subject_of(pid), pid, visible_to, meant)
        stands = self._held(pid)
        if stands is None:
            remedy = "Make the account one of the operators"
            raise CatalogError("the account does not see what it wrote", where=pid, remedy=remedy)
        if stands.get("digest") != meant[ROOT]["digest"]:
            raise CatalogUnavailableError("others write the same entry in Globus Search", where=pid)

    def _visible_to(self, content: Mapping[str, Any]) -> list[str]:
        named = content["dataset"]
        groups = [named.get("ownerGroup", ""), *named.get("accessGroups", ())]
        return self.config.visible_to(groups, content.get("embargo_until", ""), self.clock())

    def _fix_types(self) -> None:
        """Write the entry that fixes the fields' types, once in the life of an index."""
        if self._types_stand:
            return
        if self.client.entry(TYPES_SUBJECT, TYPES_SUBJECT) != TYPES:
            self.client.ingest(TYPES_SUBJECT, TYPES_SUBJECT, sorted(self.config.operators), TYPES)
        self._types_stand = True
