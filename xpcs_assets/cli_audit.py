"""``xpcs-assets verify``, ``audit`` and ``repair``: are the copies right, what does not agree, mend it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpcs_assets.cli_access import restore_access
from xpcs_assets.cli_shared import (
    BeamlineArgument,
    DryRunOption,
    HomeOption,
    JsonOption,
    RunArgument,
    columns,
    counted,
    open_beamline,
    out,
    plain,
    tell_error,
)

if TYPE_CHECKING:
    from xpcs_assets.audit.looking import Audited
    from xpcs_assets.audit.reread import Reread
    from xpcs_assets.copies.ledger import Copy, Finding
    from xpcs_assets.errors import XpcsAssetsError

PlaceOption = Annotated[str, typer.Option("--place", help="Only the copies in this place.")]


def verify(
    beamline: BeamlineArgument,
    run_key: Annotated[str, typer.Argument(help="One run; all of them without.")] = "",
    place: PlaceOption = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read copies now and hash every file: exit 0 only when all that were to be read are right."""
    from xpcs_assets.audit.looking import verify as read_again

    rows = [_verdict(found) for found in read_again(open_beamline(home, beamline), run_key, place)]
    wrong = sum(row["verdict"] != "right" for row in rows)
    if as_json:
        out.print_json(json.dumps(rows))
    elif rows:
        heading = ("run", "version", "place", "path", "verdict", "bytes read", "why")
        columns([heading, *(tuple(plain(str(value)) for value in row.values()) for row in rows)])
    if not rows:
        tell_error("no copy is there to be read")
    raise typer.Exit(1 if wrong or not rows else 0)


def audit(
    beamline: BeamlineArgument,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Record what was found also where it is more than the limits allow.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare places, ledger, archive and catalog: exit 0 only when every place was asked and nothing is open."""
    from xpcs_assets.audit.looking import audit_beamline

    done = audit_beamline(open_beamline(home, beamline), anyway=anyway)
    if as_json:
        out.print_json(json.dumps(_audited(done)))
    elif done.findings:
        columns([("kind", "place", "path", "since", "seen", "why"), *map(_finding_row, done.findings)])
    elif not done.trouble:
        out.print(f"nothing is open; compared: {', '.join(each.place for each in done.places)}")
    for told in done.trouble:
        tell_error(told, "not compared", "yellow")
    raise typer.Exit(1 if done.findings or done.trouble else 0)


def repair(
    beamline: BeamlineArgument,
    run_key: RunArgument,
    place: PlaceOption = "",
    dry_run: DryRunOption = False,
    home: HomeOption = None,
) -> None:
    """Mend bad and lost copies of a run from a good one that is read first; bad files are kept aside."""
    from xpcs_assets.audit.looking import copies_to_repair, repair_run
    from xpcs_assets.audit.repair import Repaired

    opened = open_beamline(home, beamline)
    if dry_run:
        for copy in copies_to_repair(opened, run_key, place):
            out.print(f"{copy.place}:{plain(copy.path)} v{copy.version}  would be mended: it is {copy.state.value}")
        return
    tried = list(repair_run(opened, run_key, place))
    refused = 0
    if not tried:
        out.print(f"no copy of {plain(run_key)} is known to be bad or lost; `xpcs-assets verify` reads them now")
    for done in tried:
        if isinstance(done, Repaired):
            sources = ", ".join(sorted({source for _, source in done.put})) or "nothing had to be put"
            told = f"right: {counted(len(done.put), 'file')} put ({sources}), {len(done.aside)} kept aside"
            out.print(f"{done.copy.place}:{plain(done.copy.path)} v{done.copy.version}  {told}")
        else:
            refused += 1
            copy, error = done
            tell_error(f"{copy.place}:{copy.path} v{copy.version} stays as it is: {error}")
    if tried:
        restore_access(opened, run_key)
    raise typer.Exit(1 if refused else 0)


def _verdict(found: Reread | tuple[Copy, XpcsAssetsError]) -> dict[str, Any]:
    copy = found[0] if isinstance(found, tuple) else found.copy
    row: dict[str, Any] = {"run": copy.run_key, "version": copy.version, "place": copy.place, "path": copy.path}
    if isinstance(found, tuple):
        return row | {"verdict": "not read", "size_bytes": 0, "why": str(found[1])}
    flips = f"{found.flips} files were wrong when read once" if found.flips else ""
    why = flips if found.verdict.value == "right" else found.reason
    return row | {"verdict": found.verdict.value, "size_bytes": found.size_bytes, "why": why}


def _finding_row(finding: Finding) -> tuple[str, ...]:
    since = f"{finding.first_seen:%Y-%m-%d %H:%M:%S}"
    where = plain(finding.path) or finding.run_key
    return (finding.kind.value, finding.place or "-", where, since, str(finding.times_seen), plain(finding.reason))


def _audited(done: Audited) -> dict[str, Any]:
    return {
        "places": [asdict(each) for each in done.places],
        "adopted": [asdict(each) for each in done.adopted],
        "findings": [
            {
                "kind": each.kind.value, "place": each.place, "path": each.path, "run_key": each.run_key,
                "version": each.version, "reason": each.reason, "times_seen": each.times_seen,
                "first_seen": each.first_seen.isoformat(), "last_seen": each.last_seen.isoformat(),
            }
            for each in done.findings
        ],
        "not_compared": list(done.trouble),
    }  # fmt: skip
