from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xpcs_assets.cli import app
from xpcs_assets.errors import RawDataError
from xpcs_assets.testing.simulate import simulate

runner = CliRunner()


def test_a_file_is_described_in_a_table_with_the_command_it_asks_for(tmp_path: Path) -> None:
    run = simulate(tmp_path, format="dectris", frames=60, shape=(64, 72))
    said = runner.invoke(app, ["inspect", str(run.raw)])
    assert said.exit_code == 0, said.output
    for part in (
        "dectris, frames of uint32",
        "64 x 72 pixels (rows x columns)",
        "0.001 s (1000 Hz), by A000_sim_a0001_f000060_r00001_metadata.hdf",
        "20 pixels, 20 by the detector's own mask",
        f"xpcs-assets correlate {run.raw} --qmap FILE",
    ):
        assert part in said.output


def test_json_has_every_number_and_null_for_what_is_not_known(tmp_path: Path) -> None:
    run = simulate(tmp_path, format="rigaku3m", frames=6)
    run.metadata.unlink()
    said = runner.invoke(app, ["inspect", "--json", *(str(path) for path in sorted(run.folder.glob("*.bin.00?")))])
    assert said.exit_code == 0, said.output
    found = json.loads(said.output)
    assert (found["format"], found["frames_recorded"], len(found["files"])) == ("rigaku3m", 6, 6)
    assert (found["frame_time_s"], found["variance_over_mean"]) == (None, None)
    assert found["detector_masked_pixels"] == 1676 * 2100 - 6 * 512 * 1024
    assert found["recipe"]["kernel"] == "events"
    assert found["recipe"]["advice"][0]["option"] == "--metadata FILE"


def test_a_file_of_no_known_format_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no detector")
    said = runner.invoke(app, ["inspect", str(path)])
    assert said.exit_code != 0
    assert isinstance(said.exception, RawDataError)


@pytest.mark.parametrize("name", ["a\x1b[31m.imm", "ü b.imm"])
def test_control_characters_of_a_name_are_not_printed(tmp_path: Path, name: str) -> None:
    run = simulate(tmp_path, format="imm", frames=20, shape=(64, 72))
    said = runner.invoke(app, ["inspect", str(run.raw.rename(run.raw.with_name(name)))])
    assert said.exit_code == 0, said.output
    assert "\x1b" not in said.output
