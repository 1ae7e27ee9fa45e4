"""``xpcs-assets catalogs``: whether each answers, what waits, what is parked, and telling it by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from xpcs_assets import cli
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.catalog.cataloguing import catalogue_raw
from xpcs_assets.errors import NotFoundError, RefusedError, SettingsError
from xpcs_assets.site import Site
from xpcs_assets.testing.scicat_server import ScicatServer
from xpcs_assets_tests.scicat import PREFIX
from xpcs_assets_tests.unit.catalog.told import NAME, described_run, opened, tell


@pytest.fixture
def server() -> Iterator[ScicatServer]:
    with ScicatServer() as running:
        yield running


@pytest.fixture
def beamline(site: Site, server: ScicatServer) -> Iterator[OpenBeamline]:
    made = opened(tell(site.home, server.url))
    yield made
    made.engine.dispose()


def catalogs(beamline: OpenBeamline, *arguments: str) -> tuple[int, str, str]:
    home = str(beamline.site.home)
    result = CliRunner(env={"COLUMNS": "400"}).invoke(cli.app, ["catalogs", "xpcs", *arguments, "--home", home])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def told(beamline: OpenBeamline, *arguments: str) -> dict[str, Any]:
    (found,) = json.loads(catalogs(beamline, "--json", *arguments)[1])
    assert isinstance(found, dict)
    return found


def test_a_catalog_that_was_told_everything_is_exit_0(beamline: OpenBeamline) -> None:
    described_run(beamline)
    catalogue_raw(beamline, "A001")
    code, said, _ = catalogs(beamline)
    header, row = said.splitlines()
    assert (code, header.split()[:5]) == (0, ["CATALOG", "ANSWERS", "TOLD", "WAITING", "PARKED"])
    assert row.split() == [NAME, "yes", "2", "0", "0", "-"]


def test_one_that_is_down_says_why_and_what_waits_and_a_retry_tells_it(
    beamline: OpenBeamline, server: ScicatServer
) -> None:
    with server.down():
        described_run(beamline)
        catalogue_raw(beamline, "A001")
        code, said, _ = catalogs(beamline, "--retry")
        assert code == 1
        assert f"{NAME}: xpcs-assets/xpcs/A001/v1 (raw) waiting: {server.url}" in said
        assert told(beamline)["down_since"]
    assert told(beamline)["waiting"] == 2
    code, _, progress = catalogs(beamline, "--retry")
    assert (code, len(server.store.datasets)) == (0, 1)
    assert f"{NAME}: 2 told" in progress
    assert told(beamline)["down_since"] is None


def test_what_was_catalogued_before_a_catalog_was_named_waits_for_it(site: Site, server: ScicatServer) -> None:
    before = opened(site)
    described_run(before)
    catalogue_raw(before, "A001")
    before.engine.dispose()
    beamline = opened(tell(site.home, server.url))
    code, said, _ = catalogs(beamline)
    assert (code, said.splitlines()[1].split()[:5]) == (1, [NAME, "yes", "0", "2", "0"])
    beamline.engine.dispose()


def test_a_dataset_is_named_as_search_prints_it_and_an_unknown_one_is_told(
    beamline: OpenBeamline, server: ScicatServer
) -> None:
    described_run(beamline)
    catalogue_raw(beamline, "A001")
    assert "2 told" in catalogs(beamline, "--again", "--pid", "xpcs/A001/v1")[2]
    with pytest.raises(NotFoundError, match=r"xpcs-assets/xpcs/A002/v1: no catalog is told of such a dataset"):
        catalogs(beamline, "--again", "--pid", "xpcs/A002/v1")
    with pytest.raises(RefusedError, match=r"Give --retry or --again too"):
        catalogs(beamline, "--pid", "xpcs/A001/v1")


def test_what_is_parked_is_listed_with_its_reason_and_retried_alone(
    beamline: OpenBeamline, server: ScicatServer
) -> None:
    pids = [f"xpcs-assets/xpcs/{key}/v1" for key in ("A001", "A002")]
    for pid in pids:
        server.store.datasets[f"{PREFIX}/{pid}"] = {"pid": f"{PREFIX}/{pid}", "type": "derived", "ownerGroup": "g"}
    for key in ("A001", "A002"):
        described_run(beamline, key)
        catalogue_raw(beamline, key)
    found = told(beamline)
    assert (found["parked"], found["problem"]) == (2, "")
    assert {entry["pid"] for entry in found["entries"] if entry["state"] == "parked"} == set(pids)
    assert all("the pid is taken" in entry["why"] for entry in found["entries"] if entry["state"] == "parked")
    assert not server.store.blocks
    server.store.datasets.clear()
    code, said, _ = catalogs(beamline, "--retry", "--pid", pids[0])
    assert code == 1
    assert f"{pids[1]} (raw) parked" in said
    assert set(server.store.datasets) == {f"{PREFIX}/{pids[0]}"}
    assert catalogs(beamline, "--retry")[0] == 0


def test_all_can_be_asked_for_and_what_is_gone_is_told_again(beamline: OpenBeamline, server: ScicatServer) -> None:
    described_run(beamline)
    catalogue_raw(beamline, "A001")
    server.store.datasets.clear()
    server.store.blocks.clear()
    code, _, progress = catalogs(beamline, "--verify")
    assert code == 1
    assert "has no xpcs-assets/xpcs/A001/v1 any more" in progress
    assert catalogs(beamline, "--retry")[0] == 0
    assert len(server.store.datasets) == 1


def test_again_follows_the_roster_of_now(beamline: OpenBeamline, server: ScicatServer) -> None:
    described_run(beamline)
    catalogue_raw(beamline, "A001")
    home = beamline.site.home
    (home / "roster.yaml").write_text("P-1234: {groups: [new]}\n")
    file = home / "site.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "roster: {file: roster.yaml}\n", encoding="utf-8")
    assert catalogs(beamline, "--again")[0] == 0
    (held,) = server.store.datasets.values()
    assert (held["ownerGroup"], held["accessGroups"]) == ("new", ["p1234", "staff"])


def test_a_beamline_without_catalogs_and_a_name_that_is_none_are_refused(beamline: OpenBeamline, altered: Any) -> None:
    with pytest.raises(NotFoundError, match="tells no catalog 'other'"):
        catalogs(beamline, "other")
    assert catalogs(beamline, NAME)[0] == 0
    alone = altered({"pipeline": {"catalog": ["embedded"]}})
    with pytest.raises(SettingsError, match="tells no catalog outside the site"):
        catalogs(alone)
