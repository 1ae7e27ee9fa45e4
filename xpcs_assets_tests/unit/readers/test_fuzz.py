"""Damaged files of every kind: only the reader's own error may come out, quickly, and with little memory."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xpcs_assets.errors import InputError, MetadataError, QmapError, RawDataError
from xpcs_assets.qmaps.qmap import read_qmap, write_qmap
from xpcs_assets.qmaps.rings import ring_partition
from xpcs_assets.readers import imm
from xpcs_assets.readers.metadata import read_acquisition, read_fields
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.rigaku3m import module_place
from xpcs_assets.testing.writers import (
    AcquisitionFacts,
    Sparse,
    write_imm,
    write_metadata,
    write_nexus,
    write_rigaku,
)
from xpcs_assets.testing.writers_files import write_edf, write_npy, write_rigaku3m
from xpcs_assets.testing.writers_hdf5 import write_als7011, write_areadetector, write_dectris
from xpcs_assets_tests.unit.readers.conftest import SHAPE, read_file, sparse_frames

ROOM_BYTES = 1 << 30
"""How much a reader may take beyond what the process has; a header's lie is far above."""

# The same examples every time: a damaged text can make HDF5 2.0 itself take 4 GiB and some seconds.
FUZZ = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def _qmap(path: Path) -> None:
    write_qmap(path, ring_partition(SHAPE, (3, 3), 75e-6, 4.0, 10.0, np.ones(SHAPE, np.bool_), 2, 4))


def _metadata(path: Path) -> None:
    write_metadata(path, FACTS)


def _read_metadata(path: Path) -> None:
    read_fields(path)
    read_acquisition(path, frames_field="/entry/instrument/detector_1/number_of_frames")


FACTS = AcquisitionFacts("d", 5, 1e-3, 1e-3, 10.0, (3, 3), 75e-6, 4.0, "2026")


def _frames() -> list[Sparse]:
    return sparse_frames(42, 5)


def _rigaku3m(path: Path) -> None:
    pixel = np.concatenate([module_place(module)[:4] for module in range(6)]).astype(np.int64)
    write_rigaku3m([path.with_suffix(f".00{module}") for module in range(6)], [(pixel, np.ones(24, np.int64))] * 5)


def _dectris(path: Path) -> None:
    write_dectris(path.with_name("a_master.h5"), SHAPE, _frames(), FACTS, per_file=3)


def _series(path: Path) -> None:
    for number, frame in enumerate(_frames()):
        write_edf(path.with_name(f"a_{number}.edf"), SHAPE, [frame])


def _npy(path: Path) -> None:
    write_npy(path.with_name("a.npy"), SHAPE, _frames(), {"frame_time_s": 1e-3}, bad=np.array([3]))


def _read_master(path: Path) -> int:
    return read_file(path.with_name("a_master.h5"))


def _read_raw_and_its_times(path: Path) -> int:
    with suppress(MetadataError):
        read_acquisition(path)
        read_fields(path)
    return read_file(path)


Kind = tuple[str, Callable[[Path], object], Callable[[Path], object], type[InputError]]

FILES: dict[str, Kind] = {
    "imm": ("a.imm", lambda path: write_imm(path, SHAPE, _frames(), frame_time_s=1e-3), read_file, RawDataError),
    "imm-dense": (
        "a.imm",
        lambda path: write_imm(path, SHAPE, _frames(), frame_time_s=1e-3, compression=imm.DENSE),
        read_file,
        RawDataError,
    ),
    "rigaku": ("a.bin", lambda path: write_rigaku(path, _frames()), read_file, RawDataError),
    # A flipped bit may make 16 million dark frames: not in chunks of a few.
    "rigaku3m": ("a.bin.003", _rigaku3m, lambda path: read_file(path, max_bytes=64 << 20), RawDataError),
    "hdf5": ("a.h5", lambda path: write_nexus(path, SHAPE, _frames()), read_file, RawDataError),
    "master": ("a_master.h5", _dectris, _read_raw_and_its_times, RawDataError),
    "data-of-master": ("a_data_000002.h5", _dectris, _read_master, RawDataError),
    "areadetector": (
        "a.h5",
        lambda path: write_areadetector(path, SHAPE, _frames(), frame_time_s=0.5),
        _read_raw_and_its_times,
        RawDataError,
    ),
    "als7011": (
        "a.h5",
        lambda path: write_als7011(path, SHAPE, _frames(), FACTS),
        _read_raw_and_its_times,
        RawDataError,
    ),
    "edf": ("a.edf", lambda path: write_edf(path, SHAPE, _frames()), _read_raw_and_its_times, RawDataError),
    "edf-series": ("a_2.edf", _series, lambda path: read_file(path.with_name("a_0.edf")), RawDataError),
    "npy": ("a.npy", _npy, read_file, RawDataError),
    "npy-mask": ("a_mask.npy", _npy, lambda path: read_file(path.with_name("a.npy")), RawDataError),
    "sidecar": ("a.json", _npy, read_acquisition, MetadataError),
    "metadata": ("a_metadata.hdf", _metadata, _read_metadata, MetadataError),
    "qmap": ("a_qmap.hdf", _qmap, read_qmap, QmapError),
}
RAW = {kind for kind, (_, _, _, error) in FILES.items() if error is RawDataError}


