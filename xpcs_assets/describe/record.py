"""The run's record: everything known of a run beside its data, typed, with units, nothing dropped.

It lies beside the staged copy as ``record.json``; the catalogs are filled from it and can be rebuilt from it.
The same run gives the same bytes, so that its digest tells whether anything changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from xpcs_assets import __version__
from xpcs_assets.describe.groups import GROUPS
from xpcs_assets.errors import MetadataError
from xpcs_assets.places.files import write_file_safely
from xpcs_assets.readers.field import Field
from xpcs_assets.runs.manifest import FileEntry

FORMAT = "xpcs-assets record 1"


@dataclass(frozen=True)
class Entry:
    """One field of the metadata.

    Attributes
    ----------
    path
        Where it stands in the metadata file.
    value
        Plain value; None for NaN and infinities, a summary for long arrays. The whole array is in ``file`` at ``path``.
    unit
        As the file says, or else as the file's layout defines it; may be empty.
    unit_from_layout
        The unit is the layout's: the file itself tells none.
    dtype
        As stored.
    not_finite
        The value, or some of it, is NaN or infinite.
    note
        Why the value could not be read, or not all of it.
    shape
        As stored; None where the file has no arrays.
    file
        The metadata file it stands in, below the run's raw folder.
    """

    path: str
    value: Any
    unit: str = ""
    unit_from_layout: bool = False
    dtype: str = ""
    not_finite: bool = False
    note: str = ""
    shape: tuple[int, ...] | None = None
    file: str = ""

    @classmethod
    def of(cls, leaf: Field, usual: str = "", file: str = "") -> Self:
        """Take over what was read, with the unit that its layout defines where the file tells none."""
        about = (bool(usual and not leaf.unit), leaf.dtype, leaf.not_finite, leaf.note, leaf.shape)
        return cls(leaf.path, leaf.value, leaf.unit or usual, *about, file)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Owner:
    """Whose run it is, as known at intake.

    Attributes
    ----------
    proposal, experiment
        May be empty.
    groups
        Who may see it.
    embargo_until
        ISO date until which only the groups see it; may be empty.
    """

    proposal: str = ""
    experiment: str = ""
    groups: tuple[str, ...] = ()
    embargo_until: str = ""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Make an owner of the ledger's plain values."""
        texts = {name: str(content.get(name) or "") for name in ("proposal", "experiment", "embargo_until")}
        return cls(groups=tuple(map(str, content.get("groups") or ())), **texts)


@dataclass(frozen=True)
class Change:
    """How a field is stored otherwise than in the run before.

    Attributes
    ----------
    path
        The field.
    what
        ``type``, ``unit`` or ``dimensions``.
    before, now
        In that run and in this one.
    """

    path: str
    what: str
    before: str
    now: str


@dataclass(frozen=True)
class Drift:
    """What changed in the form of the metadata since another run of the beamline.

    Attributes
    ----------
    compared_with
        Run key and version, such as ``A001/v1``; empty where there was none before this one.
    changes
        One for each difference; a field that only one of the two has is none.
    """

    compared_with: str = ""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Record:
    """All that is known of one version of a run.

    Attributes
    ----------
    beamline, run_key, version
        Which run.
    source
        Where it was taken from.
    taken_at
        When, ISO 8601 with time zone.
    owner
        Whose it is.
    manifest_digest, files
        What it consists of.
    raw
        What the raw file tells of itself: format, shape, frames, ... with units in the names; empty when it does
        not open.
    groups
        By name of :data:`~xpcs_assets.describe.groups.GROUPS`: the fields scientists look for, those first.
    others
        Every other field of the metadata.
    metadata_file
        Name of the metadata file; empty when there is none. Fields of further files name theirs.
    missing
        What is not known, and why. A record without such reasons is complete.
    notes
        What else is remarkable: what was left out of the metadata, or what its DataCite block lacks.
    drift
        What changed in the form of the metadata; None in records that were never compared.
    datacite
        The properties of DataCite's metadata schema; empty where the beamline file has no ``datacite``.
    software
        Versions of what made the record.
    """

    beamline: str
    run_key: str
    version: int
    source: str
    taken_at: str
    owner: Owner
    manifest_digest: str
    files: tuple[FileEntry, ...]
    raw: Mapping[str, Any]
    groups: Mapping[str, tuple[Entry, ...]]
    others: tuple[Entry, ...]
    metadata_file: str = ""
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    drift: Drift | None = None
    datacite: Mapping[str, Any] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=lambda: {"xpcs-assets": __version__})

    @property
    def complete(self) -> bool:
        """Whether nothing that a run should have is missing."""
        return not self.missing

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(entry.size_bytes for entry in self.files)

    @property
    def fields(self) -> tuple[Entry, ...]:
        """All fields: those of the groups in their order, then the others."""
        return (*(entry for name in GROUPS for entry in self.groups.get(name, ())), *self.others)

    def first(self, *paths: str) -> Entry | None:
        """The first of several paths that is there with a value."""
        by_path = {entry.path: entry for entry in self.fields}
        return next((by_path[path] for path in paths if path in by_path and by_path[path].value is not None), None)

    def to_json(self) -> str:
        """The text to store beside the data."""
        files = [entry.to_json() for entry in self.files]
        content = {"format": FORMAT, "complete": self.complete, **asdict(self), "files": files}
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str = "") -> Self:
        """Read a stored record back.

        Raises
        ------
        MetadataError
            The text is damaged or of another format.
        """
        try:
            content = json.loads(text)
            if content.pop("format") != FORMAT:
                raise MetadataError("it is a record of another format", where=where, remedy=_REMAKE)
            del content["complete"]
            content["owner"] = Owner.of(content["owner"])
            content["files"] = tuple(map(FileEntry.from_json, content["files"]))
            content["groups"] = {name: _entries(listed) for name, listed in content["groups"].items()}
            content["others"] = _entries(content["others"])
            for name in ("missing", "notes"):
                content[name] = tuple(content.get(name, ()))
            content["drift"] = _drift(content.get("drift"))
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MetadataError(f"the record cannot be read ({error!r})", where=where, remedy=_REMAKE) from error


_REMAKE = "Materialise the run's metadata asset again: it makes the record anew from the staged copy"


def write_record(record: Record, path: Path) -> None:
    """Write a record, whole or not at all; an earlier one is replaced, for it can be made again.

    Raises
    ------
    CopyError
        The file could not be written.
    """
    write_file_safely(path, [record.to_json().encode()], replace=True)


def read_record(path: Path) -> Record:
    """Read a record back.

    Raises
    ------
    MetadataError
        It is not there, or damaged.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise MetadataError(f"the record cannot be read ({error})", where=path, remedy=_REMAKE) from error
    return Record.from_json(text, where=str(path))


def _entries(listed: Sequence[Mapping[str, Any]]) -> tuple[Entry, ...]:
    return tuple(Entry(**{**entry, "shape": _shape(entry.get("shape"))}) for entry in listed)


def _shape(stored: list[int] | None) -> tuple[int, ...] | None:
    return None if stored is None else tuple(stored)


def _drift(stored: Mapping[str, Any] | None) -> Drift | None:
    if stored is None:
        return None
    return Drift(stored["compared_with"], tuple(Change(**change) for change in stored["changes"]))
