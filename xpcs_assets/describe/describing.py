"""Describe a run of a beamline: its typed record, made from the staged copy and written beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.describe.building import build_record
from xpcs_assets.describe.datacite import datacite_block, wrong
from xpcs_assets.describe.record import Record, write_record
from xpcs_assets.describe.type_drift import drift_of
from xpcs_assets.errors import InputError, NotFoundError
from xpcs_assets.readers.companions import raw_among, with_metadata
from xpcs_assets.readers.metadata import find_metadata
from xpcs_assets.readers.recognise import is_part_name, is_raw_name, open_raw
from xpcs_assets.readers.series import SeriesInfo


def describe(beamline: OpenBeamline, key: str) -> tuple[Record, Path]:
    """Make and write the record of run ``key``. What is missing or damaged is said in it and stops nothing.

    Raises
    ------
    NotFoundError
        The run was never taken or is not staged.
    CopyError
        The record could not be written.
    """
    version = beamline.latest(key)
    folder = beamline.staged(version)
    if not folder.manifest.exists():
        raise NotFoundError("the run is not staged", where=folder.path, remedy="Materialise staged_copy first")
    files = [folder.raw / entry.path for entry in version.manifest.files]
    raw = raw_among([path for path in files if is_raw_name(path.name)])
    info: SeriesInfo | None = None
    metadata: Path | None = None
    problems: list[str] = []
    if raw:
        try:
            with open_raw(raw[0] if len(raw) == 1 else raw) as series:
                info = series.info
        except InputError as error:
            problems.append(str(error))
        try:
            metadata = find_metadata(raw[0])
        except InputError as error:
            problems.append(str(error))
    taken = {metadata, *raw}
    further = with_metadata([path for path in files if path not in taken and not is_part_name(path.name)])
    record = build_record(version, info=info, metadata=metadata, further=further, problems=problems)
    record = replace(record, drift=drift_of(beamline, version, record))
    settings = beamline.settings
    if settings.datacite is not None:
        block = datacite_block(settings.datacite, record, settings.title)
        record = replace(record, datacite=block, notes=(*record.notes, *(f"DataCite: {what}" for what in wrong(block))))
    write_record(record, folder.record)
    return record, folder.record
