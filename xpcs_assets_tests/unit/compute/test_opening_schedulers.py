"""A scheduler is opened by what the site file says of it: its programs, here or at a host."""

from __future__ import annotations

import pytest
import yaml

from xpcs_assets.commands import LocalCommands, SshCommands
from xpcs_assets.compute.htcondor import HTCondor
from xpcs_assets.compute.opening import open_backend
from xpcs_assets.compute.pbs import PBS
from xpcs_assets.compute.scheduler import Scheduler
from xpcs_assets.compute.slurm import Slurm
from xpcs_assets.errors import SettingsError
from xpcs_assets.site import Site

HERE = {"python": "/env/bin/python", "folder": "/jobs"}
SITE = {
    "hosts": {"login": {"address": "login.example.org", "user": "xpcs", "key": "key", "known_hosts": "known"}},
    "compute": {
        "here": HERE | {"kind": "slurm", "call": "7 s", "programs": "/opt/slurm/bin", "queue_is": "qos"},
        "there": HERE | {"kind": "pbs", "through": "login"},
        "pool": HERE | {"kind": "htcondor"},
    },
}


@pytest.fixture
def described(site: Site) -> Site:
    (site.home / "site.yaml").write_text(yaml.safe_dump(SITE), encoding="utf-8")
    return Site(site.home)


@pytest.mark.parametrize(("name", "kind"), [("here", Slurm), ("there", PBS), ("pool", HTCondor)])
def test_a_back_end_is_of_its_kind_and_name(described: Site, name: str, kind: type[Scheduler]) -> None:
    found = open_backend(described, name)
    assert isinstance(found, kind)
    assert found.name == name


def test_programs_run_here_or_at_a_host_within_the_limit(described: Site) -> None:
    here, there = open_backend(described, "here"), open_backend(described, "there")
    assert isinstance(here, Slurm)
    assert isinstance(there, PBS)
    assert (here.commands, here.limit_s, here.programs, here.queue_is) == (
        LocalCommands(),
        7.0,
        "/opt/slurm/bin",
        "qos",
    )
    assert isinstance(there.commands, SshCommands)
    assert there.commands.key == str(described.home / "key")


def test_a_back_end_that_the_site_file_has_not_is_told_with_those_that_it_has(described: Site) -> None:
    with pytest.raises(SettingsError, match=r"no back end 'polaris'\. There are: here, pool, there"):
        open_backend(described, "polaris")
