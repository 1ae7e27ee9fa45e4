"""Who should be able to read a run: its groups and the staff, and everybody from the day its embargo has ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from xpcs_assets.catalog.roster import Roster
from xpcs_assets.catalog.viewer import open_from
from xpcs_assets.describe.record import Owner
from xpcs_assets.settings_places import AccessSettings


@dataclass(frozen=True)
class Wanted:
    """Who should be able to read a run in a place.

    Attributes
    ----------
    groups
        By their names there, the owning group first and the staff last.
    everybody
        Whether all others may as well.
    opens_at
        When they may; None for never.
    """

    groups: tuple[str, ...]
    everybody: bool
    opens_at: datetime | None


def wanted_of(owner: Owner, beamline: str, roster: Roster, settings: AccessSettings, now: datetime) -> Wanted:
    """Who should be able to read a run of ``owner`` in a place with these settings; the roster as it is now."""
    named = (settings.groups.replace("{group}", group) for group in roster.groups(owner, beamline) if group)
    groups = tuple(dict.fromkeys((*named, *settings.staff)))
    opens_at = open_from(owner.embargo_until) if settings.opens else None
    return Wanted(groups, opens_at is not None and opens_at <= now, opens_at)
