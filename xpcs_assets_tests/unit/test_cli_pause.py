"""``xpcs-assets pause`` and ``resume``, and that `status` tells of it."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from xpcs_assets import cli
from xpcs_assets.beamline import OpenBeamline


def typed(beamline: OpenBeamline, *words: str) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(cli.app, [*words, "--home", str(beamline.site.home)])


def test_a_pause_is_told_by_status_until_it_ends(beamline: OpenBeamline) -> None:
    assert typed(beamline, "pause", "xpcs", "--reason", "alignment").exit_code == 0
    told = typed(beamline, "status", "xpcs")
    assert (told.exit_code, "UTC: alignment" in told.stderr) == (0, True)
    ended = typed(beamline, "resume", "xpcs")
    assert (ended.exit_code, "takes new runs again" in ended.stdout) == (0, True)
    assert "paused" not in typed(beamline, "status", "xpcs").stderr


def test_what_is_not_paused_cannot_be_resumed(beamline: OpenBeamline) -> None:
    assert typed(beamline, "resume", "xpcs").exit_code == 1
