"""An RO-Crate (version 1.1, JSON-LD) of datasets: who may publish or keep them elsewhere finds all that is known there.

The crate holds descriptions, not bytes: each dataset is an entity with where its files lie, its numbers with units, and
for a result the action that made it of its input. https://www.researchobject.org/ro-crate/1.1/
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xpcs_assets import __version__
from xpcs_assets.catalog.records import CatalogRecord
from xpcs_assets.errors import RefusedError
from xpcs_assets.places.files import write_file_safely

METADATA = "ro-crate-metadata.json"
_CONTEXT = "https://w3id.org/ro/crate/1.1/context"
_PROFILE = "https://w3id.org/ro/crate/1.1"
_GROUPS = ("acquisition", "detector", "source", "sample")
_LICENSE = "No licence is granted by this description: ask the owner of the data."


def crate_of(
    records: Iterable[CatalogRecord], *, name: str, made_at: datetime, license_text: str = ""
) -> dict[str, Any]:
    """The crate's metadata as plain JSON.

    Parameters
    ----------
    name
        What the collection is called.
    made_at
        When it was put together, aware.
    license_text
        Under which the data may be used; else the crate says that none is granted.
    """
    entities: dict[str, dict[str, Any]] = {}
    parts = []
    for record in records:
        parts.append(_reference(_id(record.pid)))
        for entity in _entities(record):
            entities.setdefault(entity["@id"], entity)
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": name,
        "description": f"{len(parts)} XPCS datasets from the catalog of xpcs-assets {__version__}",
        "datePublished": made_at.isoformat(),
        "license": license_text or _LICENSE,
        "hasPart": parts,
        "mentions": [_reference(key) for key, entity in entities.items() if entity["@type"] == "CreateAction"],
    }
    about = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": _reference(_PROFILE),
        "about": _reference("./"),
    }
    return {"@context": _CONTEXT, "@graph": [about, root, *entities.values()]}


def write_crate(folder: Path, crate: Mapping[str, Any]) -> Path:
    """Write the crate's metadata into a folder, which is made; returns the file.

    Raises
    ------
    RefusedError
        There is a crate in it.
    CopyError
        It could not be written.
    """
    file = folder / METADATA
    if file.exists():
        raise RefusedError(
            "there is a crate in this folder", where=folder, remedy="Choose another: nothing is overwritten"
        )
    text = json.dumps(crate, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_file_safely(file, [text.encode("utf-8", "replace")])
    return file


def _entities(record: CatalogRecord) -> Iterable[dict[str, Any]]:
    document = record.document
    key = _id(record.pid)
    owner = {"@id": f"#group-{quote(record.owner_group, safe='')}", "@type": "Organization", "name": record.owner_group}
    values = list(_values(key, document.get("scientificMetadata", {})))
    folder = str(document.get("sourceFolder", ""))
    dataset: dict[str, Any] = {
        "@id": key,
        "@type": "Dataset",
        "identifier": record.pid,
        "name": document.get("datasetName", record.run_key),
        "description": document.get("description", ""),
        "dateCreated": record.created_at.isoformat(),
        "dateModified": record.updated_at.isoformat(),
        "keywords": list(document.get("keywords", ())),
        "contentSize": f"{record.size_bytes} B",
        "encodingFormat": document.get("dataFormat", ""),
        "maintainer": _reference(owner["@id"]),
        "creativeWorkStatus": record.state,
        "variableMeasured": [_reference(value["@id"]) for value in values],
    }
    if folder.startswith("/"):
        dataset["distribution"] = _reference(f"file://{quote(folder)}/")
        yield {
            "@id": f"file://{quote(folder)}/",
            "@type": "DataDownload",
            "name": f"files of {record.pid}",
            "contentUrl": f"file://{quote(folder)}/",
        }
    yield from (dataset, owner, *values)
    yield from _origin(record, key, dataset)


def _origin(record: CatalogRecord, key: str, dataset: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """What a result was made of, and by which programs."""
    inputs = [_id(pid) for pid in record.document.get("inputDatasets", ())]
    if not inputs:
        return
    programs = [str(name) for name in record.document.get("usedSoftware", ())]
    dataset["isBasedOn"] = [_reference(each) for each in inputs]
    tools = [
        {"@id": f"#software-{quote(name, safe='')}", "@type": "SoftwareApplication", "name": name} for name in programs
    ]
    yield from tools
    yield {
        "@id": f"{key}#made",
        "@type": "CreateAction",
        "name": f"correlation of run {record.run_key}",
        "endTime": record.created_at.isoformat(),
        "instrument": [_reference(tool["@id"]) for tool in tools],
        "object": [_reference(each) for each in inputs],
        "result": _reference(key),
        "description": f"recipe {record.recipe_digest}, q-map {record.qmap_digest}",
    }


def _values(key: str, metadata: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for path, name, said in (*_of_raw(metadata), *_of_result(metadata)):
        value = said.get("value") if isinstance(said, Mapping) else None
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            unit = {"unitText": said["unit"]} if said.get("unit") else {}
            error = {"description": f"standard error {said['error']:.3g}"} if said.get("error") is not None else {}
            yield (
                {
                    "@id": f"{key}#{quote(path, safe='')}",
                    "@type": "PropertyValue",
                    "propertyID": path,
                    "name": name,
                    "value": value,
                }
                | unit
                | error
            )


def _of_raw(metadata: Mapping[str, Any]) -> Iterable[tuple[str, str, Any]]:
    for group in _GROUPS:
        for path, said in metadata.get(group, {}).items():
            yield path, path.rsplit("/", 1)[-1], said


def _of_result(metadata: Mapping[str, Any]) -> Iterable[tuple[str, str, Any]]:
    """What was fitted, under the names by which a search finds it; a fit that failed is no measured value."""
    if "tau_q_exponent" in metadata:
        yield "result/tau_q_exponent", "tau_q_exponent", metadata["tau_q_exponent"]
    for place, fit in enumerate(metadata.get("bins", ()), 1):
        if fit["fitted"]["value"]:
            for name in ("tau", "contrast", "baseline"):
                yield f"result/bin_{place}/{name}", f"{name} at {fit['bin']}", fit[name]


def _id(pid: str) -> str:
    """A name for the entity that is a URI, ends as a folder's must, and depends on nothing but the pid."""
    return f"arcp://name,{quote(pid, safe='/~')}/"


def _reference(key: str) -> dict[str, str]:
    return {"@id": key}
