"""The arrival sensor of a beamline whose runs come from a run database: it asks, reports, pauses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.definitions import build_defs
from xpcs_assets.errors import UnreachableError
from xpcs_assets_tests.mongo import VARIABLE, Runs, runs
from xpcs_assets_tests.unit.conftest import bare_run


@pytest.fixture
def rundb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    with runs() as made:
        monkeypatch.setenv(VARIABLE, made.url)
        yield made


@pytest.fixture
def daq(home: Path, rundb: Runs) -> Iterator[OpenBeamline]:
    fresh = rundb.feed(home, complete_when={"quiet": 0})
    opened = OpenBeamline(fresh, fresh.beamline("xpcs"))
    yield opened
    opened.engine.dispose()


class Sensor:
    def __init__(self, beamline: OpenBeamline, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.repository = build_defs(beamline.site).get_repository_def()

    def tick(self) -> dg.SensorResult | dg.SkipReason:
        context = dg.build_sensor_context(instance=self.instance, repository_def=self.repository)
        return self.repository.get_sensor_def("xpcs_arrivals")(context)  # type: ignore[no-any-return]


@pytest.fixture
def sensor(daq: OpenBeamline) -> Iterator[Sensor]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Sensor(daq, instance)


def skipped(told: dg.SensorResult | dg.SkipReason) -> str:
    assert isinstance(told, dg.SkipReason)
    return told.skip_message or ""


def test_a_run_of_the_database_is_asked_for_and_its_end_reported(
    rundb: Runs, daq: OpenBeamline, sensor: Sensor
) -> None:
    rundb.add(7000)
    bare_run(daq.source_root / "007000")
    told = sensor.tick()
    assert isinstance(told, dg.SensorResult)
    assert [request.partition_key for request in told.run_requests or []] == ["007000"]
    take(daq, "007000")
    daq.ledger.note("xpcs", "007000", "staged_copy", "failed: no room", {"partition": "007000"})
    assert skipped(sensor.tick()) == "no new run is complete"
    assert rundb.status(7000) == ("failed", "staged_copy: no room")


def test_a_paused_beamline_claims_nothing_and_still_reports(rundb: Runs, daq: OpenBeamline, sensor: Sensor) -> None:
    rundb.add(7000)
    bare_run(daq.source_root / "007000")
    sensor.tick()
    take(daq, "007000")
    rundb.add(7001)
    bare_run(daq.source_root / "007001")
    daq.ledger.pause("xpcs", "alignment", "an operator")
    assert "alignment" in skipped(sensor.tick())
    assert (rundb.status(7000)[0], rundb.status(7001)[0]) == ("running", "")


def test_a_database_that_does_not_answer_is_told_by_the_tick(rundb: Runs, sensor: Sensor) -> None:
    rundb.breaking().go_down(0, carry_out_last=False)
    with pytest.raises(UnreachableError, match=r"does not answer"):
        sensor.tick()
    rundb.breaking().come_back()
    rundb.switch("off")
    assert skipped(sensor.tick()) == "the run database's switch is off: no new run is taken"
