"""The main job through a real daemon, webserver and code location."""

from __future__ import annotations

import json
import urllib.request

import pytest

import xpcs_assets
from xpcs_assets.campaign.campaign import Campaign, begin, progress
from xpcs_assets.follow import state_of
from xpcs_assets.reprocess import ask, with_another_recipe
from xpcs_assets_tests.end_to_end.conftest import Running, eventually

pytestmark = pytest.mark.end_to_end

LAUNCH = """
mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
TAGS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status tags { key value } } } }"
NODE = """
query($key: AssetKeyInput!, $partition: [String!]) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      kinds
      owners { ... on TeamAssetOwner { team } }
      assetMaterializations(partitions: $partition, limit: 1) {
        tags { key value }
        metadataEntries { label ... on MarkdownMetadataEntry { mdStr } }
      }
    }
  }
}
"""


@pytest.mark.parametrize("raw_format", ["imm", "eiger"])
def test_a_run_dropped_into_the_detectors_folder_becomes_a_catalogued_archived_g2(
    running: Running, raw_format: str
) -> None:
    run = running.simulated(format=raw_format, frames=600)
    key = running.drop(run)
    assert running.wait(key) == 0
    assert running.wait(key, "archive") == 0
    result = running.beamline.result(key)
    opened = xpcs_assets.open(running.beamline.result_path(result))
    fits = opened.fit()
    mean_ratio = sum(fit.tau_s / tau for fit, tau in zip(fits, run.truth.tau_q_s, strict=True)) / len(fits)
    assert mean_ratio == pytest.approx(1, abs=0.2)
    assert [bundle.content for bundle in running.beamline.ledger.bundles("xpcs", key)] == ["raw", "results"]


def test_a_run_that_a_dispatcher_tells_of_is_taken(running: Running) -> None:
    key = running.drop(running.simulated())
    assert running.site.settings.intake is not None
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.site.settings.intake.port}/beamlines/xpcs/files",
        json.dumps({"file_path": key}).encode(),
        {"Authorization": "Bearer a word"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        assert json.load(reply)["runs"][0]["key"] == key
    assert running.wait(key, "correlation") == 0


def test_what_the_ui_shows_of_a_run_has_its_data_version_and_small_pictures(running: Running) -> None:
    key = running.drop(running.simulated())
    assert running.wait(key) == 0
    digest = running.beamline.result(key).result_digest
    node = running.graphql(NODE, key={"path": ["xpcs", "plots"]}, partition=[key])["assetNodeOrError"]
    shown = node["assetMaterializations"][0]
    assert {"key": "dagster/data_version", "value": digest} in shown["tags"]
    pictures = [entry["mdStr"] for entry in shown["metadataEntries"] if "mdStr" in entry]
    assert len(pictures) == 5
    assert all(len(picture) * 3 / 4 < 100_000 for picture in pictures)
    assert node["owners"] == [{"team": "xpcs"}]


def test_a_run_launched_from_the_ui_carries_its_beamlines_queue_tag(running: Running) -> None:
    key = running.drop(running.simulated())
    assert running.wait(key) == 0
    selector = {
        "repositoryLocationName": "xpcs_assets",
        "repositoryName": "__repository__",
        "jobName": "__ASSET_JOB",
        "assetSelection": [{"path": ["xpcs", "plots"]}],
    }
    params = {
        "selector": selector,
        "runConfigData": {},
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": key}]},
    }
    launched = running.graphql(LAUNCH, params=params)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = running.graphql(TAGS, id=launched["run"]["runId"])["runOrError"]
    assert {"key": "beamline", "value": "xpcs"} in run["tags"]

    def status() -> bool:
        found = running.graphql(TAGS, id=launched["run"]["runId"])["runOrError"]["status"]
        assert found != "FAILURE"
        return bool(found == "SUCCESS")

    assert eventually(status, 60)


def test_reprocess_makes_another_result_on_the_running_site(running: Running) -> None:
    key = running.drop(running.simulated())
    assert running.wait(key) == 0
    own = running.beamline.result(key)
    other = ask(running.beamline, with_another_recipe(running.beamline, key, "stride2", None, ["stride=2"]))
    assert running.wait(other) == 0
    assert running.beamline.result(other).report["recipe"]["settings"]["stride"] == 2
    assert running.beamline.result(key) == own


def test_a_campaign_has_its_members_analysed_anew_by_the_running_site(running: Running) -> None:
    keys = tuple(running.drop(running.simulated()) for _ in range(2))
    assert [running.wait(key, "catalog_entry") for key in keys] == [0, 0]
    begin(running.beamline, Campaign("thin", keys, {"stride": 3}, at_once=1), "a scientist")
    over = eventually(lambda: (found := progress(running.beamline, "thin")).is_over and found, 120)
    assert [member.state for member in over.members] == ["done", "done"]
    recipes = {key: running.beamline.result(f"{key}~thin").recipe_digest for key in keys}
    assert all(recipes[key] != running.beamline.result(key).recipe_digest for key in keys)


def test_a_truncated_run_is_described_catalogued_and_archived_though_its_correlation_fails(running: Running) -> None:
    run = running.simulated()
    whole = run.raw.read_bytes()
    run.raw.write_bytes(whole[: len(whole) - 1000])
    key = running.drop(run)
    good = running.drop(running.simulated())
    assert running.wait(key) == 1
    assert running.wait(key, "catalog_entry") == 0
    assert running.wait(key, "archive") == 0
    state = state_of(running.beamline, key)
    assert [step.asset for step in state.failed] == ["correlation"]
    assert run.raw.name in state.reason
    assert running.wait(good) == 0


def test_the_same_files_are_one_run_and_rewritten_ones_a_new_version(running: Running) -> None:
    run = running.simulated()
    key = running.drop(run)
    assert running.wait(key) == 0
    raw = running.beamline.source_root / key / run.raw.name
    first = running.beamline.result(key)
    content = bytearray(raw.read_bytes())
    content[-2] ^= 1  # one photon more or less in the last frame
    raw.write_bytes(content)
    eventually(lambda: len(running.beamline.ledger.versions("xpcs", key)) == 2, 60)
    eventually(lambda: state_of(running.beamline, key).done, 60)
    assert running.beamline.result(key).version == 2
    assert running.beamline.result_path(first).exists()
    assert running.beamline.result(key).result_digest != first.result_digest
