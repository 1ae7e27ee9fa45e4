"""Several runs taken as one: recorded, averaged by the asset, and noted in every timeline."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from typer.testing import CliRunner

import xpcs_assets
from xpcs_assets.average import asking
from xpcs_assets.average.run_set import RunSet, find, ledger_key, record
from xpcs_assets.campaign.run_sets import await_members, states
from xpcs_assets.campaign.sensors import build_run_sets
from xpcs_assets.cli import app
from xpcs_assets.errors import NotFoundError, RefusedError
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets.results.fit_file import fits_path, stored_fits
from xpcs_assets.results.limits import Limits
from xpcs_assets.testing import simulate as simulation
from xpcs_assets_tests.definitions.conftest import TO_G2, Pipeline, edit, open_pipeline


@pytest.fixture(scope="module")
def repeats(template_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pipeline, list[str]]]:
    """A site with one q-map for all and three repeats on one scene, correlated."""
    home = tmp_path_factory.mktemp("site")
    shutil.copytree(template_site, home / "site")
    made = simulation.make_scene
    options: dict[str, Any] = {"frames": 200, "shape": (48, 64), "n_dynamic": 4, "n_static": 12}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "make_scene", lambda *arguments: made(*arguments[:4], 0, *arguments[5:]))
        runs = [simulation.simulate(home / "made", format="imm", seed=s, name=f"R{s}", **options) for s in range(3)]
    (home / "qmap.hdf").write_bytes(runs[0].qmap.read_bytes())
    edit(home / "site", 'in_run: "*_qmap.hdf"', f"path: {home / 'qmap.hdf'}")
    for pipeline in open_pipeline(home / "site"):
        keys = [pipeline.ingest(run.folder, TO_G2).key for run in runs]
        yield pipeline, keys


def materialise(pipeline: Pipeline, name: str) -> dg.ExecuteInProcessResult:
    pipeline.instance.add_dynamic_partitions("xpcs_run_sets", [name])
    job = pipeline.repository.get_job("__ASSET_JOB").get_subset(
        asset_selection={dg.AssetKey(["xpcs", "average"])}, asset_check_selection=None
    )
    return job.execute_in_process(instance=pipeline.instance, partition_key=name, raise_on_error=False)


def test_a_set_is_averaged_and_its_materialisation_names_every_member(repeats: tuple[Pipeline, list[str]]) -> None:
    pipeline, keys = repeats
    record(pipeline.beamline, RunSet("latex-60nm", tuple(keys)))
    assert materialise(pipeline, "latex-60nm").success
    event = pipeline.instance.get_latest_materialization_event(dg.AssetKey(["xpcs", "average"]))
    assert event is not None
    assert event.asset_materialization is not None
    said = event.asset_materialization.metadata
    path = Path(str(said["result"].value))
    assert path.is_relative_to(pipeline.site.home / "store" / "xpcs" / "_run_sets" / "latex-60nm")
    rows = [row.data for row in said["members"].records]  # type: ignore[union-attr]
    assert [row["run"] for row in rows] == keys
    digests = [pipeline.beamline.result(key).result_digest for key in keys]
    assert [row["result_digest"] for row in rows] == digests
    found = xpcs_assets.open(path)
    members = [xpcs_assets.open(pipeline.beamline.result_path(pipeline.beamline.result(key))) for key in keys]
    np.testing.assert_allclose(found.g2, np.mean([one.g2 for one in members], axis=0), rtol=1e-6)
    assert said["g2"].value.startswith("![g2 with fits](data:image/png")  # type: ignore[union-attr]
    assert (path.parent / "plots" / "tau_q.png").is_file()
    assert len(stored_fits(fits_path(path))["single"]) == 4
    assert pipeline.check("average", "average_sane", "latex-60nm").passed
    noted = pipeline.beamline.ledger.timeline("xpcs", ledger_key("latex-60nm"))
    assert [event.what for event in noted] == ["3 runs", "3 of 3 runs averaged", "done"]
    assert noted[1].detail["result_digest"] == said["result_digest"].value
    for key in keys:
        told = [event.what for event in pipeline.beamline.ledger.timeline("xpcs", key)]
        assert f"{key} is a member of the run set latex-60nm" in told


def test_materialised_again_it_is_the_same_file_and_other_members_make_another(
    repeats: tuple[Pipeline, list[str]],
) -> None:
    pipeline, keys = repeats
    record(pipeline.beamline, RunSet("again", tuple(keys)))
    assert materialise(pipeline, "again").success
    folder = pipeline.site.home / "store" / "xpcs" / "_run_sets" / "again"
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*_results.hdf")}
    assert materialise(pipeline, "again").success
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*_results.hdf")} == before
    record(pipeline.beamline, RunSet("again", tuple(keys[:2]), Limits(contrast=(0.0, 1.0))))
    assert find(pipeline.beamline, "again") == RunSet("again", tuple(keys[:2]), Limits(contrast=(0.0, 1.0)))
    assert materialise(pipeline, "again").success
    assert len(list(folder.glob("*/*_results.hdf"))) == 2


def test_a_set_nobody_made_or_of_which_too_few_remain_fails_with_what_to_do(
    repeats: tuple[Pipeline, list[str]],
) -> None:
    pipeline, keys = repeats
    failed = materialise(pipeline, "nobody")
    assert not failed.success
    record(pipeline.beamline, RunSet("strict", tuple(keys), Limits(baseline=(1.5, 2.0))))
    assert not materialise(pipeline, "strict").success
    told = pipeline.beamline.ledger.timeline("xpcs", ledger_key("strict"))[-1].what
    assert "0 of 3 runs remain" in told
    assert not list((pipeline.site.home / "store" / "xpcs" / "_run_sets").glob("strict/**/*.hdf"))


def test_asking_records_the_set_and_launches_its_average(
    repeats: tuple[Pipeline, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, keys = repeats
    calls: list[tuple[Any, ...]] = []

    def launch(*arguments: Any) -> str:
        calls.append(arguments[1:])
        return "run-1"

    monkeypatch.setattr(asking, "launch", launch)
    assert asking.ask_for(pipeline.beamline, RunSet("asked", tuple(keys))) == "run-1"
    assert calls == [("xpcs_run_sets", "asked", [("xpcs", "average")], {})]
    assert find(pipeline.beamline, "asked").members == tuple(keys)
    for members, name, error in (
        (keys[:1], "one", RefusedError),
        ([keys[0], keys[0]], "twice", RefusedError),
        (keys, "no name", RefusedError),
        ([keys[0], "nobody"], "lost", NotFoundError),
    ):
        with pytest.raises(error):
            asking.ask_for(pipeline.beamline, RunSet(name, tuple(members)))
        assert pipeline.beamline.ledger.timeline("xpcs", ledger_key(name)) == ()
    with pytest.raises(NotFoundError, match="average-runs"):
        find(pipeline.beamline, "lost")


def test_a_set_that_waits_is_averaged_by_what_the_sensor_asks_for_and_is_over(
    repeats: tuple[Pipeline, list[str]],
) -> None:
    pipeline, keys = repeats
    (sensor,) = build_run_sets(Bound.of(pipeline.beamline))

    def tick() -> Any:
        return sensor(dg.build_sensor_context(pipeline.instance, repository_def=pipeline.repository))

    await_members(pipeline.beamline, [RunSet("waits", tuple(keys))], 3600.0)
    pipeline.beamline.ledger.pause("xpcs", "alignment", "an operator")
    assert "alignment" in str(tick().skip_message)
    pipeline.beamline.ledger.end_pause("xpcs", "an operator")
    asked = tick()
    assert isinstance(asked, dg.SensorResult)
    (request,) = asked.run_requests or ()
    assert (request.partition_key, request.tags["beamline"]) == ("waits", "xpcs")
    assert materialise(pipeline, "waits").success
    assert isinstance(tick(), dg.SkipReason)
    (now,) = states(pipeline.beamline, "waits")
    assert (now.state, Path(now.result).name, now.result_digest[:7]) == ("done", "waits_results.hdf", "sha256:")


def test_the_command_takes_runs_a_name_and_limits(
    repeats: tuple[Pipeline, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, keys = repeats
    monkeypatch.setattr(asking, "launch", lambda *_: "run-1")
    command = ["average-runs", "xpcs", *keys, "--set", "typed", "--baseline", "0.9", "1.1"]
    done = CliRunner().invoke(app, [*command, "--home", str(pipeline.site.home)])
    assert (done.exit_code, done.output) == (0, "typed\n")
    assert find(pipeline.beamline, "typed") == RunSet("typed", tuple(keys), Limits(baseline=(0.9, 1.1)))
