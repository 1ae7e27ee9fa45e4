"""Groups of Globus by their names: found or made once, and never twice, whatever is killed in between.

The service takes any number of groups of one name, and nothing marks a request as the same one. So a group is only made
under a lease, after a look that found none; it is asked for once, and after a silence looked for again. What was found
is remembered: a group that is called otherwise later is still the same one.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from dataclasses import replace
from uuid import UUID

from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.errors import CopyError, NotFoundError, UnreachableError
from xpcs_assets.globus_login import GlobusAccount
from xpcs_assets.places.globus_client import GROUPS, GlobusConnection, unreachable

SITE = "_site"
STEP = "group"
_TIMELINE = "_groups"
_LEASE_S = 300.0


class GlobusGroups:
    """Groups that the account can see.

    Parameters
    ----------
    account
        Who asks; ``url`` is that of Groups.
    ledger
        Which group is which is remembered there, for all beamlines of the site.
    create
        Whether a group that there is not is made.
    """

    def __init__(self, account: GlobusAccount, ledger: Ledger, *, create: bool) -> None:
        self._ledger = ledger
        self._create = create
        self._connection = GlobusConnection(account, GROUPS)
        self._once = GlobusConnection(replace(account, tries=1), GROUPS)

    def close(self) -> None:
        """Close its connections."""
        self._connection.close()
        self._once.close()

    def find(self, name: str) -> str:
        """The id of a group; it is made when there is none and that is allowed.

        Raises
        ------
        NotFoundError
            There is none of that name that the account can see.
        CopyError
            There are several, or the service refuses.
        UnreachableError
            It does not answer: a group may have been made, and is found the next time.
        RefusedError
            Another worker makes it now.
        """
        if _is_id(name):
            return name
        if known := self._remembered(name):
            return known
        found = self._look(name) or (self._make(name) if self._create else "")
        if not found:
            raise NotFoundError(
                f"Globus has no group {name!r} that the site's account can see",
                where="Globus Groups",
                remedy="Make it and let the account in, name it by its id, or have it made with `create: true`",
            )
        self._ledger.note(SITE, _TIMELINE, STEP, f"{name} is {found}", {"group": name, "id": found})
        return found

    def _remembered(self, name: str) -> str:
        lines = [event.detail for event in self._ledger.timeline(SITE, _TIMELINE) if event.detail.get("group") == name]
        return str(lines[-1]["id"]) if lines else ""

    def _look(self, name: str) -> str:
        """The id of the one group of a name; empty when there is none."""
        said = self._connection.ask_list("groups", lambda groups: groups.get_my_groups())
        if not all(isinstance(group, dict) for group in said):
            raise unreachable("groups: the answer is no list of groups", GROUPS)
        found = [str(group.get("id")) for group in said if group.get("name") == name]
        if len(found) > 1:
            raise CopyError(
                f"there are {len(found)} groups {name!r}: {', '.join(sorted(found))}",
                where="Globus Groups",
                remedy="Name the right one by its id, or delete the others",
            )
        return found[0] if found else ""

    def _make(self, name: str) -> str:
        holder = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
        key = f"{_TIMELINE}.{hashlib.sha256(name.encode()).hexdigest()[:32]}"
        with self._ledger.lease(SITE, key, STEP, holder, _LEASE_S):
            if found := self._remembered(name) or self._look(name):  # made while we waited, or by one that died
                return found
            document = {"name": name, "description": "Reads the runs of an experiment; made by xpcs-assets"}
            try:
                said = self._once.ask("group", lambda groups: groups.create_group(document))
            except UnreachableError:
                if found := self._look(name):
                    return found
                raise
            if not _is_id(str(said.get("id"))):
                raise unreachable("group: the answer has no id", GROUPS)
            return str(said["id"])


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name.lower()
    except ValueError:
        return False
