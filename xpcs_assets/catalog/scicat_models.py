"""The SDK's models as a check of what is sent, and the field names of older backends.

The SDK drops unknown keys without a word, so that a misspelt one is lost; here they are errors. Only what was given
is sent: defaults of the SDK would un-publish a dataset and write zeros.
"""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

from xpcs_assets.errors import CatalogError, SettingsError

if TYPE_CHECKING:
    from pydantic import BaseModel

# What backends before the SDK's do not know: the field that takes it, or none.
OLDER_NAMES: dict[str, dict[str, str]] = {
    "CreateSampleDto": {"sampleName": "description"},
    "CreateInstrumentDto": {"pid": ""},
}
_SINGULAR = {"proposalIds": "proposalId", "sampleIds": "sampleId", "instrumentIds": "instrumentId"}
_TIMES = ("creationTime", "startTime", "endTime", "dateOfDiskPurging", "archiveRetentionTime", "time")
_RAW_ONLY = ("sampleIds", "instrumentIds", "creationLocation", "startTime", "endTime", "dataFormat")


def sdk() -> ModuleType:
    """The SciCat SDK.

    Raises
    ------
    SettingsError
        It is not installed.
    """
    try:
        return importlib.import_module("scicat_sdk_py")
    except ModuleNotFoundError as error:
        remedy = "Install the extra: pip install 'xpcs-assets[scicat]'"
        raise SettingsError("the SciCat catalog needs scicat-sdk-py", where="catalog: scicat", remedy=remedy) from error


def checked(model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A body as it is sent: it fits the SDK's model, has no unknown key, and times with a zone.

    Raises
    ------
    CatalogError
        It does not fit; the message names the fields, never their values.
    SettingsError
        The SDK is not installed.
    """
    from pydantic import ValidationError

    kind: type[BaseModel] = getattr(sdk(), model)
    wrong = [f"{name}: no such field" for name in _unknown(kind, body)]
    wrong += [f"{path}: a time without a zone" for path in _naive(body)]
    try:
        fitting = kind.model_validate(dict(body))
    except ValidationError as error:
        wrong += [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        fitting = None
    if wrong or fitting is None:
        where = str(body.get("pid") or body.get("datasetId") or model)
        remedy = "Mend the record or the catalog's settings; trying again changes nothing"
        raise CatalogError(f"{model} does not take it ({'; '.join(wrong[:10])})", where=where, remedy=remedy)
    return fitting.model_dump(mode="json", by_alias=True, exclude_unset=True)


def older(model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A checked body with the field names of older backends.

    >>> older("CreateSampleDto", {"sampleId": "S1", "sampleName": "silica"})
    {'sampleId': 'S1', 'description': 'silica'}
    """
    names = OLDER_NAMES.get(model, {})
    kept = {name: value for name, value in body.items() if name not in names}
    moved = {new: body[old] for old, new in names.items() if new and old in body and new not in kept}
    return kept | moved


def obsolete(document: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset's document of version 4 as version 3 wants it: one proposal, sample and investigator.

    >>> obsolete({"type": "derived", "principalInvestigators": ["A B", "C D"], "proposalIds": ["P1"]})
    {'type': 'derived', 'proposalId': 'P1', 'investigator': 'A B; C D'}
    """
    raw = document.get("type") == "raw"
    body = {
        name: value
        for name, value in document.items()
        if name not in {*_SINGULAR, "principalInvestigators"} and (raw or name not in _RAW_ONLY)
    }
    for plural, singular in _SINGULAR.items():
        if document.get(plural) and (raw or plural not in _RAW_ONLY):
            body[singular] = document[plural][0]
    investigators = "; ".join(document.get("principalInvestigators") or ())
    return body | ({"principalInvestigator" if raw else "investigator": investigators} if investigators else {})


def _unknown(kind: type[BaseModel], body: Mapping[str, Any]) -> Iterator[str]:
    fields = {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    for name, value in body.items():
        nested = _nested(fields.get(name))
        if name not in fields:
            yield name
        elif nested is not None:
            items = value if isinstance(value, list) else [value]
            yield from (
                f"{name}.{one}" for item in items if isinstance(item, Mapping) for one in _unknown(nested, item)
            )


def _nested(annotation: Any) -> type[BaseModel] | None:
    if inspect.isclass(annotation) and hasattr(annotation, "model_fields"):
        return typing.cast("type[BaseModel]", annotation)
    return next((found for part in typing.get_args(annotation) if (found := _nested(part)) is not None), None)


def _naive(body: Mapping[str, Any]) -> Iterator[str]:
    """Times without a zone, to which the backend would give its own."""
    for name in _TIMES:
        value = body.get(name)
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        except ValueError:
            continue  # the model's check says what is wrong with it
        if isinstance(moment, datetime) and moment.tzinfo is None:
            yield name
    for place, entry in enumerate(body.get("dataFileList") or ()):
        yield from (f"dataFileList.{place}.{name}" for name in _naive(entry))
