"""Dagster bindings of step 1: ``raw_file``."""

from datetime import timedelta

from dagster import AssetExecutionContext, AssetsDefinition, FreshnessPolicy, MaterializeResult

from xpcs_assets.arrive.take import Taken, take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import InputError
from xpcs_assets.orchestrate.bindings import Bound, materialised


def build(bound: Bound) -> list[AssetsDefinition]:
    """The assets of this step for one beamline."""
    silent_for = timedelta(seconds=bound.beamline.settings.alerts.silent_for)

    @bound.asset(
        "raw_file",
        description="The files of a run at the detector, read once and hashed.",
        kinds={"file"},
        freshness=FreshnessPolicy.time_window(fail_window=silent_for),
    )
    def raw_file(context: AssetExecutionContext) -> MaterializeResult:
        key = context.partition_key
        with bound.step(key, "raw_file"):
            bound.beamline.plain_key_only(key, "raw_file")
            taken = take(bound.beamline, key)
            manifest = taken.version.manifest
            facts = _look_into(bound.beamline, taken)
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
        )

    return [raw_file]


def _look_into(beamline: OpenBeamline, taken: Taken) -> dict[str, str | int]:
    """What the raw file says of itself. A damaged one is a finding of the check ``raw_complete``, no error."""
    if not taken.raw:
        return {"raw_format": "none that is known"}
    from xpcs_assets.arrive.candidates import candidate_at
    from xpcs_assets.arrive.source import source_of
    from xpcs_assets.readers.recognise import open_raw

    source = source_of(beamline)
    if not source.tree().is_near:
        return {"raw_format": "looked into once it is staged"}
    folder = candidate_at(beamline.settings, source.root, taken.version.source).folder
    try:
        with open_raw(folder / taken.raw[0]) as series:
            info = series.info
    except (InputError, OSError):
        return {"raw_format": "not readable"}
    return {
        "raw_format": info.format,
        "detector_rows_px": info.shape[0],
        "detector_columns_px": info.shape[1],
        "frames_recorded": info.n_recorded,
    }
