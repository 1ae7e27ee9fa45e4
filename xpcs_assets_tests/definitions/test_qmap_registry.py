"""A beamline whose runs are analysed with the registry's map: what the materialisation and the asset ``qmap`` say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from xpcs_assets.compute.out_of_date import out_of_date
from xpcs_assets.compute.qmap_registry import add
from xpcs_assets.compute.replay import replay
from xpcs_assets.orchestrate import adapter
from xpcs_assets_tests.definitions.conftest import TO_G2, Pipeline, edit, open_pipeline


def test_the_registrys_map_is_reported_anew_only_when_it_is_corrected(home: Path) -> None:
    edit(home, 'qmap: {in_run: "*_qmap.hdf"}', "qmap: {registry: standard}")
    for pipeline in open_pipeline(home):
        runs = [pipeline.simulated(seed=seed, n_static=4 * seed) for seed in (1, 2, 3)]
        one, later, other = (run.qmap.read_bytes() for run in runs)
        runs[0].qmap.unlink()
        first = added(pipeline, one)
        key = pipeline.ingest(runs[0].folder, TO_G2).key
        assert used(pipeline, key) == "registry standard v1"
        assert reported(pipeline) == first
        added(pipeline, later, datetime.now(UTC) + timedelta(days=1))
        assert pipeline.run("ingest", key, only=TO_G2).success
        assert (reported(pipeline), list(out_of_date(pipeline.beamline))) == (first, [])

        result = pipeline.beamline.result(key)
        corrected = added(pipeline, other)
        assert [run.run_key for run in out_of_date(pipeline.beamline)] == [key]
        assert pipeline.run("ingest", key, only=TO_G2).success
        assert used(pipeline, key) == "registry standard v3"
        assert reported(pipeline) == corrected
        assert pipeline.beamline.result(key).report["recipe"]["qmap_digest"] == corrected
        assert list(out_of_date(pipeline.beamline)) == []
        assert replay(pipeline.beamline, result, print).differences == ()  # made with the map of before


def added(pipeline: Pipeline, content: bytes, valid_from: datetime | None = None) -> str:
    file = pipeline.aside / "added.hdf"
    file.write_bytes(content)
    return add(pipeline.beamline, file, "standard", by="an operator", valid_from=valid_from).digest


def used(pipeline: Pipeline, key: str) -> object:
    """What the newest correlation says of its q-map."""
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(["xpcs", "correlation"]), asset_partitions=[key])
    (record,) = pipeline.instance.fetch_materializations(wanted, limit=1).records
    assert record.asset_materialization is not None
    return record.asset_materialization.metadata["qmap_from"].value


def reported(pipeline: Pipeline) -> str:
    """The data version of the beamline's q-map."""
    newest = adapter.newest(pipeline.instance, dg.AssetKey(["xpcs", "qmap"]))
    assert newest is not None
    return newest.data_version
