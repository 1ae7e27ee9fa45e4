"""Access as an asset of a run: behind its copies, red without stopping anything, and set in turn by a sensor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from xpcs_assets.follow import state_of, steps_of, wait
from xpcs_assets.orchestrate import adapter
from xpcs_assets.places.posix_access import PosixDoors
from xpcs_assets_tests.definitions.conftest import Pipeline, open_pipeline
from xpcs_assets_tests.unit.conftest import bare_run

KEY = dg.AssetKey(["xpcs", "access"])
CHECK = "readable_by_whom_it_should"
TO_ACCESS = ("raw_file", "staged_copy", "copy_in_mirror", "access")


@pytest.fixture
def guarded(home: Path) -> Iterator[Pipeline]:
    """A beamline whose store and mirror say who may read there."""
    file = home / "beamlines" / "xpcs.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    (home / "mirror").mkdir()
    content["places"]["mirror"] = {"kind": "posix", "root": "mirror", "access": {}}
    content["places"]["store"]["access"] = {"staff": ["64302"]}
    content["pipeline"]["copies"] = ["mirror"]
    content["runs"]["owner"] = {"groups": ["64301"]}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    yield from open_pipeline(home)


def tick(pipeline: Pipeline, cursor: str | None = None) -> Any:
    sensor = pipeline.repository.get_sensor_def("xpcs_access")
    with dg.build_sensor_context(
        instance=pipeline.instance, repository_def=pipeline.repository, cursor=cursor
    ) as context:
        return sensor(context)


def step_of(pipeline: Pipeline, key: str) -> tuple[str, str]:
    (step,) = [step for step in state_of(pipeline.beamline, key).steps if step.asset == "access"]
    return step.state, step.reason


def readers(pipeline: Pipeline, place: str, key: str) -> set[str]:
    doors = PosixDoors(pipeline.beamline.place(place))  # type: ignore[arg-type]
    seen = doors.look(f"xpcs/{key}/v1", inside=True)
    assert seen is not None
    return set(map(str, seen.readers))


def test_access_is_set_behind_the_copies_of_a_run(guarded: Pipeline) -> None:
    key = guarded.drop(bare_run(guarded.aside / "A001"))
    done = guarded.run("ingest", key, only=TO_ACCESS)
    assert done.success
    assert readers(guarded, "store", key) == {"group 64301", "group 64302"}
    assert readers(guarded, "mirror", key) == {"group 64301"}
    assert guarded.check("access", CHECK, key).passed
    (event,) = done.asset_materializations_for_node("xpcs__access")
    rows = [row.data for row in event.metadata["copies"].value.records]  # type: ignore[union-attr]
    assert [(row["place"], row["readers"]) for row in rows] == [
        ("store", "group 64301, group 64302"),
        ("mirror", "group 64301"),
    ]
    graph = guarded.repository.asset_graph.get(KEY)
    assert {key.path[-1] for key in graph.parent_keys} == {"staged_copy", "copy_in_mirror"}
    assert step_of(guarded, key) == ("done", "")


def test_what_cannot_be_set_is_a_failed_check_stops_nothing_and_is_set_in_turn(
    guarded: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = guarded.drop(bare_run(guarded.aside / "A001"))
    with monkeypatch.context() as patched:
        patched.setattr(PosixDoors, "allow", lambda *_: None)
        assert guarded.run("ingest", key, only=TO_ACCESS).success
        assert not guarded.check("access", CHECK, key).passed
        assert adapter.newest(guarded.instance, KEY, key) is None
        state, reason = step_of(guarded, key)
        assert (state, "the place still says otherwise" in reason) == ("waiting", True)
        assert wait(guarded.beamline, key, asset="access", timeout_s=0) == 3
        said = tick(guarded)
        assert said.skip_reason.skip_message == "1 runs were looked at, 1 not as they should be"
        assert not guarded.check("access", CHECK, key).passed
    said = tick(guarded, said.cursor)
    assert (said.skip_reason.skip_message, json.loads(said.cursor)) == (
        "1 runs were looked at, 1 set now",
        ["", 0],
    )
    assert readers(guarded, "mirror", key) == {"group 64301"}
    assert guarded.check("access", CHECK, key).passed
    assert adapter.newest(guarded.instance, KEY, key) is not None
    assert step_of(guarded, key) == ("done", "")


def test_a_beamline_that_guards_nothing_has_none_of_it(pipeline: Pipeline) -> None:
    assert not pipeline.repository.asset_graph.has(KEY)
    assert not pipeline.repository.has_sensor_def("xpcs_access")
    assert "access" not in steps_of(pipeline.beamline, "A001")
