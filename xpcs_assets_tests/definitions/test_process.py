"""A beamline whose analysis is a command: the whole chain of a run of any kind of data, and a failure that shows."""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from xpcs_assets.arrive.submit import submit
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.definitions import build_defs
from xpcs_assets.follow import state_of
from xpcs_assets.site import Site

COUNT = """
import pathlib, sys
raw, output = map(pathlib.Path, sys.argv[1:])
if (raw / "broken").exists():
    sys.exit("the records are broken")
(output / "count.txt").write_text(str(sum(path.stat().st_size for path in raw.iterdir())))
"""


@pytest.fixture
def beamline(home: Path) -> OpenBeamline:
    file = home / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    del content["pipeline"]["correlate"]
    command = [sys.executable, "-c", COUNT, "{raw}", "{output}"]
    content["pipeline"]["process"] = {"command": command, "outputs": ["count.txt"], "to": "made"}
    content["places"]["made"] = {"kind": "posix", "root": "made"}
    content["runs"]["expect"] = []
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    (home / "made").mkdir()
    site = Site(home)
    return OpenBeamline(site, site.beamline("xpcs"))


def ingest(beamline: OpenBeamline, instance: dg.DagsterInstance, **files: bytes) -> dg.ExecuteInProcessResult:
    run = beamline.source_root / "R1"
    run.mkdir()
    for name, content in files.items():
        (run / name).write_bytes(content)
    submit(beamline, run)
    instance.add_dynamic_partitions("xpcs_runs", ["R1"])
    job = build_defs(beamline.site).get_repository_def().get_job("xpcs_ingest")
    return job.execute_in_process(instance=instance, partition_key="R1", raise_on_error=False)


def test_a_run_is_done_when_the_commands_outputs_have_their_names(beamline: OpenBeamline) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        done = ingest(beamline, instance, records=b"12345")
        assert done.success
        (made,) = done.asset_materializations_for_node("xpcs__processed")
        path = beamline.root("made") / str(made.metadata["path"].value) / "count.txt"
        assert path.read_text() == "5"
    state = state_of(beamline, "R1")
    steps = {step.asset: step.state for step in state.steps if step.asset != "archive"}
    assert steps == dict.fromkeys(("raw_file", "staged_copy", "processed", "metadata", "catalog_entry"), "done")
    beamline.engine.dispose()


def test_a_command_that_fails_is_the_runs_failure_with_its_last_words(beamline: OpenBeamline) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert not ingest(beamline, instance, broken=b"12345").success
    (failed,) = state_of(beamline, "R1").failed
    assert failed.asset == "processed"
    assert "the records are broken" in failed.reason
    beamline.engine.dispose()
