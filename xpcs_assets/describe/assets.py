"""Dagster bindings of step 4: ``metadata``."""

import hashlib
from dataclasses import asdict
from typing import Any

from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult, MetadataValue

from xpcs_assets.describe.record import Drift, Entry
from xpcs_assets.orchestrate.bindings import Bound, materialised, table


def build(bound: Bound) -> list[AssetsDefinition]:
    """The assets of this step for one beamline."""

    @bound.asset(
        "metadata",
        description="The run's record: every field of its metadata, typed, with units.",
        after=("staged_copy",),
        kinds={"json"},
    )
    def metadata(context: AssetExecutionContext) -> MaterializeResult:
        from xpcs_assets.describe.describing import describe

        key = context.partition_key
        with bound.step(key, "metadata"):
            bound.beamline.plain_key_only(key, "metadata")
            record, path = describe(bound.beamline, key)
        groups: dict[str, Any] = {
            f"{name}_fields": table(
                [{"field": entry.name, "value": _in_words(entry), "unit": entry.unit} for entry in entries]
            )
            for name, entries in record.groups.items()
            if entries
        }
        return materialised(
            {
                "record": MetadataValue.path(str(path)),
                "version": record.version,
                "fields": len(record.fields),
                "complete": record.complete,
                "missing": "; ".join(record.missing) or "nothing",
                "notes": "; ".join(record.notes) or "nothing",
                **_drift(record.drift),
                **groups,
            },
            digest="sha256:" + hashlib.sha256(record.to_json().encode()).hexdigest(),
        )

    return [metadata]


def _in_words(entry: Entry) -> str:
    """A value as people read it; where there is none, why."""
    if entry.value is None:
        return "not finite" if entry.not_finite else entry.note or "none"
    value = entry.value
    if not (isinstance(value, dict) and "shape" in value):
        return str(value)
    some = f"{value['min']} to {value['max']}" if "min" in value else f"first {value.get('first')}"
    return f"{' x '.join(map(str, value['shape']))} values, {some}"


def _drift(drift: Drift | None) -> dict[str, Any]:
    """What changed in the form of the metadata since the run before."""
    if drift is None or not drift.compared_with:
        return {"compared_with": "no run before this one"}
    rows = [asdict(change) for change in drift.changes]
    changes = {"form_changes": table(rows)} if rows else {}
    return {"compared_with": drift.compared_with, "n_form_changes": len(rows), **changes}
