"""``xpcs-assets ...``: what a person types. Each command is thin; what it does lies in the module it calls.

Exit codes are honest: 0 only when what was asked for is done, 1 for an error or a refusal, 2 for wrong usage.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from xpcs_assets import __version__
from xpcs_assets.cli_access import access
from xpcs_assets.cli_alerts import alerts
from xpcs_assets.cli_archive import retrieve
from xpcs_assets.cli_audit import audit, repair, verify
from xpcs_assets.cli_average import average_runs, run_sets
from xpcs_assets.cli_campaign import campaign, campaigns
from xpcs_assets.cli_catalogs import catalogs
from xpcs_assets.cli_crawl import crawl
from xpcs_assets.cli_doctor import doctor
from xpcs_assets.cli_inspect import inspect
from xpcs_assets.cli_intake import intake, parked
from xpcs_assets.cli_jobs import jobs
from xpcs_assets.cli_ledger import rebuild
from xpcs_assets.cli_pause import pause, resume
from xpcs_assets.cli_place import place
from xpcs_assets.cli_prune import clock, hold, prune, release
from xpcs_assets.cli_qmap import qmap as make_qmap
from xpcs_assets.cli_qmaps import qmaps, tell_stale
from xpcs_assets.cli_replay import replay
from xpcs_assets.cli_retry import retry
from xpcs_assets.cli_search import comment, mark, recatalogue, search, tag
from xpcs_assets.cli_shared import (
    BeamlineArgument,
    ContextOption,
    DryRunOption,
    HomeOption,
    JsonOption,
    RunArgument,
    TargetOption,
    changes_of,
    columns,
    counted,
    err,
    open_beamline,
    open_site,
    out,
    plain,
    tell_error,
    watched,
)
from xpcs_assets.cli_summary import summary
from xpcs_assets.cli_transfers import transfers
from xpcs_assets.errors import NotFoundError, XpcsAssetsError

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline
    from xpcs_assets.follow import RunState

app = typer.Typer(
    name="xpcs-assets",
    help="Every measurement run, from the detector's folder to a catalogued, archived g2.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def run() -> int:
    """Run the command line and turn an error of this package into one line and exit code 1."""
    try:
        app(standalone_mode=True)
    except XpcsAssetsError as error:
        tell_error(str(error))
        return 1
    return 0


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Say the version and end.")] = False) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def correlate(context: typer.Context) -> None:
    """Correlate one raw file: RAW --qmap FILE --output FILE (see `correlate --help`)."""
    from xpcs_assets.correlate.worker import main

    raise typer.Exit(main(context.args))


app.command(name="qmap")(make_qmap)
app.command()(qmaps)
app.command()(inspect)
app.command()(doctor)
app.command()(place)
app.command()(catalogs)
app.command()(jobs)
app.command()(transfers)
app.command()(alerts)


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def merge(context: typer.Context) -> None:
    """Merge the parts that `correlate --part K/N` made: STATE... --output FILE (see `merge --help`)."""
    from xpcs_assets.correlate.merge_command import main

    raise typer.Exit(main(context.args))


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def average(context: typer.Context) -> None:
    """Average repeats: RESULT... --output FILE (see `average --help`)."""
    from xpcs_assets.correlate.average_command import main

    raise typer.Exit(main(context.args))


@app.command()
def init(
    home: Annotated[Path, typer.Argument(help="The folder to make a site.")] = Path("site"),
    title: Annotated[str, typer.Option(help="What to call it.")] = "XPCS",
) -> None:
    """Make a site: settings, one beamline, a detector folder, an empty ledger. What is there stays."""
    from xpcs_assets.new_site import init as make

    ledger: list[str] = []
    site = make(home, title=title, told=ledger.append)
    out.print(f"site       {site.home}")
    out.print(f"ledger     {ledger[-1]}")
    for name in site.beamlines:
        out.print(
            f"beamline   {name}: watches {watched(site, name)}, file {site.home / 'beamlines' / (name + '.yaml')}"
        )
    out.print(f"next       xpcs-assets up --home {home}")
    _tell_broken(site.broken)


@app.command()
def up(home: HomeOption = None) -> None:
    """Start webserver, daemon and code location; Ctrl-C ends all of them."""
    from xpcs_assets.orchestrate.processes import Services, interruptible

    services = Services(open_site(home))
    try:
        with interruptible(), services:
            out.print(f"Dagster    {services.address}")
            out.print(f"code       127.0.0.1:{services.code_port}")
            out.print(f"logs       {services.site.home / 'log'}")
            for name in services.site.beamlines:
                out.print(f"watching   {watched(services.site, name)} for {name}")
            _tell_broken(services.site.broken)
            out.print("Ctrl-C ends all of them.")
            while True:
                for name in services.keep():
                    err.print(f"{name} had ended; started again, its log is in {services.site.home / 'log'}")
                time.sleep(0.5)
    except KeyboardInterrupt:
        out.print("ended")


@app.command()
def demo(
    home: Annotated[Path | None, typer.Option("--home", help="Where to keep the site; else a new folder.")] = None,
) -> None:
    """Three simulated runs of known dynamics through the whole pipeline; 0 only if every result is right."""
    from xpcs_assets.demo import run_demo

    raise typer.Exit(run_demo(home, Console(highlight=False, soft_wrap=True)))


@app.command()
def submit(
    beamline: BeamlineArgument,
    paths: Annotated[list[Path], typer.Argument(help="Folders or raw files of runs.")],
    home: HomeOption = None,
    as_is: Annotated[bool, typer.Option("--as-is", help="Take a run that is not complete as it is.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Say that runs are complete; prints their keys. The same path twice is one run."""
    from xpcs_assets.arrive.submit import submit as submit_run

    opened = open_beamline(home, beamline)
    refused = 0
    for path in paths:
        try:
            done = submit_run(opened, path, as_is=as_is, dry_run=dry_run)
        except XpcsAssetsError as error:
            refused += 1
            tell_error(str(error))
        else:
            out.print(done.key)
            if done.known:
                err.print(f"{done.key} was taken before; nothing new is done", style="dim")
            elif dry_run:
                err.print(f"would be submitted: {counted(done.files, 'file')} of {plain(done.source)}")
    raise typer.Exit(1 if refused else 0)


