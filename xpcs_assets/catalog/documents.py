"""Records as SciCat shapes them: plain JSON documents for every catalog. No database and no network here.

Field names are those of SciCat's version 4. Whatever is not finite becomes null: catalogs refuse NaN.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from xpcs_assets import __version__
from xpcs_assets.describe.groups import GROUPS
from xpcs_assets.describe.when import BEGIN, END, moment_in

if TYPE_CHECKING:
    from xpcs_assets.describe.quality import Quality
    from xpcs_assets.describe.record import Drift, Entry, Owner, Record
    from xpcs_assets.results.fit import BinFit
    from xpcs_assets.results.power_law import PowerLaw
    from xpcs_assets.runs.recipe import Recipe

SAMPLE = ("/entry/sample/short_description", "/entry/sample/name", "/measurement/sample/description")
# Of a DataCite block; the other properties say the same of every dataset, or what is among the words anyway.
_SEARCHED = ("creators", "contributors", "titles", "subjects", "descriptions", "identifiers", "fundingReferences")
_OTHER_SIGNS = re.compile(r"[^A-Za-z0-9._]+")


@dataclass(frozen=True)
class Derived:
    """A result as a catalog wants it.

    Attributes
    ----------
    record
        The run it was made of.
    analysis_key
        The run's key, or that of a reprocessing.
    recipe
        What made it.
    folder
        Where the result lies.
    size_bytes, result_digest
        Of the result file.
    created_at
        When it was recorded, aware.
    report
        The worker's report: device, seconds, versions, frames.
    labels, fits, law
        Dynamic bins with their fits, and tau(q) if there is one.
    quality
        What was judged.
    """

    record: Record
    analysis_key: str
    recipe: Recipe
    folder: str
    size_bytes: int
    result_digest: str
    created_at: datetime
    report: Mapping[str, Any]
    labels: Sequence[str]
    fits: Sequence[BinFit]
    law: PowerLaw | None
    quality: Quality


def raw_pid(beamline: str, run_key: str, version: int) -> str:
    """The raw dataset's identifier, the same for ever.

    >>> raw_pid("aps-8-id-i", "A001", 1)
    'xpcs-assets/aps-8-id-i/A001/v1'
    """
    return f"xpcs-assets/{beamline}/{run_key}/v{version}"


def derived_pid(beamline: str, analysis_key: str, version: int, recipe_folder: str) -> str:
    """The derived dataset's identifier, the same for ever.

    >>> derived_pid("aps-8-id-i", "A001~wide-q", 1, "0123456789ab")
    'xpcs-assets/aps-8-id-i/A001~wide-q/v1/0123456789ab'
    """
    return f"{raw_pid(beamline, analysis_key, version)}/{recipe_folder}"


def raw_document(record: Record, source_folder: str) -> dict[str, Any]:
    """The document of a run's raw data, which lie in ``source_folder``."""
    return {
        "pid": raw_pid(record.beamline, record.run_key, record.version),
        "datasetName": record.run_key,
        "type": "raw",
        **_shared(record),
        "description": f"{record.raw.get('format', 'raw')} series of run {record.run_key}",
        "sourceFolder": source_folder,
        "size": record.size_bytes,
        "numberOfFiles": len(record.files),
        "creationTime": record.taken_at,
        **_measured(record),
        "dataFormat": str(record.raw.get("format", "")),
        "scientificMetadata": _metadata_of(record),
    }


def _measured(record: Record) -> dict[str, str]:
    """When the measurement began and ended, in UTC, as far as the metadata say it with a zone: nothing is guessed."""
    told = {"startTime": moment_in(record, BEGIN), "endTime": moment_in(record, END)}
    return {name: moment.isoformat() for name, moment in told.items() if moment is not None}


def derived_document(derived: Derived) -> dict[str, Any]:
    """The document of a result."""
    record = derived.record
    law = derived.law
    power_law = {} if law is None else {"tau_q_exponent": _with_error(law.exponent, law.exponent_error, "")}
    return {
        "pid": derived_pid(record.beamline, derived.analysis_key, record.version, derived.recipe.folder),
        "datasetName": f"{derived.analysis_key} {derived.recipe.folder}",
        "type": "derived",
        **_shared(record),
        "description": f"{derived.recipe.settings.analysis_type} correlation of run {record.run_key}",
        "sourceFolder": derived.folder,
        "size": derived.size_bytes,
        "numberOfFiles": 1,
        "creationTime": derived.created_at.isoformat(),
        "dataFormat": "8-ID result, NXxpcs",
        "inputDatasets": [raw_pid(record.beamline, record.run_key, record.version)],
        "usedSoftware": [f"xpcs-assets {__version__}", derived.recipe.engine],
        "jobParameters": {"recipe": derived.recipe.to_dict(), "recipe_digest": derived.recipe.digest},
        "scientificMetadata": {
            "result_digest": {"value": derived.result_digest, "unit": ""},
            "bins": [_bin(label, fit) for label, fit in zip(derived.labels, derived.fits, strict=True)],
            **power_law,
            "report": finite(dict(derived.report)),
        },
    }


