"""All probes of a site, run in two rounds: the ledger first, which knows what to expect of the rest."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.doctor import hops, keeping, places, services
from xpcs_assets.doctor.found import Found, Probe, Said, State, look_at_all, ok, refused
from xpcs_assets.errors import SettingsError
from xpcs_assets.site import SITE_FILE, Site

LIMIT_S = 30.0


def examine(home: Path, limit_s: float = LIMIT_S) -> list[Found]:
    """Look at everything that a site needs.

    Parameters
    ----------
    home
        The site's folder.
    limit_s
        A probe that has no answer after this long is wrong; there are two rounds of them.
    """
    try:
        site = Site(home)
    except SettingsError as error:
        return look_at_all([Probe(SITE_FILE, partial(refused, error))], limit_s)
    ledgers: list[Ledger] = []

    def look_for_ledger() -> Said:
        ledgers.append(keeping.open_ledger(site))
        return ok()

    first = look_at_all([Probe(SITE_FILE, ok), Probe("database", look_for_ledger)], limit_s)
    ledger = ledgers[0] if first[-1].state is State.OK else None
    rest = [*keeping.settings_probes(site), keeping.probe_roster(site)]
    rest += keeping.probes_of_ledger(site, ledger) if ledger is not None else ()
    rest += services.probes(site, limit_s)
    for settings in site.beamlines.values():
        rest += places.probes(site, settings, ledger)
        if settings.flight_check is not None and ledger is not None:
            rest.append(hops.probe_last(settings.beamline, settings.flight_check, ledger))
    try:
        return [first[0], *(first[1:] if ledger is None else ()), *look_at_all(rest, limit_s)]
    finally:
        if ledger is not None:
            ledger.engine.dispose()
