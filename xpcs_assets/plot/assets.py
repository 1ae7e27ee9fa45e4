"""Dagster bindings of step 5: ``plots``, and the fits that lie beside the result."""

from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult, MetadataValue

from xpcs_assets.orchestrate.bindings import Bound, materialised
from xpcs_assets.places.files import write_file_safely
from xpcs_assets.plot.captions import CAPTIONS
from xpcs_assets.results.fit_laws import FitKind

# The law with two stretched decays has more parameters than most runs bear: it is fitted when somebody asks.
_FITTED: tuple[FitKind, ...] = ("single", "stretched", "double")


def build(bound: Bound) -> list[AssetsDefinition]:
    """The assets of this step for one beamline."""

    @bound.asset(
        "plots",
        description="Pattern, I(q), I(t), g2, tau(q) and two-time maps.",
        after=("correlation",),
        kinds={"image"},
    )
    def plots(context: AssetExecutionContext) -> MaterializeResult:
        # Both are heavy: only the process that draws pays for them.
        from xpcs_assets.plot.parameters import parameters_q
        from xpcs_assets.plot.thumbnails import markdown_image, png, save_all
        from xpcs_assets.results.fit_file import fits_document, fits_path
        from xpcs_assets.results.result import open_result

        key = context.partition_key
        with bound.step(key, "plots"):
            found = bound.beamline.result(key)
            path = bound.beamline.result_path(found)
            result = open_result(path)
            fits = {kind: result.fit(kind) for kind in _FITTED}
            stored = fits_path(path)
            write_file_safely(stored, [fits_document(result, found.result_digest, fits).encode()], replace=True)
            paths, small = save_all(result, path.parent / "plots", fits["single"], result.fit_tau_q(fits["single"]))
            paths["parameters_q"] = path.parent / "plots" / "parameters_q.png"
            picture = png(parameters_q(result, fits["stretched"]))
            write_file_safely(paths["parameters_q"], [picture], replace=True)
        facts: dict[str, MetadataValue] = {
            name: MetadataValue.md(markdown_image(small[name], text))
            for name, text in CAPTIONS.items()
            if name in small
        }
        facts["fits_file"] = MetadataValue.path(str(stored))
        facts |= {f"{name}_file": MetadataValue.path(str(file)) for name, file in paths.items()}
        return materialised(facts, digest=found.result_digest)

    return [plots]
