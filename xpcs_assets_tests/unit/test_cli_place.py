"""``xpcs-assets place``: which disk is expected and which is there, and a person's word that it is the right one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from xpcs_assets import cli
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies import meeting
from xpcs_assets.copies.meeting import Met
from xpcs_assets.errors import RefusedError, SettingsError
from xpcs_assets.places.marker import UNMARKED, Marker, leave_marker, read_marker
from xpcs_assets.runs.folders import MARKER
from xpcs_assets.site import Site
from xpcs_assets_tests import sshd
from xpcs_assets_tests.unit.conftest import Altered


def place(beamline: OpenBeamline, *arguments: str) -> tuple[int, str]:
    home = str(beamline.site.home)
    result = CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, ["place", "xpcs", *arguments, "--home", home])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def told(beamline: OpenBeamline, name: str) -> dict[str, Any]:
    _, said = place(beamline, name, "--json")
    (found,) = json.loads(said)
    assert isinstance(found, dict)
    return found


def test_every_place_is_met_and_shown_with_its_disk(beamline: OpenBeamline) -> None:
    code, said = place(beamline)
    header, *rows = said.splitlines()
    assert (code, header.split()[:4]) == (0, ["PLACE", "STATE", "EXPECTED", "FOUND"])
    assert [row.split()[:2] for row in rows] == [[name, "available"] for name in beamline.settings.places]
    for name in beamline.settings.places:
        marker = read_marker(beamline.root(name))
        found = told(beamline, name)
        assert marker is not None
        assert found["expected"] == found["found"] == marker.identity
        assert (0 < found["used_share"] < 1, found["root"]) == (True, str(beamline.root(name)))


@pytest.mark.parametrize("in_its_stead", ["nothing", "an empty folder", "another disk", "a damaged marker"])
def test_another_disk_is_shown_with_what_is_expected_and_fails(beamline: OpenBeamline, in_its_stead: str) -> None:
    place(beamline)
    root = beamline.root("store")
    expected = told(beamline, "store")["expected"]
    shutil.move(root, root.with_name("away"))
    if in_its_stead != "nothing":
        root.mkdir()
    if in_its_stead == "another disk":
        leave_marker(root, Marker.new("other", "now"))
    elif in_its_stead == "a damaged marker":
        (root / MARKER).write_text("{")
    code, said = place(beamline)
    assert (code, "store" in said, "unavailable" in said) == (1, True, True)
    found = told(beamline, "store")
    assert (found["expected"], found["used_share"], found["failure_domain"]) == (expected, None, "")
    assert found["unavailable"] in said
    assert found["found"] != expected


def test_a_root_that_cannot_be_written_is_shown_as_unmarked(
    beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meeting, "meet", lambda *arguments: Met(UNMARKED))
    code, said = place(beamline, "detector")
    assert (code, said.splitlines()[1].split()[:4]) == (0, ["detector", "unmarked", "-", "-"])


def test_a_person_says_that_the_new_disk_is_the_right_one(beamline: OpenBeamline) -> None:
    place(beamline)
    root = beamline.root("store")
    (root / MARKER).unlink()
    assert place(beamline, "store")[0] == 1
    code, said = place(beamline, "store", "--adopt")
    marker = read_marker(root)
    assert marker is not None
    assert (code, f"store is the disk with marker {marker.identity} from now on" in said) == (0, True)
    assert place(beamline)[0] == 0


def test_the_disk_of_another_place_is_not_adopted(beamline: OpenBeamline) -> None:
    place(beamline)
    shutil.copy(beamline.root("tape") / MARKER, beamline.root("store") / MARKER)
    with pytest.raises(RefusedError, match="its marker is that of place 'tape'"):
        place(beamline, "store", "--adopt")
    assert place(beamline, "store")[0] == 1


@pytest.mark.parametrize(("arguments", "said"), [(["--adopt"], "about one place"), (["cellar"], "no place 'cellar'")])
def test_a_place_that_is_not_named_right_is_refused(beamline: OpenBeamline, arguments: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        place(beamline, *arguments)
    with pytest.raises(SettingsError, match="no place 'cellar'"):
        place(beamline, "cellar", "--adopt")


def test_a_place_over_ssh_is_met_and_shown_by_its_machine(site: Site, altered: Altered, tmp_path: Path) -> None:
    if missing := sshd.why_missing():
        pytest.skip(missing)
    far, root = sshd.server().commands, tmp_path / "far"
    root.mkdir()
    host = {name: getattr(far, name) for name in ("address", "port", "user", "key", "known_hosts")}
    with (site.home / "site.yaml").open("a") as file:
        file.write(f"\nhosts: {json.dumps({'mirror-host': host})}\n")
    beamline = altered({"places": {"mirror": {"kind": "ssh", "host": "mirror-host", "root": str(root)}}})
    code, said = place(beamline, "mirror")
    marker = read_marker(root)
    assert marker is not None
    assert (code, f"{far.where}:{root}" in said) == (0, True)
    shown = told(beamline, "mirror")
    assert (shown["found"], shown["failure_domain"]) == (marker.identity, "host 127.0.0.1")
    (root / MARKER).unlink()
    assert (place(beamline, "mirror")[0], place(beamline, "mirror", "--adopt")[0]) == (1, 0)
    shutil.rmtree(root)
    shown = told(beamline, "mirror")
    assert (shown["unavailable"], shown["found"], shown["used_share"]) == ("No such file or directory",) * 2 + (None,)
