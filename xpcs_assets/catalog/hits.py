"""What a search answers with: records as a list shows them, pages, counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

COUNTED_NEWEST = 20_000
"""Where words, ranges or labels are asked for, at most so many records are counted by facets: the newest."""


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What a list and a single record both tell of a dataset.

    Attributes
    ----------
    pid
        Its identifier.
    kind
        ``raw`` or ``derived``.
    beamline, run_key, analysis_key, version
        What it is of; a raw record's analysis key is the run key.
    cycle
        The facility's run period, from the path the run was taken from; may be empty.
    proposal, experiment
        Whose it is.
    sample, detector
        As the metadata say; may be empty.
    qmap_digest, recipe_digest
        Of a derived dataset; empty for raw ones.
    quality
        A :class:`~xpcs_assets.catalog.states.DatasetQuality`.
    state
        Where it stands by the facts of now; see :class:`~xpcs_assets.catalog.states.DatasetState`.
    size_bytes
        Of all its files.
    created_at
        When the dataset came to be.
    updated_at
        When its record last changed.
    sparkline
        g2 for a row of a list; see :func:`xpcs_assets.catalog.sparkline.sparkline`.
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
    quality: str
    state: str
    size_bytes: int
    created_at: datetime
    updated_at: datetime
    sparkline: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Hit(Outline):
    """A record as a list shows it.

    Attributes
    ----------
    tags, mark
        As people gave them; the mark is empty without one.
    """

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
