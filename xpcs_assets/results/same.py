"""Whether two result files hold the same, dataset by dataset.

The digest of a result file is of its bytes, and its provenance says how many seconds it took: a result that is made
again never has the same bytes. What counts is everything else in the file, by the digest of each dataset.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import ResultError
from xpcs_assets.readers.h5file import damage, is_plain, open_hdf5

_REMEDY = "Correlate the run again"
_SLAB_BYTES = 16 << 20
# When and where it was made, not what came out; engine, versions and device are compared by name.
_OF_THE_MAKING = re.compile(r"/xpcs/(provenance/report|\w+/config/gpu_id)")


@dataclass(frozen=True)
class Difference:
    """A dataset that is not the same in both files.

    Attributes
    ----------
    name
        Its path in the files.
    what
        How it differs, in words.
    largest
        Largest difference of its finite numbers; None where it has none that could be compared.
    """

    name: str
    what: str
    largest: float | None = None


def content_digests(path: Path) -> dict[str, str]:
    """``sha256:`` of each dataset, attribute and link of a result, by name, but for those of the making.

    Type and shape count, how it is packed does not.

    Raises
    ------
    ResultError
        The file is missing or damaged.
    """
    with open_hdf5(path, ResultError, _REMEDY) as file, damage(path, "it cannot be read", ResultError, _REMEDY):
        return {name: f"sha256:{digest}" for name, digest in _digests(file, "", set())}


def differences(one: Path, other: Path) -> list[Difference]:
    """What differs between two results; nothing when they hold the same.

    Raises
    ------
    ResultError
        A file is missing or damaged.
    """
    first, second = content_digests(one), content_digests(other)
    found = []
    for name in sorted({*first, *second}):
        if name not in second or name not in first:
            found.append(Difference(name, "only in the first" if name in first else "only in the second"))
        elif first[name] != second[name]:
            found.append(_difference(name, one, other))
    return found


def _digests(group: h5py.Group, prefix: str, above: set[Any]) -> Iterator[tuple[str, str]]:
    yield from _attributes(group, prefix or "/")
    for name in sorted(group):
        path = f"{prefix}/{name}"
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.SoftLink):
            yield path, _sha256(b"link", link.path.encode())
        elif isinstance(link, h5py.ExternalLink):
            yield path, _sha256(b"link", f"{link.filename}:{link.path}".encode())
        elif not _OF_THE_MAKING.fullmatch(path):
            yield from _item(group[name], path, above)


def _item(item: h5py.HLObject, path: str, above: set[Any]) -> Iterator[tuple[str, str]]:
    if isinstance(item, h5py.Dataset):
        yield path, _dataset(item)
        yield from _attributes(item, path)
    elif isinstance(item, h5py.Group) and item.id not in above:
        yield from _digests(item, path, above | {item.id})


def _attributes(item: h5py.HLObject, path: str) -> Iterator[tuple[str, str]]:
    for name in sorted(item.attrs):
        if is_plain(item.attrs.get_id(name).dtype):
            yield f"{path}@{name}", _sha256(_form(item.attrs[name]), _bytes(np.asarray(item.attrs[name])))


def _dataset(data: h5py.Dataset) -> str:
    digest = hashlib.sha256(f"{data.dtype} {data.shape}".encode())
    if data.shape is not None and is_plain(data.dtype):
        for piece in _pieces(data):
            digest.update(_bytes(piece))
    return digest.hexdigest()


def _pieces(data: h5py.Dataset) -> Iterator[NDArray[Any]]:
    """The values, some rows at a time: a result with every pixel's G2 is larger than memory."""
    if not data.shape:
        yield np.asarray(data[()])
        return
    rows = max(1, _SLAB_BYTES // max(1, data.nbytes // max(1, data.shape[0])))
    for begin in range(0, data.shape[0], rows):
        yield np.asarray(data[begin : begin + rows])


def _bytes(values: NDArray[Any]) -> bytes:
    if values.dtype.kind != "O":
        return np.ascontiguousarray(values).tobytes()
    texts = [value if isinstance(value, bytes) else str(value).encode() for value in values.ravel().tolist()]
    return b"".join(len(text).to_bytes(8, "little") + text for text in texts)


def _form(value: Any) -> bytes:
    array = np.asarray(value)
    return f"{array.dtype} {array.shape}".encode()


def _sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _difference(name: str, one: Path, other: Path) -> Difference:
    with open_hdf5(one, ResultError, _REMEDY) as first, open_hdf5(other, ResultError, _REMEDY) as second:
        # What a soft link leads to is compared under its own name.
        hard = all(isinstance(file.get(name, getlink=True), h5py.HardLink) for file in (first, second))
        before, after = (file.get(name) if hard else None for file in (first, second))
        if not (isinstance(before, h5py.Dataset) and isinstance(after, h5py.Dataset)):
            return Difference(name, "another value")
        if (before.dtype, before.shape) != (after.dtype, after.shape):
            form = f"{before.dtype} {before.shape} became {after.dtype} {after.shape}"
            return Difference(name, form)
        if before.dtype.kind not in "biuf":
            return Difference(name, "another value")
        return _numbers(name, before, after)


def _numbers(name: str, before: h5py.Dataset, after: h5py.Dataset) -> Difference:
    n_other, largest = 0, 0.0
    for one, other in zip(_pieces(before), _pieces(after), strict=True):
        pair = one.astype(np.float64), other.astype(np.float64)
        same = (one == other) | (np.isnan(pair[0]) & np.isnan(pair[1]))
        n_other += int(np.count_nonzero(~same))
        finite = np.isfinite(pair[0]) & np.isfinite(pair[1])
        largest = max(largest, float(np.abs(pair[0][finite] - pair[1][finite]).max(initial=0.0)))
    return Difference(name, f"{n_other} of {before.size} values differ, by {largest:.3g} at most", largest)
