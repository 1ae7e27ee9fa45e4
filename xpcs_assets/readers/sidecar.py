"""The sidecar of raw files whose format tells no times: ``<name>.json`` beside ``<name>.npy`` or ``<name>.edf``.

One JSON object. ``frame_time_s`` is needed; the others are ``count_time_s``, ``energy_kev``, ``frames`` (meant to be
taken), ``dark_frames`` (at the head), ``detector_name``, ``start_time``, ``integrating`` (true where values are
detector units, which may be negative) and ``good_pixels`` (name of a ``*_mask.npy`` file of booleans, False for bad
pixels and gaps). Other keys are refused, so that a misspelt one is not overlooked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpcs_assets.errors import MetadataError

SUFFIX = ".json"
MASK_SUFFIX = "_mask.npy"
"""What a mask's name ends with: it is no raw file."""

_MAX_BYTES = 1 << 20
_MOST_FRAMES = 1 << 31
_REMEDY = 'Write it as {"frame_time_s": 0.001, "energy_kev": 10.0}; the reference of raw formats has all keys'


@dataclass(frozen=True)
class Sidecar:
    """What a sidecar says; the keys of the JSON object.

    Attributes
    ----------
    frame_time_s, count_time_s, energy_kev
        s, s, keV; None where it is not said.
    frames, dark_frames
        Frames meant to be taken, 0 where it is not said, and dark frames at the head.
    detector_name, start_time
        Texts, may be empty.
    integrating
        Whether the values are detector units rather than photons.
    good_pixels
        Name of the mask's file in the same folder; may be empty.
    """

    frame_time_s: float
    count_time_s: float | None = None
    energy_kev: float | None = None
    frames: int = 0
    dark_frames: int = 0
    detector_name: str = ""
    start_time: str = ""
    integrating: bool = False
    good_pixels: str = ""


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_FRAMES


def _text(value: object) -> bool:
    return isinstance(value, str)


def _mask(value: object) -> bool:
    return isinstance(value, str) and "/" not in value and value.endswith(MASK_SUFFIX)


_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "frame_time_s": (_positive, "a number above 0"),
    "count_time_s": (_positive, "a number above 0"),
    "energy_kev": (_positive, "a number above 0"),
    "frames": (_count, "a whole number"),
    "dark_frames": (_count, "a whole number"),
    "detector_name": (_text, "a text"),
    "start_time": (_text, "a text"),
    "integrating": (lambda value: isinstance(value, bool), "true or false"),
    "good_pixels": (_mask, f"the name of a file *{MASK_SUFFIX} in the same folder"),
}


def sidecar_of(raw: Path) -> Path | None:
    """The sidecar of a raw file; None where there is none: no such file, or a JSON file of another kind."""
    path = raw.with_suffix(SUFFIX)
    if path == raw or not path.is_file():
        return None
    try:
        content = _content(path)
    except MetadataError:
        return None
    return path if isinstance(content, dict) and "frame_time_s" in content else None


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar.

    Raises
    ------
    MetadataError
        It cannot be read, is no such JSON object, or a key is missing, unknown or of a wrong type.
    """
    content = _content(path)
    if not isinstance(content, dict):
        raise MetadataError("it is no JSON object", where=path, remedy=_REMEDY)
    unknown = sorted(set(content) - set(_KINDS))
    if unknown:
        raise MetadataError(f"it has the unknown key {unknown[0]!r}", where=path, remedy=_REMEDY)
    if "frame_time_s" not in content:
        raise MetadataError("it has no frame_time_s", where=path, remedy=_REMEDY)
    for key, value in content.items():
        is_right, what = _KINDS[key]
        if not is_right(value):
            raise MetadataError(f"its {key} is {str(value)[:40]!r}, not {what}", where=path, remedy=_REMEDY)
    return Sidecar(**content)


def _content(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise MetadataError(f"it cannot be read ({error.strerror})", where=path, remedy=_REMEDY) from error
    if len(text) > _MAX_BYTES:
        raise MetadataError("it is larger than 1 MiB, no sidecar", where=path, remedy=_REMEDY)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MetadataError(f"it is no JSON ({str(error)[:80]})", where=path, remedy=_REMEDY) from error
