"""The main job, step by step in one process: what is written, and what a crash or a second try leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import h5py
import numpy as np
import pytest

import xpcs_assets
from xpcs_assets.archive.archiving import archive
from xpcs_assets.catalog.embedded import EmbeddedCatalog, raw_pid
from xpcs_assets.errors import NotFoundError
from xpcs_assets.follow import state_of
from xpcs_assets.orchestrate import adapter
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.results.fit_file import fits_path, stored_fits
from xpcs_assets_tests.definitions.conftest import TO_CATALOG, TO_G2, Pipeline, edit, open_pipeline


def test_a_run_becomes_a_catalogued_archived_g2(pipeline: Pipeline) -> None:
    run = pipeline.simulated(frames=600)
    state = pipeline.ingest(run.folder)
    assert state.done, state.reason
    result = pipeline.beamline.result(state.key)
    opened = xpcs_assets.open(pipeline.beamline.result_path(result))
    ratios = [fit.tau_s / tau for fit, tau in zip(opened.fit(), run.truth.tau_q_s, strict=True)]
    assert sum(ratios) / len(ratios) == pytest.approx(1, abs=0.2)
    catalog = EmbeddedCatalog(pipeline.beamline.engine)
    assert catalog.get(raw_pid("xpcs", state.key, 1)).quality == "complete"
    derived = [record for record in catalog.records("xpcs") if record.kind == "derived"]
    assert [record.document["inputDatasets"] for record in derived] == [[raw_pid("xpcs", state.key, 1)]]
    copies = pipeline.beamline.ledger.copies("xpcs", state.key)
    assert [(copy.place, copy.evidence) for copy in copies] == [
        ("detector", "read-back hash"),
        ("store", "read-back hash"),
        ("tape", "read-back hash"),
    ]


def test_data_versions_are_digests_and_the_code_version_is_the_engines(pipeline: Pipeline) -> None:
    state = pipeline.ingest(pipeline.simulated().folder)
    version = pipeline.beamline.latest(state.key)
    digests = {
        asset: adapter.newest(pipeline.instance, dg.AssetKey(["xpcs", asset]), state.key)
        for asset in ("raw_file", "staged_copy", "correlation", "plots", "archive")
    }
    assert all(found is not None for found in digests.values())
    result_digest = pipeline.beamline.result(state.key).result_digest
    assert {asset: found.data_version for asset, found in digests.items() if found} == {
        "raw_file": version.manifest_digest,
        "staged_copy": version.manifest_digest,
        "correlation": result_digest,
        "plots": result_digest,
        "archive": version.manifest_digest,
    }


def test_fits_of_three_laws_lie_beside_the_result_and_in_the_archive(pipeline: Pipeline) -> None:
    state = pipeline.ingest(pipeline.simulated().folder)
    found = pipeline.beamline.result(state.key)
    path = fits_path(pipeline.beamline.result_path(found))
    fits = stored_fits(path)
    assert list(fits) == ["single", "stretched", "double"]
    assert fits["single"][0].values == pytest.approx(
        xpcs_assets.open(pipeline.beamline.result_path(found)).fit()[0].values
    )
    (bundle,) = [each for each in pipeline.beamline.ledger.bundles("xpcs", state.key) if each.content == "results"]
    members = pipeline.beamline.ledger.members(bundle.place, bundle.name)
    assert path.name in {Path(member.path).name for member in members}


def test_everything_materialised_again_changes_nothing(pipeline: Pipeline) -> None:
    state = pipeline.ingest(pipeline.simulated().folder)
    first = pipeline.beamline.result(state.key)
    files = sorted((path, path.stat().st_mtime_ns) for path in pipeline.site.home.glob("tape/**/*.tar"))
    pipeline.run("ingest", state.key)
    pipeline.archive(state.key)
    again = pipeline.beamline.result(state.key)
    assert state_of(pipeline.beamline, state.key).done
    assert again.result_digest == first.result_digest
    assert again.report["reused"] is True
    assert sorted((path, path.stat().st_mtime_ns) for path in pipeline.site.home.glob("tape/**/*.tar")) == files
    assert len(pipeline.beamline.ledger.versions("xpcs", state.key)) == 1


def test_rewritten_files_are_a_new_version_beside_the_old(pipeline: Pipeline) -> None:
    run = pipeline.simulated()
    state = pipeline.ingest(run.folder, TO_G2)
    other = pipeline.simulated(seed=2, name=run.name)
    for path in other.folder.iterdir():
        path.replace(pipeline.beamline.source_root / run.name / path.name)
    pipeline.run("ingest", state.key, only=TO_G2)
    pipeline.archive(state.key)
    now = state_of(pipeline.beamline, state.key)
    assert (now.version, now.failed) == (2, ())
    store = pipeline.site.home / "store" / "xpcs" / state.key
    assert sorted(path.name for path in store.iterdir()) == ["v1", "v2"]
    bundles = pipeline.beamline.ledger.bundles("xpcs", state.key)
    assert sorted((run.version, bundle.content) for bundle in bundles for run in bundle.runs) == [
        (1, "raw"),
        (1, "results"),
        (2, "raw"),
        (2, "results"),
    ]


def test_a_reprocessing_makes_another_result_and_leaves_the_runs_own(pipeline: Pipeline) -> None:
    state = pipeline.ingest(pipeline.simulated().folder)
    own = pipeline.beamline.result(state.key)
    key = f"{state.key}~stride2"
    pipeline.instance.add_dynamic_partitions("xpcs_runs", [key])
    job = pipeline.repository.get_job("__ASSET_JOB").get_subset(
        asset_selection={dg.AssetKey(["xpcs", name]) for name in ("correlation", "plots", "result_entry")}
    )
    config = {"ops": {"xpcs__correlation": {"config": {"stride": 2}}}}
    done = job.execute_in_process(instance=pipeline.instance, partition_key=key, run_config=config)
    assert done.success
    other = pipeline.beamline.result(key)
    assert other.report["recipe"]["settings"]["stride"] == 2
    assert other.path != own.path
    assert pipeline.beamline.result(state.key) == own
    assert state_of(pipeline.beamline, key).done


def test_a_plain_key_keeps_the_beamlines_recipe(pipeline: Pipeline) -> None:
    state = pipeline.ingest(pipeline.simulated().folder, TO_G2)
    own = pipeline.beamline.result(state.key)
    config = {"ops": {"xpcs__correlation": {"config": {"stride": 2}}}}
    assert not pipeline.run("ingest", state.key, config, TO_G2).success
    now = state_of(pipeline.beamline, state.key)
    assert now.failed == ()  # what was there still stands
    refusal = next(event.what for event in reversed(now.timeline) if event.step == "correlation")
    assert refusal.startswith("refused: ")
    assert "xpcs-assets reprocess" in refusal
    assert "stride" in refusal
    assert pipeline.beamline.result(state.key) == own


def test_the_beamlines_one_qmap_is_reported_once_and_again_when_it_is_corrected(home: Path) -> None:
    edit(home, 'qmap: {in_run: "*_qmap.hdf"}', "qmap: {path: standard_qmap.hdf}")
    qmap = dg.AssetKey(["xpcs", "qmap"])
    for pipeline in open_pipeline(home):
        run = pipeline.simulated()
        (home / "standard_qmap.hdf").write_bytes(run.qmap.read_bytes())
        state = pipeline.ingest(run.folder, TO_G2)
        first = adapter.newest(pipeline.instance, qmap)
        assert first is not None
        pipeline.run("ingest", state.key, only=TO_G2)
        assert adapter.newest(pipeline.instance, qmap) == first
        corrected = pipeline.simulated(seed=2, n_static=8)
        (home / "standard_qmap.hdf").write_bytes(corrected.qmap.read_bytes())
        pipeline.run("ingest", state.key, only=TO_G2)
        second = adapter.newest(pipeline.instance, qmap)
        assert second is not None
        assert second.data_version == pipeline.beamline.result(state.key).report["recipe"]["qmap_digest"]
        assert len(pipeline.beamline.ledger.results("xpcs", state.key)) == 2


def test_raw_assets_refuse_the_key_of_a_reprocessing(pipeline: Pipeline) -> None:
    state = pipeline.ingest(pipeline.simulated().folder, TO_G2)
    key = f"{state.key}~other"
    pipeline.instance.add_dynamic_partitions("xpcs_runs", [key])
    assert not pipeline.run("ingest", key, only=TO_CATALOG).success
    assert len(pipeline.beamline.ledger.versions("xpcs", state.key)) == 1


def test_dark_frames_that_the_metadata_name_are_left_out_of_time(pipeline: Pipeline) -> None:
    state = pipeline.ingest(pipeline.simulated(format="imm-dense", dark_frames=16).folder, TO_G2)
    frames = pipeline.beamline.result(state.key).report["frames"]
    assert (frames["dark"], frames["used"]) == (16, 200)


def test_frames_that_were_never_recorded_are_flagged_and_not_zeros(pipeline: Pipeline) -> None:
    state = pipeline.ingest(pipeline.simulated(missing_tail=40).folder, TO_G2)
    assert state.failed == ()
    assert pipeline.beamline.result(state.key).report["frames"]["used"] == 160
    check = pipeline.check("raw_file", "raw_complete", state.key)
    assert not check.passed
    assert "160" in str(check.description)


def test_pruned_is_reported_only_when_two_other_copies_elsewhere_were_read(home: Path) -> None:
    edit(home, "detector: {keep_for: 30 days", "detector: {keep_for: 1 ms")
    for pipeline in open_pipeline(home):
        state = pipeline.ingest(pipeline.simulated().folder, TO_CATALOG)
        which = {"run_key": state.key, "version": 1, "place": "detector", "path": state.key}
        assert not pipeline.prune(**which).success
        assert "failure domain" in state_of(pipeline.beamline, state.key).timeline[-1].what or (
            "other verified copies" in state_of(pipeline.beamline, state.key).timeline[-1].what
        )
        assert (pipeline.beamline.source_root / state.key).is_dir()
        assert adapter.newest(pipeline.instance, dg.AssetKey(["xpcs", "pruned"]), state.key) is None


def test_a_copy_goes_behind_a_proof_and_what_is_downstream_still_opens(home: Path) -> None:
    edit(home, "detector: {keep_for: 30 days", "detector: {keep_for: 1 ms")
    for place in ("detector", "store", "tape"):
        kind = "tape" if place == "tape" else "posix"
        edit(home, f"{place}: {{kind: {kind}, ", f"{place}: {{kind: {kind}, failure_domain: disk-{place}, ")
    for pipeline in open_pipeline(home):
        state = pipeline.ingest(pipeline.simulated().folder, (*TO_CATALOG, "correlation"))
        which = {"run_key": state.key, "version": 1, "place": "detector", "path": state.key}
        assert pipeline.prune(**which).success
        assert list(pipeline.beamline.source_root.glob(f"{state.key}/*.imm")) == []
        event = adapter.newest(pipeline.instance, dg.AssetKey(["xpcs", "pruned"]), state.key)
        assert event is not None
        assert event.data_version.startswith("removal-")
        assert xpcs_assets.open(pipeline.beamline.result_path(pipeline.beamline.result(state.key))).g2.size
        with pytest.raises(NotFoundError, match="no such"):
            pipeline.beamline.latest("another")
        tombstones = pipeline.beamline.ledger.removals("xpcs", state.key)
        assert [line.kind for line in tombstones] == ["intent", "tombstone", "outcome"]


def test_the_sensors_ask_for_ingest_then_archive_then_nothing(pipeline: Pipeline) -> None:
    run = pipeline.simulated()
    key = pipeline.drop(run.folder)
    arrivals = pipeline.repository.get_sensor_def("xpcs_arrivals")
    to_archive = pipeline.repository.get_sensor_def("xpcs_to_archive")

    def tick(sensor: dg.SensorDefinition) -> list[str]:
        context = dg.build_sensor_context(instance=pipeline.instance, repository_def=pipeline.repository)
        told = sensor(context)
        requests = getattr(told, "run_requests", None) or []
        archived = [
            request.run_config["ops"]["xpcs_archive_runs"]["config"] for request in requests if request.run_config
        ]
        return [key for which in archived for key in which["run_keys"]] or [
            str(item.partition_key) for item in requests
        ]

    assert tick(arrivals) == [key]
    assert tick(to_archive) == []
    pipeline.run("ingest", key, only=TO_G2)
    assert tick(to_archive) == [key]
    pipeline.archive(key)
    assert tick(to_archive) == []
    assert pipeline.check("archive", "archive_read_back", key).passed


def test_runs_are_archived_together_and_one_that_fails_does_not_keep_the_others(pipeline: Pipeline) -> None:
    keys = [pipeline.drop(pipeline.simulated(seed=seed, frames=20).folder) for seed in (1, 2, 3)]
    for key in keys:
        pipeline.run("ingest", key, only=("raw_file", "staged_copy"))
    staged = pipeline.beamline.staged(pipeline.beamline.latest(keys[1])).raw
    next(staged.glob("*.imm")).write_bytes(b"rotten")
    assert not pipeline.archive(*keys).success
    archive = dg.AssetKey(["xpcs", "archive"])
    made = [key for key in keys if adapter.newest(pipeline.instance, archive, key) is not None]
    assert made == [keys[0], keys[2]]
    assert [step.asset for step in state_of(pipeline.beamline, keys[1]).failed] == ["archive"]
    assert [pipeline.check("archive", "archive_read_back", key).passed for key in keys] == [True, False, True]


def test_f37_a_bundle_of_a_killed_attempt_that_rots_fails_the_check_and_is_archived_under_another_name(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt dies after the tape has the bundle and before the ledger does; then the tape loses its last bytes."""
    key = pipeline.drop(pipeline.simulated(frames=20).folder)
    pipeline.run("ingest", key, only=("raw_file", "staged_copy"))
    with monkeypatch.context() as patch:
        patch.setattr("xpcs_assets.archive.archiving.record_deposit", lambda ledger, deposited: sys.exit(9))
        with pytest.raises(SystemExit):
            archive(pipeline.beamline, key)
    (left,) = pipeline.beamline.root("tape").rglob("*.tar")
    left.chmod(0o644)
    left.write_bytes(left.read_bytes()[:-3000])
    assert pipeline.archive(key).success
    found = pipeline.check("archive", "archive_read_back", key)
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert left.name in str(found.description)
    bundles = pipeline.beamline.ledger.bundles("xpcs", key)
    assert [bundle.name.rsplit("/", 1)[1] != left.name for bundle in bundles] == [True]
    assert pipeline.archive(key).success
    assert pipeline.check("archive", "archive_read_back", key).passed


