"""Writers of the formats that are several files or plain ones: Rigaku 3M, EDF, ``.npy`` with its sidecar."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.readers import rigaku, rigaku3m
from xpcs_assets.readers.sidecar import SUFFIX
from xpcs_assets.testing.writers import Sparse

_EDF_TYPES = {"uint16": "UnsignedShort", "int32": "SignedInteger", "uint32": "UnsignedInteger", "float32": "FloatValue"}
_EDF_HEADER_BYTES = 1024


def write_rigaku3m(paths: list[Path], frames: Iterable[Sparse], *, first_pixel: int = rigaku.PIXEL_OFFSET) -> None:
    """Write the six module files of a Rigaku 3M; pixels of the frames are of the whole canvas, gaps are left out."""
    n_pixels = rigaku3m.SHAPE[0] * rigaku3m.SHAPE[1]
    module_of = np.full(n_pixels, -1, np.int8)
    pixel_in = np.zeros(n_pixels, np.int64)
    for module in range(rigaku3m.N_MODULES):
        place = rigaku3m.module_place(module)
        module_of[place] = module
        pixel_in[place] = np.arange(place.size) + first_pixel
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for number, (pixel, count) in enumerate(frames):
            words = pixel_in[pixel].astype(np.uint64) << rigaku.PIXEL_SHIFT
            words |= np.minimum(count, rigaku.COUNT_BITS).astype(np.uint64)
            words |= np.uint64(number << rigaku.FRAME_SHIFT)
            for module, file in enumerate(files):
                file.write(words[module_of[pixel] == module].astype("<u8").tobytes())


def write_edf(
    path: Path,
    shape: tuple[int, int],
    frames: Iterable[Sparse],
    *,
    dtype: str = "uint16",
    big_endian: bool = False,
    append: bool = False,
    fields: Mapping[str, object] | None = None,
) -> None:
    """Write frames as the blocks of one file, each with a header of 1024 bytes that also holds ``fields``."""
    stored = np.dtype(dtype).newbyteorder(">" if big_endian else "<")
    with path.open("ab" if append else "wb") as file:
        for number, (pixel, count) in enumerate(frames, start=1):
            counts = np.zeros(shape[0] * shape[1], stored)
            counts[pixel] = count
            header = {
                "HeaderID": f"EH:{number:06d}:000000:000000",
                "Image": number,
                "ByteOrder": "HighByteFirst" if big_endian else "LowByteFirst",
                "DataType": _EDF_TYPES[dtype],
                "Dim_1": shape[1],
                "Dim_2": shape[0],
                "Size": counts.nbytes,
                **(fields or {}),
            }
            text = "{\n" + "".join(f"{key} = {value} ;\n" for key, value in header.items())
            file.write(text.ljust(_EDF_HEADER_BYTES - 2).encode() + b"}\n" + counts.tobytes())


def write_npy(
    path: Path,
    shape: tuple[int, int],
    frames: Iterable[Sparse],
    sidecar: Mapping[str, object],
    *,
    dtype: str = "uint16",
    bad: NDArray[np.int64] | None = None,
) -> None:
    """Write a stack and its sidecar; with ``bad`` pixels also their mask, ``<name>_mask.npy``."""
    stack = []
    for pixel, count in frames:
        counts = np.zeros(shape[0] * shape[1], dtype)
        counts[pixel] = count
        stack.append(counts.reshape(shape))
    with path.open("wb") as file:
        np.save(file, np.stack(stack))
    content = dict(sidecar)
    if bad is not None:
        good = np.ones(shape, np.bool_)
        good.reshape(-1)[bad] = False
        mask = path.with_name(f"{path.stem}_mask.npy")
        with mask.open("wb") as file:
            np.save(file, good)
        content["good_pixels"] = mask.name
    path.with_suffix(SUFFIX).write_text(json.dumps(content, indent=1) + "\n")
