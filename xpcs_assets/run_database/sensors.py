"""Dagster binding of the run database: the arrival sensor that asks it for runs and tells it what became of them."""

import socket

from dagster import (
    DefaultSensorStatus,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from xpcs_assets.arrive.sensors import REQUESTS_PER_TICK, asked_for
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import SettingsError
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets.run_database.database import RunDatabase
from xpcs_assets.run_database.report import Reporter
from xpcs_assets.run_database.watch import DatabaseWatch


def build(bound: Bound, job_name: str) -> list[SensorDefinition]:
    """The arrival sensor of a beamline whose runs come from a run database."""
    opened: list[tuple[Reporter, DatabaseWatch]] = []  # one a code server; made at the first tick

    @sensor(
        name=f"{bound.beamline.settings.dagster_name}_arrivals",
        job_name=job_name,
        minimum_interval_seconds=5,
        default_status=DefaultSensorStatus.RUNNING,
        description="Runs that have ended by the run database, which is told what becomes of them",
    )
    def arrivals(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        if not opened:
            database = open_database(bound.beamline)
            opened.append((Reporter(bound.beamline, database), DatabaseWatch(bound.beamline, database)))
        reporter, watch = opened[0]
        told = reporter.report()  # also while the beamline is paused: what is under way goes on
        if (pause := bound.beamline.ledger.paused(bound.beamline.name)) is not None:
            return SkipReason("; ".join([pause.told, *told]))
        ready = watch.look(limit=REQUESTS_PER_TICK)
        return asked_for(bound, context, ready, [*told, *watch.told])

    return [arrivals]


def open_database(beamline: OpenBeamline) -> RunDatabase:
    """The run database of a beamline, as its file says; it is first asked when it is first used.

    Raises
    ------
    SettingsError
        The beamline has none.
    """
    settings = beamline.settings.runs.source.run_database
    url = beamline.site.secret(settings.url) if settings is not None else None
    if settings is None or url is None:
        raise SettingsError("this beamline has no run database", where=beamline.name)
    host = socket.gethostname()
    return RunDatabase(settings, url, holder=f"{beamline.name}@{host}:{beamline.site.home}", host=host)
