"""The one entry that Dagster loads: assets, jobs, sensors and checks of every beamline of a site.

``build_defs(site)`` is a function, so that tests and special deployments can load any site. A beamline file that
cannot be read becomes an asset and a failing sensor that show its error; the other beamlines run.
"""

from __future__ import annotations

import dagster as dg

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import SettingsError
from xpcs_assets.orchestrate.adapter import BEAMLINE_TAG, PRIORITY_TAG
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets.orchestrate.executor import one_process
from xpcs_assets.settings import Beamline
from xpcs_assets.site import Site, find_home


def build_defs(site: Site) -> dg.Definitions:
    """All definitions of a site."""
    parts = [beamline_defs(site, settings) for settings in site.beamlines.values()]
    broken = [broken_defs(name, error) for name, error in site.broken.items()]
    return dg.Definitions.merge(dg.Definitions(executor=one_process), *parts, *broken)


def beamline_defs(site: Site, settings: Beamline) -> dg.Definitions:
    """The definitions of one beamline."""
    from xpcs_assets.access import assets as access
    from xpcs_assets.access import sensors as access_sensors
    from xpcs_assets.alerts import sensors as alerts_sensors
    from xpcs_assets.archive import assets as archive
    from xpcs_assets.archive import sensors as archive_sensors
    from xpcs_assets.arrive import assets as arrive
    from xpcs_assets.arrive import sensors as arrive_sensors
    from xpcs_assets.audit import assets as audit
    from xpcs_assets.audit import sensors as audit_sensors
    from xpcs_assets.average import assets as average
    from xpcs_assets.campaign import sensors as campaign_sensors
    from xpcs_assets.catalog import assets as catalog
    from xpcs_assets.catalog import sensors as catalog_sensors
    from xpcs_assets.correlate import assets as correlate
    from xpcs_assets.correlate import sensors as correlate_sensors
    from xpcs_assets.describe import assets as describe
    from xpcs_assets.describe import checks as describe_checks
    from xpcs_assets.doctor import assets as doctor
    from xpcs_assets.plot import assets as plot
    from xpcs_assets.process import assets as process
    from xpcs_assets.process import sensors as process_sensors
    from xpcs_assets.prune import assets as prune
    from xpcs_assets.prune import sensors as prune_sensors
    from xpcs_assets.run_database import sensors as run_database_sensors
    from xpcs_assets.stage import assets as stage
    from xpcs_assets.stage import sensors as stage_sensors

    bound = Bound.of(OpenBeamline(site, settings))
    chain = [*arrive.build(bound), *stage.build(bound), *describe.build(bound), *catalog.build_raw(bound)]
    outside: list[dg.AssetSpec] = []
    if settings.pipeline.correlate is not None:
        chain += [*correlate.build(bound), *plot.build(bound), *catalog.build_derived(bound)]
        outside.append(dg.AssetSpec(bound.key("qmap"), group_name=settings.dagster_name, kinds={"hdf5"}))
    if settings.pipeline.process is not None:
        chain += process.build(bound)
    chain += [*stage.build_further(bound), *access.build(bound)]
    ingest = _ingest_job(bound, chain)
    sensors: list[dg.SensorDefinition] = [*stage_sensors.build(bound, ingest.name, chain)]
    if settings.pipeline.correlate is not None:
        chain += average.build(bound)
        sensors += correlate_sensors.build(bound, ingest.name)
    if settings.pipeline.process is not None:
        sensors += process_sensors.build(bound, ingest.name)
    prune_job, (scrub_job, audit_job) = prune.build_job(bound), audit.build_jobs(bound)
    more_jobs = [prune_job, scrub_job, audit_job]
    from_database = settings.runs.source.run_database is not None
    arrivals = (run_database_sensors if from_database else arrive_sensors).build(bound, ingest.name)
    sensors += [*prune_sensors.build(bound, prune_job), *arrivals]
    sensors += audit_sensors.build(bound, scrub_job, audit_job, ingest.name)
    sensors += catalog_sensors.build_roster(bound)
    sensors += [*access_sensors.build(bound), *alerts_sensors.build(bound)]
    if settings.pipeline.analysis:
        sensors += campaign_sensors.build(bound, ingest.name)
    if settings.pipeline.correlate is not None:
        sensors += campaign_sensors.build_run_sets(bound)
    if settings.pipeline.told:
        tell_job = catalog.build_job(bound)
        more_jobs.append(tell_job)
        sensors += catalog_sensors.build(bound, tell_job)
    if settings.flight_check is not None:
        checked = doctor.build(bound)
        flight_job = doctor.build_job(bound, checked)
        chain.append(checked)
        more_jobs.append(flight_job)
        every_s = settings.flight_check.every
        sensors.append(audit_sensors.regular(bound, flight_job.name, every_s, "A small file is moved over every hop"))
    if settings.pipeline.archive is not None:
        kept = archive.build(bound)
        archive_job = archive.build_job(bound)
        more_jobs.append(archive_job)
        sensors += archive_sensors.build(bound, archive_job, ingest.name)
        chain += kept
        outside.append(prune.spec(bound))
    return dg.Definitions(
        assets=[*chain, *outside],
        asset_checks=describe_checks.build(bound),
        jobs=[ingest, *more_jobs],
        sensors=sensors,
    )


def broken_defs(name: str, error: SettingsError) -> dg.Definitions:
    """What shows that a beamline file cannot be read: an asset with the error, and a sensor whose ticks fail."""

    @dg.sensor(
        name=f"{_identifier(name)}_beamline_file",
        target=dg.AssetSelection.assets(dg.AssetKey([name, "beamline_file"])),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def beamline_file() -> dg.SkipReason:
        raise error

    spec = dg.AssetSpec(
        dg.AssetKey([name, "beamline_file"]), description=f"This beamline does not run. {error}", kinds={"yaml"}
    )
    return dg.Definitions(assets=[spec], sensors=[beamline_file])


def _ingest_job(bound: Bound, assets: list[dg.AssetsDefinition]) -> dg.UnresolvedAssetJobDefinition:
    """The whole chain of one run in one process."""
    settings = bound.beamline.settings
    return dg.define_asset_job(
        f"{settings.dagster_name}_ingest",
        selection=dg.AssetSelection.assets(*assets),
        executor_def=one_process,
        tags={BEAMLINE_TAG: bound.beamline.name, PRIORITY_TAG: str(settings.queue.priority)},
    )


def _identifier(name: str) -> str:
    return "".join(character if character.isascii() and character.isalnum() else "_" for character in name)


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of the site found by :func:`xpcs_assets.site.find_home`."""
    return build_defs(Site(find_home()))
