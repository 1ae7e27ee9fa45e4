"""Who belongs to a proposal: from the site's roster file, or by a rule where the file does not name it.

The file is YAML or CSV, by proposal::

    P-1234:
      owner: Doe Group
      groups: [p1234, staff]
      investigator: Jane Doe
      email: jane.doe@example.org

    proposal,owner,groups,investigator,email
    P-1234,Doe Group,p1234;staff,Jane Doe,jane.doe@example.org
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import Field, ValidationError

from xpcs_assets.catalog.documents import groups_of
from xpcs_assets.describe.record import Owner
from xpcs_assets.errors import SettingsError
from xpcs_assets.settings_base import Settings
from xpcs_assets.site import Site

_REMEDY = "A proposal has owner, groups, investigator and email, and nothing else"


class Member(Settings):
    """The people of a proposal; what the file does not tell is empty."""

    owner: str = Field("", description="Who owns its data, as catalogs show it")
    groups: tuple[str, ...] = Field((), description="Who may see them, the owning group first")
    investigator: str = Field("", description="The principal investigator")
    email: str = Field("", description="Whom to ask")


@dataclass(frozen=True)
class Roster:
    """The people of all proposals.

    Attributes
    ----------
    members
        By proposal.
    rule
        Groups of a proposal that is not among them: patterns over ``{proposal}`` and ``{beamline}``.
    """

    members: Mapping[str, Member] = field(default_factory=dict)
    rule: tuple[str, ...] = ()

    @classmethod
    def of(cls, site: Site) -> Roster:
        """Read a site's roster, as it is now.

        Raises
        ------
        SettingsError
            The file cannot be read, or holds something else.
        """
        settings = site.settings.roster
        members = {} if settings.file is None else _read(site.path(settings.file))
        return cls(members, settings.groups)

    def groups(self, owner: Owner, beamline: str) -> tuple[str, ...]:
        """Who may see a run: its proposal's groups, and those that were known at intake; the owning group first."""
        if not owner.proposal:
            return owner.groups
        member = self.members.get(owner.proposal)
        if member is not None:
            return tuple(dict.fromkeys((*member.groups, *owner.groups)))
        ruled = [pattern.format(proposal=owner.proposal, beamline=beamline) for pattern in self.rule]
        return tuple(dict.fromkeys((*owner.groups, *ruled)))

    def seen_by(self, owner: Owner, beamline: str) -> dict[str, Any]:
        """What a dataset says of who may see it: ``ownerGroup`` and ``accessGroups``."""
        return groups_of(replace(owner, groups=self.groups(owner, beamline)), beamline)

    def people(self, proposal: str) -> dict[str, Any]:
        """What a dataset says of the people of its proposal; only what is known."""
        member = self.members.get(proposal, Member())
        said = {
            "owner": member.owner,
            "principalInvestigators": [member.investigator] if member.investigator else [],
            "contactEmail": member.email,
        }
        return {name: value for name, value in said.items() if value}


def _read(path: Path) -> Mapping[str, Member]:
    try:
        return _members(path.read_text(encoding="utf-8-sig"), path.suffix.lower() == ".csv")
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise SettingsError(f"the roster is wrong: {wrong}", where=path, remedy=_REMEDY) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, csv.Error, ValueError) as error:
        reason = " ".join(str(error).split())  # YAML's has lines
        raise SettingsError(f"the roster cannot be read ({reason})", where=path, remedy=_REMEDY) from error


@lru_cache(maxsize=4)
def _members(text: str, is_csv: bool) -> Mapping[str, Member]:
    """Sensors ask every half a minute, and a roster of thousands of proposals takes YAML seconds."""
    rows = _csv(text) if is_csv else _yaml(text)
    return MappingProxyType({proposal: Member.model_validate(row) for proposal, row in rows})


def _yaml(text: str) -> Iterable[tuple[str, Any]]:
    content = yaml.safe_load(text)
    if not isinstance(content or {}, Mapping):
        raise yaml.YAMLError("it is no mapping by proposal")
    return [(str(proposal), row) for proposal, row in (content or {}).items()]


def _csv(text: str) -> Iterable[tuple[str, Any]]:
    reader = csv.DictReader(io.StringIO(text), strict=True, restkey="more columns than names")
    if "proposal" not in (reader.fieldnames or ()):
        raise csv.Error("it has no column proposal")
    seen: set[str] = set()
    for line in reader:
        proposal = (line.pop("proposal") or "").strip()
        if not proposal or proposal in seen:
            raise csv.Error(f"line {reader.line_num}: proposal {proposal!r} is empty or there twice")
        seen.add(proposal)
        groups = [one.strip() for one in (line.pop("groups", None) or "").split(";") if one.strip()]
        yield proposal, {**{name: value or "" for name, value in line.items()}, "groups": groups}
