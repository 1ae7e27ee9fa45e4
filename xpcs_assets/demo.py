"""The main job on simulated data: three runs of known dynamics through a running site, judged against the truth."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import XpcsAssetsError
from xpcs_assets.follow import RunState, state_of
from xpcs_assets.new_site import init
from xpcs_assets.orchestrate.processes import Services, interruptible
from xpcs_assets.site import Site

if TYPE_CHECKING:
    from xpcs_assets.testing.simulate import SimulatedRun

LIMIT_S = 150.0
BETA_WITHIN = 0.10
TAU_WITHIN = 0.15
_FORMATS = ("imm", "rigaku500k", "eiger")
_FRAMES = {"imm": 1500, "rigaku500k": 3000, "eiger": 1500}


@dataclass
class Outcome:
    """What became of one simulated run; ``wrong`` says what is not as it should be."""

    run: SimulatedRun
    dropped_at: datetime
    seconds_to_g2: float = float("nan")
    beta_ratio: float = float("nan")
    tau_ratio: float = float("nan")
    lines: list[tuple[str, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def run_demo(home: Path | None, console: Console) -> int:
    """Run the demonstration; the exit code is 0 only if every run came out right.

    Parameters
    ----------
    home
        A folder for the site that holds none yet, kept afterwards; None makes a new one.
    console
        Where to print.
    """
    folder = home or Path(tempfile.mkdtemp(prefix="xpcs-assets-demo-"))
    site = _make_site(folder)
    beamline = OpenBeamline(site, next(iter(site.beamlines.values())))
    console.print(f"site       {site.home}")
    with tempfile.TemporaryDirectory(dir=site.home) as aside:
        runs = [_simulated(Path(aside), number, name) for number, name in enumerate(_FORMATS)]
        with interruptible(), Services(site) as services:
            console.print(f"Dagster    {services.address} (while this runs)")
            outcomes = [Outcome(run, _drop(beamline, run)) for run in runs]
            _follow(beamline, outcomes, console)
    for outcome in outcomes:
        _judge(beamline, outcome)
        _print(outcome, console)
    wrong = [f"{outcome.run.name}: {reason}" for outcome in outcomes for reason in outcome.wrong]
    for reason in wrong:
        console.print(f"[red]wrong[/red]      {reason}")
    console.print("all three runs are right" if not wrong else f"{len(wrong)} things are not right")
    console.print(f"look again with `xpcs-assets up --home {site.home}`")
    return 1 if wrong else 0


def _make_site(folder: Path) -> Site:
    """A site on embedded defaults, with a short quiet time: nothing but the demo writes into its detector folder."""
    init(folder, title="XPCS demonstration")
    file = folder / "beamlines" / "xpcs.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("quiet: 5 s", "quiet: 1 s"), encoding="utf-8")
    settings = folder / "site.yaml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("port: 3000", "port: 0"), encoding="utf-8")
    return Site(folder)


def _simulated(aside: Path, number: int, name: str) -> SimulatedRun:
    from xpcs_assets.testing.simulate import simulate

    return simulate(aside, format=name, frames=_FRAMES[name], seed=number + 1)  # type: ignore[arg-type]


def _drop(beamline: OpenBeamline, run: SimulatedRun) -> datetime:
    """Move a run into the detector's folder; its last byte is there at the time returned."""
    run.folder.rename(beamline.source_root / run.name)  # one atomic step, as a detector closing its last file
    return datetime.now(UTC)


