"""Dagster bindings of run sets: ``average``, one partition a set."""

from dataclasses import replace

from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    DynamicPartitionsDefinition,
    MaterializeResult,
    MetadataValue,
)

from xpcs_assets.average.asking import PARTITIONS
from xpcs_assets.average.run_set import Averaged, average_set, ledger_key
from xpcs_assets.orchestrate.bindings import Bound, materialised, table
from xpcs_assets.runs.criteria import Rules


def build(bound: Bound) -> list[AssetsDefinition]:
    """The assets of this step for one beamline."""
    name = f"{bound.beamline.settings.dagster_name}_{PARTITIONS}"
    sets = replace(bound, partitions=DynamicPartitionsDefinition(name=name))

    @sets.asset(
        "average",
        description="g2 of several runs taken as one; made by `xpcs-assets average-runs`.",
        kinds={"hdf5"},
        checks={"average_sane": "baseline, contrast and fits of the average within the limits"},
    )
    def average(context: AssetExecutionContext) -> MaterializeResult:
        with sets.step(ledger_key(context.partition_key), "average"):
            done = average_set(bound.beamline, context.partition_key)
            return described(done, bound.beamline.settings.quality.rules)

    return [average]


def described(done: Averaged, rules: Rules) -> MaterializeResult:
    """What the materialisation says: where it is, who is in it, g2 and how good it is. Figures and fits are written."""
    from xpcs_assets.describe.checks import verdict
    from xpcs_assets.describe.quality import g2_sane
    from xpcs_assets.places.files import write_file_safely
    from xpcs_assets.plot.thumbnails import markdown_image, save_all
    from xpcs_assets.results.fit_file import fits_document, fits_path
    from xpcs_assets.results.result import open_result

    result = open_result(done.path)
    fits = result.fit()
    _, small = save_all(result, done.path.parent / "plots", fits, result.fit_tau_q(fits))
    document = fits_document(result, done.digest, {"single": fits})
    write_file_safely(fits_path(done.path), [document.encode()], replace=True)
    judged, quality = done.average.judged, g2_sane(result, fits, rules)
    rows = [
        {"run": key, "used": bool(used), "reason": reason, "result_digest": member.digest}
        for key, used, reason, member in zip(
            done.run_set.members, judged.used, judged.reasons, done.average.members, strict=True
        )
    ]
    facts = {
        "result": MetadataValue.path(str(done.path)),
        "result_digest": done.digest,
        "recipe_digest": result.recipe.digest,
        "runs": len(rows),
        "runs_used": sum(row["used"] is True for row in rows),
        "members": table(rows),
        "g2": MetadataValue.md(markdown_image(small["g2"], "g2 with fits")),
    }
    return materialised(facts, digest=done.digest, checks=[verdict("average_sane", quality)])
