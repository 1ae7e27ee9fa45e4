"""The registry of a beamline's q-maps: adding a file as a version, and which version a run is analysed with.

A run's time is when it was measured by its metadata, read as UTC where they name no zone; where they tell none, it is
when this version of the run was taken. Of the versions that are valid then and were not withdrawn, the newest counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import QmapError, RefusedError
from xpcs_assets.settings_base import NAME

if TYPE_CHECKING:
    from xpcs_assets.copies.ledger import QmapVersion, RunVersion

FOLDER = "qmaps"
"""Where the files of all versions lie, in the site's home."""
_CHUNK_BYTES = 1 << 20
_DIGITS = 12


def add(
    beamline: OpenBeamline,
    file: Path,
    name: str,
    *,
    by: str,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    note: str = "",
) -> QmapVersion:
    """Make a file the next version of a map, a copy of it kept in the site.

    The same bytes for the same times are the version that they are already, and nothing is written.

    Raises
    ------
    QmapError
        The file is no q-map.
    RefusedError
        It can be no name, or the times are none.
    CopyError
        The file could not be kept; there is no new version.
    """
    from xpcs_assets.places.files import write_file_safely
    from xpcs_assets.qmaps.qmap import read_qmap

    if NAME.fullmatch(name) is None:
        raise RefusedError(
            f"{name!r} can be no map's name", remedy="Lower-case letters, digits and '-', such as standard"
        )
    if valid_from is not None and valid_until is not None and valid_from >= valid_until:
        raise RefusedError("it would be valid at no time", where=name, remedy="Let --valid-until come later")
    digest = read_qmap(file).digest
    sha256 = digest.removeprefix("sha256:")
    while True:
        known = beamline.ledger.qmaps(beamline.name, name)
        for version in known:
            same = (version.digest, version.valid_from, version.valid_until) == (digest, valid_from, valid_until)
            if version.stands and same:
                return version
        path = Path(FOLDER, beamline.name, name, f"v{len(known) + 1}-{sha256[:_DIGITS]}.hdf")
        write_file_safely(beamline.site.path(path), _chunks(file), sha256=sha256)
        made = beamline.ledger.record_qmap(
            beamline.name,
            name,
            len(known) + 1,
            digest=digest,
            path=str(path),
            valid_from=valid_from,
            valid_until=valid_until,
            note=note,
            by=by,
        )
        if made is not None:
            return made
        _drop_unused(beamline, name, path)


def resolve(beamline: OpenBeamline, name: str, moment: datetime) -> QmapVersion:
    """The version that a run of some time is analysed with.

    Raises
    ------
    QmapError
        There is none.
    """
    known = beamline.ledger.qmaps(beamline.name, name)
    standing = [version for version in known if version.stands and version.is_valid_at(moment)]
    if not standing:
        told = (
            f"none of its {len(known)} versions is valid at {moment:%Y-%m-%d %H:%M:%S} UTC" if known else "it is empty"
        )
        raise QmapError(
            f"the registry has no q-map for this run: {told}",
            where=f"{beamline.name}/{name}",
            remedy=f"Add one: `xpcs-assets qmaps {beamline.name} --add FILE --name {name} --valid-from TIME`",
        )
    return standing[-1]


def file_of(beamline: OpenBeamline, version: QmapVersion) -> Path:
    """The file of a version, which is read and hashed: it is the one that was added.

    Raises
    ------
    QmapError
        It is not there or cannot be read, or its bytes are others.
    """
    path = beamline.site.path(Path(version.path))
    remedy = f"Bring {version} back from a backup: the file with digest {version.digest}"
    try:
        with path.open("rb") as file:
            found = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise QmapError(f"the registry's file cannot be read ({error.strerror})", where=path, remedy=remedy) from error
    if found != version.digest:
        raise QmapError("the registry's file is not the one that was added", where=path, remedy=remedy)
    return path


def run_time(version: RunVersion, metadata: Path) -> datetime:
    """When a run was measured, in UTC; when it was taken where its metadata do not tell.

    Raises
    ------
    MetadataError
        The metadata cannot be read.
    """
    from xpcs_assets.readers.metadata import read_acquisition

    return _moment(read_acquisition(metadata).start_time, version)


def recorded_time(version: RunVersion, record: Path) -> datetime:
    """The same by the run's record, for when its files are gone.

    Raises
    ------
    MetadataError
        The record cannot be read.
    """
    from xpcs_assets.describe.record import read_record
    from xpcs_assets.readers.metadata import START_TIME

    described = read_record(record)
    entry = described.first(*START_TIME)
    return _moment(str(entry.value if entry else described.raw.get("file_start_time", "")), version)


def _moment(text: str, version: RunVersion) -> datetime:
    try:
        return in_utc(text)
    except (ValueError, OverflowError):
        return version.taken_at


def in_utc(text: str) -> datetime:
    """A time in ISO form; without a zone it is UTC.

    >>> in_utc("2025-03-01T10:00+01:00").isoformat(), in_utc("2025-03-01").isoformat()
    ('2025-03-01T09:00:00+00:00', '2025-03-01T00:00:00+00:00')

    Raises
    ------
    ValueError, OverflowError
        It is none.
    """
    told = datetime.fromisoformat(text.strip())
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)


def standard_of(versions: Sequence[QmapVersion]) -> QmapVersion | None:
    """The version whose digest is the data version of the asset ``qmap``: the newest standing one that corrects.

    One corrects that was added when runs of its times may have been analysed with an older one. A newer map for newer
    runs makes no old result wrong, and changes nothing here. Without a correction it is the first that stands.
    """
    standing = [version for version in versions if version.stands]
    corrections = [
        version for k, version in enumerate(standing) if any(_corrects(version, old) for old in standing[:k])
    ]
    return next(iter([*reversed(corrections), *standing]), None)


def _corrects(version: QmapVersion, old: QmapVersion) -> bool:
    ends = [end for end in (old.valid_until, version.valid_until, version.added_at) if end is not None]
    starts = [start for start in (old.valid_from, version.valid_from) if start is not None]
    return not starts or max(starts) < min(ends)


def _drop_unused(beamline: OpenBeamline, name: str, path: Path) -> None:
    """Remove a file whose number went to another's bytes: no version can name it any more."""
    if all(version.path != str(path) for version in beamline.ledger.qmaps(beamline.name, name)):
        beamline.site.path(path).unlink(missing_ok=True)


def _chunks(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise QmapError(f"it cannot be read ({error.strerror})", where=file, remedy="See its disk") from error
