"""Places are opened by their kind in the settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from xpcs_assets.compute.backend import Resources
from xpcs_assets.copies import opening
from xpcs_assets.copies.meeting import Met
from xpcs_assets.copies.opening import reach
from xpcs_assets.errors import SettingsError
from xpcs_assets.places.globus import Collection, GlobusPlace
from xpcs_assets.places.hpss import HpssPlace, HpssRoot
from xpcs_assets.places.s3 import S3Place, S3Root
from xpcs_assets.places.ssh import SshPlace
from xpcs_assets.places.ssh_root import SshRoot
from xpcs_assets.secret import SecretReference
from xpcs_assets.settings_places import PlaceSettings
from xpcs_assets.site import Site
from xpcs_assets.testing.fake_hpss import FakeHpss
from xpcs_assets_tests.hpss import has_hpss_archive

HOST = {"address": "mirror.example.org", "user": "xpcs", "key": "secrets/key", "known_hosts": "secrets/hosts"}
MIRROR = {"kind": "ssh", "host": "mirror-host", "root": "/tank/xpcs"}


def with_a_mirror(home: Path, place: dict[str, Any], hosts: dict[str, Any]) -> Site:
    for file, changes in (("site.yaml", {"hosts": hosts}), ("beamlines/xpcs.yaml", {"places": {"mirror": place}})):
        content = yaml.safe_load((home / file).read_text(encoding="utf-8")) or {}
        for key, value in changes.items():
            content[key] = {**content.get(key, {}), **value}
        (home / file).write_text(yaml.safe_dump(content), encoding="utf-8")
    return Site(home)


def test_every_kind_that_settings_may_name_can_be_opened() -> None:
    union, *_ = get_args(PlaceSettings)
    kinds = {kind for each in get_args(union) for kind in get_args(each.model_fields["kind"].annotation)}
    assert kinds == set(opening._KINDS)


def test_a_place_that_the_settings_do_not_name_is_refused(site: Site) -> None:
    with pytest.raises(SettingsError, match=r"xpcs has no place 'cellar'\. There are: detector, store, tape"):
        reach(site, site.beamline("xpcs"), "cellar")


def test_a_place_over_ssh_is_reached_by_its_host_and_nothing_is_asked_of_it(site: Site) -> None:
    built = with_a_mirror(
        site.home, {**MIRROR, "failure_domain": "second building"}, {"mirror-host": {**HOST, "port": 2222}}
    )
    reached = reach(built, built.beamline("xpcs"), "mirror")
    assert isinstance(reached.root, SshRoot)
    commands = reached.root.commands
    assert (commands.address, commands.port, commands.user) == ("mirror.example.org", 2222, "xpcs")
    assert (commands.key, commands.known_hosts) == (str(site.home / "secrets/key"), str(site.home / "secrets/hosts"))
    place = reached.open(Met("0f" * 16, "it is strange"))
    assert isinstance(place, SshPlace)
    assert (place.name, place.where) == ("mirror", "xpcs@mirror.example.org:/tank/xpcs")
    assert (place.identity, place.commands) == ("0f" * 16, commands)


def test_a_part_of_a_bucket_is_reached_with_its_key_and_nothing_is_asked_of_it(site: Site) -> None:
    key = {"access_key_id": {"variable": "KEY"}, "secret_access_key": {"file": "secrets/s3"}}
    built = with_a_mirror(site.home, {"kind": "s3", "bucket": "runs", "prefix": "xpcs", **key}, {})
    reached = reach(built, built.beamline("xpcs"), "mirror")
    assert isinstance(reached.root, S3Root)
    place = reached.open(Met("0f" * 16))
    assert isinstance(place, S3Place)
    bucket = place.bucket
    assert (bucket.name, bucket.prefix, bucket.region) == ("runs", "xpcs", "us-east-1")
    assert bucket.secret_access_key == SecretReference(file=str(site.home / "secrets/s3"))


def test_a_collection_is_reached_where_it_is_mounted(site: Site, tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    collection = "44ae904c-ab64-4145-a8f0-7287de38324d"
    place = {"kind": "globus", "collection": collection, "root": "/xpcs", "mounted_at": str(tmp_path / "mount")}
    built = with_a_mirror(site.home, place, {})
    reached = reach(built, built.beamline("xpcs"), "mirror")
    opened = reached.open(Met("0f" * 16))
    assert isinstance(opened, GlobusPlace)
    assert (opened.collection, opened.root) == (Collection(collection, "/xpcs", sha256=True), tmp_path / "mount")


def test_a_place_on_a_host_that_the_site_has_not_breaks_its_beamline(site: Site) -> None:
    built = with_a_mirror(site.home, MIRROR, {"another": HOST})
    with pytest.raises(SettingsError, match=r"places\.mirror\.host: site\.yaml has no host 'mirror-host'.*another"):
        built.beamline("xpcs")


def test_no_library_of_a_kind_is_loaded_before_a_place_of_it_is_opened() -> None:
    asked = "import sys, xpcs_assets.copies.opening; print([m for m in ('boto3', 'globus_sdk') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_place_in_hpss_has_jobs_of_its_own_queue_and_nothing_is_asked_of_it(site: Site, tmp_path: Path) -> None:
    changes = has_hpss_archive(site.home, FakeHpss(tmp_path), account="als", extra=["--constraint=gpu"])
    place = {**changes["places"]["tape"], "walltime": "2 h", "extra": ["--constraint=cron"]}
    built = with_a_mirror(site.home, place, {})
    reached = reach(built, built.beamline("xpcs"), "mirror")
    assert isinstance(reached.root, HpssRoot)
    hands = reached.root.asking.hands
    assert hands.resources == Resources(walltime_s=7200.0, account="als", queue="xfer", extra=("--constraint=cron",))
    assert (hands.backend.name, hands.max_jobs) == ("xfer", 15)
    assert isinstance(reached.open(Met("0f" * 16)), HpssPlace)
    assert list((site.home / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"through": "another"}, r"places\.mirror\.through: site\.yaml has no back end 'another'"),
        ({"root": "/home/a b"}, "hsi takes letters"),
        ({"root": "home"}, "must be an absolute path"),
    ],
)
def test_a_place_in_hpss_that_cannot_be_is_refused(
    site: Site, tmp_path: Path, wrong: dict[str, str], told: str
) -> None:
    changes = has_hpss_archive(site.home, FakeHpss(tmp_path))
    built = with_a_mirror(site.home, changes["places"]["tape"] | wrong, {})
    with pytest.raises(SettingsError, match=told):
        built.beamline("xpcs")


def test_a_scratch_folder_whose_path_hsi_would_not_read_is_refused(site: Site, tmp_path: Path) -> None:
    changes = has_hpss_archive(site.home, FakeHpss(tmp_path))
    built = with_a_mirror(site.home, changes["places"]["tape"] | {"scratch": "/scratch/x y"}, {})
    with pytest.raises(SettingsError, match="hsi cannot be told the path '/scratch/x y'"):
        reach(built, built.beamline("xpcs"), "mirror")
