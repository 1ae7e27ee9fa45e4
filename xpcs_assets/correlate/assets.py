"""Dagster bindings of step 3: ``correlation`` and its typed recipe."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dagster import (
    AssetExecutionContext,
    AssetObservation,
    AssetsDefinition,
    Config,
    DagsterInstance,
    MaterializeResult,
    MetadataValue,
)
from pydantic import Field, create_model

from xpcs_assets.compute.analyse import Analysed, analyse, correlate_settings, plan
from xpcs_assets.compute.choose_recipe import choose_recipe, note_choice
from xpcs_assets.compute.qmap_registry import standard_of
from xpcs_assets.compute.remote import Remote
from xpcs_assets.compute.remote_correlation import WantedCorrelation
from xpcs_assets.compute.remote_take import drop_jobs, take
from xpcs_assets.copies.job_book import in_words, made_by
from xpcs_assets.copies.ledger import BookedJob
from xpcs_assets.engine.device import may_use_gpu
from xpcs_assets.engine.version import ENGINE
from xpcs_assets.errors import RefusedError
from xpcs_assets.orchestrate.adapter import job_told_of, newest, report_external
from xpcs_assets.orchestrate.bindings import GPU, Bound, materialised, table
from xpcs_assets.runs.key import split_analysis_key
from xpcs_assets.runs.recipe import AnalysisSettings, described

# What a scientist may set when re-materialising: all but what is a run's own.
_CHOICES = {name: text for name, text in described().items() if name != "frames"}


def build(bound: Bound) -> list[AssetsDefinition]:
    """The assets of this step for one beamline."""
    recipe_config, settings = config_class(bound), correlate_settings(bound.beamline)

    @bound.asset(
        "correlation",
        description="g2 of the run, by the worker in a process of its own, here or at a back end.",
        after=("staged_copy", "qmap"),
        kinds={"jax", "hdf5"},
        code_version=ENGINE,
        may_wait=True,
        pool=GPU if settings.is_local and may_use_gpu(settings.device) else None,
    )
    def correlation(context: AssetExecutionContext, config: recipe_config) -> Iterator[MaterializeResult]:  # type: ignore[valid-type]
        key = context.partition_key
        with bound.step(key, "correlation") as step:
            asked = what_is_asked(bound, key, config)
            step.skipped = f"not correlated: {asked.skip}" if asked.skip else ""
            done, job = (None, None) if asked.skip else _correlate(bound, context, config, asked)
            if done is None and job is not None:
                step.wait_for(in_words(job), context.log.info)
            facts = {**describe(done, job), **asked.facts} if done is not None else {}
        if asked.skip:
            _tell_skipped(bound, context, asked)
        if done is not None:
            report_qmap(bound, context.instance, done)
            yield materialised(facts, digest=done.report["result_digest"])

    return [correlation]


@dataclass(frozen=True)
class Asked:
    """What a Dagster run is to correlate with.

    Attributes
    ----------
    settings, qmap
        The recipe, and the path of another q-map than the run's own; empty where it is that.
    skip
        Why nothing is to be correlated; empty where something is.
    facts
        What the materialisation says of how this was chosen.
    """

    settings: AnalysisSettings
    qmap: str = ""
    skip: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


def _correlate(
    bound: Bound, context: AssetExecutionContext, config: Any, asked: Asked
) -> tuple[Analysed | None, BookedJob | None]:
    key = context.partition_key
    if not correlate_settings(bound.beamline).remote:
        return analyse(bound.beamline, key, asked.settings, context.log.info, asked.qmap), None
    is_named = split_analysis_key(key)[1] is not None  # a plain key is always the run's own recipe
    return take(
        Remote.of(bound.beamline),
        WantedCorrelation(bound.beamline, plan(bound.beamline, key, asked.settings, asked.qmap)),
        context.log.info,
        config={name: getattr(config, name) for name in (*_CHOICES, "qmap")} if is_named else {},
        about=job_told_of(context.run.tags),
    )


def _tell_skipped(bound: Bound, context: AssetExecutionContext, asked: Asked) -> None:
    """Show in Dagster why there is no materialisation."""
    context.log.info("not correlated: %s", asked.skip)
    seen = AssetObservation(
        bound.key("correlation"),
        partition=context.partition_key,
        description=f"not correlated: {asked.skip}",
        metadata=asked.facts,
    )
    context.log_event(seen)


def config_class(bound: Bound) -> type[Config]:
    """A run config whose defaults are the beamline's own recipe."""
    settings = correlate_settings(bound.beamline).settings
    fields: dict[str, Any] = {
        name: (type(getattr(settings, name)), Field(default=getattr(settings, name), description=text))
        for name, text in _CHOICES.items()
    }
    fields["qmap"] = (str, Field(default="", description="path of another q-map; empty is the beamline's"))
    made: type[Config] = create_model("Recipe", __base__=Config, **fields)
    return made


