"""Who may read folders of a Globus collection: its access rules, which are of a guest collection alone.

A rule lets one group, or everybody with a log-in, into a folder and all below it. The rules about a run's own folder
are ours; those about folders above it are told, and left to whoever manages the collection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from xpcs_assets.errors import CopyError, NotFoundError
from xpcs_assets.globus_login import GlobusAccount
from xpcs_assets.places.access import EVERYBODY, Principal, Seen
from xpcs_assets.places.globus import GlobusPlace
from xpcs_assets.places.globus_client import GlobusConnection, unreachable

_READ = "r"
_EVERYBODY = "all_authenticated_users"


class GlobusDoors:
    """Who may read folders of a place in a collection.

    Parameters
    ----------
    place
        Where.
    account
        Who asks; it has to be an access manager of the collection.
    find_group
        The id of a group by its name.
    at_end
        Called when it is closed.
    """

    def __init__(
        self,
        place: GlobusPlace,
        account: GlobusAccount,
        find_group: Callable[[str], str],
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._place = place
        self._find_group = find_group
        self._at_end = at_end
        self._connection = GlobusConnection(account)
        self._rules: list[dict[str, Any]] | None = None

    def close(self) -> None:
        """Close its connections."""
        self._connection.close()
        self._at_end()

    def group(self, name: str) -> Principal:
        """See :meth:`xpcs_assets.places.access.Doors.group`."""
        return Principal("group", self._find_group(name), name=name)

    def look(self, folder: str, *, inside: bool) -> Seen | None:
        """See :meth:`xpcs_assets.places.access.Doors.look`."""
        path = self._path(folder)
        rules = [rule for rule in self._listed() if not rule.get("role_id")]
        readers = frozenset(_principal(rule) for rule in rules if rule.get("path") == path)
        above = [rule for rule in rules if rule.get("path") != path and path.startswith(str(rule.get("path")))]
        is_gone = not self._is_there(folder)
        if is_gone and not readers:
            return None
        return Seen(readers, above=tuple(_principal(rule) for rule in above), is_gone=is_gone)

    def allow(self, folder: str, readers: Collection[Principal]) -> None:
        """See :meth:`xpcs_assets.places.access.Doors.allow`. What is no longer wanted goes first."""
        path = self._path(folder)
        self._rules = None
        for rule in [rule for rule in self._listed() if rule.get("path") == path and not rule.get("role_id")]:
            if _principal(rule) not in readers:
                self._delete(str(rule["id"]))
        there = {_principal(rule) for rule in self._listed() if rule.get("path") == path}
        for reader in sorted(set(readers) - there):
            self._add(path, reader)
        self._rules = None

    def _add(self, path: str, reader: Principal) -> None:
        """Make a rule. One that was made without an answer is there when it is refused as the second one."""
        collection = self._place.collection.uuid
        document = {
            "DATA_TYPE": "access",
            "principal_type": _EVERYBODY if reader == EVERYBODY else "group",
            "principal": reader.identity,
            "path": path,
            "permissions": _READ,
        }
        try:
            self._connection.ask("access rule", lambda transfer: transfer.add_endpoint_acl_rule(collection, document))
        except CopyError:
            self._rules = None
            if all(rule.get("path") != path or _principal(rule) != reader for rule in self._listed()):
                raise

    def _delete(self, rule: str) -> None:
        """Take a rule away; one that has gone is no error."""
        collection = self._place.collection.uuid
        try:
            self._connection.ask("access rule", lambda transfer: transfer.delete_endpoint_acl_rule(collection, rule))
        except CopyError:
            self._rules = None
            if any(each.get("id") == rule for each in self._listed()):
                raise

    def _listed(self) -> list[dict[str, Any]]:
        """The collection's rules, asked for once until one is changed."""
        if self._rules is None:
            collection = self._place.collection.uuid
            said = self._connection.ask("access rules", lambda transfer: transfer.endpoint_acl_list(collection))
            found = said.get("DATA")
            if not isinstance(found, list) or not all(isinstance(rule, dict) for rule in found):
                raise unreachable("access rules: the answer is no list of rules")
            self._rules = found
        return self._rules

    def _path(self, folder: str) -> str:
        return self._place.collection.path(folder) + "/"

    def _is_there(self, folder: str) -> bool:
        try:
            with self._place.entered(folder):
                return True
        except NotFoundError:
            return False


def _principal(rule: Mapping[str, Any]) -> Principal:
    kind, permissions = str(rule.get("principal_type")), str(rule.get("permissions"))
    if kind == _EVERYBODY:
        kind = EVERYBODY.kind
    return Principal(kind, str(rule.get("principal") or ""), "" if permissions == _READ else permissions)
