"""``xpcs-assets summary``: how a beamline does: states of runs, rates of failure, and how long steps take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpcs_assets.cli_shared import (
    BeamlineArgument,
    HomeOption,
    JsonOption,
    columns,
    open_beamline,
    out,
    time_of,
    write_table,
)

if TYPE_CHECKING:
    from xpcs_assets.follow import RunState
    from xpcs_assets.summary import StepSummary

_COLUMNS = ("run_key", "version", "state", "reason")


def summary(
    beamline: BeamlineArgument,
    since: Annotated[str, typer.Option(help="Only from then on: a day, a time in UTC, or '24 h'; else ever.")] = "",
    table: Annotated[Path | None, typer.Option("--csv", help="Write a line a run to a new file.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """How many runs are in which state, how often each step failed, and how long it takes until it is done."""
    from xpcs_assets.summary import summary as summary_of

    opened = open_beamline(home, beamline)
    found = summary_of(opened, time_of(opened, since, "--since") if since else None)
    runs = [_run(state) for state in found.runs]
    if table is not None:
        write_table(table, _COLUMNS, runs)
    if as_json:
        steps = [_plain(step) for step in found.steps]
        out.print_json(json.dumps({"runs": len(runs), "states": dict(found.states), "steps": steps}))
        return
    told = ", ".join(f"{number} {state}" for state, number in sorted(found.states.items()))
    out.print(f"runs: {len(runs)}" + (f" ({told})" if told else ""))
    heading = ("step", "done", "failed", "rate", "took", "nine of ten", "since taken", "nine of ten")
    columns([heading, *map(_row, found.steps)])


def _run(state: RunState) -> dict[str, Any]:
    return {"run_key": state.key, "version": state.version, "state": state.word, "reason": state.reason}


def _row(step: StepSummary) -> tuple[str, ...]:
    spreads = (step.took.median_s, step.took.p90_s, step.after.median_s, step.after.p90_s)
    return (step.step, str(step.done), str(step.failed), f"{step.failure_rate:.1%}", *map(_seconds, spreads))


def _seconds(duration_s: float | None) -> str:
    return "-" if duration_s is None else f"{duration_s:.3g} s" if duration_s < 1000 else f"{duration_s / 60:.0f} min"


def _plain(step: StepSummary) -> dict[str, Any]:
    return {
        "step": step.step,
        "done": step.done,
        "failed": step.failed,
        "failure_rate": step.failure_rate,
        "took_median_s": step.took.median_s,
        "took_p90_s": step.took.p90_s,
        "since_taken_median_s": step.after.median_s,
        "since_taken_p90_s": step.after.p90_s,
    }
