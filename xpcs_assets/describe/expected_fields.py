"""Which fields a metadata file is expected to have, and which of them it lacks. The lists are ``expected_fields.toml``.

The layouts are today's of APS 8-ID, the older Data Exchange one with the fields that its quality control asked for, and
the two of ALS 7.0.1.1.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import h5py

from xpcs_assets.describe.judgement import Judge, Judgement
from xpcs_assets.errors import MetadataError
from xpcs_assets.readers.h5file import damage, open_hdf5

Level = Literal["expected", "usual"]

_NAMED = 5
_COPY = "Copy the metadata file anew from the beamline"


@dataclass(frozen=True)
class ExpectedField:
    """A field of a layout.

    Attributes
    ----------
    path
        HDF5 path.
    dimensions
        Number of dimensions; None takes any.
    level
        ``expected``, or ``usual``: it may be absent.
    where
        It is asked for only in files that have this group or field.
    """

    path: str
    dimensions: int | None
    level: Level
    where: str


@dataclass(frozen=True)
class Layout:
    """A layout of metadata: its name, the path that tells it from others, and its fields."""

    name: str
    mark: str
    fields: tuple[ExpectedField, ...]


@dataclass(frozen=True)
class FieldsFound:
    """What a file has of its layout.

    Attributes
    ----------
    layout
        Its name.
    missing, misshapen
        Expected fields that are not there, and those with another number of dimensions.
    missing_usual
        Usual ones that are not there.
    """

    layout: str
    missing: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    missing_usual: list[str] = field(default_factory=list)


@cache
def layouts() -> tuple[Layout, ...]:
    """The layouts that are known."""
    content = tomllib.loads((files(__package__) / "expected_fields.toml").read_text(encoding="utf-8"))
    return tuple(
        Layout(each["name"], each["mark"], tuple(made for group in each["group"] for made in _fields(group)))
        for each in content["layout"]
    )


def _fields(group: dict[str, Any]) -> Iterator[ExpectedField]:
    for key, names in group.items():
        if not isinstance(names, list):
            continue
        dimensions = None if key == "any" else int(key.removeprefix("dims_"))
        for name in names:
            yield ExpectedField(f"{group['path']}/{name}", dimensions, group["level"], group["where"])


def find_fields(path: Path, more: tuple[str, ...] = ()) -> FieldsFound | None:
    """Compare a file with its layout; None where it is of none of them.

    Parameters
    ----------
    path
        A metadata file, a raw file that tells of itself, or a result that holds a copy of its metadata.
    more
        HDF5 paths that are expected whatever the layout.

    Raises
    ------
    MetadataError
        The file does not open.
    """
    with open_hdf5(path, MetadataError, _COPY) as file, damage(path, "it cannot be read", MetadataError, _COPY):
        layout = next((each for each in layouts() if each.mark in file), None)
        if layout is None:
            return None
        found = FieldsFound(layout.name)
        beside = (ExpectedField(name, None, "expected", "/") for name in more)
        for wanted in (*layout.fields, *beside):
            if wanted.where in file:
                _compare(file, wanted, found)
        return found


def _compare(file: h5py.File, wanted: ExpectedField, found: FieldsFound) -> None:
    item = file.get(wanted.path)
    if item is None:
        (found.missing if wanted.level == "expected" else found.missing_usual).append(wanted.path)
    elif isinstance(item, h5py.Dataset) and wanted.level == "expected" and not _fits(item, wanted.dimensions):
        found.misshapen.append(wanted.path)


def _fits(item: h5py.Dataset, dimensions: int | None) -> bool:
    """Whether the number of dimensions is right; one value may be () or (1, 1) anywhere."""
    return dimensions is None or item.ndim == dimensions or (item.size == 1 and dimensions in {0, 2})


def judge_fields(judge: Judge, path: Path | None) -> Iterator[Judgement]:
    """Judge the expected fields of a metadata file; one that is no HDF5 file has no such fields.

    Raises
    ------
    MetadataError
        The file does not open.
    """
    names = ("missing_fields", "misshapen_fields", "missing_usual_fields")
    found = find_fields(path, judge.rules.fields) if path is not None and h5py.is_hdf5(path) else None
    if found is None:
        because = "there are no metadata" if path is None else f"{path.name} is of no layout with a list of fields"
        yield from (judge.not_judged(name, because) for name in names)
        return
    for name, paths, what in zip(
        names,
        (found.missing, found.misshapen, found.missing_usual),
        ("missing", "of another number of dimensions", "missing that are usual"),
        strict=True,
    ):
        shown = ", ".join(paths[:_NAMED]) + (" and more" if len(paths) > _NAMED else "")
        yield judge.value(name, len(paths), f"{len(paths)} fields of {found.layout} are {what}: {shown}")
