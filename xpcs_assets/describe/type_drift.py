"""Whether a field of the metadata changed its type, unit or dimensions since the run before at the same beamline.

A run is compared once, when it is first described, with the newest run taken before it that has a record. Its record
keeps what was found, so that describing it again gives the same bytes whatever became of the other run meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from xpcs_assets.describe.record import Change, Drift, Entry, Record, read_record
from xpcs_assets.errors import MetadataError

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline
    from xpcs_assets.copies.ledger import RunVersion

# Runs without a record, such as pruned ones, that are passed over in search of one.
_LOOK_BACK = 50
_FEW_RUNS, _MANY_RUNS = 20, 1000
_MOST_CHANGES = 100
_TEXTS = ("object", "text", "string", "<U", "|S", "|O")


def drift_of(beamline: OpenBeamline, version: RunVersion, record: Record) -> Drift:
    """Compare a new record with the run's own earlier one, or else with that of the run before it."""
    stored = _stored(beamline, version)
    if stored is not None and stored.drift is not None and stored.manifest_digest == record.manifest_digest:
        return stored.drift
    for before in _before(beamline, version):
        other = _stored(beamline, before)
        if other is not None and other.fields:
            changes = tuple(islice(changes_between(other, record), _MOST_CHANGES))
            return Drift(f"{before.run_key}/v{before.version}", changes)
    return Drift()


def changes_between(before: Record, now: Record) -> Iterator[Change]:
    """The differences in form of the fields that both have, by path; values make none.

    Texts are one type whatever their length; a field without a value has no type that could have changed.
    """
    earlier = {entry.path: entry for entry in before.fields}
    for entry in sorted(now.fields, key=lambda entry: entry.path):
        other = earlier.get(entry.path)
        if other is None:
            continue
        compared = {
            "type": (_type(other), _type(entry)),
            "unit": (other.unit, entry.unit),
            "dimensions": (_dimensions(other), _dimensions(entry)),
        }
        for what, (was, now_is) in compared.items():
            known = what == "unit" or (was and now_is)
            if known and was != now_is:
                yield Change(entry.path, what, was, now_is)


def _before(beamline: OpenBeamline, version: RunVersion) -> list[RunVersion]:
    """Runs of the beamline that were taken before this version, the last taken first."""
    before: list[RunVersion] = []
    # A run is mostly described when it is among the newest; only an old one needs a longer look.
    for limit in (_FEW_RUNS, _MANY_RUNS):
        runs = beamline.ledger.runs(beamline.name, limit=limit)
        before = [other for other in runs if (other.taken_at, other.run_key) < (version.taken_at, version.run_key)]
        if before or len(runs) < limit:
            break
    return before[:_LOOK_BACK]


def _stored(beamline: OpenBeamline, version: RunVersion) -> Record | None:
    try:
        return read_record(beamline.staged(version).record)
    except MetadataError:
        return None


def _type(entry: Entry) -> str:
    return "text" if entry.dtype.startswith(_TEXTS) else entry.dtype


def _dimensions(entry: Entry) -> str:
    return "" if entry.shape is None else str(len(entry.shape))
