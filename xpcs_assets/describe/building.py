"""Put a run's record together from its ledger entry, its raw file and its metadata files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpcs_assets.describe.groups import GROUPS, group_of, order, usual_units
from xpcs_assets.describe.record import Entry, Owner, Record
from xpcs_assets.errors import InputError
from xpcs_assets.readers.field import MAX_FIELDS, plain
from xpcs_assets.readers.fields import read_fields
from xpcs_assets.readers.metadata import COUNT_TIME, DETECTOR_NAME, ENERGY, FRAME_TIME, START_TIME

if TYPE_CHECKING:
    from xpcs_assets.copies.ledger import RunVersion
    from xpcs_assets.readers.series import SeriesInfo

_ALS = "/entry1/instrument_1"
# What a run should tell, where it may stand, and what the raw file's reader calls it.
_NEEDED = {
    "frame time": ((*FRAME_TIME, "/frame_time_s"), "frame_time_s"),
    "exposure time": ((*COUNT_TIME, "/count_time_s", f"{_ALS}/detector_1/count_time"), "file_count_time_s"),
    "photon energy": (
        (*ENERGY, "/energy_kev", f"{_ALS}/source_1/energy", "/bluesky/primary/data/beamline_energy"),
        "file_energy_kev",
    ),
    "detector name": ((*DETECTOR_NAME, "/detector_name", f"{_ALS}/detector_1/description"), "file_detector_name"),
    "start time": ((*START_TIME, "/start_time", "/entry1/start_time", "/bluesky/start/time"), "file_start_time"),
}
_BRING = "Bring the run's *_metadata.hdf and submit the run again"
_OF_THE_FILE = "file"


def build_record(
    run: RunVersion,
    *,
    info: SeriesInfo | None,
    metadata: Path | None,
    further: Sequence[Path] = (),
    problems: Sequence[str] = (),
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
    further
        Other files with metadata, such as bluesky documents.
    problems
        What went wrong in finding these.
    """
    listed, missing = _entries([path for path in (metadata, *further) if path is not None])
    if metadata is None and not further:
        missing.append(f"there is no metadata file. {_BRING}")
    if info is None:
        missing.insert(0, "the raw file does not open")
    entries = sorted(listed, key=lambda entry: order(entry.path))
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
        groups={name: tuple(entry for entry in entries if group_of(entry.path) == name) for name in GROUPS},
        others=tuple(entry for entry in entries if not group_of(entry.path)),
        metadata_file="" if metadata is None else metadata.name,
        notes=tuple(_notes(entries)),
    )
    absent = [
        f"the metadata tell no {name}"
        for name, (paths, raw_name) in _NEEDED.items()
        if listed and record.first(*paths) is None and record.raw.get(raw_name) in (None, "")
    ]
    return replace(record, missing=tuple(dict.fromkeys((*problems, *missing, *absent))))


def _entries(files: Sequence[Path]) -> tuple[list[Entry], list[str]]:
    """The fields of all files, each path once, and which files do not open."""
    taken: dict[str, Entry] = {}
    missing: list[str] = []
    for path in files:
        try:
            leaves = read_fields(path)
        except InputError as error:
            missing.append(f"the metadata file {path.name} does not open: {error.what}")
            continue
        units = usual_units({leaf.path: leaf.value for leaf in leaves})
        for leaf in leaves:
            entry = Entry.of(leaf, units.get(leaf.path, ""), path.name)
            if entry.path in taken:
                # Two files of one layout: the first keeps the plain paths, which people and programs look for.
                entry = replace(entry, path=f"/{path.name}{entry.path}")
            if len(taken) > 2 * MAX_FIELDS:
                missing.append(f"not all fields of {path.name} and the files after it are listed: there are too many")
                return list(taken.values()), missing
            taken[entry.path] = entry
    return list(taken.values()), missing


def _notes(entries: Iterable[Entry]) -> Iterable[str]:
    """What was left out of the metadata: word for word for a whole file, counted for its fields."""
    noted = [entry for entry in entries if entry.note]
    yield from (f"{entry.file}: {entry.note}" for entry in noted if entry.dtype == _OF_THE_FILE)
    fields = [entry for entry in noted if entry.dtype != _OF_THE_FILE]
    if fields:
        yield f"{len(fields)} fields are not here whole, such as {fields[0].path}: {fields[0].note}"


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
