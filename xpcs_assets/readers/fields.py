"""Every leaf of a metadata file as plain values, whatever its kind: what the record keeps, and drops nothing of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from xpcs_assets.errors import MetadataError, RawDataError
from xpcs_assets.readers import bluesky, edf, sidecar
from xpcs_assets.readers.edf_blocks import read_blocks
from xpcs_assets.readers.field import Field, bounded
from xpcs_assets.readers.fields_hdf5 import hdf5_fields


def read_fields(path: Path) -> list[Field]:
    """Every leaf of a metadata file, by path: of an HDF5 file, bluesky documents, a sidecar or an EDF header.

    Links into other files are listed, not followed; stacks of images are not read. What is beyond the bounds of
    :mod:`~xpcs_assets.readers.field` is said in a field's note.

    Raises
    ------
    MetadataError
        The file does not open. A leaf that cannot be read is listed with a note instead.
    """
    return bounded(_leaves(path))


def _leaves(path: Path) -> Iterator[Field]:
    if bluesky.sniff(path):
        return bluesky.documents_fields(path)
    if path.suffix.lower() == sidecar.SUFFIX:
        return (Field(f"/{key}", value) for key, value in asdict(sidecar.read_sidecar(path)).items())
    if path.suffix.lower() == edf.SUFFIX:
        return _edf_fields(path)
    return hdf5_fields(path)


def _edf_fields(path: Path) -> Iterator[Field]:
    try:
        header = read_blocks(path)[0].fields
    except RawDataError as error:
        raise MetadataError(error.what, where=error.where, remedy=error.remedy) from error
    return (Field(f"/{key}", value, dtype="text") for key, value in header.items())
