"""The run's record: everything known of a run beside its data, typed, with units, nothing dropped.

It lies beside the staged copy as ``record.json``; the catalogs are filled from it and can be rebuilt from it.
The same run gives the same bytes, so that its digest tells whether anything changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from xpcs_assets import __version__
from xpcs_assets.describe.groups import GROUPS, group_of, order, usual_unit
from xpcs_assets.errors import InputError, MetadataError
from xpcs_assets.places.files import write_file_safely
from xpcs_assets.readers.field import Field, plain
from xpcs_assets.readers.fields import read_fields
from xpcs_assets.readers.metadata import COUNT_TIME, DETECTOR_NAME, ENERGY, FRAME_TIME, START_TIME
from xpcs_assets.runs.manifest import FileEntry

if TYPE_CHECKING:
    from xpcs_assets.copies.ledger import RunVersion
    from xpcs_assets.readers.series import SeriesInfo

FORMAT = "xpcs-assets record 1"

_NEEDED = {
    "frame time": FRAME_TIME,
    "exposure time": COUNT_TIME,
    "photon energy": ENERGY,
    "detector name": DETECTOR_NAME,
    "start time": START_TIME,
}
_BRING = "Bring the run's *_metadata.hdf and submit the run again"


@dataclass(frozen=True)
class Entry:
    """One field of the metadata.

    Attributes
    ----------
    path
        Where it stands in the metadata file.
    value
        Plain value; None for NaN and infinities, a summary for long arrays.
    unit
        As the file says, or else as the file's layout defines it; may be empty.
    unit_from_layout
        The unit is the layout's: the file itself tells none.
    dtype
        As stored.
    not_finite
        The value, or some of it, is NaN or infinite.
    note
        Why the value could not be read.
    """

    path: str
    value: Any
    unit: str = ""
    unit_from_layout: bool = False
    dtype: str = ""
    not_finite: bool = False
    note: str = ""

    @classmethod
    def of(cls, leaf: Field) -> Self:
        """Take over what was read."""
        usual = "" if leaf.unit else usual_unit(leaf.path)
        return cls(leaf.path, leaf.value, leaf.unit or usual, bool(usual), leaf.dtype, leaf.not_finite, leaf.note)

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
        Name of the metadata file; empty when there is none.
    missing
        What is not known, and why. A record without such reasons is complete.
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
            content["missing"] = tuple(content["missing"])
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MetadataError(f"the record cannot be read ({error!r})", where=where, remedy=_REMAKE) from error


_REMAKE = "Materialise the run's metadata asset again: it makes the record anew from the staged copy"


def build_record(
    run: RunVersion, *, info: SeriesInfo | None, metadata: Path | None, problems: Sequence[str] = ()
) -> Record:
    """Put the record of a run together. Whatever is missing is said in it and stops nothing.

    Parameters
    ----------
    run
        The version of the run, from the ledger.
    info
        What its raw file tells; None when it does not open.
    metadata
        Its companion metadata file; None when there is none.
    problems
        What went wrong in finding these.
    """
    leaves, missing = _leaves(metadata)
    if info is None:
        missing = ["the raw file does not open", *missing]
    entries = sorted(map(Entry.of, leaves), key=lambda entry: order(entry.path))
    groups = {name: tuple(entry for entry in entries if group_of(entry.path) == name) for name in GROUPS}
    record = Record(
        beamline=run.beamline,
        run_key=run.run_key,
        version=run.version,
        source=run.source,
        taken_at=run.taken_at.isoformat(),
        owner=Owner.of(run.owner),
        manifest_digest=run.manifest_digest,
        files=run.manifest.files,
        raw={} if info is None else _raw(info),
        groups=groups,
        others=tuple(entry for entry in entries if not group_of(entry.path)),
        metadata_file="" if metadata is None else metadata.name,
    )
    absent = [name for name, paths in _NEEDED.items() if leaves and record.first(*paths) is None]
    reasons = (*problems, *missing, *(f"the metadata tell no {name}" for name in absent))
    return replace(record, missing=tuple(dict.fromkeys(reasons)))


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


def _leaves(metadata: Path | None) -> tuple[list[Field], list[str]]:
    if metadata is None:
        return [], [f"there is no metadata file. {_BRING}"]
    try:
        return read_fields(metadata), []
    except InputError as error:
        return [], [f"the metadata file {metadata.name} does not open: {error.what}"]


def _raw(info: SeriesInfo) -> dict[str, Any]:
    told = {
        "format": info.format,
        "kind": info.kind,
        "rows_px": info.shape[0],
        "columns_px": info.shape[1],
        "frames_recorded": info.n_recorded,
        "dtype": info.dtype,
        "files": [path.name for path in info.files],
    }
    if info.frame_time_s is not None:
        told["frame_time_s"] = info.frame_time_s
    return told | {f"file_{name}": plain(value)[0] for name, value in info.extra.items()}


def _entries(listed: Sequence[Mapping[str, Any]]) -> tuple[Entry, ...]:
    return tuple(Entry(**entry) for entry in listed)