@contextmanager
def file_of(name: str, content: bytes, beside: Mapping[str, bytes] | None = None) -> Iterator[Path]:
    """A file of this content in a folder of its own, with the other files that belong to it."""
    with tempfile.TemporaryDirectory() as folder:
        for one, sound in {**(beside or {}), name: content}.items():
            (Path(folder) / one).write_bytes(sound)
        yield Path(folder) / name


def damaged(kind: str, content: bytes) -> AbstractContextManager[Path]:
    """The file of a kind with this content, beside the sound files that belong to it."""
    return file_of(FILES[kind][0], content, WHOLE[kind])


def _write_whole(kind: str) -> dict[str, bytes]:
    name, write, _, _ = FILES[kind]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def whole(kind: str) -> bytes:
    return WHOLE[kind][FILES[kind][0]]


@pytest.fixture(scope="module")
def little_memory() -> Iterator[None]:
    """An allocation beyond ``ROOM_BYTES`` fails the test with MemoryError instead of filling the machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * os.sysconf("SC_PAGE_SIZE") + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


WHOLE = {kind: _write_whole(kind) for kind in FILES}
damaged_kind = pytest.mark.parametrize("kind", FILES)
pytestmark = pytest.mark.usefixtures("little_memory")


@damaged_kind
def test_the_whole_files_are_sound(kind: str) -> None:
    with damaged(kind, whole(kind)) as path:
        result = FILES[kind][2](path)
    if kind in RAW:
        assert result in (4, 5)  # the last frame is dark, which a Rigaku file cannot tell


@damaged_kind
@FUZZ
@given(content=st.binary(min_size=1, max_size=4096))
def test_random_bytes(kind: str, content: bytes) -> None:
    _, _, read, error = FILES[kind]
    with damaged(kind, content) as path, suppress(error):
        read(path)


@damaged_kind
@FUZZ
@given(data=st.data())
def test_flipped_bytes(kind: str, data: st.DataObject) -> None:
    _, _, read, error = FILES[kind]
    content = bytearray(whole(kind))
    # Headers, where a flip hurts, are near the front; the rest of the file gets its share.
    position = st.integers(0, min(2000, len(content) - 1)) | st.integers(0, len(content) - 1)
    for at, value in data.draw(st.lists(st.tuples(position, st.integers(0, 255)), min_size=1, max_size=8)):
        content[at] = value
    with damaged(kind, bytes(content)) as path, suppress(error):
        read(path)


@damaged_kind
@FUZZ
@given(part=st.floats(0, 1, exclude_max=True))
def test_truncations(kind: str, part: float) -> None:
    _, _, read, error = FILES[kind]
    size = int(part * len(whole(kind)))
    with damaged(kind, whole(kind)[:size]) as path:
        if kind in ("imm", "imm-dense"):
            # Cut between two frames is a shorter file; anywhere else is damage.
            edges = _frame_edges(whole(kind))
            if size in edges:
                assert read(path) == edges.index(size)
                return
        elif kind.startswith("rigaku") and size and size % 8 == 0:
            with open_raw(path) as series:
                assert series.info.extra["events"] == _n_events(kind) - (len(whole(kind)) - size) // 8
            return
        elif kind == "edf" and size in range(0, len(whole(kind)), _EDF_FRAME_BYTES) and size:
            assert read(path) == size // _EDF_FRAME_BYTES
            return
        if kind == "sidecar" and size == len(whole(kind)) - 1:
            return  # the new line at its end is gone, nothing else
        with pytest.raises(error):
            read(path)


_EDF_FRAME_BYTES = 1024 + 42 * 2


def _n_events(kind: str) -> int:
    return sum(len(content) for content in WHOLE[kind].values()) // 8


def _frame_edges(content: bytes) -> list[int]:
    edges = []
    at = 0
    while at < len(content):
        at += imm.HEADER_BYTES + imm.Header.of(content[at : at + imm.HEADER_BYTES]).payload_bytes
        edges.append(at)
    return [-1, *edges]
