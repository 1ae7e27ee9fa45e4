"""``xpcs-assets replay``: make a result again and say whether it is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpcs_assets.cli_shared import (
    BeamlineArgument,
    HomeOption,
    JsonOption,
    RunArgument,
    err,
    open_beamline,
    out,
    plain,
    tell_error,
)
from xpcs_assets.errors import NotFoundError

if TYPE_CHECKING:
    from xpcs_assets.compute.replay import Replayed

_NO_SUCH = 2
_WORDS = {"qmap": "name of the q-map, which has the same bytes"}


def replay(
    beamline: BeamlineArgument,
    run_key: RunArgument,
    result: Annotated[str, typer.Option(help="Beginning of the result's digest; else the newest of the key.")] = "",
    qmap: Annotated[Path | None, typer.Option(help="Where its q-map lies, if that was moved.")] = None,
    device: Annotated[str, typer.Option(help="cpu or gpu; else the one it was made on.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a result again in a temporary place: exit 0 the same, 1 different or not possible, 2 no such run."""
    from xpcs_assets.compute.replay import chosen_result
    from xpcs_assets.compute.replay import replay as make_again

    if device not in ("", "cpu", "gpu"):
        raise typer.BadParameter("it is cpu or gpu", param_hint="--device")
    try:
        opened = open_beamline(home, beamline)
        chosen = chosen_result(opened, run_key, result)
    except NotFoundError as error:
        tell_error(str(error))
        raise typer.Exit(_NO_SUCH) from error
    done = make_again(opened, chosen, lambda line: err.print(plain(line), style="dim"), qmap=qmap, device=device)
    if as_json:
        out.print_json(json.dumps(_as_json(done)))
    else:
        _tell(done)
    raise typer.Exit(0 if done.same else 1)


def _tell(done: Replayed) -> None:
    out.print(f"result     {done.result.result_digest} of {done.result.analysis_key}, version {done.result.version}")
    out.print(f"made by    {_making(done.before)}")
    out.print(f"again by   {_making(done.now)}")
    for name, (before, now) in done.made_otherwise.items():
        for what, was, is_now in _each(name, before, now):
            out.print(f"otherwise  {_WORDS.get(what, what)}: {was} then, {is_now} now")
    out.print(f"raw data   {plain(done.came_from)}")
    for one in done.differences:
        out.print(f"different  {plain(one.name)}: {one.what}")
    out.print("same       every dataset has the same digest" if done.same else f"{len(done.differences)} differ")


def _each(name: str, before: Any, now: Any) -> list[tuple[str, Any, Any]]:
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        return [(name, before, now)]
    names = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return [(key, before.get(key), now.get(key)) for key in names]


def _making(report: Mapping[str, Any]) -> str:
    seconds = report.get("seconds", {})
    took = f", {seconds['total']} s" if "total" in seconds else ""
    return f"{report.get('engine', 'an unknown engine')} on {report.get('device', 'an unknown device')}{took}"


def _as_json(done: Replayed) -> dict[str, Any]:
    return {
        "same": done.same,
        "result_digest": done.result.result_digest,
        "analysis_key": done.result.analysis_key,
        "version": done.result.version,
        "before": dict(done.before),
        "now": dict(done.now),
        "raw": done.came_from,
        "differences": [vars(one) for one in done.differences],
    }
