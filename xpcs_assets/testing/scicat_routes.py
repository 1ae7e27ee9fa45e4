"""What the installed SciCat SDK knows of the backend: its routes, and which model each request must fit.

Nothing is written down here by hand, so that a newer SDK is followed. Like the backend's own check, unknown keys
are errors, in nested objects too; the SDK itself drops them without a word.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pydantic
import scicat_sdk_py

_APIS = (
    "AttachmentsV4Api",
    "AuthApi",
    "DatasetsApi",
    "DatasetsV4Api",
    "HealthApi",
    "InstrumentsApi",
    "OrigdatablocksApi",
    "OrigdatablocksV4Api",
    "ProposalsApi",
    "SamplesApi",
    "UsersApi",
)


@dataclass(frozen=True)
class Route:
    """One operation of the backend.

    Attributes
    ----------
    method, path
        Such as ``GET`` and ``/api/v4/datasets/{pid}``.
    operation
        Its name in the SDK.
    api
        The SDK's class that has it.
    """

    method: str
    path: str
    operation: str
    api: str

    @property
    def request_model(self) -> type[pydantic.BaseModel] | None:
        """The model of the request's body; None when it has none."""
        api = getattr(scicat_sdk_py, self.api)
        function = getattr(api, self.operation)
        names = vars(typing.cast(ModuleType, inspect.getmodule(api)))
        hints = typing.get_type_hints(getattr(function, "__wrapped__", function), names)
        models = [hint for name, hint in hints.items() if name != "return" and _is_model(hint)]
        return models[0] if models else None

    def match(self, path: str) -> dict[str, str] | None:
        """The values in a path of a request, decoded; None when the path is another route's."""
        parts, asked = self.path.split("/"), path.split("/")
        if len(parts) != len(asked):
            return None
        values = {}
        for part, value in zip(parts, asked, strict=True):
            if part.startswith("{"):
                values[part.strip("{}")] = unquote(value)
            elif part != value:
                return None
        return values


@cache
def routes() -> tuple[Route, ...]:
    """The routes of all that catalogs use; those without values in the path first, as the backend looks them up."""
    found = [route for api in _APIS for route in _routes_of(api)]
    return tuple(sorted(found, key=lambda route: ("{" in route.path, route.path)))


def problems(model: type[pydantic.BaseModel], body: Any) -> list[str]:
    """What the backend's check would say of a body; empty when it fits."""
    if not isinstance(body, Mapping):
        return ["the body must be an object"]
    said = [f"property {name} should not exist" for name in _unknown(model, body)]
    try:
        model.model_validate(dict(body))
    except pydantic.ValidationError as error:
        said += [f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()]
    return said


def _routes_of(api: str) -> Iterator[Route]:
    for name, function in inspect.getmembers(getattr(scicat_sdk_py, api), inspect.isfunction):
        serialised = re.fullmatch(r"_(\w+)_serialize", name)
        if serialised:
            source = inspect.getsource(function)
            method, path = re.findall(r"method='(\w+)',\s+resource_path='([^']+)'", source)[0]
            yield Route(method, path, serialised[1], api)


def _unknown(model: type[pydantic.BaseModel], body: Mapping[str, Any]) -> Iterator[str]:
    fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    for name, value in body.items():
        if name not in fields:
            yield name
            continue
        nested = _nested(fields[name])
        for item in value if isinstance(value, list) else [value]:
            if nested is not None and isinstance(item, Mapping):
                yield from (f"{name}.{deeper}" for deeper in _unknown(nested, item))


def _nested(annotation: Any) -> type[pydantic.BaseModel] | None:
    if _is_model(annotation):
        return typing.cast("type[pydantic.BaseModel]", annotation)
    return next((found for part in typing.get_args(annotation) if (found := _nested(part)) is not None), None)


def _is_model(hint: Any) -> bool:
    return inspect.isclass(hint) and issubclass(hint, pydantic.BaseModel)