@app.command()
def wait(
    beamline: BeamlineArgument,
    run_key: RunArgument,
    asset: Annotated[str, typer.Option(help="Wait for this asset only.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 3600.0,
    home: HomeOption = None,
) -> None:
    """Wait for a run: exit 0 when done, 1 when failed, 2 when there is no such beamline or run, 3 when timed out."""
    from xpcs_assets.follow import state_of
    from xpcs_assets.follow import wait as wait_for

    try:
        opened = open_beamline(home, beamline)
        code = wait_for(opened, run_key, asset=asset, timeout_s=timeout)
    except NotFoundError as error:
        tell_error(str(error))
        raise typer.Exit(2) from error
    state = state_of(opened, run_key)
    ended = {0: "done", 1: "failed", 3: "timed out"}[code]
    reason = state.reason if code else ""
    if state.skipped and code != 3 and not state.failed:
        ended, reason = ("done" if not code else "skipped"), state.skipped[0].reason
    out.print(f"{run_key} {ended}" + (f": {plain(reason)}" if reason else ""))
    raise typer.Exit(code)


@app.command()
def status(
    beamline: BeamlineArgument,
    run_key: Annotated[str, typer.Argument(help="One run; all of them without.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
    limit: Annotated[int, typer.Option(help="Newest runs to show.")] = 50,
    stale: Annotated[bool, typer.Option("--stale", help="Runs whose result would be another if made now.")] = False,
) -> None:
    """Where the runs are: waiting, incomplete, refused, working, done, skipped or failed, and why."""
    from xpcs_assets.follow import state_of

    opened = open_beamline(home, beamline)
    if stale:
        tell_stale(opened, run_key, limit, as_json=as_json)
        return
    keys = [run_key] if run_key else _keys(opened, limit)
    states = [state_of(opened, key) for key in keys]
    if as_json:
        out.print_json(json.dumps([_as_json(state) for state in states]))
        return
    if (pause := opened.ledger.paused(beamline)) is not None:
        err.print(plain(pause.told), style="yellow")
    if not states:
        out.print(f"no run was seen at {beamline} yet")
    rows = [("run", "version", "state", "steps", "why")] if states else []
    for state in states:
        done = sum(step.is_settled for step in state.steps)
        version = f"v{state.version}" if state.version else "-"
        rows.append((state.key, version, state.word, f"{done}/{len(state.steps)}", plain(state.reason)))
    columns(rows)


@app.command()
def why(beamline: BeamlineArgument, run_key: RunArgument, home: HomeOption = None) -> None:
    """The timeline of a run, and what it waits for."""
    from xpcs_assets.follow import state_of

    opened = open_beamline(home, beamline)
    state = state_of(opened, run_key)
    if state.arrival is not None:
        arrival = state.arrival
        out.print(f"source     {plain(arrival.source)} ({arrival.state.value}{_because(arrival.reason)})")
        out.print(f"first seen {arrival.first_seen:%Y-%m-%d %H:%M:%S} UTC")
    for event in state.timeline:
        seconds = event.detail.get("seconds")
        took = f"  ({seconds} s)" if seconds is not None else ""
        out.print(f"{event.at:%Y-%m-%d %H:%M:%S}  {event.step:<14} {plain(event.what)}{took}")
    for word in opened.ledger.holds(beamline, run_key):
        out.print(f"held       by {word.set_by}: {plain(word.reason)}")
    for step in state.steps:
        if step.state == "waiting" and step.reason:
            out.print(f"waits      {step.asset}: {plain(step.reason)}")
        if step.state == "skipped":
            out.print(f"skipped    {step.asset}: {plain(step.reason)}")
    out.print(f"now        {state.word}{_because(state.reason)}")


@app.command()
def reprocess(
    beamline: BeamlineArgument,
    run_keys: Annotated[list[str], typer.Argument(help="Run keys.")],
    name: Annotated[
        str, typer.Option(help="What to call this analysis; without, it is the beamline's own again.")
    ] = "",
    qmap: Annotated[Path | None, typer.Option(help="Another q-map.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value of the recipe; may repeat.")] = None,
    target: TargetOption = None,
    context: ContextOption = None,
    dry_run: DryRunOption = False,
    home: HomeOption = None,
) -> None:
    """Analyse runs with another recipe under a name of its own; the runs' own results stay. The site must be up."""
    from xpcs_assets.reprocess import ask, once_more, with_another_recipe

    changes = changes_of(settings, target, context)
    if not name and (qmap or changes):
        raise typer.BadParameter("another recipe needs a name of its own", param_hint="--name")
    opened = open_beamline(home, beamline)
    for run_key in run_keys:
        wanted = with_another_recipe(opened, run_key, name, qmap, changes) if name else once_more(opened, run_key)
        out.print(wanted.key if dry_run else ask(opened, wanted))
        if dry_run:
            recipe = ", ".join(f"{key}={value}" for key, value in wanted.config.items()) or "the beamline's own recipe"
            err.print(plain(f"would be made: {', '.join(wanted.assets)} with {recipe}"))


app.command(name="average-runs")(average_runs)
app.command(name="run-sets")(run_sets)
app.command()(summary)
app.command()(crawl)
app.command()(intake)
app.command()(parked)
app.command()(pause)
app.command()(resume)
app.command()(campaign)
app.command()(campaigns)
app.command()(retry)
app.command()(replay)
app.command()(retrieve)
app.command()(prune)
app.command()(hold)
app.command()(release)
app.command()(verify)
app.command()(audit)
app.command()(repair)
app.command()(access)
app.command()(clock)
app.command()(rebuild)
app.command()(search)
app.command()(comment)
app.command()(tag)
app.command()(mark)
app.command()(recatalogue)


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="The detector's folder; the run gets a folder of its own in it.")],
    raw_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="imm, imm-dense, eiger, lambda, rigaku500k, rigaku3m, dectris, areadetector, als7011, edf or npy.",
        ),
    ] = "imm",
    frames: Annotated[int, typer.Option(help="Frames of the run.")] = 1000,
    beta: Annotated[float, typer.Option(help="Speckle contrast.")] = 0.25,
    d: Annotated[float | None, typer.Option(help="Diffusion coefficient, square angstrom per s.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same photons.")] = 0,
    name: Annotated[str, typer.Option(help="Run name; else made as at APS 8-ID.")] = "",
    counts: Annotated[float | None, typer.Option(help="Counts a pixel and frame; else the detector's usual.")] = None,
    drift: Annotated[float, typer.Option(help="Part by which the beam grows over the run, such as 0.2.")] = 0.0,
    substeps: Annotated[int, typer.Option(help="Instants averaged in each exposure; 1 is a short one.")] = 1,
    leak_hot: Annotated[int, typer.Option(help="Hot pixels that the mask takes for good.")] = 0,
    dropped: Annotated[int, typer.Option(help="Frames made and lost, where the format numbers them.")] = 0,
    ageing: Annotated[float, typer.Option(help="Time after which diffusion is half as fast, s; 0 is never.")] = 0.0,
) -> None:
    """Write a simulated run of known beta and tau: raw file, metadata, q-map and the truth."""
    from xpcs_assets.testing.scene import DETECTORS
    from xpcs_assets.testing.simulate import simulate as make

    if raw_format not in DETECTORS:
        raise typer.BadParameter(f"formats are {', '.join(DETECTORS)}", param_hint="--format")
    run = make(
        folder, format=raw_format, frames=frames, beta=beta, d_a2_per_s=d, seed=seed, name=name, mean_counts=counts,
        drift=drift, substeps=substeps, leak_hot=leak_hot, dropped=dropped, ageing_time_s=ageing,
    )  # fmt: skip
    out.print(str(run.folder))


