"""Back ends in the site file, and which of them a beamline names."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from xpcs_assets.errors import SettingsError
from xpcs_assets.settings import SiteSettings
from xpcs_assets.settings_compute import SchedulerSettings
from xpcs_assets.settings_correlate import Correlate
from xpcs_assets.site import Site

CLUSTER = {"kind": "slurm", "python": "/env/bin/python", "folder": "/scratch/jobs"}
HOST = {"address": "login", "user": "xpcs", "key": "key", "known_hosts": "known"}


def cluster(**changes: Any) -> SchedulerSettings:
    return SchedulerSettings.model_validate(CLUSTER | changes)


def correlate(**changes: Any) -> Correlate:
    return Correlate.model_validate({"qmap": {"in_run": "*"}} | changes)


def test_a_path_is_what_it_is_there_by_the_longest_beginning_that_is_known() -> None:
    seen = cluster(seen_as={"/data": "/global/data", "/data/fast": "/pscratch"}).seen
    assert seen("/data/xpcs/A001.imm") == "/global/data/xpcs/A001.imm"
    assert seen("/data/fast/A001.imm") == "/pscratch/A001.imm"
    assert cluster().seen("/data/x") == "/data/x"
    with pytest.raises(ValueError, match=r"/database/q\.hdf lies below none of /data, /data/fast"):
        seen("/database/q.hdf")


@pytest.mark.parametrize(
    "changes",
    [
        {"folder": "jobs"},
        {"folder": "/a/../b"},
        {"seen_as": {"data": "/data"}},
        {"environment": {"A B": "1"}},
        {"environment": {"A": "\0"}},
        {"call": "60 s"},
        {"walltime": "1 s"},
        {"max_jobs": 0},
        {"kind": "lsf"},
        {"queue_is": "account"},
        {"kind": "pbs", "queue_is": "qos"},
    ],
)
def test_what_no_back_end_can_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        cluster(**changes)


def test_a_back_end_goes_through_a_host_that_the_site_has_and_is_not_called_local() -> None:
    through = CLUSTER | {"through": "login"}
    settings = SiteSettings.model_validate({"hosts": {"login": HOST}, "compute": {"polaris": through}})
    assert settings.compute["polaris"].through == "login"
    with pytest.raises(ValidationError, match=r"compute\.polaris\.through: no host is called 'login'"):
        SiteSettings.model_validate({"compute": {"polaris": through}})
    with pytest.raises(ValidationError, match="local"):
        SiteSettings.model_validate({"compute": {"local": CLUSTER}})


def test_an_analysis_runs_here_unless_it_is_told_where() -> None:
    assert (correlate().on, correlate().remote) == (("local",), ())
    told = correlate(on=["polaris", "perlmutter", "local"], account="xpcs", queue="demand", walltime="2 h")
    assert told.remote == ("polaris", "perlmutter")
    assert told.settings == correlate().settings


@pytest.mark.parametrize("on", [[], ["local", "polaris"], ["polaris", "polaris"]])
def test_an_order_in_which_a_back_end_would_never_be_asked_is_refused(on: list[str]) -> None:
    with pytest.raises(ValidationError, match="Correlate"):
        correlate(on=on)


def test_a_beamline_that_names_a_back_end_which_the_site_has_not_is_refused(site: Site) -> None:
    with (site.home / "site.yaml").open("a", encoding="utf-8") as site_file:
        site_file.write(json.dumps({"compute": {"polaris": CLUSTER}})[1:-1] + "\n")
    file = site.home / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    for name in ("polaris", "elsewhere"):
        content["pipeline"]["correlate"]["on"] = [name]
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        found = Site(site.home)
        assert list(found.broken) == ([] if name == "polaris" else ["xpcs"])
    with pytest.raises(SettingsError, match=r"no back end elsewhere under compute\. There are: polaris, local"):
        raise found.broken["xpcs"]
