"""Dagster binding of step 2: the sensor that asks how transfers go, and has their assets done once they ended.

Most often it asks the ledger alone. A service that gives no answer is asked again at the next tick.
"""

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dagster import (
    AssetsDefinition,
    DagsterInstance,
    DefaultSensorStatus,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from xpcs_assets.copies.ledger import Transfer, TransferState
from xpcs_assets.errors import UnreachableError, XpcsAssetsError
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, PRIORITY_TAG, partition_in_progress, was_requested
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets.places.transfer import Transfers
from xpcs_assets.stage.further_transfer import asset_of, look_at, pause
from xpcs_assets.stage.moves import STAGE, transfers_between

LOOKS_PER_TICK = 20
TICK_S = 20.0  # Dagster ends a tick that takes a minute


def build(bound: Bound, ingest_job: str, chain: list[AssetsDefinition]) -> list[SensorDefinition]:
    """The sensor of a beamline's transfers; none where no place is a collection of Globus.

    Parameters
    ----------
    ingest_job, chain
        The job of a run's assets, and those assets.
    """
    if all(place.kind != "globus" for place in bound.beamline.settings.places.values()):
        return []
    staged_and_behind = [key for asset in chain for key in asset.keys if key != bound.key("raw_file")]

    @sensor(
        name=f"{bound.beamline.settings.dagster_name}_transfers",
        job_name=ingest_job,
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING,
        description="How transfers go; what has ended is read and recorded by its asset",
    )
    def transfers(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        under_way = bound.beamline.ledger.transfers_under_way(bound.beamline.name)
        if not under_way:
            return SkipReason("no transfer is under way")
        memory = _Memory.of(context.cursor)
        ended, told = _look_around(bound, context.instance, memory, under_way)
        requests = []
        for transfer in ended:
            asset = asset_of(bound.beamline, transfer)
            keys = staged_and_behind if transfer.purpose == STAGE else [bound.key(asset)]
            queue = bound.beamline.settings.queue
            requests.append(
                RunRequest(
                    run_key=_run_key(bound, context.instance, memory, transfer),
                    partition_key=transfer.run_key,
                    asset_selection=keys,
                    tags={BEAMLINE_TAG: bound.beamline.name, PRIORITY_TAG: str(queue.priority)},
                )
            )
        memory.forget_all_but(under_way)
        if requests:
            return SensorResult(run_requests=requests, cursor=memory.to_json())
        told = told or [f"{len(under_way)} transfers are under way"]
        return SensorResult(skip_reason=SkipReason("; ".join(told)), cursor=memory.to_json())

    return [transfers]


@dataclass
class _Memory:
    """What the sensor keeps between ticks: the transfer it looked at last, and what it asked for how often and when."""

    last: str = ""
    asked: dict[str, tuple[int, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, cursor: str | None) -> "_Memory":
        content: dict[str, Any] = json.loads(cursor) if cursor else {"last": "", "asked": {}}
        return cls(content["last"], {name: (number, at) for name, (number, at) in content["asked"].items()})

    def to_json(self) -> str:
        return json.dumps({"last": self.last, "asked": self.asked})

    def in_turn(self, under_way: tuple[Transfer, ...]) -> list[Transfer]:
        """Those to look at now: where there are many, each gets its turn."""
        ordered = sorted(under_way, key=lambda each: each.submission)
        after = [each for each in ordered if each.submission > self.last]
        return [*after, *(each for each in ordered if each.submission <= self.last)][:LOOKS_PER_TICK]

    def asked_lately(self, transfer: Transfer, now: datetime) -> bool:
        number, at = self.asked.get(_turn(transfer), (0, ""))
        return bool(number) and now - datetime.fromisoformat(at) < pause(number)

    def ask(self, transfer: Transfer, now: datetime) -> int:
        number = self.asked.get(_turn(transfer), (0, ""))[0] + 1
        self.asked[_turn(transfer)] = (number, now.isoformat())
        return number

    def forget_all_but(self, under_way: tuple[Transfer, ...]) -> None:
        here = {each.submission for each in under_way}
        self.asked = {name: value for name, value in self.asked.items() if name.partition(" ")[0] in here}


def _turn(transfer: Transfer) -> str:
    return f"{transfer.submission} {'begin' if transfer.state is TransferState.INTENDED else 'end'}"


def _look_around(
    bound: Bound, instance: DagsterInstance, memory: _Memory, under_way: tuple[Transfer, ...]
) -> tuple[list[Transfer], list[str]]:
    """The transfers whose assets have something to do now; and what a person should know."""
    beamline, ended, told = bound.beamline, [], []
    now, until_s = beamline.ledger.clock(), time.monotonic() + TICK_S
    with ExitStack() as stack:
        services: dict[tuple[str, str], Transfers] = {}
        for transfer in memory.in_turn(under_way):
            if time.monotonic() > until_s:
                break
            memory.last = transfer.submission
            if transfer.next_at > now or memory.asked_lately(transfer, now):
                continue
            if partition_in_progress(instance, beamline.name, transfer.run_key):
                continue
            try:
                way = (transfer.source, transfer.target)
                if way not in services:
                    places = [beamline.place(name) for name in way]
                    services[way] = stack.enter_context(transfers_between(beamline, *places, patient=False))
                if look_at(beamline, transfer, services[way]):
                    ended.append(transfer)
            except UnreachableError as error:  # nor would it answer about the others
                told.append(str(error))
                break
            except XpcsAssetsError as error:
                told.append(f"{transfer.run_key}: {error}")
    return ended, told


def _run_key(bound: Bound, instance: DagsterInstance, memory: _Memory, transfer: Transfer) -> str:
    """A new one each time: Dagster drops a request that it has had."""
    while True:
        number = memory.ask(transfer, bound.beamline.ledger.clock())
        run_key = f"{bound.beamline.name}:transfer:{_turn(transfer)}:{number}"
        if not was_requested(instance, run_key):
            return run_key