def what_is_asked(bound: Bound, key: str, config: Any) -> Asked:
    """The recipe that a run config asks for; of a run's plain key, what the beamline file says.

    Raises
    ------
    RefusedError
        A run's plain key was given another recipe than the beamline's.
    NotFoundError
        The run was never taken, or what a rule asks for cannot be known.
    """
    beamline, correlate = bound.beamline, correlate_settings(bound.beamline)
    own = correlate.settings
    wanted = {name: getattr(config, name) for name in _CHOICES}
    run, name = split_analysis_key(key)
    if name is not None:
        return Asked(replace(own, **wanted), config.qmap)
    differs = [choice for choice, value in wanted.items() if value != getattr(own, choice)]
    if differs or config.qmap:
        raise RefusedError(
            f"the plain key of a run keeps the beamline's recipe, but {', '.join(differs) or 'qmap'} was set",
            where=f"{beamline.name}/{key}",
            remedy=f"Give it a name: `xpcs-assets reprocess {beamline.name} {run} --name NAME --set key=value`",
        )
    version = beamline.latest(key)
    chosen = choose_recipe(beamline, correlate, version)
    note_choice(beamline, version, chosen)
    if chosen.skip and correlate.remote:
        drop_jobs(Remote.of(beamline), key, f"the run is not correlated: {chosen.skip}")
    return Asked(chosen.settings, "", chosen.skip, {"recipe": chosen.told} if correlate.rules else {})


def settings_config(settings: AnalysisSettings) -> dict[str, Any]:
    """The run config that asks for these settings."""
    return {name: getattr(settings, name) for name in _CHOICES}


def report_qmap(bound: Bound, instance: DagsterInstance, done: Analysed) -> None:
    """Report the beamline's q-map when it was corrected; what was made with the old one is then out of date.

    A q-map that comes with each run is the run's own and part of its staged copy. Of the registry's, a newer version
    for newer runs is no correction: see :func:`~xpcs_assets.compute.qmap_registry.standard_of`.
    """
    found = _beamlines_qmap(bound, done)
    if found is None:
        return
    file, digest = found
    known = newest(instance, bound.key("qmap"))
    if known is None or known.data_version != digest:
        path = MetadataValue.path(str(file))
        report_external(instance, bound.key("qmap"), data_version=digest, metadata={"path": path})


def _beamlines_qmap(bound: Bound, done: Analysed) -> tuple[Path, str] | None:
    """The file and digest of the beamline's own map, if that is what the result was made with."""
    site, source = bound.beamline.site, correlate_settings(bound.beamline).qmap
    if done.inputs.qmap_by_rule:
        return None
    if done.inputs.qmap_from:
        standard = standard_of(bound.beamline.ledger.qmaps(bound.beamline.name, source.registry))
        return None if standard is None else (site.path(Path(standard.path)), standard.digest)
    if source.path is not None and done.inputs.qmap == site.path(source.path):
        return done.inputs.qmap, done.inputs.qmap_digest
    return None


def describe(done: Analysed, job: BookedJob | None = None) -> dict[str, Any]:
    """What a result's materialisation says, with the job that made it, if a back end did."""
    report = done.report
    rows = [
        {
            "bin": done.result.labels[i],
            "contrast": _shown(fit.contrast),
            "tau_s": _shown(fit.tau_s),
            "tau_error_s": _shown(fit.tau_error_s),
            "baseline": _shown(fit.baseline),
            "fitted": fit.ok,
        }
        for i, fit in enumerate(done.result.fit())
    ]
    return {
        "result": str(done.path),
        "result_digest": report["result_digest"],
        "recipe_digest": done.recipe.digest,
        "qmap": str(done.inputs.qmap),
        **({"qmap_from": done.inputs.qmap_from} if done.inputs.qmap_from else {}),
        "frames_used": report["frames"]["used"],
        "device": report["device"],
        "reused": report["reused"],
        **{f"{phase}_seconds": round(value, 3) for phase, value in report["seconds"].items()},
        "peak_memory_bytes": report["peak_memory_bytes"],
        "fits": table(rows),
        **made_by(job),
    }


def _shown(value: float) -> float | None:
    return float(f"{value:.5g}") if value == value else None
