"""Dagster's checks of raw data and results: each can be executed by itself, for one run.

A check that fails with a quarantining finding stops nothing downstream: the result is drawn and catalogued, as
quarantined, with its reason. Executed again, it judges by the settings and files of now, and the catalog follows.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetKey,
    PreviewWarning,
    multi_asset_check,
)

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.describe.judgement import Quality
from xpcs_assets.errors import XpcsAssetsError
from xpcs_assets.orchestrate.adapter import PRIORITY_TAG
from xpcs_assets.orchestrate.bindings import PRIORITY, Bound, failure, table
from xpcs_assets.runs.criteria import FRAMES, G2, RAW
from xpcs_assets.runs.key import split_analysis_key

_OF_RAW = {RAW: "every file and frame there, times that agree, the expected fields in the metadata"}
_OF_RESULT = {
    FRAMES: "no dropped, saturated or dark stretches, no drift; the q-map is this run's and hides hot pixels",
    G2: "baseline, contrast and fits within the limits, the same from first to last",
}


def build(bound: Bound) -> list[AssetChecksDefinition]:
    """The checks of one beamline's runs and results."""
    checks = [_checks_of(bound, "raw_file", _OF_RAW, _judge_raw)]
    if bound.beamline.settings.pipeline.correlate is not None:
        checks.append(_checks_of(bound, "correlation", _OF_RESULT, _judge_result))
    return checks


def verdict(name: str, quality: Quality, asset: AssetKey | None = None) -> AssetCheckResult:
    """A check's result, with a table of all judgements and each known value by its name."""
    return AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=quality.passed,
        severity=AssetCheckSeverity.ERROR if quality.serious else AssetCheckSeverity.WARN,
        description=quality.words,
        metadata={"judgements": table(quality.rows), **quality.facts},
    )


_Judge = Callable[[OpenBeamline, str], Mapping[str, Quality]]


def _checks_of(bound: Bound, asset: str, texts: Mapping[str, str], judge: _Judge) -> AssetChecksDefinition:
    """The checks of one asset in one step, of which any may be executed alone."""
    key = bound.key(asset)
    with warnings.catch_warnings():
        # Partitioned checks are used on purpose; their preview mark is no news to an operator.
        warnings.simplefilter("ignore", PreviewWarning)
        specs = [
            AssetCheckSpec(name, asset=key, description=text, partitions_def=bound.partitions)
            for name, text in texts.items()
        ]

    @multi_asset_check(
        name=f"{bound.beamline.settings.dagster_name}_judge_{asset}",
        specs=specs,
        can_subset=True,
        op_tags={PRIORITY_TAG: str(PRIORITY["checks"])},
    )
    def judged(context: AssetCheckExecutionContext) -> Iterator[AssetCheckResult]:
        try:
            found = judge(bound.beamline, context.partition_key)
            for name in (check.name for check in context.selected_asset_check_keys):
                _note(bound.beamline, context.partition_key, name, found[name])
                yield verdict(name, found[name], key)
            _catalogue_again(bound.beamline, context.partition_key, asset)
        except XpcsAssetsError as error:
            raise failure(error) from error

    return judged


def _note(beamline: OpenBeamline, key: str, name: str, quality: Quality) -> None:
    from xpcs_assets.describe.judging import note

    note(beamline, key, name, quality)


def _judge_raw(beamline: OpenBeamline, key: str) -> Mapping[str, Quality]:
    from xpcs_assets.describe.judging import judge_raw

    beamline.plain_key_only(key, RAW)
    return {RAW: judge_raw(beamline, beamline.latest(key))}


def _judge_result(beamline: OpenBeamline, key: str) -> Mapping[str, Quality]:
    from xpcs_assets.describe.judging import judge_result
    from xpcs_assets.results.result import open_result

    result = open_result(beamline.result_path(beamline.result(key)))
    frames, g2 = judge_result(beamline, beamline.latest(key), result, result.fit())
    return {FRAMES: frames, G2: g2}


def _catalogue_again(beamline: OpenBeamline, key: str, asset: str) -> None:
    """Bring the entry of what was judged up to date if there is one: its state is that of its quality."""
    from xpcs_assets.catalog.cataloguing import catalogue_raw, catalogue_result

    if asset == "raw_file" and _is_entered(beamline, key, "catalog_entry"):
        catalogue_raw(beamline, key)
    if asset == "correlation" and _is_entered(beamline, key, "result_entry"):
        catalogue_result(beamline, key)


def _is_entered(beamline: OpenBeamline, key: str, entry: str) -> bool:
    """Whether the newest version of a run has its entry in the catalog."""
    run_key, _ = split_analysis_key(key)
    entered = False
    for event in beamline.ledger.timeline(beamline.name, run_key):
        if event.step == "raw_file" and event.what.endswith("taken"):
            entered = False  # a new version begins anew
        elif event.step == entry and event.detail.get("partition") == key:
            entered = event.what == "done"
    return entered
