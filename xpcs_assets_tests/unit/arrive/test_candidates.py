"""Finding runs by a path pattern: which files are whose, and what is never followed, opened or waited for."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from xpcs_assets.arrive.candidates import files_of, find, fingerprint, locate, unreadable
from xpcs_assets.arrive.complete import why_not
from xpcs_assets.arrive.submit import matches
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import SettingsError
from xpcs_assets_tests.unit.conftest import Altered, bare_run


def names(beamline: OpenBeamline, source: str) -> list[str]:
    """The files of the run at ``source``, as the beamline lists them."""
    root = beamline.source_root
    return [item.path for item in files_of(beamline.settings, locate(beamline.settings, root, root / source), root)]


def found(beamline: OpenBeamline) -> dict[str, str]:
    return {item.source: item.key for item in find(beamline.settings, beamline.source_root)}


def of_files(altered: Altered) -> OpenBeamline:
    return altered({"runs": {"from": {"path": "{run}.imm"}}})


def test_a_folder_is_a_run_with_everything_below_it(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    bare_run(run / "sub")
    assert found(beamline) == {"A001": "A001"}
    assert names(beamline, "A001") == ["A001.imm", "A001_metadata.hdf", "sub/sub.imm", "sub/sub_metadata.hdf"]


def test_the_fields_of_a_path_make_the_key_and_are_kept(altered: Altered) -> None:
    beamline = altered({"runs": {"from": {"path": "{cycle}/{experiment}/data/{run}/"}, "key": "{experiment}_{run}"}})
    bare_run(beamline.source_root / "2026-3" / "smith" / "data" / "A001")
    bare_run(beamline.source_root / "2026-3" / "smith" / "analysis" / "A001")
    (candidate,) = find(beamline.settings, beamline.source_root)
    assert (candidate.key, candidate.source) == ("smith_A001", "2026-3/smith/data/A001")
    assert candidate.fields == {"cycle": "2026-3", "experiment": "smith", "run": "A001"}


def test_a_raw_file_is_a_run_with_the_companions_of_its_stem(altered: Altered) -> None:
    beamline = of_files(altered)
    bare_run(beamline.source_root, "A001")
    (beamline.source_root / "A001.log").write_text("log")
    (beamline.source_root / "A0010_metadata.hdf").write_text("of another run")
    (beamline.source_root / "A001_plots").mkdir()
    assert found(beamline) == {"A001.imm": "A001"}
    assert names(beamline, "A001.imm") == ["A001.imm", "A001.log", "A001_metadata.hdf"]


def test_a_stem_that_another_begins_with_takes_none_of_its_companions(altered: Altered) -> None:
    beamline = of_files(altered)
    for stem in ("A001", "A001_2", "A001_2-b"):
        bare_run(beamline.source_root, stem)
    assert names(beamline, "A001.imm") == ["A001.imm", "A001_metadata.hdf"]
    assert names(beamline, "A001_2.imm") == ["A001_2.imm", "A001_2_metadata.hdf"]
    assert names(beamline, "A001_2-b.imm") == ["A001_2-b.imm", "A001_2-b_metadata.hdf"]


def test_ignored_files_and_the_marker_are_no_part_of_a_run(altered: Altered) -> None:
    changes = {"ignore": [".*", "*.tmp", "cache"], "from": {"complete_when": {"marker": "done.txt"}}}
    beamline = altered({"runs": changes})
    run = bare_run(beamline.source_root / "A001")
    for name in (".hidden", "x.tmp", "done.txt", ".git/config", "cache/deep/file", "kept.txt"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("x")
    assert names(beamline, "A001") == ["A001.imm", "A001_metadata.hdf", "kept.txt"]


def test_hidden_folders_are_no_runs(beamline: OpenBeamline) -> None:
    bare_run(beamline.source_root / ".A001")
    assert found(beamline) == {}


def test_links_pipes_and_sockets_are_shown_and_neither_followed_nor_waited_for(
    beamline: OpenBeamline, tmp_path: Path
) -> None:
    secret = bare_run(tmp_path / "secret")
    for name, make in {
        "file": lambda path: path.symlink_to(secret / "secret.imm"),
        "folder": lambda path: path.symlink_to(secret),
        "dangling": lambda path: path.symlink_to(tmp_path / "nothing"),
        "loop": lambda path: path.symlink_to(path.parent),
        "pipe": os.mkfifo,
    }.items():
        run = bare_run(beamline.source_root / name)
        make(run / "odd.imm")
        listed = names(beamline, name)
        assert listed == sorted([f"{name}.imm", f"{name}_metadata.hdf", "odd.imm"])
    reasons = {match.key: match.reason for match in matches(beamline, 10)}
    assert all("'odd.imm' is a link or no ordinary file" in reasons[name] for name in found(beamline))


def test_a_run_that_is_a_link_is_no_run(beamline: OpenBeamline, tmp_path: Path) -> None:
    outside = bare_run(tmp_path / "outside")
    (beamline.source_root / "A001").symlink_to(outside)
    assert found(beamline) == {}
    with pytest.raises(SettingsError, match="not below the watched folder"):
        locate(beamline.settings, beamline.source_root, beamline.source_root / "A001")


def refuse_to_list(monkeypatch: pytest.MonkeyPatch, folder: Path, error: type[OSError] = PermissionError) -> None:
    """Let listing one folder fail: permissions do not bind the user that tests may run as."""
    scandir = os.scandir

    def scan(path: Path) -> object:
        if Path(path) == folder:
            raise error(13, "Permission denied", str(folder))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError, OSError])
def test_a_folder_that_cannot_be_listed_is_shown_and_the_others_are_found(
    altered: Altered, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    beamline = altered({"runs": {"from": {"path": "{experiment}/{run}/"}, "key": "{experiment}_{run}"}})
    for experiment in ("locked", "open"):
        bare_run(beamline.source_root / experiment / "A001")
    locked = beamline.source_root / "locked"
    refuse_to_list(monkeypatch, locked, error)
    assert found(beamline) == {"open/A001": "open_A001"}
    assert unreadable(beamline.source_root, beamline.settings) == [locked]


def test_a_run_that_cannot_be_listed_is_shown_with_its_reason(
    beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A001", "A002"):
        bare_run(beamline.source_root / name)
    refuse_to_list(monkeypatch, beamline.source_root / "A001")
    shown = {match.key: match.reason for match in matches(beamline, 10)}
    assert shown == {"A001": "cannot be read: Permission denied", "A002": ""}


def test_a_watched_folder_that_cannot_be_listed_is_an_error(
    beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_list(monkeypatch, beamline.source_root)
    with pytest.raises(PermissionError):
        list(find(beamline.settings, beamline.source_root))
    assert unreadable(beamline.source_root, beamline.settings) == [beamline.source_root]


def test_a_name_that_is_no_utf8_is_refused_with_a_reason_that_can_be_printed(beamline: OpenBeamline) -> None:
    folder = os.fsencode(beamline.source_root) + b"/d\xfcse"
    os.mkdir(folder)  # noqa: PTH102 - the name is bytes
    (candidate,) = find(beamline.settings, beamline.source_root)
    assert "no UTF-8" in candidate.reason
    assert candidate.source == r"d\xfcse"
    (match,) = matches(beamline, 10)
    assert "no UTF-8" in match.reason


def test_a_run_in_a_folder_whose_name_is_no_utf8_is_refused_with_that_reason(altered: Altered) -> None:
    beamline = altered({"runs": {"from": {"path": "{experiment}/{run}/"}, "key": "{experiment}_{run}"}})
    os.makedirs(os.fsencode(beamline.source_root) + b"/d\xfcse/A001")  # noqa: PTH103 - the name is bytes
    (match,) = matches(beamline, 10)
    assert "no UTF-8" in match.reason


def test_a_run_with_a_refused_word_in_its_path_is_refused_with_the_word(altered: Altered) -> None:
    beamline = altered({"runs": {"refuse": ["export-control"]}})
    bare_run(beamline.source_root / "A1-export-control")
    (candidate,) = find(beamline.settings, beamline.source_root)
    assert candidate.reason == "its path holds 'export-control', which this beamline refuses"


STRANGE = ["a b", "a%20b", "a.b", "a..b", "-a", "ü" * 127, "x" * 255, "名" * 85, "a\nb", "a'\"b", "[red]a", "{run}"]


def test_runs_of_any_names_are_found_located_and_keyed_apart(beamline: OpenBeamline) -> None:
    pair = [unicodedata.normalize(form, "Düse") for form in ("NFC", "NFD")]
    for name in [*STRANGE, *pair]:
        bare_run(beamline.source_root / name)
    keys = found(beamline)
    assert set(keys) == {*STRANGE, *pair}
    assert len(set(keys.values())) == len(keys)
    for candidate in find(beamline.settings, beamline.source_root):
        assert locate(beamline.settings, beamline.source_root, candidate.folder / "any.imm") == candidate
        assert why_not(beamline.settings, candidate, files_of(beamline.settings, candidate, beamline.source_root)) == ""


@pytest.mark.parametrize("path", ["..", "../store", "A001/../../store", "."])
def test_a_path_outside_the_watched_folder_is_no_run(beamline: OpenBeamline, path: str) -> None:
    with pytest.raises(SettingsError, match=r"watched folder|does not match"):
        locate(beamline.settings, beamline.source_root, beamline.source_root / path)


def test_a_path_that_does_not_match_is_refused_with_the_pattern(altered: Altered) -> None:
    beamline = of_files(altered)
    with pytest.raises(SettingsError, match=r"does not match the beamline's pattern '\{run\}\.imm'"):
        locate(beamline.settings, beamline.source_root, beamline.source_root / "A001.bin")


def test_names_sizes_and_times_change_the_fingerprint(beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    (candidate,) = find(beamline.settings, beamline.source_root)

    def seen() -> str:
        return fingerprint(files_of(beamline.settings, candidate, beamline.source_root))

    prints = [seen(), seen()]
    os.utime(run / "A001.imm", ns=(1, 1))
    prints.append(seen())
    (run / "A001.imm").write_bytes(b"frames and more")
    os.utime(run / "A001.imm", ns=(1, 1))
    prints.append(seen())
    (run / "A001.imm").rename(run / "B001.imm")
    prints.append(seen())
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4
