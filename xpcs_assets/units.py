"""Durations, sizes and shares as people write them in beamline files: ``30 days``, ``65 GB``, ``64 MiB``, ``90 %``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ%]*)\s*")
_SECONDS = {
    "": 1.0,
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "second", "seconds"), 1.0),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("week", "weeks"), 604800.0),
}
_BYTES = {"": 1, "B": 1} | {
    f"{prefix}{ending}": base**power
    for power, prefix in enumerate("kMGTP", start=1)
    for ending, base in (("B", 1000), ("iB", 1024))
}
_BYTES |= {"KB": 1000, "KiB": 1024}


def seconds(value: object) -> object:
    """Read a duration such as ``20 minutes``; a bare number is seconds.

    >>> seconds("30 days"), seconds("1.5 h"), seconds(2)
    (2592000.0, 5400.0, 2.0)
    """
    return _quantity(value, _SECONDS, "a duration such as '20 minutes', '5 s' or '30 days'")


def size_bytes(value: object) -> object:
    """Read a size such as ``65 GB``; a bare number is bytes.

    >>> size_bytes("65 GB"), size_bytes("64 MiB")
    (65000000000, 67108864)
    """
    number = _quantity(value, _BYTES, "a size such as '65 GB' or '64 MiB'")
    return int(number)


def share(value: object) -> object:
    """Read a part of a whole such as ``90 %``; a bare number is the part itself.

    >>> share("90 %"), share("2.5%"), share(0.5)
    (0.9, 0.025, 0.5)
    """
    return _quantity(value, {"": 1.0, "%": 0.01}, "a share such as '90 %' or 0.9")


def _quantity(value: object, units: Mapping[str, float], wanted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{value!r} is not {wanted}")  # noqa: TRY004 - pydantic turns ValueError into its report
    match = _QUANTITY.fullmatch(str(value))
    if match is None or match[2] not in units:
        raise ValueError(f"{value!r} is not {wanted}")
    number = float(match[1]) * units[match[2]]
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not {wanted}")
    return number


# What an editor is told may stand in the file; the model itself holds plain numbers.
_WRITTEN = WithJsonSchema({"type": ["number", "string"]}, mode="validation")
Seconds = Annotated[float, BeforeValidator(seconds), _WRITTEN]
SizeBytes = Annotated[int, BeforeValidator(size_bytes), _WRITTEN]
Share = Annotated[float, BeforeValidator(share), _WRITTEN]
