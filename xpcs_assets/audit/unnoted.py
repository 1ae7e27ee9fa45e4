"""Steps that failed in Dagster without a word in the ledger: the note could not be written, or the worker was killed.

Without it, whoever asks the ledger where a run is would be told for ever that the step is still to come.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from xpcs_assets.audit.reconcile import FROM_STAGED
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Event
from xpcs_assets.runs.key import split_analysis_key

if TYPE_CHECKING:
    from xpcs_assets.orchestrate.adapter import FailedStep

UNNOTED = "unnoted_in"
"""Marks the note of a step that did not write its own: which Dagster run it failed in."""
STEPS = frozenset({"raw_file", "staged_copy", *FROM_STAGED, "archive"})
RECENT = timedelta(days=1)
"""Failures longer ago are history: a person has seen them in Dagster by now."""


def note_failures(beamline: OpenBeamline, failed: Iterable[FailedStep]) -> int:
    """Note each failed step whose end is not in its run's timeline; how many those were."""
    noted = 0
    for step in failed:
        run_key, _ = split_analysis_key(step.partition)
        if step.asset not in STEPS:
            continue
        began_at = datetime.fromtimestamp(step.began, UTC)
        timeline = beamline.ledger.timeline(beamline.name, run_key)
        if any(event.at >= began_at and _is_news(event, step) for event in timeline):
            continue
        told = f"failed: {step.reason}"
        detail = {"partition": step.partition, UNNOTED: step.run_id}
        beamline.ledger.note(beamline.name, run_key, step.asset, told, detail)
        noted += 1
    return noted


def _is_news(event: Event, step: FailedStep) -> bool:
    """Whether an event tells of the step's end, or that the run has begun anew since."""
    if event.detail.get("partition") == step.partition:
        return event.step == step.asset
    return step.asset != "raw_file" and event.step == "raw_file" and event.what.endswith("taken")
