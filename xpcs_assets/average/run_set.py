"""A run set: a name, its members and the limits for outliers, as the ledger remembers them; and its average.

A set has a key of its own in the ledger's timeline, ``_run_sets.name``, which no run can have. It is no run: it has no
raw data, no copies and no versions, so its average is kept in the timeline and not among the results of runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Event
from xpcs_assets.errors import NotFoundError, RefusedError
from xpcs_assets.results.limits import Limits
from xpcs_assets.runs.key import is_run_key

if TYPE_CHECKING:
    from xpcs_assets.results.average import Average

STEP = "run_set"
FOLDER = "_run_sets"
MEMBERS = "members"


@dataclass(frozen=True)
class RunSet:
    """Several runs taken as one.

    Attributes
    ----------
    name
        Its partition key.
    members
        Keys of the runs, or of reprocessings of runs.
    limits
        What a run must keep within to be used.
    """

    name: str
    members: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)

    @property
    def ledger_key(self) -> str:
        """Its key in the timeline."""
        return ledger_key(self.name)


@dataclass(frozen=True)
class Averaged:
    """The average of a set, as a file."""

    run_set: RunSet
    average: Average
    path: Path
    digest: str


def ledger_key(name: str) -> str:
    """The timeline's key of a set: no run key begins with an underscore."""
    return f"{FOLDER}.{name}"


def record(
    beamline: OpenBeamline, run_set: RunSet, detail: dict[str, object] | None = None, *, with_results: bool = True
) -> None:
    """Note the set and its members; a set of this name that there was is another one from now on.

    Parameters
    ----------
    with_results
        Whether all members must have their results already.

    Raises
    ------
    RefusedError
        The name is no key, or fewer than two different members are given.
    NotFoundError
        A member was never taken, or has no result.
    """
    check(beamline, run_set, with_results=with_results)
    told = {MEMBERS: list(run_set.members), "limits": asdict(run_set.limits), **(detail or {})}
    register(beamline, run_set.name, over=False)
    beamline.ledger.note(beamline.name, run_set.ledger_key, STEP, f"{len(run_set.members)} runs", told)
    for member in run_set.members:
        run = beamline.latest(member).run_key
        beamline.ledger.note(beamline.name, run, STEP, f"{member} is a member of the run set {run_set.name}")


def register(beamline: OpenBeamline, name: str, *, over: bool) -> None:
    """Note under the key of all sets that there is one of this name, and whether it has come to its end."""
    told = {"name": name, "over": over}
    beamline.ledger.note(beamline.name, FOLDER, STEP, f"{name} {'is over' if over else 'goes on'}", told)


def check(beamline: OpenBeamline, run_set: RunSet, *, with_results: bool = True) -> None:
    """Refuse what can be no set; see :func:`record`."""
    if not is_run_key(run_set.name):
        raise RefusedError(
            f"{run_set.name!r} is no name of a run set", remedy="Use letters, digits, '.', '_' and '-', 96 at most"
        )
    if len(set(run_set.members)) < 2 or len(set(run_set.members)) < len(run_set.members):
        raise RefusedError(
            f"{', '.join(run_set.members)} make no set", where=run_set.name, remedy="Give two runs or more, each once"
        )
    for member in run_set.members:
        if with_results:
            beamline.result(member)
        else:
            beamline.latest(member)


def find(beamline: OpenBeamline, name: str) -> RunSet:
    """The set of this name, as it was recorded last.

    Raises
    ------
    NotFoundError
        There is none.
    """
    for event in reversed(beamline.ledger.timeline(beamline.name, ledger_key(name))):
        if event.step == STEP and MEMBERS in event.detail:
            return of_line(name, event)
    raise NotFoundError(
        "there is no such run set",
        where=f"{beamline.name}/{name}",
        remedy=f"Make it with `xpcs-assets average-runs {beamline.name} --set {name} RUN...`",
    )


def of_line(name: str, line: Event) -> RunSet:
    """The set as a line of its timeline tells it."""
    limits = {key: None if pair is None else tuple(pair) for key, pair in line.detail["limits"].items()}
    return RunSet(name, tuple(line.detail[MEMBERS]), Limits(**limits))


def average_set(beamline: OpenBeamline, name: str) -> Averaged:
    """Average the results that the members of a set show now, and note it.

    The file lies in ``_run_sets/<name>/<digest of members and limits>`` beside the runs: other members make another
    file, and what was there stays.

    Raises
    ------
    NotFoundError
        There is no such set, or a member has no result.
    ResultError, CorrelationError
        The members cannot be averaged, or fewer than two remain.
    RefusedError
        Another worker is at this set.
    """
    from xpcs_assets.correlate.average_command import write_average
    from xpcs_assets.results.average import average, read_members

    run_set = find(beamline, name)
    with beamline.working(run_set.ledger_key, "average"):
        paths = [beamline.result_path(beamline.result(member)) for member in run_set.members]
        found = average(read_members(paths), run_set.limits)
        path = _path(beamline, run_set, [member.digest for member in found.members])
        digest = write_average(found, path)
    used = [member for member, fits in zip(run_set.members, found.judged.used, strict=True) if fits]
    detail = {"path": str(path), "result_digest": digest, "used": used, "reasons": list(found.judged.reasons)}
    told = f"{len(used)} of {len(run_set.members)} runs averaged"
    beamline.ledger.note(beamline.name, run_set.ledger_key, STEP, told, detail)
    return Averaged(run_set, found, path, digest)


def _path(beamline: OpenBeamline, run_set: RunSet, digests: Sequence[str]) -> Path:
    content = hashlib.sha256(repr((sorted(digests), asdict(run_set.limits))).encode()).hexdigest()
    root = beamline.root(beamline.settings.pipeline.stage.to)
    return root / beamline.name / FOLDER / run_set.name / content[:12] / f"{run_set.name}_results.hdf"
