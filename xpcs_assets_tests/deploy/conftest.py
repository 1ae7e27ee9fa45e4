"""The beamline files that are shipped, each in a site whose folders and services are of this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from xpcs_assets.new_site import init
from xpcs_assets.places import globus_site
from xpcs_assets.settings import Beamline
from xpcs_assets.site import load_beamline
from xpcs_assets.testing.globus_groups_server import GlobusGroupsServer
from xpcs_assets.testing.globus_transfer_server import GlobusTransferServer
from xpcs_assets_tests.far_source import add_host, server_or_skip
from xpcs_assets_tests.globus_transfer import account_for, groups_account_for

FILES = Path(__file__).parents[2] / "deploy" / "beamlines"
NAMES = tuple(sorted(file.stem for file in FILES.glob("*.yaml")))
ON_THIS_MACHINE = {"posix": "root", "tape": "root", "globus": "mounted_at", "ssh": "root"}


def here(home: Path, name: str, server: GlobusTransferServer) -> None:
    """Put a shipped file into a site as it is, but for where its places are, and for the waiting."""
    content = shipped(name).model_dump(mode="json", by_alias=True, exclude_unset=True)
    for place, settings in content["places"].items():
        folder = home / "places" / name / place
        folder.mkdir(parents=True)
        settings[ON_THIS_MACHINE[settings["kind"]]] = str(folder)
        if settings["kind"] == "globus":
            settings["collection"] = str(server.service.share(folder, settings["root"]))
        if settings["kind"] == "ssh":
            add_host(home, server_or_skip().commands, settings["host"])
    analysis = shipped(name).pipeline.correlate or shipped(name).pipeline.process
    for backend in analysis.remote if analysis else ():
        add_backend(home, backend)
    content["runs"]["from"]["complete_when"]["quiet"] = 0
    (home / "beamlines" / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def add_backend(home: Path, name: str) -> None:
    """Name a back end in the site file; a test has it played."""
    file, folder = home / "site.yaml", home / "jobs"
    folder.mkdir()
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings = {"kind": "htcondor", "python": sys.executable, "folder": str(folder), "every": "1 s", "settle": "0 s"}
    file.write_text(yaml.safe_dump({**content, "compute": {name: settings}}), encoding="utf-8")


@contextmanager
def site_of(home: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> Iterator[GlobusTransferServer]:
    """A site with these beamlines, and the Globus that some of them need."""
    init(home)
    (home / "beamlines" / "xpcs.yaml").unlink()
    with GlobusTransferServer() as server, GlobusGroupsServer() as groups:
        for name in names:
            here(home, name, server)
        account = account_for(server, home)
        settings: dict[str, Any] = {"client_id": account.client_id, "client_secret": {"file": "globus-secret"}}
        site = yaml.safe_load((home / "site.yaml").read_text(encoding="utf-8"))
        (home / "site.yaml").write_text(yaml.safe_dump({**site, "globus": settings}), encoding="utf-8")
        monkeypatch.setattr(globus_site, "account_of", lambda _: account)
        monkeypatch.setattr(globus_site, "groups_account_of", lambda _: groups_account_for(groups, home))
        yield server


def shipped(name: str) -> Beamline:
    """The settings that a file says as it is."""
    return load_beamline(FILES / f"{name}.yaml")
