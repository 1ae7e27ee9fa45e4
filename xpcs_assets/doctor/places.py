"""Probes of places: is it the right disk, does it answer, can it be written where the beamline must write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.copies.meeting import Met
from xpcs_assets.copies.opening import reach
from xpcs_assets.doctor.flights import flying, try_writing
from xpcs_assets.doctor.found import Probe, Said, ok, skipped, wrong
from xpcs_assets.errors import RefusedError
from xpcs_assets.places.marker import UNMARKED
from xpcs_assets.places.place import Place
from xpcs_assets.settings import Beamline
from xpcs_assets.settings_places import GlobusPlaceSettings
from xpcs_assets.site import Site

if TYPE_CHECKING:
    from xpcs_assets.places.globus import GlobusPlace

_LEASE_S = 120.0
_REMEDY = "`xpcs-assets place {beamline}` shows what is expected there; docs/how-to/when-a-place-is-unavailable.md"


def written(settings: Beamline) -> frozenset[str]:
    """The places that a beamline cannot work without writing there or removing from there; tape is not among them."""
    pipeline = settings.pipeline
    back = {pipeline.return_results.to} if pipeline.return_results is not None else set()
    names = {pipeline.stage.to, *pipeline.copies, *back, *settings.retention}
    return frozenset(name for name in names if settings.places[name].kind not in {"tape", "hpss"})


def probes(site: Site, settings: Beamline, ledger: Ledger | None) -> Iterator[Probe]:
    """One for each place, and one for each collection.

    Parameters
    ----------
    ledger
        Knows which disk each place should be; None where it cannot be read: then nothing is written.
    """
    for name, place in settings.places.items():
        yield Probe(f"{settings.beamline} place {name}", partial(_look, site, settings, name, ledger))
        if isinstance(place, GlobusPlaceSettings):
            yield Probe(f"{settings.beamline} collection {name}", partial(_ask_globus, site, settings, name))


def _look(site: Site, settings: Beamline, name: str, ledger: Ledger | None) -> Said:
    reached = reach(site, settings, name)
    known = ledger.known_place(settings.beamline, name) if ledger is not None else None
    place = reached.open(Met(known.identity if known is not None else UNMARKED))
    if why := place.why_unavailable():
        return wrong(f"{reached.root.where}: {why}", _REMEDY.format(beamline=settings.beamline))
    if name not in written(settings):
        return ok(_seen(place, "it answers"))
    if ledger is None:
        return skipped(f"{reached.root.where} answers; whether it is the right disk is not known without the ledger")
    if known is None:
        return skipped(f"{reached.root.where} answers; it is written to once the site has met it, at its first use")
    try:
        with flying(ledger, settings.beamline, f"doctor-{name}", _LEASE_S) as folder:
            try_writing(place, folder)
    except RefusedError as error:
        return skipped(f"another doctor tries it: {error.what}")
    return ok(_seen(place, "written and read back"))


def _seen(place: Place, what: str) -> str:
    usage = place.usage()
    return f"{what}; {usage.share:.0%} used, {usage.free_bytes / 1e9:.1f} GB free" if usage else what


def _ask_globus(site: Site, settings: Beamline, name: str) -> Said:
    from xpcs_assets.places.globus_site import transfers_between

    place = cast("GlobusPlace", reach(site, settings, name).open(Met(UNMARKED)))
    return said_of(transfers_between(site, place, place).why_unavailable, "docs/how-to/connect-globus-transfer.md")


def said_of(why_unavailable: Callable[[], str], remedy: str) -> Said:
    """What something that tells why it is unavailable says."""
    why = why_unavailable()
    return wrong(why, remedy) if why else ok("it answers")
