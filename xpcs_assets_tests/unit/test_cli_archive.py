"""``xpcs-assets retrieve``: 0 only when all that was asked for is there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from xpcs_assets import cli
from xpcs_assets.archive.archiving import archive, archive_results
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import NotFoundError, SettingsError
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


def test_a_dry_run_says_which_file_would_come_from_where(retrieve: Retrieve, beamline: OpenBeamline) -> None:
    said = retrieve("--dry-run")
    assert said.exit_code == 0
    assert "A001.imm  tape:xpcs/A001/v1/raw/A001-v1-raw-" in said.stdout
    assert f"2 files, {beamline.latest('A001').manifest.size_bytes} bytes would be written" in said.stdout
    assert not beamline.staged(beamline.latest("A001")).raw.exists()


def test_results_come_back_by_the_recipe_and_what_is_missing_makes_the_exit_code_1(
    retrieve: Retrieve, beamline: OpenBeamline, tmp_path: Path
) -> None:
    folder = beamline.staged(beamline.latest("A001"))
    folder.result("aaaa").parent.mkdir(parents=True)
    folder.result("aaaa").write_bytes(b"g2")
    beamline.ledger.record_result(
        "xpcs",
        "A001",
        run_key="A001",
        version=1,
        recipe_digest="sha256:aaaa",
        path=str(folder.result("aaaa").relative_to(folder.root)),
        result_digest=f"sha256:{sha256(b'g2').hexdigest()}",
        report={},
    )
    archive_results(beamline, "A001")
    folder.result("aaaa").unlink()
    said = retrieve("--results", "--recipe", "latest")
    assert (said.exit_code, folder.result("aaaa").read_bytes()) == (0, b"g2")
    assert "aaaa/A001_results.hdf  tape:xpcs/A001/v1/results/" in said.stdout
    folder.result("aaaa").unlink()
    for bundle in beamline.root("tape").rglob("*-results-*.tar"):
        bundle.unlink()
    said = retrieve("--results", "--to", tmp_path / "out")
    assert said.exit_code == 1
    assert "aaaa/A001_results.hdf: it could not be had from any copy" in said.stderr
    assert isinstance(retrieve("--recipe", "latest").exception, SettingsError)
