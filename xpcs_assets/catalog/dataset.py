"""What every catalog is given and answers: a dataset with its files and plots, where its data are, one protocol.

No database and no network here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from xpcs_assets.runs.manifest import FileEntry


@dataclass(frozen=True)
class Picture:
    """A plot to attach.

    Attributes
    ----------
    name
        Tells the pictures of a dataset apart; the same name later replaces it.
    caption
        What it shows.
    content
        PNG or JPEG.
    """

    name: str
    caption: str
    content: bytes


@dataclass(frozen=True)
class Dataset:
    """A raw or derived dataset as it is to stand in a catalog.

    Attributes
    ----------
    document
        In SciCat's shape, from ``documents``: ``pid``, ``type`` (``raw`` or ``derived``), ``ownerGroup``,
        ``accessGroups``, ``scientificMetadata`` and the rest; plain and finite.
    embargo_until
        ISO date until which only the groups see it; may be empty.
    files
        What it consists of, with their digests.
    pictures
        Its plots; those of raw data are none.
    sample
        What people call the sample that the document names; may be empty.
    """

    document: Mapping[str, Any]
    embargo_until: str = ""
    files: tuple[FileEntry, ...] = ()
    pictures: tuple[Picture, ...] = ()
    sample: str = ""

    @property
    def pid(self) -> str:
        """Its identifier, ours in every catalog but for a prefix."""
        return str(self.document["pid"])

    @property
    def derived(self) -> bool:
        """Whether it was made from other data."""
        return bool(self.document["type"] == "derived")


@dataclass(frozen=True)
class Lifecycle:
    """Where a dataset's data are. None leaves what the catalog says.

    Attributes
    ----------
    archived
        Whether there is a verified copy in an archive.
    archive_location
        Where that is.
    on_disk
        Whether there is a copy that can be opened at once.
    pruned_at
        When the last such copy was removed, aware.
    kept_until
        Until when the archive keeps it, aware.
    """

    archived: bool | None = None
    archive_location: str | None = None
    on_disk: bool | None = None
    pruned_at: datetime | None = None
    kept_until: datetime | None = None


class Catalog(Protocol):
    """A catalog that is told of datasets. Whatever is told twice stands once.

    Each may raise CatalogUnavailableError (it does not answer, or not now: tell it again later) and CatalogError (it
    refuses, and would again).
    """

    def put(self, dataset: Dataset) -> str:
        """Put a dataset, or bring it up to date; returns its pid there."""
        ...

    def put_lifecycle(self, pid: str, lifecycle: Lifecycle) -> None:
        """Tell where the data of one of our pids are; what else its lifecycle says stays."""
        ...

    def has(self, pid: str) -> bool:
        """Whether the dataset of one of our pids stands there now."""
        ...

    def changes_at(self, dataset: Dataset) -> datetime | None:
        """When a dataset is to be put again though nothing of it changes; None for never. Asked before it is put."""
        ...

    def check(self) -> None:
        """Ask whether it answers and lets us write; changes nothing."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...
