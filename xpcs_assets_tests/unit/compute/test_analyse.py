"""From a staged run to a recorded result: the inputs are the run's, and the worker's report is held to its word."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute import analyse as analysing
from xpcs_assets.compute.analyse import _raw_digests, analyse, correlate_settings, inputs
from xpcs_assets.compute.local import WorkerJob
from xpcs_assets.errors import (
    ComputeError,
    CorrelationError,
    MetadataError,
    NotFoundError,
    QmapError,
    RawDataError,
    XpcsAssetsError,
)
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.runs.recipe import AnalysisSettings
from xpcs_assets.stage.staging import stage
from xpcs_assets.testing.scene import Format
from xpcs_assets.testing.simulate import simulate
from xpcs_assets_tests.unit.conftest import Altered, Drop


def staged(beamline: OpenBeamline, folder: Path) -> None:
    """Take and stage the run in a folder of the detector."""
    submit(beamline, folder, as_is=True)
    take(beamline, folder.name)
    stage(beamline, folder.name)


def test_inputs_are_the_staged_files_with_their_digests(beamline: OpenBeamline, drop: Drop) -> None:
    folder = drop(beamline)
    staged(beamline, folder)
    found = inputs(beamline, "A001")
    raw = beamline.root("store") / "xpcs" / "A001" / "v1" / "raw" / "A001.imm"
    assert found.raw == (raw,)
    assert found.raw_digests == (hashlib.sha256((folder / "A001.imm").read_bytes()).hexdigest(),)
    assert (found.metadata.name, found.qmap.name) == ("A001_metadata.hdf", "A001_qmap.hdf")
    assert found.qmap_digest == "sha256:" + hashlib.sha256((folder / "A001_qmap.hdf").read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("kind", "raw", "metadata"),
    [
        ("rigaku3m", [f".bin.00{module}" for module in range(6)], "_metadata.hdf"),
        ("dectris", ["_master.h5"], "_master.h5"),
        ("als7011", [".h5"], ".h5"),
        ("npy", [".npy"], ".json"),
    ],
)
def test_runs_of_several_files_and_those_that_tell_their_own_times_are_analysed_whole(
    beamline: OpenBeamline, kind: Format, raw: list[str], metadata: str
) -> None:
    shape = None if kind == "rigaku3m" else (48, 64)
    run = simulate(beamline.source_root, format=kind, frames=8, shape=shape, n_dynamic=2, n_static=4, name="A001")
    if metadata != "_metadata.hdf":
        run.metadata.unlink()
    staged(beamline, run.folder)
    found = inputs(beamline, "A001")
    assert [path.name for path in found.raw] == [f"A001{end}" for end in raw]
    assert found.metadata.name == f"A001{metadata}"
    with open_raw(found.raw) as series:
        assert series.info.n_recorded == 8
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in series.info.files]
    assert found.raw_digests == tuple(digests)


def test_a_result_names_the_data_files_of_a_dectris_master_with_the_manifests_digests(beamline: OpenBeamline) -> None:
    run = simulate(
        beamline.source_root, format="dectris", frames=1010, shape=(48, 64), n_dynamic=2, n_static=4, name="A001"
    )
    staged(beamline, run.folder)
    made = analyse(beamline, "A001", AnalysisSettings(), print)
    names = ["A001_master.h5", "A001_data_000001.h5", "A001_data_000002.h5"]
    manifest = {entry.path: f"sha256:{entry.sha256}" for entry in made.inputs.version.manifest.files}
    assert made.report["inputs"]["raw"] == [{"name": name, "digest": manifest[name]} for name in names]
    assert made.result.provenance["inputs"] == made.report["inputs"]


def test_where_the_manifest_lacks_a_data_file_the_worker_reads_the_digests_itself(beamline: OpenBeamline) -> None:
    options = {"frames": 8, "shape": (48, 64), "n_dynamic": 2, "n_static": 4, "name": "A001"}
    staged(beamline, simulate(beamline.source_root, format="dectris", **options).folder)  # type: ignore[arg-type]
    found = inputs(beamline, "A001")
    manifest = found.version.manifest
    named = tuple(entry for entry in manifest.files if not entry.path.endswith("_data_000001.h5"))
    two = (*named, replace(named[0], path="A001_data_000007.h5"))
    version = replace(found.version, manifest=replace(manifest, files=two))
    assert _raw_digests(found.version, found.folder, found.raw) == found.raw_digests
    assert _raw_digests(version, found.folder, found.raw) == ()


def test_a_reprocessing_takes_the_inputs_of_its_run(beamline: OpenBeamline, drop: Drop) -> None:
    staged(beamline, drop(beamline))
    assert inputs(beamline, "A001~wide") == inputs(beamline, "A001")


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def copied(name: str, to: str) -> Callable[[Path], object]:
    return lambda folder: shutil.copy(folder / name, folder / to)


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (without("A001_qmap.hdf"), QmapError, "0 of the run's files match the q-map's pattern"),
        (copied("A001_qmap.hdf", "B_qmap.hdf"), QmapError, "2 of the run's files match the q-map's pattern"),
        (without("A001_metadata.hdf"), MetadataError, "no metadata file lies beside the raw file"),
        (without("A001.imm"), RawDataError, "the run has no raw file"),
    ],
    ids=["q-map missing", "two q-maps", "metadata missing", "raw file missing"],
)
def test_what_is_missing_is_said(
    beamline: OpenBeamline,
    drop: Drop,
    spoil: Callable[[Path], object],
    kind: type[XpcsAssetsError],
    message: str,
) -> None:
    folder = drop(beamline)
    spoil(folder)
    staged(beamline, folder)
    with pytest.raises(kind, match=message):
        inputs(beamline, "A001")


def test_a_run_that_is_not_staged_cannot_be_analysed(beamline: OpenBeamline, drop: Drop) -> None:
    submit(beamline, drop(beamline))
    take(beamline, "A001")
    with pytest.raises(NotFoundError, match=r"the run is not staged\. Materialise staged_copy first"):
        inputs(beamline, "A001")


def test_a_run_that_was_never_taken_is_not_found(beamline: OpenBeamline) -> None:
    with pytest.raises(NotFoundError, match="no such run was taken"):
        inputs(beamline, "A001")


def test_one_q_map_for_all_runs_and_one_that_is_named_come_before_the_runs_own(altered: Altered, drop: Drop) -> None:
    beamline = altered({"pipeline": {"correlate": {"qmap": {"in_run": "", "path": "qmaps/standard.hdf"}}}})
    staged(beamline, drop(beamline))
    with pytest.raises(QmapError, match=r"standard\.hdf: the q-map is not there"):
        inputs(beamline, "A001")
    folder = beamline.site.home / "qmaps"
    folder.mkdir()
    for name in ("standard.hdf", "other.hdf"):
        (folder / name).write_text(name)
    assert inputs(beamline, "A001").qmap == folder / "standard.hdf"
    assert inputs(beamline, "A001", "qmaps/other.hdf").qmap == folder / "other.hdf"


def test_a_beamline_that_only_keeps_data_has_no_recipe(altered: Altered) -> None:
    beamline = altered({"pipeline": {"correlate": None}})
    with pytest.raises(NotFoundError, match="no correlate step"):
        correlate_settings(beamline)


class Liar:
    """Stands in for the worker: writes a result and a report as the test says, and keeps what it was asked."""

    def __init__(self, **report: Any) -> None:
        self.report = report
        self.jobs: list[WorkerJob] = []
        self.leaves_result = True

    def __call__(self, job: WorkerJob, log: Callable[[str], None]) -> dict[str, Any]:
        self.jobs.append(job)
        path = job.report.with_suffix(".hdf")
        if self.leaves_result:
            path.write_bytes(b"a result")
        report = {"result_digest": "sha256:" + hashlib.sha256(b"a result").hexdigest()} | self.report
        job.report.write_text(json.dumps(report))
        return report


def asked(beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch, liar: Liar) -> None:
    monkeypatch.setattr(analysing, "run", liar)
    analyse(beamline, "A001", AnalysisSettings(stride=2, frames=50), lambda _: None)


def test_a_report_of_another_recipe_is_not_believed(
    beamline: OpenBeamline, drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged(beamline, drop(beamline))
    with pytest.raises(ComputeError, match="another recipe than it was given"):
        asked(beamline, monkeypatch, Liar(recipe_digest="sha256:another"))
    assert beamline.ledger.results("xpcs", "A001") == ()


@pytest.fixture
def recipe_digest(beamline: OpenBeamline, drop: Drop) -> str:
    """The digest of the recipe that ``asked`` asks for."""
    from xpcs_assets.engine.version import ENGINE
    from xpcs_assets.runs.recipe import Recipe

    staged(beamline, drop(beamline))
    return Recipe(AnalysisSettings(stride=2, frames=50), inputs(beamline, "A001").qmap_digest, ENGINE).digest


def test_a_report_of_another_file_is_not_believed(
    beamline: OpenBeamline, recipe_digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ComputeError, match="not the file that the worker reported"):
        asked(beamline, monkeypatch, Liar(recipe_digest=recipe_digest, result_digest="sha256:another"))
    assert beamline.ledger.results("xpcs", "A001") == ()


def test_a_report_without_a_result_is_not_believed(
    beamline: OpenBeamline, recipe_digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar = Liar(recipe_digest=recipe_digest)
    liar.leaves_result = False
    with pytest.raises(ComputeError, match="left no result"):
        asked(beamline, monkeypatch, liar)


def test_a_result_that_does_not_open_is_not_recorded(
    beamline: OpenBeamline, recipe_digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(XpcsAssetsError):
        asked(beamline, monkeypatch, Liar(recipe_digest=recipe_digest))
    assert beamline.ledger.results("xpcs", "A001") == ()


def test_the_worker_is_given_the_whole_recipe(altered: Altered, drop: Drop, monkeypatch: pytest.MonkeyPatch) -> None:
    beamline = altered(
        {"runs": {"frames_from": "/entry/n"}, "pipeline": {"correlate": {"device": "cpu", "time_limit": 7}}}
    )
    staged(beamline, drop(beamline))
    liar = Liar()
    with pytest.raises(ComputeError):
        asked(beamline, monkeypatch, liar)
    (job,) = liar.jobs
    arguments = list(job.arguments)
    options = {
        name: arguments[at + 1] for at, name in enumerate(arguments) if name.startswith("--") and "=" not in name
    }
    options |= dict(name.split("=", 1) for name in arguments if "=" in name)
    assert job.time_limit_s == 7
    assert options["--stride"] == "2"
    assert options["--frames"] == "50"
    assert options["--frames-field"] == "/entry/n"
    assert options["--device"] == "cpu"
    assert options["--raw-digest"] == inputs(beamline, "A001").raw_digests[0]
    assert options["--output"] == str(job.report.with_suffix(".hdf"))


def test_a_file_that_the_recipe_names_is_looked_for_from_the_sites_home(
    beamline: OpenBeamline, drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged(beamline, drop(beamline))
    (beamline.site.home / "bad_frames.txt").write_text("3\n")
    liar = Liar()
    monkeypatch.setattr(analysing, "run", liar)
    with pytest.raises(ComputeError):
        analyse(beamline, "A001", AnalysisSettings(exclude_file="bad_frames.txt"), lambda _: None)
    assert f"--exclude={beamline.site.home / 'bad_frames.txt'}" in liar.jobs[0].arguments
    with pytest.raises(CorrelationError, match=r"dark\.h5: it cannot be read"):
        analyse(beamline, "A001", AnalysisSettings(dark_file="dark.h5"), lambda _: None)


def test_a_run_is_correlated_once_and_only_its_own_recipe_is_promoted(beamline: OpenBeamline, drop: Drop) -> None:
    staged(beamline, drop(beamline))
    settings = AnalysisSettings(stride=2)
    first = analyse(beamline, "A001", settings, lambda _: None)
    assert first.path.is_file()
    assert first.report["recipe_digest"] == first.recipe.digest
    assert beamline.result("A001").promoted
    again = analyse(beamline, "A001~same", settings, lambda _: None)
    assert again.path == first.path
    assert again.report["result_digest"] == first.report["result_digest"]
    assert not beamline.result("A001~same").promoted
    assert beamline.result_path(beamline.result("A001")) == first.path
