"""What a search answers with: records as a list shows them, pages, counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

COUNTED_NEWEST = 20_000
"""Where words, ranges or labels are asked for, at most so many records are counted by facets: the newest."""


@dataclass(frozen=True)
class Hit:
    """A record as a list shows it; what the names say is at :class:`~xpcs_assets.catalog.records.CatalogRecord`.

    Attributes
    ----------
    tags, mark
        As people gave them; the mark is empty without one.
    """

    pid: str
    kind: str
    beamline: str
    run_key: str
    analysis_key: str
    version: int
    cycle: str
    proposal: str
    experiment: str
    sample: str
    detector: str
    qmap_digest: str
    recipe_digest: str
    verdict: str
    state: str
    size_bytes: int
    created_at: datetime
    updated_at: datetime
    sparkline: dict[str, Any]
    tags: tuple[str, ...] = ()
    mark: str = ""


@dataclass(frozen=True)
class Page:
    """Some records of a search, and where the next ones begin; empty after the last."""

    hits: tuple[Hit, ...]
    next: str


@dataclass(frozen=True)
class Counts:
    """How the records of a search are spread.

    Attributes
    ----------
    total
        Records that were counted.
    by
        By facet: the values with their counts, the most frequent first.
    newest_only
        Whether no more than :data:`COUNTED_NEWEST` were counted, though there may be others: these are the newest.
    """

    total: int
    by: dict[str, list[tuple[str, int]]]
    newest_only: bool
