"""The arrival sensor asks Dagster for one run a measurement, and ``raw_file`` tells what was taken."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from dagster import (
    AssetsDefinition,
    DagsterInstance,
    Definitions,
    PreviewWarning,
    SensorDefinition,
    SensorResult,
    SkipReason,
    build_sensor_context,
    define_asset_job,
    instance_for_test,
    materialize,
)

from xpcs_assets.arrive import assets, sensors
from xpcs_assets.arrive.submit import submit
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import ArrivalState
from xpcs_assets.errors import CopyError
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets_tests.unit.conftest import Altered, Drop, bare_run


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with instance_for_test() as made:
        yield made


@pytest.fixture
def eager(altered: Altered, monkeypatch: pytest.MonkeyPatch) -> OpenBeamline:
    """A beamline without quiet time, whose sensor looks once a tick."""
    monkeypatch.setattr(sensors, "STAY_S", -1.0)
    return altered({"runs": {"from": {"complete_when": {"quiet": 0}}}, "queue": {"priority": 5}})


def raw_file_of(beamline: OpenBeamline) -> AssetsDefinition:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PreviewWarning)  # checks by partition are a preview of Dagster's
        (asset,) = assets.build(Bound.of(beamline))
    return asset


class Ticks:
    """A sensor, evaluated as the daemon does."""

    def __init__(self, beamline: OpenBeamline, instance: DagsterInstance) -> None:
        (self.sensor,) = sensors.build(Bound.of(beamline), "ingest")
        self.instance = instance
        job = define_asset_job("ingest", selection=[raw_file_of(beamline)])
        self.repository = Definitions(
            assets=[raw_file_of(beamline)], jobs=[job], sensors=[self.sensor]
        ).get_repository_def()

    def tick(self) -> SensorResult | SkipReason:
        sensor: SensorDefinition = self.sensor
        with build_sensor_context(instance=self.instance, repository_def=self.repository) as context:
            found: Any = sensor(context)
        return found  # type: ignore[no-any-return]


def test_a_complete_run_gets_one_request_and_its_partition(eager: OpenBeamline, instance: DagsterInstance) -> None:
    ticks = Ticks(eager, instance)
    bare_run(eager.source_root / "A 001")
    result = ticks.tick()
    assert isinstance(result, SensorResult)
    (request,) = result.run_requests or ()
    arrival = eager.ledger.arrival("xpcs", "A=20001")
    assert arrival is not None
    assert request.partition_key == "A=20001"
    assert request.run_key == f"xpcs:A=20001:{arrival.fingerprint}:0"
    assert (request.tags["beamline"], request.tags["dagster/priority"]) == ("xpcs", "5")
    (added,) = result.dynamic_partitions_requests or ()
    assert (added.partitions_def_name, added.partition_keys) == ("xpcs_runs", ["A=20001"])
    assert isinstance(ticks.tick(), SkipReason)


def test_two_runs_are_two_partitions_and_no_more_than_20_are_asked_for_in_a_tick(
    eager: OpenBeamline, instance: DagsterInstance
) -> None:
    ticks = Ticks(eager, instance)
    for number in range(25):
        bare_run(eager.source_root / f"A{number:03d}")
    results = [ticks.tick(), ticks.tick()]
    asked = [[request.partition_key for request in getattr(result, "run_requests", [])] for result in results]
    assert [len(keys) for keys in asked] == [20, 5]
    assert len({*asked[0], *asked[1]}) == 25


def test_a_folder_that_cannot_be_listed_is_in_the_ticks_reason(
    eager: OpenBeamline, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = Ticks(eager, instance)
    monkeypatch.setattr("xpcs_assets.arrive.watch.unreadable", lambda root, settings, tree: [root / "locked"])
    result = ticks.tick()
    assert isinstance(result, SkipReason)
    assert result.skip_message == f"cannot list {eager.source_root}/locked"


def test_a_watched_folder_that_is_gone_fails_the_tick(eager: OpenBeamline, instance: DagsterInstance) -> None:
    ticks = Ticks(eager, instance)
    eager.source_root.rmdir()
    with pytest.raises(CopyError, match="watched folder is unavailable"):
        ticks.tick()


def facts(beamline: OpenBeamline, instance: DagsterInstance, key: str) -> tuple[bool, dict[str, Any]]:
    """Whether ``raw_file`` could be materialised, and its metadata."""
    instance.add_dynamic_partitions("xpcs_runs", [key])
    done = materialize([raw_file_of(beamline)], partition_key=key, instance=instance, raise_on_error=False)
    events = done.asset_materializations_for_node("xpcs__raw_file") if done.success else []
    told = {name: value.value for event in events for name, value in event.metadata.items()}
    return done.success, told


def test_raw_file_tells_what_was_taken(beamline: OpenBeamline, instance: DagsterInstance, drop: Drop) -> None:
    submit(beamline, drop(beamline))
    done, told = facts(beamline, instance, "A001")
    assert done
    assert (told["version"], told["source"], told["files"]) == (1, "A001", 4)
    assert told["manifest_digest"] == beamline.latest("A001").manifest_digest
    assert (told["detector_rows_px"], told["detector_columns_px"], told["frames_recorded"]) == (48, 64, 60)


def test_a_damaged_raw_file_is_taken_all_the_same(
    beamline: OpenBeamline, instance: DagsterInstance, drop: Drop
) -> None:
    run = drop(beamline)
    (run / "A001.imm").write_bytes((run / "A001.imm").read_bytes()[:1500])
    submit(beamline, run)
    done, told = facts(beamline, instance, "A001")
    assert done
    assert told["raw_format"] == "not readable"


def test_a_run_that_vanished_fails_and_waits_for_its_files(
    beamline: OpenBeamline, instance: DagsterInstance, drop: Drop
) -> None:
    run = drop(beamline)
    submit(beamline, run)
    run.rename(beamline.site.home / "aside")
    done, _ = facts(beamline, instance, "A001")
    assert not done
    arrival = beamline.ledger.arrival("xpcs", "A001")
    assert arrival is not None
    assert arrival.state is ArrivalState.WAITING
    assert "no longer at the source" in beamline.ledger.timeline("xpcs", "A001")[-1].what


def test_raw_file_of_a_reprocessing_is_refused(beamline: OpenBeamline, instance: DagsterInstance) -> None:
    done, _ = facts(beamline, instance, "A001~wide")
    assert not done
    assert "raw_file belongs to the run" in beamline.ledger.timeline("xpcs", "A001")[-1].what
