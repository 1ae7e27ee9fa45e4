"""How long a copy stays and what must hold before it may go. Values only; the rules are in ``prune``."""

from __future__ import annotations

from dataclasses import dataclass

from xpcs_assets.errors import SettingsError


@dataclass(frozen=True)
class Retention:
    """One place's word on the copies it holds.

    Attributes
    ----------
    keep_for_s
        A copy younger than this stays, s.
    min_copies
        Other verified copies that must exist when this one goes; at least 1.
    needs_archive, needs_catalog
        Whether the run must be archived (read back) and catalogued first.
    """

    keep_for_s: float
    min_copies: int
    needs_archive: bool = True
    needs_catalog: bool = True

    def __post_init__(self) -> None:
        if self.min_copies < 1:
            raise SettingsError("min_copies is below 1", remedy="At least one other verified copy must remain")
        if not self.keep_for_s > 0:
            raise SettingsError("keep_for is not above 0", remedy="Say how long a copy stays, such as 30 days")