@app.command(name="new-beamline")
def new_beamline(
    path: Annotated[Path, typer.Argument(help="Path of one run that is there, as an example.")],
    name: Annotated[str, typer.Option(help="Name of the beamline.")],
    root: Annotated[Path | None, typer.Option(help="The folder to watch; else guessed from the path.")] = None,
    home: HomeOption = None,
) -> None:
    """Write a commented beamline file from an example path."""
    from xpcs_assets.new_site import new_beamline as write

    site = open_site(home)
    file, settings = write(site.home, path, name=name, root=root)
    out.print(f"wrote      {file}")
    out.print(f"watches    {site.folder(settings, settings.runs.source.watch)}")
    out.print(f"path       {plain(settings.runs.source.path)}   key {plain(settings.runs.key)}")
    out.print(f"next       xpcs-assets check {name}")


@app.command()
def check(
    beamline: BeamlineArgument,
    home: HomeOption = None,
    limit: Annotated[int, typer.Option(help="Runs to show at most.")] = 50,
) -> None:
    """Which runs the beamline's pattern finds, which keys they get, and what keeps them from being taken."""
    from xpcs_assets.arrive.submit import matches

    opened = open_beamline(home, beamline)
    try:
        found = matches(opened, limit)
    except OSError as error:
        tell_error(f"the watched folder cannot be listed: {error}")
        raise typer.Exit(1) from error
    if not found:
        out.print(
            f"nothing below {watched(opened.site, opened.name)} matches {plain(opened.settings.runs.source.path)!r}"
        )
    heading = [("run key", "path", "would be taken")] if found else []
    columns([*heading, *((item.key, plain(item.source), plain(item.reason) or "yes") for item in found)])
    raise typer.Exit(0 if found else 1)


def _keys(opened: OpenBeamline, limit: int) -> list[str]:
    seen = [arrival.run_key for arrival in opened.ledger.arrivals(opened.name, limit=limit)]
    taken = [version.run_key for version in opened.ledger.runs(opened.name, limit=limit)]
    runs = list(dict.fromkeys([*seen, *taken]))[:limit]
    return [key for run in runs for key in (run, *_reprocessings(opened, run))]


def _reprocessings(opened: OpenBeamline, run_key: str) -> list[str]:
    from xpcs_assets.process.processing import keys_of

    made = {result.analysis_key for result in opened.ledger.results(opened.name, run_key)}
    if opened.settings.pipeline.process is not None:
        made |= keys_of(opened, run_key)
    return sorted(made - {run_key})


def _as_json(state: RunState) -> dict[str, object]:
    return {
        "run_key": state.key,
        "version": state.version,
        "state": state.word,
        "reason": state.reason,
        "steps": {step.asset: {"state": step.state, "reason": step.reason} for step in state.steps},
    }


def _because(reason: str) -> str:
    return f": {plain(reason)}" if reason else ""


def _tell_broken(broken: Mapping[str, XpcsAssetsError]) -> None:
    for error in broken.values():
        tell_error(str(error), "not running", "yellow")
