"""Damaged files of every kind: only the reader's own error may come out, quickly, and with little memory."""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xpcs_assets.errors import InputError, MetadataError, QmapError, RawDataError
from xpcs_assets.readers import imm
from xpcs_assets.readers.metadata import read_acquisition, read_fields
from xpcs_assets.readers.qmap import read_qmap, write_qmap
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.rings import ring_partition
from xpcs_assets.testing.writers import (
    AcquisitionFacts,
    write_imm,
    write_metadata,
    write_nexus,
    write_rigaku,
)
from xpcs_assets_tests.unit.readers.conftest import SHAPE, read_file, sparse_frames

ROOM_BYTES = 1 << 30
"""How much a reader may take beyond what the process has; a header's lie is far above."""

# The same examples every time: a damaged text can make HDF5 2.0 itself take 4 GiB and some seconds.
FUZZ = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def _qmap(path: Path) -> None:
    write_qmap(path, ring_partition(SHAPE, (3, 3), 75e-6, 4.0, 10.0, np.ones(SHAPE, np.bool_), 2, 4))


def _metadata(path: Path) -> None:
    write_metadata(path, AcquisitionFacts("d", 5, 1e-3, 1e-3, 10.0, (3, 3), 75e-6, 4.0, "2026"))


def _read_metadata(path: Path) -> None:
    read_fields(path)
    read_acquisition(path, frames_field="/entry/instrument/detector_1/number_of_frames")


FILES: dict[str, tuple[str, Callable[[Path], object], Callable[[Path], object], type[InputError]]] = {
    "imm": (
        "a.imm",
        lambda path: write_imm(path, SHAPE, sparse_frames(42, 5), frame_time_s=1e-3),
        read_file,
        RawDataError,
    ),
    "imm-dense": (
        "a.imm",
        lambda path: write_imm(path, SHAPE, sparse_frames(42, 5), frame_time_s=1e-3, compression=imm.DENSE),
        read_file,
        RawDataError,
    ),
    "rigaku": ("a.bin", lambda path: write_rigaku(path, sparse_frames(42, 5)), read_file, RawDataError),
    "hdf5": ("a.h5", lambda path: write_nexus(path, SHAPE, sparse_frames(42, 5)), read_file, RawDataError),
    "metadata": ("a_metadata.hdf", _metadata, _read_metadata, MetadataError),
    "qmap": ("a_qmap.hdf", _qmap, read_qmap, QmapError),
}


@contextmanager
def file_of(name: str, content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        yield path


def whole(kind: str) -> bytes:
    name, write, _, _ = FILES[kind]
    with file_of(name, b"") as path:
        path.unlink()
        write(path)
        return path.read_bytes()


@pytest.fixture(scope="module")
def little_memory() -> Iterator[None]:
    """An allocation beyond ``ROOM_BYTES`` fails the test with MemoryError instead of filling the machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * os.sysconf("SC_PAGE_SIZE") + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


WHOLE = {kind: whole(kind) for kind in FILES}
damaged_kind = pytest.mark.parametrize("kind", FILES)
pytestmark = pytest.mark.usefixtures("little_memory")


@damaged_kind
def test_the_whole_files_are_sound(kind: str) -> None:
    name, _, read, _ = FILES[kind]
    with file_of(name, WHOLE[kind]) as path:
        result = read(path)
    if kind in ("imm", "imm-dense", "hdf5", "rigaku"):
        assert result in (4, 5)  # the last frame is dark, which a Rigaku file cannot tell


@damaged_kind
@FUZZ
@given(content=st.binary(min_size=1, max_size=4096))
def test_random_bytes(kind: str, content: bytes) -> None:
    name, _, read, error = FILES[kind]
    with file_of(name, content) as path, suppress(error):
        read(path)


@damaged_kind
@FUZZ
@given(data=st.data())
def test_flipped_bytes(kind: str, data: st.DataObject) -> None:
    name, _, read, error = FILES[kind]
    content = bytearray(WHOLE[kind])
    # Headers, where a flip hurts, are near the front; the rest of the file gets its share.
    position = st.integers(0, min(2000, len(content) - 1)) | st.integers(0, len(content) - 1)
    for at, value in data.draw(st.lists(st.tuples(position, st.integers(0, 255)), min_size=1, max_size=8)):
        content[at] = value
    with file_of(name, bytes(content)) as path, suppress(error):
        read(path)


@damaged_kind
@FUZZ
@given(part=st.floats(0, 1, exclude_max=True))
def test_truncations(kind: str, part: float) -> None:
    name, _, read, error = FILES[kind]
    size = int(part * len(WHOLE[kind]))
    with file_of(name, WHOLE[kind][:size]) as path:
        if kind in ("imm", "imm-dense"):
            # Cut between two frames is a shorter file; anywhere else is damage.
            edges = _frame_edges(WHOLE[kind])
            if size in edges:
                assert read(path) == edges.index(size)
                return
        elif kind == "rigaku" and size and size % 8 == 0:
            with open_raw(path) as series:
                assert series.info.extra["events"] == size // 8
            return
        with pytest.raises(error):
            read(path)


def _frame_edges(content: bytes) -> list[int]:
    edges = []
    at = 0
    while at < len(content):
        at += imm.HEADER_BYTES + imm.Header.of(content[at : at + imm.HEADER_BYTES]).payload_bytes
        edges.append(at)
    return [-1, *edges]
