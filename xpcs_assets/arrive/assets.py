"""Dagster bindings of step 1: ``raw_file`` and its check."""

from datetime import timedelta

from dagster import AssetCheckResult, AssetExecutionContext, AssetsDefinition, FreshnessPolicy, MaterializeResult

from xpcs_assets.arrive.take import Taken, take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import InputError
from xpcs_assets.orchestrate.bindings import Bound, check, materialised


def build(bound: Bound) -> list[AssetsDefinition]:
    """The assets of this step for one beamline."""
    silent_for = timedelta(seconds=bound.beamline.settings.alerts.silent_for)

    @bound.asset(
        "raw_file",
        description="The files of a run at the detector, read once and hashed.",
        kinds={"file"},
        checks={"raw_complete": "every file there, and as many frames recorded as the run claims"},
        freshness=FreshnessPolicy.time_window(fail_window=silent_for),
    )
    def raw_file(context: AssetExecutionContext) -> MaterializeResult:
        key = context.partition_key
        with bound.step(key, "raw_file"):
            bound.beamline.plain_key_only(key, "raw_file")
            taken = take(bound.beamline, key)
            manifest = taken.version.manifest
            facts, result = _look_into(bound.beamline, taken)
        return materialised(
            {
                "version": taken.version.version,
                "new_version": taken.is_new,
                "source": taken.version.source,
                "files": len(manifest.files),
                "size_bytes": manifest.size_bytes,
                "manifest_digest": manifest.digest,
                "taken_at": taken.version.taken_at.isoformat(),
                **facts,
            },
            digest=manifest.digest,
            checks=[result],
        )

    return [raw_file]


def _look_into(beamline: OpenBeamline, taken: Taken) -> tuple[dict[str, str | int | float], AssetCheckResult]:
    """What the raw file says of itself, and whether the run is all there. A damaged file is a finding, no error."""
    from xpcs_assets.arrive.candidates import locate
    from xpcs_assets.describe.quality import raw_complete
    from xpcs_assets.readers.metadata import find_metadata, read_acquisition
    from xpcs_assets.readers.recognise import open_raw

    root = beamline.source_root
    folder = locate(beamline.settings, root, root / taken.version.source).folder
    try:
        raw = folder / taken.raw[0]
        with open_raw(raw) as series:
            info = series.info
        metadata = find_metadata(raw)
        frames_field = beamline.settings.runs.frames_from
        acquisition = read_acquisition(metadata, frames_field=frames_field) if metadata else None
    except (InputError, OSError) as error:
        return {"raw_format": "not readable"}, check("raw_complete", [str(error)], {}, warn=False)
    judged = raw_complete(taken.version.run_key, info, acquisition, taken.version.manifest)
    facts: dict[str, str | int | float] = {
        "raw_format": info.format,
        "detector_rows_px": info.shape[0],
        "detector_columns_px": info.shape[1],
        "frames_recorded": info.n_recorded,
    }
    return facts, check("raw_complete", judged.reasons, judged.facts, warn=not judged.serious)
