"""``xpcs-assets retrieve``: 0 only when all that was asked for is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from xpcs_assets import cli
from xpcs_assets.archive.archiving import archive
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import NotFoundError
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import bare_run

Retrieve = Callable[..., Result]


@pytest.fixture
def retrieve(beamline: OpenBeamline) -> Retrieve:
    """Retrieve from a run that is only in the archive."""
    submit(beamline, bare_run(beamline.source_root / "A001"))
    take(beamline, "A001")
    stage(beamline, "A001")
    archive(beamline, "A001")
    shutil.rmtree(beamline.source_root / "A001")
    shutil.rmtree(beamline.staged(beamline.latest("A001")).raw)

    def run(*arguments: object) -> Result:
        words = ["retrieve", "xpcs", "A001", *arguments, "--home", beamline.site.home]
        return CliRunner().invoke(cli.app, [str(word) for word in words])

    return run


def test_a_run_is_staged_again_and_the_command_says_where_each_file_came_from(
    retrieve: Retrieve, beamline: OpenBeamline
) -> None:
    said = retrieve()
    assert said.exit_code == 0
    assert "A001.imm  tape:xpcs/A001/v1/raw/A001-v1-raw-" in said.stdout
    assert f"2 files, {beamline.latest('A001').manifest.size_bytes} bytes written" in said.stdout
    assert (beamline.staged(beamline.latest("A001")).raw / "A001.imm").read_bytes() == b"frames"


def test_one_file_of_a_version_goes_to_a_folder(retrieve: Retrieve, tmp_path: Path) -> None:
    said = retrieve("A001.imm", "--version", 1, "--to", tmp_path / "out")
    assert said.exit_code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["A001.imm"]


def test_what_cannot_be_had_is_told_and_the_exit_code_is_not_0(retrieve: Retrieve, beamline: OpenBeamline) -> None:
    (bundle,) = beamline.root("tape").rglob("*.tar")
    bundle.write_bytes(bundle.read_bytes().replace(b"frames", b"flames"))
    said = retrieve()
    assert said.exit_code == 1
    assert "A001.imm: it could not be had from any copy" in said.stderr
    assert "1 file, " in said.stdout


def test_a_file_that_the_run_never_had_is_an_error(retrieve: Retrieve) -> None:
    said = retrieve("no such file")
    assert said.exit_code == 1
    assert isinstance(said.exception, NotFoundError)
