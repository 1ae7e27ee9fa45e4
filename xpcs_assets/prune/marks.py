"""How much of what may go goes, by the water marks of the disk: pure.

Nothing goes before the high mark is passed. Then the oldest goes first, until what is planned brings the disk to the
low mark. What lies in the trash is counted as gone: its bytes go by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from xpcs_assets.places.place import Usage
from xpcs_assets.runs.retention import Retention


@dataclass(frozen=True)
class Marked:
    """What the marks say.

    Attributes
    ----------
    goes
        How many of the copies, the oldest first.
    why
        Why not all of them; empty when all may go.
    draining
        Whether the disk is on its way from the high mark to the low one.
    """

    goes: int
    why: str
    draining: bool = False


def by_marks(
    sizes_bytes: Sequence[int],
    usage: Usage | None,
    in_trash_bytes: int,
    retention: Retention,
    *,
    draining: bool = False,
) -> Marked:
    """Say how many of the copies that may go are to go.

    Parameters
    ----------
    sizes_bytes
        Of each copy that may go, the oldest first.
    usage
        Of the place's disk; None when it cannot be known, and then nothing goes.
    in_trash_bytes
        What lies in the place's trash.
    draining
        Whether the high mark was passed before and the low one has not been reached since.
    """
    if retention.high_water is None or retention.low_water is None:
        return Marked(len(sizes_bytes), "")
    if usage is None:
        return Marked(0, "how full its disk is cannot be known, and its retention has water marks")
    total_bytes = usage.used_bytes + usage.free_bytes
    used_bytes = usage.used_bytes - in_trash_bytes
    if not draining and used_bytes <= _exactly(retention.high_water) * total_bytes:
        full = f"its disk is {used_bytes / total_bytes:.1%} full"
        return Marked(0, f"{full}, and the high mark of {retention.high_water:.0%} is not passed")
    left_bytes, goes = used_bytes, 0
    low_bytes = _exactly(retention.low_water) * total_bytes
    while goes < len(sizes_bytes) and left_bytes > low_bytes:
        left_bytes -= sizes_bytes[goes]
        goes += 1
    why = "" if goes == len(sizes_bytes) else f"its disk is then at the low mark of {retention.low_water:.0%}"
    return Marked(goes, why, draining=used_bytes > low_bytes)


def _exactly(share: float) -> Fraction:
    """The share that was written: 57 % is 57/100, not the nearest binary fraction of it."""
    return Fraction(share).limit_denominator(10**6)
