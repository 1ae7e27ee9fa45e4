"""The command line: what each command prints, and exit codes that a script can believe."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from alembic.command import upgrade
from alembic.config import Config
from typer.testing import CliRunner

from xpcs_assets import __version__, cli
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies import database
from xpcs_assets.copies.database import SCHEMA, open_database
from xpcs_assets.errors import XpcsAssetsError
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import bare_run

HEAVY = ("dagster", "numba", "jax", "h5py", "matplotlib", "scipy", "pandas", "sqlalchemy", "alembic")


@dataclass
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def command(beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command line on a small site, as the installed program does."""
    monkeypatch.setenv("XPCS_ASSETS_HOME", str(beamline.site.home))
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments: object) -> Said:
        result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
        if isinstance(result.exception, XpcsAssetsError):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def program(beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The same with what turns an error into a line, as ``xpcs-assets`` does."""
    monkeypatch.setenv("XPCS_ASSETS_HOME", str(beamline.site.home))

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["xpcs-assets", *(str(argument) for argument in arguments)])
        try:
            code = cli.run()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


def test_the_version_is_said(program: Command) -> None:
    assert program("--version") == Said(0, f"{__version__}\n", "")


def test_a_wrong_command_is_wrong_usage(program: Command) -> None:
    assert program("sumbit").code == 2


def test_init_makes_a_site_and_says_where_and_what_next(command: Command, tmp_path: Path) -> None:
    said = command("init", tmp_path / "new [red]site", "--title", "ours")
    assert said.code == 0
    assert f"site       {tmp_path}/new [red]site\n" in said.out
    assert f"beamline   xpcs: watches {tmp_path}/new [red]site/detector" in said.out
    assert "xpcs-assets up --home" in said.out
    assert (tmp_path / "new [red]site" / "ledger.db").is_file()


def test_init_says_from_which_schema_to_which_it_brought_the_ledger(command: Command, tmp_path: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).with_name("migrations")))
    engine = open_database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.execution_options(xpcs_writes=True).begin() as connection:
        config.attributes["connection"] = connection
        upgrade(config, "0003")
    engine.dispose()
    said = command("init", tmp_path).out
    assert f"ledger     brought from schema 0003 to {SCHEMA}; all that it knew is still there\n" in said
    assert f"ledger     of schema {SCHEMA} already, nothing to do\n" in command("init", tmp_path).out
    assert f"ledger     new, of schema {SCHEMA}\n" in command("init", tmp_path / "new").out


def test_init_over_what_is_no_folder_fails(program: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = program("init", tmp_path / "file")
    assert said.code == 1
    assert said.err.startswith(f"error: {tmp_path}/file: the site cannot be written")


def test_submit_prints_the_key_alone_and_twice_is_one_run(command: Command, beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A 001")
    assert command("submit", "xpcs", run) == Said(0, "A=20001\n", "")
    take(beamline, "A=20001")
    again = command("submit", "xpcs", run)
    assert (again.code, again.out) == (0, "A=20001\n")
    assert "was taken before; nothing new is done" in again.err


def test_submit_of_several_takes_the_good_ones_and_ends_with_1(
    command: Command, beamline: OpenBeamline, tmp_path: Path
) -> None:
    runs = [bare_run(beamline.source_root / name) for name in ("A001", "A002", "A003")]
    (runs[1] / "A002.imm").write_bytes(b"")
    said = command("submit", "xpcs", *runs, tmp_path)
    assert (said.code, said.out) == (1, "A001\nA003\n")
    assert said.err.count("error: ") == 2
    assert "'A002.imm' has zero bytes" in said.err


def test_a_dry_run_of_submit_prints_the_very_keys_and_refusals_and_notes_nothing(
    command: Command, beamline: OpenBeamline, tmp_path: Path
) -> None:
    run = bare_run(beamline.source_root / "A 001")
    said = command("submit", "xpcs", run, tmp_path, "--dry-run")
    assert (said.code, said.out) == (1, "A=20001\n")
    assert "would be submitted: 2 files of A 001\n" in said.err
    assert beamline.ledger.arrivals("xpcs") == ()
    assert command("submit", "xpcs", run) == Said(0, "A=20001\n", "")


def test_submit_as_is_takes_what_is_not_complete(command: Command, beamline: OpenBeamline) -> None:
    run = bare_run(beamline.source_root / "A001")
    (run / "A001_metadata.hdf").unlink()
    assert command("submit", "xpcs", run).code == 1
    assert command("submit", "--as-is", "xpcs", run) == Said(0, "A001\n", "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        *((("status", "x"), 1), (("why", "x", "A"), 1), (("check", "x"), 1), (("submit", "x", "."), 1)),
        *((("wait", "x", "A"), 2), (("replay", "x", "A"), 2)),
    ],
)
def test_an_unknown_beamline_ends_with_its_code_and_those_that_are_there(
    program: Command, arguments: tuple[str, ...], code: int
) -> None:
    said = program(*arguments)
    assert (said.code, said.out) == (code, "")
    assert said.err.startswith("error: ")
    assert "no beamline 'x'. There are: xpcs" in said.err


def test_a_home_that_is_none_ends_with_1(program: Command, tmp_path: Path) -> None:
    said = program("status", "xpcs", "--home", tmp_path)
    assert said.code == 1
    assert "no site here" in said.err


def test_status_shows_every_run_with_its_state_and_why(command: Command, beamline: OpenBeamline) -> None:
    assert command("status", "xpcs").out.startswith("no run was seen at xpcs yet\n")
    for name in ("A001", "A002"):
        command("submit", "xpcs", bare_run(beamline.source_root / name))
    take(beamline, "A001")
    said = command("status", "xpcs")
    lines = {line.split()[0]: " ".join(line.split()) for line in said.out.splitlines()}
    assert lines["A001"] == "A001 v1 working 0/8 waits for raw_file"
    assert lines["A002"] == "A002 - submitted 0/8 submitted by hand"


def test_status_as_json_is_for_scripts(command: Command, beamline: OpenBeamline) -> None:
    assert json.loads(command("status", "xpcs", "--json").out) == []
    command("submit", "xpcs", bare_run(beamline.source_root / "Aé[red]" / ""))
    take(beamline, "A=C3=A9=5Bred=5D")
    beamline.ledger.note("xpcs", "A=C3=A9=5Bred=5D", "raw_file", "failed: [bold]é", {"partition": "A=C3=A9=5Bred=5D"})
    (state,) = json.loads(command("status", "xpcs", "A=C3=A9=5Bred=5D", "--json").out)
    assert (state["run_key"], state["version"], state["state"]) == ("A=C3=A9=5Bred=5D", 1, "failed")
    assert state["reason"] == "raw_file: [bold]é"
    assert state["steps"]["raw_file"] == {"state": "failed", "reason": "[bold]é"}
    assert state["steps"]["archive"] == {"state": "waiting", "reason": ""}


def test_status_of_a_run_that_nobody_knows_ends_with_1(program: Command) -> None:
    said = program("status", "xpcs", "A001")
    assert said.code == 1
    assert "no such run" in said.err


def test_why_tells_the_timeline_and_what_the_run_waits_for(command: Command, beamline: OpenBeamline) -> None:
    command("submit", "xpcs", bare_run(beamline.source_root / "A001"))
    take(beamline, "A001")
    beamline.ledger.note("xpcs", "A001", "raw_file", "done", {"partition": "A001", "seconds": 0.25})
    said = command("why", "xpcs", "A001")
    assert said.code == 0
    assert "source     A001 (taken)\n" in said.out
    assert "raw_file       version 1 taken\n" in said.out
    assert "raw_file       done  (0.25 s)\n" in said.out
    assert said.out.endswith("now        working: waits for staged_copy\n")


STEPS = ("raw_file", "staged_copy", "correlation", "plots", "metadata", "catalog_entry", "result_entry")


@pytest.mark.parametrize(
    ("ends", "code", "line"),
    [
        (dict.fromkeys(STEPS, "done"), 0, "A001 done\n"),
        ({"raw_file": "failed: [red]no"}, 1, "A001 failed: raw_file: [red]no\n"),
        ({}, 3, "A001 timed out: waits for raw_file\n"),
    ],
)
def test_wait_ends_as_the_run_does(
    command: Command, beamline: OpenBeamline, ends: dict[str, str], code: int, line: str
) -> None:
    command("submit", "xpcs", bare_run(beamline.source_root / "A001"))
    take(beamline, "A001")
    for step, what in ends.items():
        beamline.ledger.note("xpcs", "A001", step, what, {"partition": "A001"})
    assert command("wait", "xpcs", "A001", "--timeout", "0") == Said(code, line, "")


@pytest.mark.parametrize("arguments", [("A001",), ("A001", "--asset", "archives")])
def test_wait_for_what_is_not_there_ends_with_2(command: Command, arguments: tuple[str, ...]) -> None:
    said = command("wait", "xpcs", *arguments)
    assert (said.code, said.out) == (2, "")
    assert "error: " in said.err


def test_check_says_which_paths_match_and_which_keys_they_give(command: Command, beamline: OpenBeamline) -> None:
    said = command("check", "xpcs")
    assert said.code == 1
    assert "nothing below" in said.out
    bare_run(beamline.source_root / "A [red]1")
    (bare_run(beamline.source_root / "A002") / "A002.imm").unlink()
    said = command("check", "xpcs")
    assert said.code == 0
    lines = [" ".join(line.split()) for line in said.out.splitlines()]
    assert lines[1:] == ["A=20=5Bred=5D1 A [red]1 yes", "A002 A002 no raw file is there yet"]


def test_check_of_a_folder_that_cannot_be_listed_ends_with_1(command: Command, beamline: OpenBeamline) -> None:
    beamline.source_root.rmdir()
    said = command("check", "xpcs")
    assert said.code == 1
    assert "the watched folder cannot be listed" in said.err


def test_new_beamline_writes_a_file_that_check_agrees_with(command: Command, tmp_path: Path) -> None:
    run = bare_run(tmp_path / "gdata" / "2026-3" / "smith2026" / "data" / "A001_x_a0001_f000600_r00001")
    said = command("new-beamline", run, "--name", "aps-8-id-i")
    assert said.code == 0
    assert f"watches    {tmp_path}/gdata\n" in said.out
    assert "path       {cycle}/{experiment}/data/{run}/   key {cycle}_{experiment}_{run}\n" in said.out
    checked = command("check", "aps-8-id-i")
    assert checked.code == 0
    assert "2026-3_smith2026_A001_x_a0001_f000600_r00001" in checked.out


NAMES = ["[red]a", r"\[red]a", "[bold", ":warning:", "a\x1b[31mb", "a\nb"]


@pytest.mark.parametrize("name", NAMES)
def test_what_people_called_their_files_is_never_markup_nor_a_control_code(
    command: Command, beamline: OpenBeamline, name: str
) -> None:
    bare_run(beamline.source_root / name)
    shown = name.replace("\x1b", "\N{REPLACEMENT CHARACTER}").replace("\n", "\N{REPLACEMENT CHARACTER}")
    assert shown in command("check", "xpcs").out
    (key,) = command("submit", "xpcs", beamline.source_root / name).out.split()
    assert f"source     {shown} (submitted" in command("why", "xpcs", key).out


def test_a_broken_beamline_file_is_said_by_init(command: Command, beamline: OpenBeamline) -> None:
    (beamline.site.home / "beamlines" / "broken.yaml").write_text("beamline: [")
    said = command("init", beamline.site.home)
    assert said.code == 0
    assert "not running: " in said.err
    assert "broken.yaml" in said.err


def imported(module: str) -> set[str]:
    """The heavy packages that importing a module brings in."""
    script = f"import {module}, sys, json; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    told = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120)
    return set(json.loads(told.stdout))


def test_the_command_line_starts_without_heavy_packages() -> None:
    assert imported("xpcs_assets.cli") == set()


def test_correlate_goes_straight_to_the_worker_with_its_own_options(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpcs_assets.__main__ import main

    given: list[list[str]] = []

    def worker(arguments: list[str]) -> int:
        given.append(arguments)
        return 7

    monkeypatch.setattr("xpcs_assets.correlate.worker.main", worker)
    arguments = ["a.imm", "--qmap", "q.hdf", "--help"]
    monkeypatch.setattr(sys, "argv", ["xpcs-assets", "correlate", *arguments])
    assert main() == 7
    through_the_command_line = CliRunner().invoke(cli.app, ["correlate", *arguments])
    assert through_the_command_line.exit_code == 7
    assert given == [arguments, arguments]


def test_everything_else_goes_to_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpcs_assets.__main__ import main

    monkeypatch.setattr(cli, "run", lambda: 5)
    monkeypatch.setattr(sys, "argv", ["xpcs-assets", "status", "xpcs"])
    assert main() == 5


@pytest.fixture
def staged(beamline: OpenBeamline) -> str:
    submit(beamline, bare_run(beamline.source_root / "A001"), as_is=True)
    take(beamline, "A001")
    stage(beamline, "A001")
    return "A001"


def test_a_dry_run_of_prune_says_of_every_copy_why_it_stays(command: Command, staged: str) -> None:
    said = command("prune", "xpcs", "--dry-run", "--all")
    assert said.code == 0
    detector, store = (line for line in said.out.splitlines() if " stays: " in line)
    assert detector.startswith("  A001 v1 stays: its place keeps it until ")
    assert "2 are needed" in detector
    assert store.startswith("  xpcs/A001/v1/raw v1 stays: ")


def test_prune_removes_nothing_that_must_stay(command: Command, beamline: OpenBeamline, staged: str) -> None:
    assert command("prune", "xpcs").code == 0
    assert (beamline.source_root / "A001" / "A001.imm").exists()


def test_a_held_run_is_held_until_released_once(command: Command, beamline: OpenBeamline, staged: str) -> None:
    assert command("hold", "xpcs", "A001", "--reason", "reference").code == 0
    assert "reference" in command("why", "xpcs", "A001").out
    assert "reference" in command("prune", "xpcs", "--dry-run", "--all").out
    assert command("release", "xpcs", "A001").code == 0
    assert command("release", "xpcs", "A001").code == 1
    with pytest.raises(XpcsAssetsError):
        command("hold", "xpcs", "A002", "--reason", "no such run")


def test_simulate_writes_a_run_and_refuses_an_unknown_format(command: Command, tmp_path: Path) -> None:
    said = command("simulate", tmp_path, "--frames", 20, "--name", "A007")
    assert said.code == 0
    assert {path.name for path in (tmp_path / "A007").iterdir()} >= {"A007.imm", "A007_metadata.hdf", "A007_qmap.hdf"}
    assert command("simulate", tmp_path, "--format", "tpx3").code == 2


def test_simulate_hands_on_what_is_wrong_with_the_beam_and_the_detector(command: Command, tmp_path: Path) -> None:
    options = ("--counts", 0.2, "--drift", 0.2, "--substeps", 3, "--leak-hot", 2, "--dropped", 4)
    said = command("simulate", tmp_path, "--frames", 20, "--name", "A008", *options)
    assert said.code == 0
    truth = json.loads((tmp_path / "A008" / "A008_truth.json").read_text())
    assert (truth["mean_counts"], truth["drift"], truth["substeps"]) == (0.2, 0.2, 3)
    assert (len(truth["leaked_hot"]), len(truth["dropped"])) == (2, 4)


def test_a_dry_run_of_reprocess_prints_key_assets_and_recipe_though_the_site_is_not_up(
    command: Command, beamline: OpenBeamline, staged: str
) -> None:
    before = beamline.ledger.timeline("xpcs", "A001")
    said = command("reprocess", "xpcs", "A001", "--name", "wide", "--set", "stride=2", "--dry-run")
    assert (said.code, said.out) == (0, "A001~wide\n")
    assert said.err == "would be made: correlation, plots, result_entry with stride=2\n"
    assert "the beamline's own recipe" in command("reprocess", "xpcs", "A001", "--dry-run").err
    assert beamline.ledger.timeline("xpcs", "A001") == before
    with pytest.raises(XpcsAssetsError, match="sets nothing"):
        command("reprocess", "xpcs", "A001", "--name", "wide", "--set", "strides=2", "--dry-run")


def test_reprocess_says_that_the_site_is_not_up(command: Command, staged: str) -> None:
    with pytest.raises(XpcsAssetsError, match="does not answer"):
        command("reprocess", "xpcs", "A001", "--name", "wide", "--set", "stride=2")
