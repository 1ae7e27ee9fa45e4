"""What Dagster loads: names, graph, checks, policies, and how broken files are kept apart."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from xpcs_assets.definitions import build_defs
from xpcs_assets.new_site import beamline_text
from xpcs_assets.site import Site
from xpcs_assets_tests.definitions.conftest import edit

GRAPH = {
    "raw_file": set(),
    "staged_copy": {"raw_file"},
    "correlation": {"staged_copy", "qmap"},
    "plots": {"correlation"},
    "metadata": {"staged_copy"},
    "catalog_entry": {"metadata"},
    "result_entry": {"catalog_entry", "correlation", "plots"},
    "archive": {"staged_copy", "correlation"},
    "pruned": {"archive", "catalog_entry"},
    "qmap": set(),
    "average": set(),  # of other partitions: its members are in its metadata
}


def repository(home: Path) -> dg.RepositoryDefinition:
    return build_defs(Site(home)).get_repository_def()


def test_the_asset_graph_is_the_designs(home: Path) -> None:
    graph = repository(home).asset_graph
    found = {
        key.path[1]: {parent.path[1] for parent in graph.get(key).parent_keys} for key in graph.get_all_asset_keys()
    }
    assert found == GRAPH


def test_every_asset_has_owner_group_kind_code_version_and_description(home: Path) -> None:
    graph = repository(home).asset_graph
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.group_name == "xpcs"
        if node.is_executable:
            assert node.description
            assert node.kinds
            assert node.owners == ["team:xpcs"]
            assert node.code_version


def test_the_checks_of_the_design_are_partitioned(home: Path) -> None:
    graph = repository(home).asset_graph
    checks = {key.name: graph.get(key).partitions_def for key in graph.asset_check_keys}
    sets = checks.pop("average_sane")
    assert sets is not None
    assert sets.name == "xpcs_run_sets"
    assert set(checks) == {"raw_complete", "copy_verified", "frames_sane", "g2_sane", "archive_read_back"}
    assert all(definition is not None and definition.name == "xpcs_runs" for definition in checks.values())


def test_the_jobs_are_the_designs_and_pruned_has_no_button(home: Path) -> None:
    found = repository(home)
    assert {name for name in found.job_names if not name.startswith("__")} == {
        "xpcs_ingest",
        "xpcs_archive",
        "xpcs_prune",
        "xpcs_scrub",
        "xpcs_audit",
    }
    assert not found.asset_graph.get(dg.AssetKey(["xpcs", "pruned"])).is_executable
    ingest = found.get_job("xpcs_ingest")
    assert ingest.executor_def.name == "in_process"
    assert ingest.tags["beamline"] == "xpcs"


def test_g2_comes_before_metadata_and_catalog_in_the_run(home: Path) -> None:
    job = repository(home).get_job("xpcs_ingest")
    priority = {node.name.split("__")[-1]: int(node.tags["dagster/priority"]) for node in job.nodes}
    assert sorted(priority, key=lambda name: -priority[name])[:3] == ["raw_file", "staged_copy", "correlation"]
    assert priority["correlation"] > priority["metadata"] > priority["catalog_entry"]


@pytest.mark.parametrize(
    ("has_gpu", "changes", "pool"),
    [
        (True, [], "gpu"),
        (False, [], None),
        (False, [("# stride: 1", "device: gpu")], "gpu"),
        (True, [("# stride: 1", "device: cpu")], None),
        (True, [("# stride: 1", "on: [local]")], "gpu"),
    ],
)
def test_each_step_names_the_pool_of_what_it_uses(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    has_gpu: bool,
    changes: list[tuple[str, str]],
    pool: str | None,
) -> None:
    monkeypatch.setattr("xpcs_assets.engine.device._NVIDIA", tmp_path if has_gpu else tmp_path / "none")
    for old, new in changes:
        edit(home, old, new)
    found = repository(home)
    pools = {node.name.split("__")[-1]: node.definition.pool for node in found.get_job("xpcs_ingest").nodes}
    assert {name: each for name, each in pools.items() if each} == {
        "staged_copy": "transfer",
        **({"correlation": pool} if pool else {}),
        **({"archive": "tape"} if "archive" in pools else {}),
    }
    (archive_runs,) = found.get_job("xpcs_archive").nodes
    assert archive_runs.definition.pool == "tape"


def test_the_freshness_policy_of_the_copy_is_its_places_retention(home: Path) -> None:
    edit(home, "store: {keep_for: 180 days", "store: {keep_for: 7 days")
    site = Site(home)
    graph = build_defs(site).get_repository_def().asset_graph
    copy = graph.get(dg.AssetKey(["xpcs", "staged_copy"])).freshness_policy
    rule = site.beamlines["xpcs"].retention["store"].rule
    assert copy.fail_window.to_timedelta() == timedelta(days=7) == timedelta(seconds=rule.keep_for_s)


def test_a_broken_beamline_file_shows_its_error_and_the_others_run(home: Path) -> None:
    (home / "beamlines" / "b-2.yaml").write_text("beamline: b-2\nplace: {}\n", encoding="utf-8")
    found = repository(home)
    key = dg.AssetKey(["b-2", "beamline_file"])
    assert "place" in found.asset_graph.get(key).description
    assert "xpcs_ingest" in found.job_names
    sensor = found.get_sensor_def("b_2_beamline_file")
    with pytest.raises(Exception, match=r"b-2\.yaml"):
        sensor.evaluate_tick(dg.build_sensor_context())


def test_two_beamlines_have_queues_jobs_and_partitions_of_their_own(home: Path) -> None:
    text = beamline_text("aps-8-id-i", title="8-ID-I", detector="detector2", path="{run}/", key="{run}")
    (home / "beamlines" / "aps-8-id-i.yaml").write_text(text, encoding="utf-8")
    found = repository(home)
    job = found.get_job("aps_8_id_i_ingest")
    assert job.tags["beamline"] == "aps-8-id-i"
    partitions = found.asset_graph.get(dg.AssetKey(["aps-8-id-i", "raw_file"])).partitions_def
    assert isinstance(partitions, dg.DynamicPartitionsDefinition)
    assert partitions.name == "aps_8_id_i_runs"


def test_a_beamline_without_correlate_only_keeps_data(home: Path) -> None:
    file = home / "beamlines" / "xpcs.yaml"
    lines = file.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("  correlate:"))
    end = next(i for i, line in enumerate(lines) if line.startswith("  catalog:"))
    file.write_text("\n".join(lines[:start] + lines[end:]) + "\n", encoding="utf-8")
    assets = {key.path[1] for key in repository(home).asset_graph.get_all_asset_keys()}
    assert assets == {"raw_file", "staged_copy", "metadata", "catalog_entry", "archive", "pruned"}


def test_loading_definitions_costs_under_two_cpu_seconds_beyond_dagster_and_no_heavy_library(home: Path) -> None:
    script = """
import sys, time
import dagster
begun = time.process_time()
from pathlib import Path
from xpcs_assets.definitions import build_defs
from xpcs_assets.site import Site
build_defs(Site(Path(sys.argv[1]))).get_repository_def()
heavy = ("jax", "numba", "h5py", "matplotlib", "scipy", "pandas", "PIL")
heavy += ("boto3", "kubernetes", "pymongo", "sfapi_client")
heavy = [name for name in heavy if name in sys.modules]
print(time.process_time() - begun, ",".join(heavy))
"""
    ran = subprocess.run([sys.executable, "-c", script, str(home)], capture_output=True, text=True, check=True)
    seconds, _, heavy = ran.stdout.strip().partition(" ")
    assert heavy == ""
    assert float(seconds) < 2
