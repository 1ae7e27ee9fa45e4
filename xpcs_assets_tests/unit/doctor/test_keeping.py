"""Settings, secrets, ledger, journal and clock, as the doctor sees them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.clock import utc_now
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.doctor.found import Found, Probe, State, look_at_all
from xpcs_assets.doctor.keeping import open_ledger, probe_roster, probes_of_ledger, settings_probes
from xpcs_assets.errors import LedgerError
from xpcs_assets.site import SITE_FILE, Site
from xpcs_assets_tests.storage import HandClock


def looked(*probes: Probe) -> dict[str, Found]:
    return {found.what: found for found in look_at_all(probes, 30.0)}


def with_site(site: Site, said: dict[str, Any]) -> Site:
    with (site.home / SITE_FILE).open("a", encoding="utf-8") as file:
        file.write("\n" + yaml.safe_dump(said))
    return Site(site.home)


def test_every_beamline_file_is_a_line_and_a_broken_one_is_no_crash(site: Site) -> None:
    (site.home / "beamlines" / "broken.yaml").write_text("beamline: broken\ncolour: blue\n", encoding="utf-8")
    found = looked(*settings_probes(Site(site.home)))
    assert found["xpcs beamline file"].state is State.OK
    broken = found["broken beamline file"]
    assert (broken.state, "colour" in broken.reason, bool(broken.remedy)) == (State.WRONG, True, True)


@pytest.mark.parametrize(
    ("content", "mode", "state", "reason"),
    [
        ("hunter2\n", 0o600, State.OK, "token"),
        ("hunter2\n", 0o640, State.OK, "token"),
        ("hunter2\n", 0o644, State.WRONG, "has mode 0644: others may read it"),
        ("", 0o600, State.WRONG, "there is no secret"),
        (None, 0o600, State.WRONG, "cannot be read"),
    ],
)
def test_a_secret_that_is_missing_or_open_to_others_is_wrong_and_never_told(
    site: Site, content: str | None, mode: int, state: State, reason: str
) -> None:
    if content is not None:
        (site.home / "token").write_text(content, encoding="utf-8")
        (site.home / "token").chmod(mode)
    site = with_site(site, {"intake": {"token": {"file": "token"}}})
    found = looked(*settings_probes(site))["secret site.yaml intake.token"]
    assert (found.state, reason in found.reason) == (state, True)
    assert "hunter2" not in f"{found.reason}{found.remedy}"


def test_a_secret_of_the_environment_is_looked_for_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site = with_site(site, {"intake": {"token": {"variable": "DOCTORS_TOKEN"}}})
    assert looked(*settings_probes(site))["secret site.yaml intake.token"].state is State.WRONG
    monkeypatch.setenv("DOCTORS_TOKEN", "hunter2")
    found = looked(*settings_probes(site))["secret site.yaml intake.token"]
    assert (found.state, found.reason) == (State.OK, "variable DOCTORS_TOKEN")


def test_keys_that_the_site_file_names_are_for_their_owner_alone(site: Site) -> None:
    host = {"address": "a", "user": "u", "key": "id", "known_hosts": "known"}
    for name, mode in (("id", 0o640), ("known", 0o644), ("sf.pem", 0o600)):
        (site.home / name).write_text("key", encoding="utf-8")
        (site.home / name).chmod(mode)
    backend = {"kind": "sfapi", "client_id": "c", "key": "sf.pem", "folder": "/scratch", "python": "python3"}
    found = looked(*settings_probes(with_site(site, {"hosts": {"far": host}, "compute": {"nersc": backend}})))
    states = {what.removeprefix("secret site.yaml "): one.state.value for what, one in found.items()}
    assert states["hosts.far.key"] == "wrong"
    assert states["hosts.far.known_hosts"] == states["compute.nersc.key"] == "ok"


def test_secrets_of_a_beamlines_places_are_found(site: Site) -> None:
    file = site.home / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    secret = {"variable": "NOT_THERE_AT_ALL"}
    content["places"]["cloud"] = {"kind": "s3", "bucket": "b", "access_key_id": secret, "secret_access_key": secret}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    found = looked(*settings_probes(Site(site.home)))
    assert found["secret xpcs places.cloud.access_key_id"].state is State.WRONG


def test_a_ledger_that_is_not_there_is_not_made(site: Site) -> None:
    (site.home / "ledger.db").unlink()
    with pytest.raises(LedgerError, match=r"the ledger is not there.*rebuild"):
        open_ledger(site)
    assert not (site.home / "ledger.db").exists()


def test_a_sound_ledger_takes_writers_and_its_clock_is_believed(beamline: OpenBeamline) -> None:
    ledger = open_ledger(beamline.site)
    found = looked(*probes_of_ledger(beamline.site, ledger))
    ledger.engine.dispose()
    assert {what: one.state.value for what, one in found.items() if what != "journal"} == {
        "database": "ok",
        "clock": "ok",
    }


def test_a_journal_with_a_damaged_line_is_wrong(beamline: OpenBeamline) -> None:
    beamline.ledger.hold("xpcs", "A001", "wanted", "a scientist")
    (line,) = (beamline.site.home / "journal").glob("*.jsonl")
    assert looked(*probes_of_ledger(beamline.site, beamline.ledger))["journal"].reason == "1 file, every line is whole"
    line.write_bytes(line.read_bytes().replace(b"wanted", b"wasted"))
    found = looked(*probes_of_ledger(beamline.site, beamline.ledger))["journal"]
    assert (found.state, "is torn or damaged" in found.reason) == (State.WRONG, True)


def test_a_clock_that_jumped_is_wrong(beamline: OpenBeamline) -> None:
    clock = HandClock(utc_now())
    ledger = Ledger(beamline.engine, clock)
    looked(*probes_of_ledger(beamline.site, ledger))
    clock.now += timedelta(days=30)
    found = looked(*probes_of_ledger(beamline.site, ledger))["clock"]
    assert (found.state, "no age is told by it" in found.reason) == (State.WRONG, True)


def test_a_clock_that_is_not_the_servers_is_wrong(beamline: OpenBeamline) -> None:
    ledger = Ledger(beamline.engine, HandClock(utc_now() - timedelta(minutes=5)))
    found = looked(*probes_of_ledger(beamline.site, ledger))["clock"]
    assert (found.state, "s off that of the database's server" in found.reason) == (State.WRONG, True)


def test_a_roster_is_read(site: Site, tmp_path: Path) -> None:
    assert looked(probe_roster(site))["roster"].state is State.SKIPPED
    roster = tmp_path / "roster.yaml"
    roster.write_text("p1: {groups: [a]}\n", encoding="utf-8")
    site = with_site(site, {"roster": {"file": str(roster)}})
    assert looked(probe_roster(site))["roster"].reason == "1 proposal"
    roster.write_text("p1: {colour: blue}\n", encoding="utf-8")
    assert looked(probe_roster(site))["roster"].state is State.WRONG