def _follow(beamline: OpenBeamline, outcomes: list[Outcome], console: Console) -> None:
    """Show every run's steps until all are done, failed, or the time is over."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[step]}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        tasks = {outcome.run.name: progress.add_task(outcome.run.name, total=8, step="") for outcome in outcomes}
        deadline_s = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline_s:
            states = [_show(beamline, name, progress, task) for name, task in tasks.items()]
            if all(state is not None and (state.done or _is_stuck(state)) for state in states):
                return
            time.sleep(0.3)


def _show(beamline: OpenBeamline, name: str, progress: Progress, task: TaskID) -> RunState | None:
    try:
        state = state_of(beamline, name)
    except XpcsAssetsError:
        return None  # not seen yet
    done = sum(step.state == "done" for step in state.steps)
    progress.update(task, completed=done, total=len(state.steps), step=state.reason[:60])
    return state


def _is_stuck(state: RunState) -> bool:
    """Nothing more will come: something failed, and the archive, which comes last, has ended."""
    archived = next((step for step in state.steps if step.asset == "archive"), None)
    return bool(state.failed) and (archived is None or archived.state != "waiting")


def _judge(beamline: OpenBeamline, outcome: Outcome) -> None:
    """Compare what the site says of a run with the truth."""
    name = outcome.run.name
    try:
        state = state_of(beamline, name)
        outcome.wrong += [f"{step.asset} failed: {step.reason}" for step in state.failed]
        outcome.wrong += [f"{step.asset} did not come" for step in state.steps if step.state == "waiting"]
        correlated = next((step for step in state.steps if step.asset == "correlation" and step.at), None)
        if correlated is not None and correlated.at is not None:
            outcome.seconds_to_g2 = (correlated.at - outcome.dropped_at).total_seconds()
        _compare(beamline, outcome)
    except XpcsAssetsError as error:
        outcome.wrong.append(str(error))


def _compare(beamline: OpenBeamline, outcome: Outcome) -> None:
    from xpcs_assets.catalog.embedded import EmbeddedCatalog, raw_pid
    from xpcs_assets.results.result import open_result

    name, truth = outcome.run.name, outcome.run.truth
    found = beamline.result(name)
    path = beamline.result_path(found)
    fits = open_result(path).fit()
    bad = [str(number) for number, fit in enumerate(fits, start=1) if not fit.ok]
    if bad:
        outcome.wrong.append(f"the fits of bins {', '.join(bad)} failed")
    good = [(fit, beta, tau) for fit, beta, tau in zip(fits, truth.beta_fit, truth.tau_fit_s, strict=True) if fit.ok]
    outcome.beta_ratio = statistics.fmean(fit.contrast / beta for fit, beta, _ in good)
    outcome.tau_ratio = statistics.fmean(fit.tau_s / tau for fit, _, tau in good)
    for what, ratio, within in (("beta", outcome.beta_ratio, BETA_WITHIN), ("tau", outcome.tau_ratio, TAU_WITHIN)):
        if not abs(ratio - 1) <= within:
            outcome.wrong.append(f"{what} is {ratio:.3f} of the truth in the mean, more than {within:.0%} off")
    frames = found.report["frames"]["used"]
    if frames != truth.frames:
        outcome.wrong.append(f"{frames} of {truth.frames} frames were used")
    plots = sorted((path.parent / "plots").glob("*.png"))
    bundles = beamline.ledger.bundles(beamline.name, name)
    pid = raw_pid(beamline.name, name, found.version)
    catalogued = EmbeddedCatalog(beamline.engine).has(pid)
    outcome.wrong += ["no plots"] * (not plots) + ["not in the catalog"] * (not catalogued)
    outcome.wrong += ["not archived"] * (not bundles)
    archive = beamline.settings.pipeline.archive
    tape = beamline.root(archive.to) if archive else Path()
    outcome.lines = [
        ("frames", str(frames)),
        ("last byte to g2", f"{outcome.seconds_to_g2:.1f} s"),
        ("beta", f"{outcome.beta_ratio:.3f} of the truth ({truth.beta_eff[0]:.3g}), mean of {len(good)} q"),
        ("tau", f"{outcome.tau_ratio:.3f} of the truth ({truth.tau_q_s[0]:.3g} to {truth.tau_q_s[-1]:.3g} s)"),
        ("result", str(path)),
        ("plots", f"{plots[0].parent if plots else '-'} ({len(plots)})"),
        ("catalog", pid),
        ("archive", ", ".join(str(tape / bundle.name) for bundle in bundles)),
    ]


def _print(outcome: Outcome, console: Console) -> None:
    console.print(f"\n[bold]{outcome.run.name}[/bold]  {outcome.run.format}")
    for label, text in outcome.lines:
        console.print(f"  {label:<16} {text}")
