"""The sensor that tells people: what its ticks say, when they fail, and that nothing heavy comes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from xpcs_assets.definitions import build_defs
from xpcs_assets.errors import UnreachableError
from xpcs_assets.site import SITE_FILE, Site
from xpcs_assets.testing.webhook_server import WebhookServer
from xpcs_assets_tests.definitions.conftest import Pipeline, edit, open_pipeline


def tick(pipeline: Pipeline) -> Any:
    sensor = pipeline.repository.get_sensor_def("xpcs_alerts")
    with dg.build_sensor_context(instance=pipeline.instance, repository_def=pipeline.repository) as context:
        found = sensor(context)
    assert isinstance(found, dg.SkipReason)
    return found.skip_message


def test_every_beamline_has_the_sensor_and_it_runs_by_itself(home: Path) -> None:
    sensor = build_defs(Site(home)).get_repository_def().get_sensor_def("xpcs_alerts")
    assert (sensor.minimum_interval_seconds, sensor.default_status) == (60, dg.DefaultSensorStatus.RUNNING)


def test_a_run_that_failed_is_told_to_the_log(pipeline: Pipeline) -> None:
    assert tick(pipeline) == "nothing new; 0 things are wrong"
    folder = pipeline.simulated().folder
    for file in folder.glob("*_qmap.hdf"):
        file.unlink()
    key = pipeline.drop(folder)
    pipeline.run("ingest", key, only=("raw_file", "staged_copy", "correlation"))
    assert tick(pipeline) == "told log"
    assert tick(pipeline) == "nothing new; 1 things are wrong"
    (digest, sent) = pipeline.beamline.ledger.timeline("xpcs", "_alerts")
    (began,) = digest.detail["began"]
    assert (began["kind"], began["subject"]) == ("failed", key)
    assert sent.detail["sent"]["log"]["why"] == ""


def test_a_tick_fails_while_a_channel_does_not_take_the_word_and_others_have_it_once(home: Path) -> None:
    with WebhookServer() as server:
        (home / "hook").write_text(server.address)
        site = {"channels": {"chat": {"kind": "webhook", "url": {"file": "hook"}}}}
        (home / SITE_FILE).write_text(yaml.safe_dump(site))
        edit(home, "alerts: {silent_for: 24 hours}", "alerts: {to: [log, chat]}")
        for pipeline in open_pipeline(home):
            ledger = pipeline.beamline.ledger
            ledger.note_arrival("xpcs", "A1", source="A1", fingerprint="x", state="incomplete", reason="no metadata")
            server.faults.add("POST", ".*", "503")
            with pytest.raises(UnreachableError, match=r"chat: .*it answers 503.*alerts xpcs --test chat"):
                tick(pipeline)
            assert tick(pipeline) == "nothing new; 1 things are wrong"
            assert server.messages == []
            lines = ledger.timeline("xpcs", "_alerts")
            assert [line.what for line in lines] == ["1 began, 0 over", "not taken by chat"]
            assert list(lines[1].detail["sent"]) == ["log", "chat"]