@pytest.mark.parametrize("by_hand", [True, False])
def test_f37_what_comes_back_from_the_tape_as_something_else_fails_the_check_and_is_no_archive(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    key = pipeline.drop(pipeline.simulated(frames=20).folder)
    pipeline.run("ingest", key, only=("raw_file", "staged_copy"))
    sound = TapePlace.read

    def rotten(place: TapePlace, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
        data = bytearray(b"".join(sound(place, path, offset_bytes)))
        data[600] ^= 1
        yield bytes(data)

    def archived() -> dg.ExecuteInProcessResult:
        if not by_hand:
            return pipeline.archive(key)
        everything = pipeline.repository.get_implicit_global_asset_job_def()
        return everything.execute_in_process(
            instance=pipeline.instance,
            partition_key=key,
            asset_selection=[dg.AssetKey(["xpcs", "archive"])],
            raise_on_error=False,
        )

    with monkeypatch.context() as patch:
        patch.setattr(TapePlace, "read", rotten)
        assert not archived().success
    found = pipeline.check("archive", "archive_read_back", key)
    assert not found.passed
    assert "tape:" in str(found.description)
    assert adapter.newest(pipeline.instance, dg.AssetKey(["xpcs", "archive"]), key) is None
    assert pipeline.beamline.ledger.bundles("xpcs", key) == ()
    assert archived().success
    assert pipeline.check("archive", "archive_read_back", key).passed


def test_a_copy_that_holds_other_bytes_fails_its_check_and_nothing_is_overwritten(pipeline: Pipeline) -> None:
    key = pipeline.drop(pipeline.simulated(frames=20).folder)
    pipeline.run("ingest", key, only=("raw_file", "staged_copy"))
    assert pipeline.check("staged_copy", "copy_verified", key).passed
    staged = next(pipeline.beamline.staged(pipeline.beamline.latest(key)).raw.glob("*.imm"))
    staged.write_bytes(b"rotten")
    assert not pipeline.run("ingest", key, only=("staged_copy",)).success
    assert not pipeline.check("staged_copy", "copy_verified", key).passed
    assert staged.read_bytes() == b"rotten"


def test_golden_runs_go_through_from_their_real_layout(pipeline: Pipeline, shared_data: Path) -> None:
    for folder in ("imm_both", "eiger_aging"):
        golden = shared_data / "golden" / folder
        name = json.loads(next(golden.glob("*_truth.json")).read_text())["raw"].rsplit(".", 1)[0]
        run = pipeline.aside / name
        run.mkdir()
        for path in golden.glob(f"{name}*"):
            (run / path.name).write_bytes(path.read_bytes())
        state = pipeline.ingest(run, TO_G2)
        assert state.failed == (), state.reason
        mine = xpcs_assets.open(pipeline.beamline.result_path(pipeline.beamline.result(state.key)))
        with h5py.File(next(golden.glob("boost_corr_result/*.hdf"))) as file:
            theirs = file["/xpcs/multitau/normalized_g2"][()]
        assert np.nanmax(np.abs(mine.g2 - theirs)) < 3e-4


def test_real_frames_brought_as_the_how_to_says_decay_as_they_were_measured(
    pipeline: Pipeline, shared_data: Path
) -> None:
    root = Path(__file__).resolve().parents[2]
    script = root / "docs" / "how-to" / "frames_to_run.py"
    frames = shared_data / "real" / "xpcs_frames_100x256x256_uint16.npy"
    command = [sys.executable, str(script), str(frames), str(pipeline.aside), "--name", "real"]
    subprocess.run(command, check=True, capture_output=True)
    state = pipeline.ingest(pipeline.aside / "real", TO_G2)
    assert state.failed == (), state.reason
    result = xpcs_assets.open(pipeline.beamline.result_path(pipeline.beamline.result(state.key)))
    ring = int(np.argmin(np.abs(result.q_inv_angstrom - 0.0034)))
    assert result.g2[0, ring] == pytest.approx(1.06, abs=0.01)
    assert 0.020 <= result.fit()[ring].tau_s <= 0.030
