"""A beamline whose runs lie on another machine: the tests' sshd, whose files a test puts where it likes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.commands import SshCommands
from xpcs_assets.site import Site
from xpcs_assets_tests import sshd

Altered = Callable[[dict[str, Any]], OpenBeamline]


def server_or_skip() -> sshd.Server:
    """The shared sshd."""
    if missing := sshd.why_missing():
        pytest.skip(missing)
    return sshd.server()


def add_host(home: Path, commands: SshCommands, name: str = "daq") -> None:
    """Write a machine into a site file."""
    file = home / "site.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content["hosts"] = {**content.get("hosts", {}), name: {**sshd.host_of(commands), "connect": "3 s"}}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")


def far_beamline(site: Site, altered: Altered, root: Path, commands: SshCommands, **changes: Any) -> OpenBeamline:
    """The site's beamline, its runs in a folder of that machine."""
    add_host(site.home, commands)
    root.mkdir(exist_ok=True)
    domains = {name: {"failure_domain": f"{name} room"} for name in ("store", "tape")}
    detector = {"kind": "ssh", "host": "daq", "root": str(root), "failure_domain": "the DAQ machine"}
    return altered({"places": {"detector": detector, **domains}, **changes})