def words_of(record: Record, *more: str) -> str:
    """What a search by words looks through, lower case: names, owner, sample, every text of the metadata, notes.

    Of the DataCite block those texts that differ between runs: who made it, its titles, subjects and identifiers.
    """
    owner = record.owner
    texts = [entry.value for entry in record.fields if isinstance(entry.value, str)]
    texts += [*record.notes, *(text for name in _SEARCHED for text in _texts_in(record.datacite.get(name)))]
    all_words = [record.beamline, record.run_key, owner.proposal, owner.experiment, *owner.groups, *texts, *more]
    return "\n".join(dict.fromkeys(word.lower() for word in all_words if word))


def finite(value: Any) -> Any:
    """A plain value with null for what is not finite.

    >>> finite({"a": [1.0, float("nan")], "b": float("inf")})
    {'a': [1.0, None], 'b': None}
    """
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def owner_group(record: Record) -> str:
    """Whose group the dataset belongs to: the run's first, else its proposal, else the beamline's own."""
    return str(groups_of(record.owner, record.beamline)["ownerGroup"])


def groups_of(owner: Owner, beamline: str) -> dict[str, Any]:
    """What a document says of who may see it."""
    first = owner.groups[0] if owner.groups else owner.proposal or beamline
    return {"ownerGroup": first, "accessGroups": list(owner.groups[1:])}


def sample_of(record: Record) -> str:
    """What people call the run's sample; may be empty."""
    entry = record.first(*SAMPLE)
    return "" if entry is None or entry.value is None else str(entry.value)


def sample_id(proposal: str, sample: str) -> str:
    """The identifier of a proposal's sample, the same for ever; a name with other signs is told apart by a digest.

    >>> sample_id("P-1234", "silica"), sample_id("P-1234", "silica in water")
    ('P-1234-silica', 'P-1234-silica-in-water-edaef6f1')
    """
    plain = _OTHER_SIGNS.sub("-", sample)[:60]
    digest = "" if plain == sample else f"-{hashlib.sha256(sample.encode('utf-8', 'replace')).hexdigest()[:8]}"
    return f"{_OTHER_SIGNS.sub('-', proposal)}-{plain}{digest}".lstrip("-")


def _shared(record: Record) -> dict[str, Any]:
    owner, sample = record.owner, sample_of(record)
    return {
        "owner": owner.experiment or owner.proposal or record.beamline,
        **groups_of(owner, record.beamline),
        "proposalIds": [owner.proposal] if owner.proposal else [],
        "sampleIds": [sample_id(owner.proposal or record.beamline, sample)] if sample else [],
        "creationLocation": record.beamline,
        "keywords": ["XPCS", record.beamline],
        "isPublished": False,
    }


def _metadata_of(record: Record) -> dict[str, Any]:
    raw = {name: {"value": value, "unit": _unit_in(name)} for name, value in record.raw.items()}
    groups = {name: _named(record.groups.get(name, ())) for name in GROUPS}
    about = {
        "complete": {"value": record.complete, "unit": ""},
        "missing": {"value": list(record.missing), "unit": ""},
        "notes": {"value": list(record.notes), "unit": ""},
        "manifest_digest": {"value": record.manifest_digest, "unit": ""},
    }
    more = {"drift": _drift(record.drift), "datacite": finite(record.datacite)}  # before what may be cut
    return {**groups, "raw": raw, "record": about, **more, "others": _named(record.others)}


def _drift(drift: Drift | None) -> dict[str, Any]:
    """What changed since the run it names, each field by its path; empty where none was compared."""
    if drift is None:
        return {}
    changes: dict[str, dict[str, Any]] = {}
    for change in drift.changes:
        told = {"before": change.before, "value": change.now, "unit": ""}
        changes.setdefault(change.path.removeprefix("/"), {})[change.what] = told
    return {"compared_with": {"value": drift.compared_with, "unit": ""}, "changes": changes}


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts_in(item)


def _named(entries: Sequence[Entry]) -> dict[str, Any]:
    """Fields by their path, which no two share; the last part of it does not tell two slits apart."""
    return {entry.path.removeprefix("/"): _value_and_unit(entry) for entry in entries}


def _value_and_unit(entry: Entry) -> dict[str, Any]:
    flags = {"not_finite": True} if entry.not_finite else {}
    return {"value": entry.value, "unit": entry.unit} | flags | ({"note": entry.note} if entry.note else {})


def _unit_in(name: str) -> str:
    endings = {"_px": "pixel", "_s": "s", "_bytes": "B"}
    return next((unit for ending, unit in endings.items() if name.endswith(ending)), "")


def _bin(label: str, fit: BinFit) -> dict[str, Any]:
    return {
        "bin": label,
        "contrast": _with_error(fit.contrast, fit.contrast_error, ""),
        "tau": _with_error(fit.tau_s, fit.tau_error_s, "s"),
        "baseline": _with_error(fit.baseline, fit.baseline_error, ""),
        "fitted": {"value": fit.ok, "unit": ""},
    }


def _with_error(value: float, error: float, unit: str) -> dict[str, Any]:
    return {"value": finite(value), "error": finite(error), "unit": unit}
