"""The q-map file in today's layout of APS 8-ID and pySimpleMask: one HDF5 group ``/qmap``; read and written."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import QmapError
from xpcs_assets.readers.chunks import MAX_PIXELS
from xpcs_assets.readers.h5file import H5_ERRORS, check_heaps, damage, is_plain, said
from xpcs_assets.readers.rawfile import cannot_open
from xpcs_assets.readers.rings import QPartition

VERSION = "xpcs-assets 1"

_MAX_BYTES = 1 << 30
_GIVE = "Give a q-map file of the /qmap layout that pySimpleMask saves"
_REMAKE = "Save the q-map anew with pySimpleMask"
_COMPRESSED_FROM = 1024


@dataclass(frozen=True)
class Qmap(QPartition):
    """A q-map as read from its file.

    Attributes
    ----------
    digest
        ``sha256:`` of the file's bytes.
    hash
        The group attribute ``hash``, the viewer's cache key; empty in files without one.
    """

    digest: str
    hash: str


def read_qmap(path: Path) -> Qmap:
    """Read and check a q-map. The digest is of the very bytes that were read.

    Raises
    ------
    QmapError
        No such file, no HDF5, another layout, or bins that contradict each other.
    """
    content = _bytes(path)
    check_heaps(content, path, QmapError, _REMAKE)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    try:
        file = h5py.File(io.BytesIO(content), "r")
    except H5_ERRORS as failure:
        raise QmapError(f"this is no HDF5 file ({said(failure)})", where=path, remedy=_GIVE) from failure
    with file, damage(path, "the q-map cannot be read", QmapError, _REMAKE):
        group = file.get("qmap")
        if not isinstance(group, h5py.Group):
            older = " (but the older /data layout, which is not read)" if "data" in file else ""
            raise QmapError(f"there is no group /qmap{older}", where=path, remedy=_GIVE)
        qmap = _parsed(_Group(group, path), digest)
    _check(qmap, path)
    return qmap


def check_shape(qmap: QPartition, shape: tuple[int, int]) -> None:
    """Refuse a q-map that was made for another detector.

    Raises
    ------
    QmapError
        The shapes differ; both are named.
    """
    if qmap.shape != shape:
        what = f"the q-map is {qmap.shape[0]} x {qmap.shape[1]} pixels, the raw data are {shape[0]} x {shape[1]}"
        raise QmapError(what, remedy="Give the q-map of this detector")


def _bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise FileNotFoundError
        if path.stat().st_size > _MAX_BYTES:
            raise QmapError("the file exceeds 1 GiB", where=path, remedy=_GIVE)
        return path.read_bytes()
    except OSError as error:
        raise QmapError(cannot_open(path, error).what, where=path, remedy=_GIVE) from error


class _Group:
    """The datasets of ``/qmap``, each checked for its shape before it is read."""

    def __init__(self, group: h5py.Group, path: Path) -> None:
        self.group = group
        self._path = path

    def array(self, name: str, ndim: int, kinds: str) -> NDArray[Any]:
        data = self.group.get(name)
        if not isinstance(data, h5py.Dataset):
            raise self.wrong(name, "it is missing")
        sound = data.dtype.kind in kinds and is_plain(data.dtype)
        if data.ndim != ndim or not sound or data.size > MAX_PIXELS:
            raise self.wrong(name, f"it is {data.dtype} of shape {data.shape}")
        return np.asarray(data[()])

    def scalar(self, name: str) -> float:
        data = self.group.get(name)
        if not isinstance(data, h5py.Dataset) or data.size != 1 or data.dtype.kind not in "iuf":
            raise self.wrong(name, "it is no number")
        value = float(np.asarray(data[()]).reshape(-1)[0])
        if not np.isfinite(value):
            raise self.wrong(name, f"it is {value}")
        return value

    def positive(self, name: str) -> float:
        value = self.scalar(name)
        if value <= 0:
            raise self.wrong(name, f"{value} is not above 0")
        return value

    def two_texts(self, name: str) -> tuple[str, str]:
        values = self.array(name, 1, "OSU").tolist()
        texts = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]
        if len(texts) != 2:
            raise self.wrong(name, f"it has {len(texts)} names, not 2")
        return texts[0], texts[1]

    def attribute(self, name: str) -> str:
        attributes = self.group.attrs
        if name not in attributes:
            return ""
        value = attributes[name] if is_plain(attributes.get_id(name).dtype) else ""
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def wrong(self, name: str, what: str) -> QmapError:
        return QmapError(what, where=f"{self._path}:/qmap/{name}", remedy=_REMAKE)


def _parsed(group: _Group, digest: str) -> Qmap:
    dynamic_num, dynamic_mapping, dynamic_lists = _dimension(group, "dynamic")
    static_num, static_mapping, static_lists = _dimension(group, "static")
    return Qmap(
        mask=group.array("mask", 2, "biu") > 0,
        dynamic=group.array("dynamic_roi_map", 2, "iu").astype(np.int32),
        static=group.array("static_roi_map", 2, "iu").astype(np.int32),
        dynamic_num_pts=dynamic_num,
        static_num_pts=static_num,
        dynamic_index_mapping=dynamic_mapping,
        static_index_mapping=static_mapping,
        dynamic_v_lists=dynamic_lists,
        static_v_lists=static_lists,
        map_names=group.two_texts("map_names"),
        map_units=group.two_texts("map_units"),
        beam_centre_yx=(group.scalar("beam_center_y"), group.scalar("beam_center_x")),
        pixel_size_m=group.positive("pixel_size"),
        detector_distance_m=group.positive("detector_distance"),
        energy_kev=group.positive("energy"),
        digest=digest,
        hash=group.attribute("hash"),
    )


_Lists = tuple[NDArray[np.float64], NDArray[np.float64]]


def _dimension(group: _Group, kind: str) -> tuple[tuple[int, int], NDArray[np.int64], _Lists]:
    """Number of points, index mapping and centres of the dynamic or static bins."""
    points = group.array(f"{kind}_num_pts", 1, "iu")
    if points.size != 2 or points.min() < 1:
        raise group.wrong(f"{kind}_num_pts", f"it is {points.tolist()}")
    num_pts = int(points[0]), int(points[1])
    mapping = group.array(f"{kind}_index_mapping", 1, "iu").astype(np.int64)
    if not mapping.size or mapping.min() < 0 or mapping.max() >= num_pts[0] * num_pts[1]:
        raise group.wrong(f"{kind}_index_mapping", f"it does not number the bins of {num_pts[0]} x {num_pts[1]}")
    lists = []
    for axis in range(2):
        name = f"{kind}_v_list_dim{axis}"
        centres = group.array(name, 1, "iuf").astype(np.float64)
        if centres.size != num_pts[axis] or not np.isfinite(centres).all():
            raise group.wrong(name, f"it is no list of {num_pts[axis]} centres")
        lists.append(centres)
    return num_pts, mapping, (lists[0], lists[1])


def _check(qmap: Qmap, path: Path) -> None:
    shapes = {qmap.mask.shape, qmap.dynamic.shape, qmap.static.shape}
    if len(shapes) > 1:
        raise QmapError(f"mask and bin maps have different shapes {sorted(shapes)}", where=path, remedy=_REMAKE)
    if not qmap.mask.any():
        raise QmapError("the mask leaves no pixel", where=path, remedy=_REMAKE)
    for kind, bins, mapping in (
        ("dynamic", qmap.dynamic, qmap.dynamic_index_mapping),
        ("static", qmap.static, qmap.static_index_mapping),
    ):
        astray = int(np.count_nonzero((bins > 0) != qmap.mask))
        if astray:
            what = f"{astray} pixels are in the mask or in a {kind} bin, but not in both"
            raise QmapError(what, where=path, remedy=_REMAKE)
        if int(bins.min()) < 0 or int(bins.max()) != mapping.size:
            what = f"the {kind} bins go to {int(bins.max())}, their index mapping has {mapping.size} entries"
            raise QmapError(what, where=path, remedy=_REMAKE)
    pairs = np.unique(np.stack([qmap.static[qmap.mask], qmap.dynamic[qmap.mask]]), axis=1)
    split = pairs[0, 1:][pairs[0, 1:] == pairs[0, :-1]]
    if split.size:
        what = f"static bin {int(split[0])} lies in more than one dynamic bin"
        raise QmapError(what, where=path, remedy=_REMAKE)


def write_qmap(path: Path, partition: QPartition, *, source_file: str = "") -> None:
    """Write a q-map in today's layout; the same arrays give the same bytes.

    Parameters
    ----------
    path
        The file to write; one that exists is replaced.
    partition
        Bins and geometry.
    source_file
        Name of the file that the map was drawn on.
    """
    arrays = _arrays(partition)
    content = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        content.update(f"{name} {value.dtype.str} {value.shape}".encode() + value.tobytes())
    content.update(repr((partition.map_names, partition.map_units)).encode())
    with h5py.File(path, "w") as file:
        group = file.create_group("qmap")
        group.attrs["hash"] = content.hexdigest()
        group.attrs["version"] = VERSION
        for name, value in arrays.items():
            packed = {"compression": "lzf"} if value.size > _COMPRESSED_FROM else {}
            group.create_dataset(name, data=value, **packed)
        for kind in ("dynamic", "static"):
            for axis in range(2):
                attrs = group[f"{kind}_v_list_dim{axis}"].attrs
                attrs["name"], attrs["unit"] = partition.map_names[axis], partition.map_units[axis]
                attrs["size"] = group[f"{kind}_v_list_dim{axis}"].size
        group.create_dataset("map_names", data=list(partition.map_names), dtype=h5py.string_dtype())
        group.create_dataset("map_units", data=list(partition.map_units), dtype=h5py.string_dtype())
        group.create_dataset("source_file", data=source_file, dtype=h5py.string_dtype())


def _arrays(partition: QPartition) -> dict[str, NDArray[Any]]:
    y, x = partition.beam_centre_yx
    return {
        "mask": partition.mask,
        "dynamic_roi_map": _smallest(partition.dynamic),
        "static_roi_map": _smallest(partition.static),
        "dynamic_num_pts": np.array(partition.dynamic_num_pts, np.int64),
        "static_num_pts": np.array(partition.static_num_pts, np.int64),
        "dynamic_index_mapping": _smallest(partition.dynamic_index_mapping),
        "static_index_mapping": _smallest(partition.static_index_mapping),
        "dynamic_v_list_dim0": partition.dynamic_v_lists[0],
        "dynamic_v_list_dim1": partition.dynamic_v_lists[1],
        "static_v_list_dim0": partition.static_v_lists[0],
        "static_v_list_dim1": partition.static_v_lists[1],
        "beam_center_x": np.array(x, np.float64),
        "beam_center_y": np.array(y, np.float64),
        "pixel_size": np.array(partition.pixel_size_m, np.float64),
        "detector_distance": np.array(partition.detector_distance_m, np.float64),
        "energy": np.array(partition.energy_kev, np.float64),
    }


def _smallest(values: NDArray[Any]) -> NDArray[Any]:
    """In the smallest unsigned type that holds them, as pySimpleMask saves them."""
    return values.astype(np.min_scalar_type(int(values.max())))
