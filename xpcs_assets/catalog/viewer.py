"""Who asks the catalog, and which records they see. No query is made without it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, false, or_, select

from xpcs_assets.catalog.tables import facet_groups, facets


@dataclass(frozen=True)
class Viewer:
    """Who asks. Somebody without a group sees nothing.

    A record is seen by its owner group and its access groups; by others who have a group from the day on which its
    embargo has ended. One without an embargo is for its groups alone.

    Attributes
    ----------
    groups
        Of whoever asks, as their session or roster says.
    operator
        Sees all: the steps of the pipeline, and whoever may read the site's database itself.
    """

    groups: frozenset[str] = frozenset()
    operator: bool = False

    @classmethod
    def of(cls, groups: Iterable[str]) -> Viewer:
        """Somebody with these groups; empty names are none."""
        return cls(frozenset(group for group in groups if group))

    def sees(self, now: datetime) -> ColumnElement[bool] | None:
        """The condition on rows of facets, whatever they are asked for; None when all are seen."""
        if self.operator:
            return None
        if not self.groups:
            return false()
        theirs = select(facet_groups.c.facet).where(facet_groups.c.name.in_(sorted(self.groups)))
        return or_(facets.c.key.in_(theirs), facets.c.open_from <= now)


OPERATOR = Viewer(operator=True)


def open_from(embargo_until: str) -> datetime | None:
    """When others may see what has this embargo; None for never: there is none, or it is no ISO date.

    A day counts whole, in UTC.

    >>> open_from("2027-01-31").isoformat(), open_from(""), open_from("soon")
    ('2027-02-01T00:00:00+00:00', None, None)
    """
    try:
        until = datetime.fromisoformat(embargo_until)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return until + timedelta(days=1) if len(embargo_until) <= len("2027-01-31") else until
    except (ValueError, OverflowError):
        return None
