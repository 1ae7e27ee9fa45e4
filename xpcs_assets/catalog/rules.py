"""What decides, beside the record, what a catalog is told of a dataset: its settings, and the people of the proposal.

The digest of it is kept with what was told, so that a changed rule has the datasets told again that it is about.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING

from xpcs_assets.catalog.roster import Roster
from xpcs_assets.site import Site

if TYPE_CHECKING:
    from xpcs_assets.catalog.outbox import Rules

_OF_THE_WAY = (
    *("token", "username", "password", "client_id", "client_secret", "auth_url"),
    *("api", "backend", "connect", "read", "reads_tried", "files_in_block", "bytes_in_block"),
    *("timeout", "tries", "longest_sleep", "poll", "task_limit"),
)
_OF_THE_NAME = ("pid_prefix", "subject")  # under another name a dataset would stand twice: that is a person's decision


def rules_of(site: Site, catalog: str, roster: Roster) -> Rules:
    """By proposal, the digest of the rules by which a catalog of ``site.yaml`` is told now.

    The account, how requests are made, and what datasets are named there is no such rule; every other setting is one.
    """
    settings = site.settings.catalogs.get(catalog)
    said = {} if settings is None else settings.model_dump(mode="json", exclude={*_OF_THE_WAY, *_OF_THE_NAME})

    @cache
    def digest(proposal: str) -> str:
        member = roster.members.get(proposal)
        people = roster.rule if member is None else member.model_dump(mode="json")
        text = json.dumps([said, people], sort_keys=True)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    return digest
