"""How long a copy stays and what must hold before it may go. Values only; the rules are in ``prune``."""

from __future__ import annotations

from dataclasses import dataclass

from xpcs_assets.errors import SettingsError

LONGEST_S = 1000 * 366 * 86400.0
"""Longer than this nothing is kept: dates end in the year 9999."""


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
    high_water, low_water
        Parts of the place's disk in use, 0 to 1. With both, nothing goes before the first is passed, and then the
        oldest goes first until the second is reached. None: what may go goes.
    trash_for_s
        Removed files stay in the place's trash for so long before their bytes go, s; 0 is no trash.
    at_most_copies, at_most_share
        What may go in a day without a person's word: so many copies, and such a part of the place's copies.
    """

    keep_for_s: float
    min_copies: int
    needs_archive: bool = True
    needs_catalog: bool = True
    high_water: float | None = None
    low_water: float | None = None
    trash_for_s: float = 0.0
    at_most_copies: int = 200
    at_most_share: float = 0.2

    def __post_init__(self) -> None:
        if self.min_copies < 1:
            raise SettingsError("min_copies is below 1", remedy="At least one other verified copy must remain")
        if not self.keep_for_s > 0:
            raise SettingsError("keep_for is not above 0", remedy="Say how long a copy stays, such as 30 days")
        if max(self.keep_for_s, self.trash_for_s) > LONGEST_S:
            raise SettingsError(
                "a time is longer than 1000 years", remedy="Where everything stays, leave the place out of retention"
            )
        if not self.trash_for_s >= 0:
            raise SettingsError("trash_for is below 0", remedy="Say how long removed files stay in the trash, or 0")
        if self.at_most_copies < 1 or not 0 < self.at_most_share <= 1:
            raise SettingsError("the limit of a day's removals is no limit", remedy="At least 1 copy, and 1 to 100 %")
        self._check_marks()

    def _check_marks(self) -> None:
        if (self.high_water is None) != (self.low_water is None):
            raise SettingsError("one water mark without the other", remedy="Give high_water and low_water, or none")
        if self.high_water is not None and self.low_water is not None and not 0 < self.low_water < self.high_water < 1:
            raise SettingsError(
                "the water marks are in no order", remedy="0 % < low_water < high_water < 100 % of the disk"
            )
