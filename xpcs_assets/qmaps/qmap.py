"""The q-map file: read in today's layout of APS 8-ID and pySimpleMask and in the old one, written in today's."""

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
from xpcs_assets.qmaps.qmap_group import QmapGroup
from xpcs_assets.qmaps.qmap_old import OLD_GROUP, parse_old
from xpcs_assets.qmaps.qpartition import QPartition, check_bins
from xpcs_assets.readers.h5file import H5_ERRORS, check_heaps, damage, open_hdf5, said
from xpcs_assets.readers.rawfile import cannot_open
from xpcs_assets.runs.folders import PARTIAL_SUFFIX

VERSION = "xpcs-assets 1"

_MAX_BYTES = 1 << 30
_GIVE = "Give a q-map file: of the /qmap layout that pySimpleMask saves, or of its old /data layout"
_REMAKE = "Save the q-map anew with pySimpleMask, or make one with xpcs-assets qmap"
_COMPRESSED_FROM = 1024
_ROTATION = ("rotation_x", "rotation_y", "rotation_z")
_SWING = ("swing_angle_horizontal", "swing_angle_vertical")


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
    """Read and check a q-map of either layout. The digest is of the very bytes that were read.

    The old layout says nothing of distance, pixel size and energy: these are NaN then, and
    :func:`xpcs_assets.qmaps.qmap_old.with_geometry` fills them in.

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
        partition, hash_ = _either_layout(file, path)
    try:
        check_bins(partition)
    except QmapError as error:
        raise QmapError(error.what, where=path, remedy=_REMAKE) from error
    return Qmap(**vars(partition), digest=digest, hash=hash_)


def _either_layout(file: h5py.File, path: Path) -> tuple[QPartition, str]:
    group = file.get("qmap")
    if isinstance(group, h5py.Group):
        today = QmapGroup(group, path, _REMAKE)
        return _parsed(today), today.attribute("hash")
    group = file.get(OLD_GROUP)
    if isinstance(group, h5py.Group) and "dynamicMap" in group:
        return parse_old(QmapGroup(group, path, _REMAKE)), ""
    raise QmapError("there is neither a group /qmap nor an old /data with dynamicMap", where=path, remedy=_GIVE)


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


def _parsed(group: QmapGroup) -> QPartition:
    dynamic_num, dynamic_mapping, dynamic_lists = _dimension(group, "dynamic")
    static_num, static_mapping, static_lists = _dimension(group, "static")
    return QPartition(
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
        rotation_deg=(group.angle(_ROTATION[0]), group.angle(_ROTATION[1]), group.angle(_ROTATION[2])),
        swing_deg=(group.angle(_SWING[0]), group.angle(_SWING[1])),
        blemish=group.array("blemish", 2, "biu") > 0 if "blemish" in group else None,
    )


_Lists = tuple[NDArray[np.float64], NDArray[np.float64]]


def _dimension(group: QmapGroup, kind: str) -> tuple[tuple[int, int], NDArray[np.int64], _Lists]:
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


def write_qmap(path: Path, partition: QPartition, *, source_file: str = "") -> None:
    """Write a q-map file in today's layout; the same arrays give the same bytes.

    Parameters
    ----------
    path
        The file to write; one that exists is replaced, and stays if the writing fails.
    partition
        Bins and geometry.
    source_file
        Name of the file that the map was drawn on.

    Raises
    ------
    QmapError
        The bins contradict each other, or the file cannot be written.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with h5py.File(partial, "w") as file:
            put_qmap(file.create_group("qmap"), partition, source_file=source_file)
        partial.replace(path)
    except OSError as error:
        what = f"the q-map cannot be written ({said(error)})"
        raise QmapError(what, where=path, remedy="Check the folder and its free space") from error
    finally:
        partial.unlink(missing_ok=True)


def put_qmap(group: h5py.Group, partition: QPartition, *, source_file: str = "") -> None:
    """Write a partition into an empty group, such as ``/qmap`` of a q-map file or ``/xpcs/qmap`` of a result.

    Parameters
    ----------
    group
        Where; its attributes ``hash`` (of the content; the viewer's cache key) and ``version`` are set.
    partition
        Bins and geometry.
    source_file
        Name of the file that the map was drawn on.

    Raises
    ------
    QmapError
        The bins contradict each other, such as a static bin that crosses dynamic ones.
    """
    check_bins(partition)
    arrays = _arrays(partition)
    group.attrs["hash"] = _content_hash(partition, arrays)
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


def copy_qmap(path: Path, parent: h5py.Group, qmap: Qmap) -> None:
    """Copy a q-map into an open file as ``parent/qmap``, in today's layout whatever the file's is.

    A file of today's layout is copied whole, with what else is in it (``blemish``); ``hash`` is added where it lacks.

    Parameters
    ----------
    path, qmap
        The file, and what :func:`read_qmap` made of it, with the geometry filled in.
    parent
        The group to copy into.

    Raises
    ------
    QmapError
        The file cannot be copied.
    """
    with open_hdf5(path, QmapError, _REMAKE) as file, damage(path, "it cannot be copied", QmapError, _REMAKE):
        if not isinstance(file.get("qmap"), h5py.Group):
            put_qmap(parent.create_group("qmap"), qmap)
            return
        file.copy("qmap", parent, "qmap")
        if not qmap.hash:
            parent["qmap"].attrs["hash"] = _content_hash(qmap, _arrays(qmap))


def _content_hash(partition: QPartition, arrays: dict[str, NDArray[Any]]) -> str:
    content = hashlib.sha256()
    for name, value in sorted(arrays.items()):
        content.update(f"{name} {value.dtype.str} {value.shape}".encode() + value.tobytes())
    content.update(repr((partition.map_names, partition.map_units)).encode())
    return content.hexdigest()


def _arrays(partition: QPartition) -> dict[str, NDArray[Any]]:
    y, x = partition.beam_centre_yx
    turned = {
        **dict(zip(_ROTATION, partition.rotation_deg, strict=True)),
        **dict(zip(_SWING, partition.swing_deg, strict=True)),
    }
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
        **({name: np.array(angle, np.float64) for name, angle in turned.items()} if any(turned.values()) else {}),
        **({} if partition.blemish is None else {"blemish": partition.blemish}),
    }


def _smallest(values: NDArray[Any]) -> NDArray[Any]:
    """In the smallest unsigned type that holds them, as pySimpleMask saves them."""
    return values.astype(np.min_scalar_type(int(values.max())))
