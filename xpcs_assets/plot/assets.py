"""Dagster bindings of step 5: ``plots``."""

from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult, MetadataValue

from xpcs_assets.orchestrate.bindings import Bound, materialised

_SHOWN = {
    "scattering": "scattering pattern and q-map",
    "g2": "g2 with fits",
    "tau_q": "tau(q)",
    "saxs_1d": "I(q) with partial means",
    "intensity_vs_time": "I(t)",
}


def build(bound: Bound) -> list[AssetsDefinition]:
    """The assets of this step for one beamline."""

    @bound.asset(
        "plots", description="Pattern, I(q), I(t), g2 and tau(q) of the run.", after=("correlation",), kinds={"image"}
    )
    def plots(context: AssetExecutionContext) -> MaterializeResult:
        # Both are heavy: only the process that draws pays for them.
        from xpcs_assets.correlate.result import open_result
        from xpcs_assets.plot.thumbnails import markdown_image, save_all

        key = context.partition_key
        with bound.step(key, "plots"):
            found = bound.beamline.result(key)
            path = bound.beamline.result_path(found)
            result = open_result(path)
            fits = result.fit()
            paths, small = save_all(result, path.parent / "plots", fits, result.fit_tau_q(fits))
        facts: dict[str, MetadataValue] = {
            name: MetadataValue.md(markdown_image(small[name], text)) for name, text in _SHOWN.items() if name in small
        }
        facts |= {f"{name}_file": MetadataValue.path(str(file)) for name, file in paths.items()}
        return materialised(facts, digest=found.result_digest)

    return [plots]
