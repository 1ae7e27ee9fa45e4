"""A whole site under the doctor's eyes, and the command."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from xpcs_assets import cli
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.doctor.examine import examine
from xpcs_assets.doctor.flights import flight_folder
from xpcs_assets.doctor.found import Found, State
from xpcs_assets.errors import CopyError
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.runs.folders import FLIGHT_FOLDER, MARKER
from xpcs_assets.site import SITE_FILE, Site
from xpcs_assets_tests import sshd
from xpcs_assets_tests.unit.conftest import Altered
from xpcs_assets_tests.unit.stage.globus_site import globus_site_at


def meet(beamline: OpenBeamline) -> None:
    for name in beamline.settings.places:
        beamline.place(name)


def looked(home: Path) -> dict[str, Found]:
    return {found.what: found for found in examine(home)}


def doctor(home: Path, *words: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, ["doctor", *words, "--home", str(home)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def left_below(home: Path) -> list[Path]:
    return list(home.rglob(f"{FLIGHT_FOLDER}*"))


def test_a_sound_site_is_in_order_and_nothing_is_left_in_its_places(beamline: OpenBeamline) -> None:
    meet(beamline)
    code, said = doctor(beamline.site.home)
    assert code == 0
    assert "0 wrong" in said.splitlines()[-1]
    found = looked(beamline.site.home)
    assert found["xpcs place store"].reason.startswith("written and read back; ")
    assert found["xpcs place tape"].reason.startswith("it answers")
    assert left_below(beamline.site.home) == []


def test_places_that_were_never_met_are_neither_marked_nor_written_to(site: Site) -> None:
    found = looked(site.home)
    assert found["xpcs place store"].state is State.SKIPPED
    assert list(site.home.rglob(MARKER)) == []


def test_a_disk_that_is_not_mounted_is_wrong_and_the_others_are_not(beamline: OpenBeamline) -> None:
    meet(beamline)
    shutil.move(beamline.root("store"), beamline.root("store").with_name("away"))
    beamline.root("store").mkdir()
    code, said = doctor(beamline.site.home, "--json")
    found = {one["what"]: one for one in json.loads(said)}
    assert code == 1
    assert [what for what, one in found.items() if one["state"] == "wrong"] == ["xpcs place store"]
    assert "its disk is not mounted" in found["xpcs place store"]["reason"]
    assert "xpcs-assets place xpcs" in found["xpcs place store"]["remedy"]
    assert list(beamline.root("store").iterdir()) == []


def test_a_disk_that_takes_no_files_is_wrong(beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch) -> None:
    meet(beamline)

    def full(*_: object, **__: object) -> None:
        raise CopyError("it is full", where="/disk", remedy="Make room")

    monkeypatch.setattr(PosixPlace, "put", full)
    found = looked(beamline.site.home)["xpcs place store"]
    assert (found.state, found.reason, found.remedy) == (State.WRONG, "/disk: it is full", "Make room")
    assert left_below(beamline.site.home) == []


def test_two_doctors_at_once_do_not_call_each_others_files_wrong(beamline: OpenBeamline) -> None:
    meet(beamline)
    beamline.ledger.take_lease("xpcs", flight_folder("xpcs", "doctor-store"), "flight", "another doctor", 60.0)
    assert looked(beamline.site.home)["xpcs place store"].state is State.SKIPPED


def test_without_a_ledger_the_rest_is_looked_at_and_nothing_is_written(beamline: OpenBeamline) -> None:
    meet(beamline)
    beamline.engine.dispose()
    for file in beamline.site.home.glob("ledger.db*"):
        file.unlink()
    found = looked(beamline.site.home)
    assert found["database"].state is State.WRONG
    assert found["xpcs place store"].state is State.SKIPPED
    assert not (beamline.site.home / "ledger.db").exists()


def test_a_site_file_that_cannot_be_read_is_one_line(site: Site) -> None:
    (site.home / SITE_FILE).write_text("colour: blue\n", encoding="utf-8")
    code, said = doctor(site.home)
    assert code == 1
    assert "colour" in said


def test_collections_are_asked_by_globus(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with globus_site_at(site.home, monkeypatch, ()) as made:
        monkeypatch.setenv("NOT_ASKED_FOR", "x")
        assert looked(site.home)["xpcs collection eagle"].state is State.OK
        made.server.service.collections.clear()
        found = looked(site.home)["xpcs collection eagle"]
    assert found.state is State.WRONG


@pytest.mark.skipif(bool(sshd.why_missing()), reason=sshd.why_missing())
def test_a_place_over_ssh_is_written_to_and_one_that_does_not_answer_is_wrong(
    altered: Altered, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "mirror").mkdir()
    with sshd.another_server() as server:
        far = _over_ssh(altered, site, server, tmp_path / "mirror")
        found = looked(site.home)["xpcs place mirror"]
        assert (found.state, found.reason.split(";")[0]) == (State.OK, "written and read back")
        assert [path.name for path in (tmp_path / "mirror").iterdir()] == [MARKER]
    assert looked(site.home)["xpcs place mirror"].state is State.WRONG
    assert far.ledger.known_place("xpcs", "mirror") is not None


def _over_ssh(altered: Altered, site: Site, server: sshd.Server, root: Path) -> OpenBeamline:
    commands = server.commands
    host: dict[str, Any] = {"address": commands.address, "port": commands.port, "user": commands.user}
    host |= {"key": commands.key, "known_hosts": commands.known_hosts}
    with (site.home / SITE_FILE).open("a", encoding="utf-8") as file:
        file.write("\n" + yaml.safe_dump({"hosts": {"far": host}}))
    place = {"kind": "ssh", "host": "far", "root": str(root), "failure_domain": "far away"}
    beamline = altered({"places": {"mirror": place}, "pipeline": {"copies": ["mirror"]}})
    with suppress(CopyError):
        beamline.place("mirror")
    return beamline
