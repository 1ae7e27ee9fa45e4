"""Who sees what the embedded catalog holds, kept in step with the roster without making any record again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Engine, Text, and_, cast, delete, func, insert, literal, select, update
from sqlalchemy.orm import Session

from xpcs_assets.catalog.roster import Roster
from xpcs_assets.catalog.session import reading, writing
from xpcs_assets.catalog.tables import facet_groups, facets
from xpcs_assets.describe.record import Owner

_NAMED = (facets.c.proposal, cast(facets.c.own_groups, Text), facets.c.owner_group, cast(facets.c.access_groups, Text))


def follow_roster(engine: Engine, beamline: str, roster: Roster) -> int:
    """Have the records of a beamline seen by whom the roster names, and by nobody else; how many facet rows changed.

    What a proposal's records share is few rows, which are looked at in one query: nothing that did not change is
    written, and the records, their documents and words stay as they are.

    Raises
    ------
    CatalogError
        The database does not answer.
    """
    with reading(engine) as session:
        if not any(_out_of_step(session, beamline, roster)):
            return 0
    with writing(engine) as session:
        return sum(_follow(session, which, seen_by) for which, seen_by in list(_out_of_step(session, beamline, roster)))


def _out_of_step(session: Session, beamline: str, roster: Roster) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Which rows of facets are seen by others than the roster names, and by whom they are to be seen."""
    for named in session.execute(select(*_NAMED).where(facets.c.beamline == beamline).distinct()):
        proposal, own_groups, owner_group, access_groups = named
        owner = Owner(proposal=proposal, groups=tuple(json.loads(own_groups)))
        seen_by = roster.seen_by(owner, beamline)
        if (seen_by["ownerGroup"], seen_by["accessGroups"]) != (owner_group, json.loads(access_groups)):
            same = [column == value for column, value in zip(_NAMED, named, strict=True)]
            yield and_(facets.c.beamline == beamline, *same), seen_by


def _follow(session: Session, which: Any, seen_by: dict[str, Any]) -> int:
    keys = select(facets.c.key).where(which)
    rows = session.scalar(select(func.count()).select_from(keys.subquery())) or 0
    session.execute(delete(facet_groups).where(facet_groups.c.facet.in_(keys)))
    for group in {seen_by["ownerGroup"], *seen_by["accessGroups"]} - {""}:
        named = select(literal(group), facets.c.key).where(which)
        session.execute(insert(facet_groups).from_select(["name", "facet"], named))
    groups = {"owner_group": seen_by["ownerGroup"], "access_groups": seen_by["accessGroups"]}
    session.execute(update(facets).where(which).values(groups))
    return rows
