"""Finding a site, reading its files, and keeping a broken beamline file from the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from xpcs_assets.errors import NotFoundError, SettingsError
from xpcs_assets.site import SITE_FILE, Site, find_home, load_beamline

XPCS = "beamlines/xpcs.yaml"


def make_home(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / SITE_FILE).write_text("title: a site\n")
    return folder


def test_the_home_that_is_named_comes_before_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, by_variable = make_home(tmp_path / "named"), make_home(tmp_path / "variable")
    monkeypatch.setenv("XPCS_ASSETS_HOME", str(by_variable))
    assert find_home(named) == named
    assert find_home() == by_variable


def test_a_home_that_is_named_but_none_is_never_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPCS_ASSETS_HOME", str(make_home(tmp_path / "variable")))
    with pytest.raises(SettingsError, match=r"elsewhere: no site here\. Make one with"):
        find_home(tmp_path / "elsewhere")


def test_the_variable_comes_before_the_home_of_dagster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    around, by_variable = make_home(tmp_path / "around"), make_home(tmp_path / "variable")
    monkeypatch.setenv("DAGSTER_HOME", str(around / "dagster"))
    monkeypatch.delenv("XPCS_ASSETS_HOME", raising=False)
    assert find_home() == around
    monkeypatch.setenv("XPCS_ASSETS_HOME", str(by_variable))
    assert find_home() == by_variable


def test_without_any_word_it_is_this_folder_or_the_one_called_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XPCS_ASSETS_HOME", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    below = make_home(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    assert find_home() == below
    (tmp_path / SITE_FILE).write_text("title: here\n")
    assert find_home() == tmp_path


def test_a_folder_that_is_no_site_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XPCS_ASSETS_HOME", raising=False)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="--home or XPCS_ASSETS_HOME"):
        find_home()


BROKEN = {
    "no YAML": "beamline: [",
    "an unknown key": "beamline: broken\nsurprise: 1\n",
    "an impossible date": "beamline: broken\nruns: {owner: {embargo_until: 2026-02-31}}\n",
    "no UTF-8": b"title: \xff\xfe",
    "nothing": "",
    "a list": "- beamline\n",
    "another name": "beamline: other\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_beamline_file_leaves_the_others_running(site: Site, kind: str) -> None:
    content = BROKEN[kind]
    file = site.home / "beamlines" / "broken.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    again = Site(site.home)
    assert list(again.beamlines) == ["xpcs"]
    assert again.broken["broken"].where == str(file)
    assert again.broken["broken"].remedy
    with pytest.raises(SettingsError):
        again.beamline("broken")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("beamline: [", r"line 1, column 12: expected the node content"),
        (
            "retention: {detector: {keep_for: 30 days,\n  keep_for: 1 day}}",
            r"line 2, column 3: 'keep_for' is given twice",
        ),
        ("beamline: xpcs\nbeamline: xpcs", r"line 2, column 1: 'beamline' is given twice"),
    ],
)
def test_what_is_no_yaml_is_told_in_one_line_with_its_place(site: Site, text: str, told: str) -> None:
    path = site.home / "beamlines" / "xpcs.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=told) as caught:
        load_beamline(path)
    assert "\n" not in str(caught.value)


def test_what_is_merged_in_may_be_given_again(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("title: &t site\nwebserver:\n  <<: {port: 1, host: 127.0.0.1}\n  port: 3070\n")
    assert Site(tmp_path).settings.webserver.port == 3070


def test_an_unknown_key_is_refused_with_file_and_key(site: Site) -> None:
    file = site.home / XPCS
    file.write_text(file.read_text().replace("give_up_after", "giveup_after"))
    with pytest.raises(SettingsError, match=r"xpcs\.yaml: runs\.from\.complete_when\.giveup_after: Extra inputs"):
        load_beamline(file)


def test_a_file_is_named_after_its_beamline(site: Site) -> None:
    other = site.home / "beamlines" / "other.yaml"
    other.write_text((site.home / XPCS).read_text())
    with pytest.raises(SettingsError, match=r"the file says beamline 'xpcs'\. Give file and beamline one name"):
        load_beamline(other)


def test_an_unknown_beamline_is_answered_with_those_that_are_there(site: Site) -> None:
    with pytest.raises(NotFoundError, match=r"no beamline 'nowhere'\. There are: xpcs"):
        site.beamline("nowhere")


def test_a_wrong_site_file_is_refused_with_its_key(site: Site) -> None:
    (site.home / SITE_FILE).write_text("webserver: {port: 70000}\n")
    with pytest.raises(SettingsError, match=r"site\.yaml: webserver\.port: .*docs/reference/site-file\.md has every"):
        Site(site.home)


def test_relative_paths_start_at_the_home_and_absolute_ones_stay(site: Site) -> None:
    assert site.path(Path("store")) == site.home / "store"
    assert site.path(Path("/gdata")) == Path("/gdata")


def test_the_database_is_a_file_in_the_home_unless_another_is_named(site: Site) -> None:
    assert site.database_url == f"sqlite:///{site.home}/ledger.db"
    (site.home / SITE_FILE).write_text("database: postgresql+psycopg2://host/xpcs\n")
    assert Site(site.home).database_url == "postgresql+psycopg2://host/xpcs"


def test_a_key_called_on_is_that_word_and_true_is_the_only_yes(site: Site) -> None:
    file = site.home / XPCS
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("  correlate:\n", "  correlate:\n    on: [local]\n    save_g2: true\n"), "utf-8")
    correlate = Site(site.home).beamline("xpcs").pipeline.correlate
    assert correlate is not None
    assert (correlate.on, correlate.save_g2) == (("local",), True)
