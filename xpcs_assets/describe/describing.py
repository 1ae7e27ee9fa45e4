"""Describe a run of a beamline: its typed record, made from the staged copy and written beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.describe.building import build_record
from xpcs_assets.describe.datacite import datacite_block, wrong
from xpcs_assets.describe.record import Record, read_record, write_record
from xpcs_assets.describe.type_drift import drift_of
from xpcs_assets.errors import InputError, MetadataError, NotFoundError
from xpcs_assets.readers.companions import raw_among, with_metadata
from xpcs_assets.readers.metadata import find_metadata
from xpcs_assets.readers.recognise import is_part_name, is_raw_name, open_raw
from xpcs_assets.readers.series import SeriesInfo

if TYPE_CHECKING:
    from xpcs_assets.copies.ledger import RunVersion


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
    record = build_staged(beamline, version)
    record = replace(record, drift=drift_of(beamline, version, record))
    settings = beamline.settings
    if settings.datacite is not None:
        block = datacite_block(settings.datacite, record, settings.title)
        record = replace(record, datacite=block, notes=(*record.notes, *(f"DataCite: {what}" for what in wrong(block))))
    write_record(record, folder.record)
    return record, folder.record


def build_staged(beamline: OpenBeamline, version: RunVersion) -> Record:
    """The record of a version's staged copy alone: nothing is compared with other runs, and nothing written.

    Raises
    ------
    NotFoundError
        It is not staged.
    """
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
    return build_record(version, info=info, metadata=metadata, further=further, problems=problems)


def known_record(beamline: OpenBeamline, version: RunVersion) -> Record:
    """The record of a version: as it was written, or made of the staged copy now.

    Raises
    ------
    NotFoundError
        Neither is there.
    """
    folder = beamline.staged(version)
    try:
        written = read_record(folder.record)
        if (written.version, written.manifest_digest) == (version.version, version.manifest_digest):
            return written
    except MetadataError:
        pass  # there is none yet, or it is damaged: it can be made again
    if not all((folder.raw / entry.path).exists() for entry in version.manifest.files):
        raise NotFoundError(
            "the run's metadata are not known: neither its record nor its staged files are there",
            where=folder.path,
            remedy=f"`xpcs-assets retrieve {beamline.name} {version.run_key}` brings them back",
        )
    return build_staged(beamline, version)
