"""Looking after the copies of an open beamline: scrub, audit, verify and repair with the settings of its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from xpcs_assets.audit.compare import Compared, Limits, compare
from xpcs_assets.audit.repair import Repaired, repair, to_repair
from xpcs_assets.audit.reread import Reread
from xpcs_assets.audit.runs import compare_runs
from xpcs_assets.audit.scope import Scope
from xpcs_assets.audit.scrub import ReadAgain, Scrubbed, reread_all, scrub
from xpcs_assets.audit.unrecorded import Adopted, adopt
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import AuditOutcome, Copy, CopyState, Finding
from xpcs_assets.errors import NotFoundError, SettingsError, XpcsAssetsError

READABLE = frozenset({CopyState.PRESENT, CopyState.BAD, CopyState.LOST})


@dataclass(frozen=True)
class Audited:
    """What an audit of a beamline found.

    Attributes
    ----------
    places
        Each place.
    source
        Why the runs' source could not be compared; empty when it was.
    adopted
        Copies without a row that were read and are recorded now, or why they are not.
    findings
        All that is open now.
    """

    places: tuple[Compared, ...]
    source: str
    adopted: tuple[Adopted, ...]
    findings: tuple[Finding, ...]

    @property
    def trouble(self) -> tuple[str, ...]:
        """What could not be asked, and where the audit stopped; empty when every place was compared."""
        places = [f"{each.place}: {each.reason}" for each in self.places if each.outcome is not AuditOutcome.DONE]
        return (*places, *((f"runs: {self.source}",) if self.source else ()))


def scrub_beamline(
    beamline: OpenBeamline, *, told: Callable[[ReadAgain], object] = lambda found: None
) -> tuple[Scrubbed, ...]:
    """Read what is owed of every place; see :func:`xpcs_assets.audit.scrub.scrub`."""
    return scrub(Scope.of(beamline), beamline.settings.audit.reread_within, told=told)


def audit_beamline(beamline: OpenBeamline, *, anyway: bool = False) -> Audited:
    """Compare places, ledger, archive and catalog; record copies without a row that are right.

    Raises
    ------
    RefusedError
        Another audit of this beamline is under way.
    """
    scope, rules = Scope.of(beamline), beamline.settings.audit
    limits = Limits(rules.dark_after, rules.at_most_dark, rules.at_most_lost)
    places = compare(scope, limits, watched=beamline.settings.runs.source.watch, anyway=anyway)
    source = compare_runs(beamline)
    adopted = tuple(adopt(scope))
    return Audited(places, source, adopted, beamline.ledger.findings(beamline.name))


def verify(
    beamline: OpenBeamline, run_key: str = "", place: str = ""
) -> Iterator[Reread | tuple[Copy, XpcsAssetsError]]:
    """Read the copies of a run, or of all runs, now; see :func:`xpcs_assets.audit.scrub.reread_all`.

    Raises
    ------
    NotFoundError
        The run was never taken.
    SettingsError
        There is no such place.
    """
    if place:
        beamline.place(place)
    if run_key:
        beamline.latest(run_key)
    keys = [run_key] if run_key else [version.run_key for version in beamline.ledger.runs(beamline.name)]
    copies = (
        copy
        for key in keys
        for copy in beamline.ledger.copies(beamline.name, key)
        if copy.state in READABLE and place in {"", copy.place}
    )
    return reread_all(Scope.of(beamline), copies, "verify")


def copies_to_repair(beamline: OpenBeamline, run_key: str, place: str = "") -> tuple[Copy, ...]:
    """The copies that :func:`repair_run` mends.

    Raises
    ------
    NotFoundError
        The run was never taken, or has no copy to repair.
    SettingsError
        There is no such place.
    """
    if place and place not in beamline.settings.places:
        raise SettingsError(f"{beamline.name} has no place {place!r}", remedy=f"{', '.join(beamline.settings.places)}")
    copies = to_repair(Scope.of(beamline), run_key, place, leave=(beamline.settings.runs.source.watch,))
    if not copies and not beamline.ledger.copies(beamline.name, run_key):
        raise NotFoundError("no copy of such a run is known", where=f"{beamline.name}/{run_key}")
    return copies


def repair_run(
    beamline: OpenBeamline, run_key: str, place: str = ""
) -> Iterator[Repaired | tuple[Copy, XpcsAssetsError]]:
    """Mend the bad and lost copies of a run; a copy that cannot be mended comes with the reason.

    The watched folder is somebody else's: nothing is put there unless it is named.

    Raises
    ------
    NotFoundError
        The run was never taken, or has no copy to repair.
    SettingsError
        There is no such place.
    """
    scope = Scope.of(beamline)
    for copy in copies_to_repair(beamline, run_key, place):
        try:
            yield repair(scope, copy)
        except XpcsAssetsError as error:
            yield copy, error
