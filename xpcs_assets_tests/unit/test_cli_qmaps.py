"""``xpcs-assets qmaps`` and ``status --stale``: adding, listing and withdrawing maps, and the results that are old."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from xpcs_assets import cli
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.analyse import correlate_settings, plan
from xpcs_assets.errors import NotFoundError, QmapError
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import Altered, Drop


@pytest.fixture
def beamline(altered: Altered) -> OpenBeamline:
    """A beamline whose runs are analysed with the registry's map."""
    return altered({"pipeline": {"correlate": {"qmap": {"in_run": "", "registry": "standard"}}}})


@pytest.fixture
def qmap(simulated: Path) -> Path:
    return simulated / "SIM_qmap.hdf"


def typed(beamline: OpenBeamline, *words: object) -> Result:
    arguments = [*map(str, words), "--home", str(beamline.site.home)]
    said = CliRunner(env={"COLUMNS": "400"}).invoke(cli.app, arguments)
    if said.exception is not None and not isinstance(said.exception, SystemExit):
        raise said.exception
    return said


def analysed(beamline: OpenBeamline, folder: Path) -> None:
    """Record what a run would be made of as its promoted result."""
    submit(beamline, folder, as_is=True)
    take(beamline, folder.name)
    stage(beamline, folder.name)
    recipe = plan(beamline, folder.name, correlate_settings(beamline).settings).recipe
    beamline.ledger.record_result(
        "xpcs", folder.name, run_key=folder.name, version=1, recipe_digest=recipe.digest, path="r.hdf",
        result_digest="sha256:r", report={"recipe": asdict(recipe)},
    )  # fmt: skip
    beamline.ledger.promote("xpcs", folder.name, recipe.digest)


def test_maps_are_added_listed_and_withdrawn(beamline: OpenBeamline, drop: Drop, qmap: Path) -> None:
    assert "is empty" in typed(beamline, "qmaps", "xpcs").stdout
    said = typed(beamline, "qmaps", "xpcs", "--add", qmap, "--name", "standard", "--note", "after the move")
    (version,) = beamline.ledger.qmaps("xpcs", "standard")
    assert said.stdout == f"standard v1  {version.digest}\n"
    again = typed(beamline, "qmaps", "xpcs", "--add", qmap, "--name", "standard")
    assert (again.stdout, "nothing new is done" in again.stderr) == (said.stdout, True)
    times = ("--valid-from", "2025-03-01T08:00+01:00", "--valid-until", "2025-03-02")
    typed(beamline, "qmaps", "xpcs", "--add", qmap, "--name", "other", *times)
    analysed(beamline, drop(beamline, "A001"))

    heading, other, standard = typed(beamline, "qmaps", "xpcs").stdout.splitlines()
    assert heading.split()[:4] == ["q-map", "valid", "from", "until"]
    assert other.startswith("other v1     2025-03-01 07:00:00  2025-03-02 00:00:00")
    assert standard.split()[:6] == ["standard", "v1", "-", "-", version.digest[7:19], "1"]
    assert "A001" in standard
    assert standard.endswith("after the move")
    assert typed(beamline, "qmaps", "xpcs", "standard").stdout.splitlines()[1].split() == standard.split()

    gone = typed(beamline, "qmaps", "xpcs", "--withdraw", "standard", 1, "--reason", "wrong centre")
    assert gone.stdout.startswith("standard v1 withdrawn ")
    assert gone.stdout.endswith(": wrong centre\n")
    assert ": wrong centre" in typed(beamline, "qmaps", "xpcs", "standard").stdout
    (told,) = json.loads(typed(beamline, "qmaps", "xpcs", "standard", "--json").stdout)
    assert (told["version"], told["digest"], told["results"], told["newest"]) == (1, version.digest, 1, ["A001"])
    assert (told["valid_from"], told["withdrawn_because"]) == (None, "wrong centre")


@pytest.mark.parametrize(
    "words",
    [
        ("--name", "standard"),
        ("--add", "q.hdf"),
        ("--withdraw", "standard", "1"),
        ("--reason", "why"),
        ("--add", "q.hdf", "--name", "standard", "--valid-from", "noon"),
    ],
)
def test_half_of_what_is_needed_is_wrong_usage(beamline: OpenBeamline, words: tuple[str, ...]) -> None:
    assert typed(beamline, "qmaps", "xpcs", *words).exit_code == 2
    assert beamline.ledger.qmap_names("xpcs") == ()


def test_what_there_is_not_is_said(beamline: OpenBeamline, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="the registry has no such q-map"):
        typed(beamline, "qmaps", "xpcs", "standard")
    with pytest.raises(NotFoundError, match="no such version of a q-map"):
        typed(beamline, "qmaps", "xpcs", "--withdraw", "standard", 1, "--reason", "why")
    with pytest.raises(QmapError):
        typed(beamline, "qmaps", "xpcs", "--add", tmp_path / "none.hdf", "--name", "standard")


def test_status_lists_the_runs_whose_result_would_be_another_now(
    beamline: OpenBeamline, drop: Drop, qmap: Path, altered: Altered
) -> None:
    typed(beamline, "qmaps", "xpcs", "--add", qmap, "--name", "standard")
    for key in ("A001", "A002"):
        analysed(beamline, drop(beamline, key))
    assert typed(beamline, "status", "xpcs", "--stale").stdout == "no result is out of date\n"
    altered({"pipeline": {"correlate": {"stride": 2}}})
    said = typed(beamline, "status", "xpcs", "--stale")
    assert [line.split() for line in said.stdout.splitlines()] == [
        ["run", "differs", "how"], ["A002", "recipe", "other", "settings"], ["A001", "recipe", "other", "settings"],
    ]  # fmt: skip
    assert "`xpcs-assets reprocess xpcs RUN...`" in said.stderr
    fewer = typed(beamline, "status", "xpcs", "--stale", "--limit", 1)
    assert ("A001" in fewer.stdout, "--limit shows more" in fewer.stderr) == (False, True)
    (told,) = json.loads(typed(beamline, "status", "xpcs", "A001", "--stale", "--json").stdout)
    assert (told["run_key"], told["differs"]) == ("A001", ["recipe"])
    typed(beamline, "qmaps", "xpcs", "--withdraw", "standard", 1, "--reason", "why")
    untold = typed(beamline, "status", "xpcs", "--stale")
    assert ("cannot be told" in untold.stdout, "reprocess" in untold.stderr) == (True, False)


def test_another_recipe_without_a_name_is_wrong_usage(beamline: OpenBeamline) -> None:
    said = typed(beamline, "reprocess", "xpcs", "A001", "--set", "stride=2")
    assert (said.exit_code, "another recipe needs a name of its own" in said.output) == (2, True)
