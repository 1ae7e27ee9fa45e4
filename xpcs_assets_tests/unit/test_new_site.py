"""A new site and a new beamline file: written once, readable, and only where asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xpcs_assets.arrive.submit import matches
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.database import check_schema, open_database
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.errors import RefusedError, SettingsError
from xpcs_assets.new_site import init, new_beamline, pattern_of
from xpcs_assets.site import Site
from xpcs_assets_tests.unit.conftest import bare_run

EIGHT_ID = "2026-3/smith2026/data/A001_x_a0001_f000600_r00001"


def contents(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_init_makes_a_site_that_opens_with_an_empty_ledger(tmp_path: Path) -> None:
    site = init(tmp_path / "new" / "site", title="A beamline")
    assert (site.settings.title, list(site.beamlines), site.broken) == ("A beamline", ["xpcs"], {})
    engine = open_database(site.database_url)
    check_schema(engine)
    assert Ledger(engine).runs("xpcs") == ()
    engine.dispose()
    assert (site.home / "detector").is_dir()


def test_init_twice_changes_nothing(site: Site) -> None:
    with (site.home / "beamlines" / "xpcs.yaml").open("a") as file:
        file.write("# ours\n")
    before = contents(site.home)
    init(site.home, title="another")
    assert contents(site.home) == before


@pytest.mark.parametrize("title", ['the "hot" one', "back\\slash", "µXPCS: 8-ID", "# 1", "@NAME@"])
def test_a_title_is_kept_as_it_was_given(tmp_path: Path, title: str) -> None:
    site = init(tmp_path, title=title)
    assert (site.settings.title, site.beamlines["xpcs"].title) == (title, title)


def test_init_over_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")
    with pytest.raises(SettingsError, match="the site cannot be written"):
        init(tmp_path)
    assert (tmp_path / "store").read_text() == "mine"


def test_an_example_like_those_of_8_id_gives_the_pattern_that_check_then_shows(site: Site, tmp_path: Path) -> None:
    example = bare_run(tmp_path / "gdata" / EIGHT_ID)
    file, settings = new_beamline(site.home, example, name="aps-8-id-i")
    assert file == site.home / "beamlines" / "aps-8-id-i.yaml"
    assert settings.runs.source.path == "{cycle}/{experiment}/data/{run}/"
    assert settings.runs.key == "{cycle}_{experiment}_{run}"
    assert settings.places["detector"].root == tmp_path / "gdata"
    opened = OpenBeamline(Site(site.home), settings)
    (found,) = matches(opened, limit=5)
    assert (found.source, found.reason) == (EIGHT_ID, "")
    assert found.key == "2026-3_smith2026_A001_x_a0001_f000600_r00001"


def test_a_raw_file_as_example_makes_a_pattern_of_files(site: Site, tmp_path: Path) -> None:
    example = bare_run(tmp_path / "raw", "A001") / "A001.imm"
    _, settings = new_beamline(site.home, example, name="flat")
    assert (settings.runs.source.path, settings.runs.key) == ("{run}.imm", "{run}")
    opened = OpenBeamline(Site(site.home), settings)
    assert [(match.key, match.reason) for match in matches(opened, limit=5)] == [("A001", "")]


def test_a_root_that_is_named_keeps_the_folders_below_it(tmp_path: Path) -> None:
    example = tmp_path / "a" / "b" / "run7"
    example.mkdir(parents=True)
    assert pattern_of(example, tmp_path) == (tmp_path, "a/b/{run}/", "{run}")


def test_a_cycle_above_the_named_root_is_no_field(tmp_path: Path) -> None:
    example = tmp_path / "2026-3" / "smith" / "run7"
    example.mkdir(parents=True)
    assert pattern_of(example, tmp_path / "2026-3") == (
        tmp_path / "2026-3",
        "{experiment}/{run}/",
        "{experiment}_{run}",
    )


def test_a_run_outside_the_named_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(SettingsError, match="not below that root"):
        pattern_of(tmp_path / "run", tmp_path / "root")


def test_an_example_that_is_not_there_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such run"):
        new_beamline(site.home, tmp_path / "nothing", name="new")


def test_a_beamline_that_has_a_file_keeps_it(site: Site, tmp_path: Path) -> None:
    before = contents(site.home / "beamlines")
    with pytest.raises(RefusedError, match="has a file already"):
        new_beamline(site.home, tmp_path, name="xpcs")
    assert contents(site.home / "beamlines") == before


@pytest.mark.parametrize("name", ["../outside", "Bad Name", "a_b", "", "a/b"])
def test_a_name_that_is_none_writes_no_file_anywhere(site: Site, tmp_path: Path, name: str) -> None:
    run = bare_run(tmp_path / "runs" / "A001")
    before = contents(tmp_path)
    with pytest.raises(SettingsError, match=r"[Ll]ower-case letters, digits and '-'"):
        new_beamline(site.home, run, name=name)
    assert contents(tmp_path) == before


def test_an_example_that_makes_no_pattern_writes_no_file(site: Site, tmp_path: Path) -> None:
    run = bare_run(tmp_path / "runs" / "A001")
    with pytest.raises(SettingsError, match="path"):
        new_beamline(site.home, run, name="new", root=run)
    assert not (site.home / "beamlines" / "new.yaml").exists()


def test_a_folder_with_quotes_in_its_name_is_watched_as_it_is_called(site: Site, tmp_path: Path) -> None:
    run = bare_run(tmp_path / 'the "old" detector' / "A001")
    _, settings = new_beamline(site.home, run, name="new")
    assert settings.places["detector"].root == Path(os.fspath(run.parent))
