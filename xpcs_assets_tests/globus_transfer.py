"""What the tests of Globus transfers share: an account, two shared folders, files to move."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpcs_assets.globus_login import GlobusAccount
from xpcs_assets.places.globus import Collection, GlobusPlace
from xpcs_assets.places.globus_transfer import GlobusTransfers
from xpcs_assets.places.transfer import Item
from xpcs_assets.secret import SecretReference
from xpcs_assets.testing.globus_groups_server import KEEPER, GlobusGroupsServer
from xpcs_assets.testing.globus_transfer_server import MOVER, GlobusTransferServer


def account_for(server: GlobusTransferServer, folder: Path, **changes: Any) -> GlobusAccount:
    """A confidential client whose secret lies in a file; it never waits long."""
    secret = folder / "globus-secret"
    secret.write_text(MOVER.secret + "\n", encoding="utf-8")
    asked = {
        "client_id": MOVER.name,
        "client_secret": SecretReference(file=str(secret)),
        "url": server.url,
        "auth_url": server.url,
        "timeout_s": 1.0,
        "tries": 2,
        "longest_sleep_s": 0.01,
    }
    return GlobusAccount(**{**asked, **changes})


def groups_account_for(server: GlobusGroupsServer, folder: Path) -> GlobusAccount:
    """The account that finds and makes groups, as :func:`account_for` makes that which moves files."""
    secret = folder / "groups-secret"
    secret.write_text(KEEPER.secret + "\n", encoding="utf-8")
    return GlobusAccount(
        client_id=KEEPER.name,
        client_secret=SecretReference(file=str(secret)),
        url=server.url,
        auth_url=server.url,
        timeout_s=1.0,
        tries=2,
        longest_sleep_s=0.01,
    )


@dataclass
class Hop:
    """Two mounted folders that are collections as well, and the way from one to the other."""

    source: GlobusPlace
    target: GlobusPlace
    transfers: GlobusTransfers

    @classmethod
    def made(cls, server: GlobusTransferServer, folder: Path, **changes: Any) -> Hop:
        """A hop with an account as :func:`account_for` makes it."""
        places = []
        for name in ("source", "target"):
            (folder / name).mkdir()
            shared = Collection(server.service.share(folder / name, f"/data/{name}"), f"/data/{name}")
            places.append(GlobusPlace(name, folder / name, collection=shared))
        source, target = places
        account = account_for(server, folder, **changes)
        return cls(source, target, GlobusTransfers(account, source.collection, target.collection))

    def files(self, *names: str) -> list[Item]:
        """New files at the source, and where they are to go."""
        items = []
        for name in names:
            content = name.encode() * 1000
            self.source.put(name, [content])
            items.append(Item(name, f"run/{name}", len(content), hashlib.sha256(content).hexdigest()))
        return items

    def begun(self, items: Sequence[Item]) -> str:
        """The task of a new submission."""
        return self.transfers.begin(self.transfers.new_submission(), "run A001", items)

    def wrong(self, items: Sequence[Item]) -> dict[str, str]:
        """What is not at the target as promised, by a read of it now: the comparison that ends every transfer."""
        found = {}
        for item in items:
            stat = self.target.stat(item.target)
            if stat.signature is None:
                found[item.target] = "missing"
            elif self.target.digest(item.target).sha256 != item.sha256:
                found[item.target] = "differs"
        return found
