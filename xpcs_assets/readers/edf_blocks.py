"""The blocks of an EDF file: headers in braces, ``key = value ;`` a line, each with the place of its numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers.chunks import MAX_PIXELS
from xpcs_assets.readers.rawfile import RawFile, at

GZIP = b"\x1f\x8b"
DAMAGED = "Copy the file anew; a series has numbered files of one kind in one folder"

_TYPES = {
    "signedbyte": "i1",
    "unsignedbyte": "u1",
    "signedshort": "i2",
    "unsignedshort": "u2",
    "signedinteger": "i4",
    "unsignedinteger": "u4",
    "signedlong": "i4",
    "unsignedlong": "u4",
    "signed64": "i8",
    "unsigned64": "u8",
    "floatvalue": "f4",
    "float": "f4",
    "real": "f4",
    "doublevalue": "f8",
    "double": "f8",
}
_ORDERS = {"lowbytefirst": "<", "highbytefirst": ">"}
_MAX_HEADER_BYTES, _STEP = 1 << 20, 512
_END = re.compile(rb"\}\r?\n")


@dataclass(frozen=True)
class Block:
    """One header with the place of its frames.

    Attributes
    ----------
    fields
        Keys in lower case and their values.
    offset
        Of the first number, bytes.
    next_offset
        Where the next block begins.
    dtype
        Of the numbers as stored.
    rows, cols, frames
        Their shape.
    time_s
        When the frame was taken, s from the start of the series; None where the header does not say.
    """

    fields: dict[str, str]
    offset: int
    next_offset: int
    dtype: np.dtype[Any]
    rows: int
    cols: int
    frames: int
    time_s: float | None = None

    @property
    def layout(self) -> tuple[str, int, int]:
        """What all blocks of a series have in common."""
        return self.dtype.str, self.rows, self.cols

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return self.rows * self.cols * self.dtype.itemsize

    def number(self, *keys: str) -> float | None:
        """A number above 0 by the first of these keys that has one."""
        for key in keys:
            value = as_number(self.fields.get(key, ""))
            if value is not None and value > 0:
                return value
        return None


def sniff(head: bytes) -> bool:
    """Tell whether a file that begins with ``head`` is an EDF file."""
    low = head.lower()
    return head.lstrip()[:1] == b"{" and (b"edf_" in low or b"headerid" in low or b"dim_1" in low)


def read_blocks(path: Path) -> list[Block]:
    """All images of a file.

    Raises
    ------
    RawDataError
        The file is no EDF file, packed or damaged.
    """
    blocks: list[Block] = []
    with RawFile(path) as file:
        if file.read(0, min(2, file.size_bytes)) == GZIP:
            raise RawDataError("this EDF file is packed by gzip", where=path, remedy="Unpack it with gunzip")
        offset = 0
        while offset < file.size_bytes:
            block = _read_block(file, offset)
            if block is None:
                break
            if block.frames and _is_image(block):
                # One header is kept: those of 100,000 frames would take hundreds of MB.
                blocks.append(replace(block, fields={}) if blocks else block)
            offset = block.next_offset
    if not blocks:
        raise RawDataError("it holds no image", where=path, remedy=DAMAGED)
    return blocks


def _is_image(block: Block) -> bool:
    kind = block.fields.get("edf_datablockid", "").lower()
    return kind.endswith(".psd") or "image" not in kind


def _read_block(file: RawFile, offset: int) -> Block | None:
    """The block at ``offset``; None where only filling is left."""
    text, data = _read_header(file, offset)
    if text is None:
        return None
    fields = _fields(text)
    where = at(file.path, offset)
    if fields.get("compression", "none").lower() not in ("none", "nocompression", ""):
        what = f"its frames are packed ({fields['compression']})"
        raise RawDataError(what, where=where, remedy="Unpack the file first")
    sides = [_whole(fields.get(key, "1" if key == "dim_3" else "")) for key in ("dim_2", "dim_1", "dim_3")]
    if _whole(fields.get("edf_binarysize", "")) == 0:
        return Block(fields, data, data, np.dtype("u1"), 0, 0, 0)
    kind, order = fields.get("datatype", "").lower(), fields.get("byteorder", "").lower()
    rows, cols, frames = sides
    fault = ""
    if rows is None or cols is None or frames is None or not 0 < rows * cols <= MAX_PIXELS or frames < 1:
        fault = f"Dim_1, Dim_2, Dim_3 are {[fields.get(key) for key in ('dim_1', 'dim_2', 'dim_3')]}"
    elif kind not in _TYPES:
        fault = f"DataType is {kind!r}"
    elif order not in _ORDERS:
        fault = f"ByteOrder is {order!r}"
    if fault or rows is None or cols is None or frames is None:
        raise RawDataError(f"the header is impossible: {fault}", where=where, remedy=DAMAGED)
    dtype = np.dtype(_ORDERS[order] + _TYPES[kind])
    size = rows * cols * frames * dtype.itemsize
    stored = _whole(fields.get("edf_binarysize", fields.get("size", ""))) or size
    if stored < size or data + size > file.size_bytes:
        what = f"its frames take {size} bytes, the file has {min(stored, file.size_bytes - data)} for them"
        raise RawDataError(what, where=at(file.path, data), remedy=DAMAGED)
    return Block(fields, data, data + stored, dtype, rows, cols, frames, as_number(fields.get("time_of_frame", "")))


def _read_header(file: RawFile, offset: int) -> tuple[str | None, int]:
    """The text of the header at ``offset`` and where its data begin; None where only filling is left."""
    head, size = b"", _STEP
    while True:
        room = min(size, file.size_bytes - offset, _MAX_HEADER_BYTES)
        head = bytes(file.read(offset, room))
        if not head.strip(b"\0\r\n \t"):
            if offset and room == file.size_bytes - offset:
                return None, offset
        elif head.lstrip()[:1] != b"{":
            raise RawDataError("no header begins here", where=at(file.path, offset), remedy=DAMAGED)
        ends = [match.end() for match in _END.finditer(head)]
        padded = [end for end in ends if end % _STEP == 0]
        whole = room == file.size_bytes - offset or room == _MAX_HEADER_BYTES
        if padded or (ends and whole):
            end = padded[0] if padded else ends[0]
            return head[:end].decode("latin-1").strip(), offset + end
        if whole:
            raise RawDataError("the header has no end", where=at(file.path, offset), remedy=DAMAGED)
        size *= 4


def _fields(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for entry in text.strip("{}\r\n ").split(";"):
        key, equals, value = entry.partition("=")
        if equals:
            fields.setdefault(key.strip().lower(), value.strip())
    return fields


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\d{1,12}", text) else None


def as_number(text: str) -> float | None:
    """The number at the beginning of a text, finite; None where there is none."""
    try:
        value = float(text.split()[0]) if text.strip() else None
    except ValueError:
        return None
    return value if value is not None and np.isfinite(value) else None
