"""What a run must keep within to enter an average. Apart from the measuring, so that a set is named without numpy."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Lowest and highest value of a run that is used; None is automatic.

    Attributes
    ----------
    baseline
        g2 at the last delays.
    intensity
        Mean counts a pixel, as a fraction of the runs' median.
    contrast
        g2 at the first delays less the baseline.
    """

    baseline: tuple[float, float] | None = None
    intensity: tuple[float, float] | None = None
    contrast: tuple[float, float] | None = None


def stated(limits: Limits) -> dict[str, tuple[float, float] | None]:
    """The limits by name."""
    return {item.name: getattr(limits, item.name) for item in fields(limits)}
