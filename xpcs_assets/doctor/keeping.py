"""Probes of what a site knows: its files of settings, secrets, database, journal, clock and roster."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pydantic import BaseModel
from sqlalchemy import Engine

from xpcs_assets.catalog.roster import Roster
from xpcs_assets.copies.clock import utc_now
from xpcs_assets.copies.database import SCHEMA, check_schema, clock_of, open_database, writing
from xpcs_assets.copies.journal import Journal
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.doctor.found import Probe, Said, ok, refused, skipped, wrong
from xpcs_assets.errors import LedgerError
from xpcs_assets.plain import counted
from xpcs_assets.settings_base import Secret
from xpcs_assets.settings_compute import KubernetesSettings, SfapiSettings
from xpcs_assets.site import SITE_FILE, Site

_SKEW_S = 60.0
_OTHERS = stat.S_IRWXO
_ALL_BUT_OWNER = stat.S_IRWXG | stat.S_IRWXO
"""What ssh wants of a private key."""


def settings_probes(site: Site) -> Iterator[Probe]:
    """One for each beamline file, and one for each secret that the settings refer to."""
    for name, error in site.broken.items():
        yield Probe(f"{name} beamline file", partial(refused, error))
    for name in site.beamlines:
        yield Probe(f"{name} beamline file", ok)
    said: list[tuple[str, BaseModel]] = [(SITE_FILE, site.settings), *site.beamlines.items()]
    for file, model in said:
        for key, secret in _secrets(model):
            yield Probe(f"secret {file} {key}", partial(_look_at_secret, site, secret))
    for key, path, forbidden in _key_files(site):
        yield Probe(f"secret {SITE_FILE} {key}", partial(_look_at_file, site.path(path), forbidden))


def probe_roster(site: Site) -> Probe:
    """Whether the roster can be read."""

    def look() -> Said:
        roster = Roster.of(site)
        return (
            ok(counted(len(roster.members), "proposal"))
            if site.settings.roster.file
            else skipped("the site has no file")
        )

    return Probe("roster", look)


def open_ledger(site: Site) -> Ledger:
    """The site's ledger; nothing is made where there is none.

    Raises
    ------
    LedgerError
        It cannot be read, or is of another schema.
    """
    engine = open_database(site.database_url, journal=Journal(site.journal))
    if engine.dialect.name == "sqlite" and engine.url.database and not Path(engine.url.database).exists():
        raise LedgerError(
            "the ledger is not there",
            where=engine.url.database,
            remedy="Bring it back, or make it: `xpcs-assets init` where there was none, else `xpcs-assets rebuild`",
        )
    check_schema(engine)
    return Ledger(engine, clock_of(engine))


def probes_of_ledger(site: Site, ledger: Ledger) -> tuple[Probe, ...]:
    """Whether it can be written, its journal is whole, and the clock can be believed."""
    return (
        Probe("database", partial(_write, ledger.engine)),
        Probe("journal", partial(_read_journal, Journal(site.journal))),
        Probe("clock", partial(_look_at_clock, ledger)),
    )


def _write(engine: Engine) -> Said:
    with writing(engine) as session:
        session.connection()  # a writer's transaction, with nothing in it
    return ok(f"{engine.dialect.name}, schema {SCHEMA}, takes writers")


def _read_journal(journal: Journal) -> Said:
    if not journal.files():
        return skipped("nothing was written down yet")
    if damage := journal.damage():
        more = f" and {len(damage) - 3} more" if len(damage) > 3 else ""
        remedy = "Keep the files as they are; docs/how-to/rebuild-the-ledger.md says what a rebuild makes of them"
        return wrong("; ".join(damage[:3]) + more, remedy)
    return ok(f"{counted(len(journal.files()), 'file')}, every line is whole")


def _look_at_clock(ledger: Ledger) -> Said:
    if doubt := ledger.doubt_clock():
        return wrong(doubt, "Set it right; nothing is pruned until then")
    behind_s = abs((ledger.clock() - utc_now()).total_seconds())
    if behind_s > _SKEW_S:
        remedy = "Set both by the same time service"
        return wrong(f"this machine's clock is {behind_s:.0f} s off that of the database's server", remedy)
    return ok("it can be believed")


def _secrets(value: object, path: str = "") -> Iterator[tuple[str, Secret]]:
    """Every reference to a secret in settings, with its key."""
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name), f"{path}.{name}".lstrip("."))
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _secrets(inner, f"{path}.{name}")


def _key_files(site: Site) -> Iterator[tuple[str, Path, int]]:
    """Files of keys that the site file names, and who may not read them."""
    for name, host in site.settings.hosts.items():
        yield f"hosts.{name}.key", host.key, _ALL_BUT_OWNER
        yield f"hosts.{name}.known_hosts", host.known_hosts, 0
    for name, backend in site.settings.compute.items():
        if isinstance(backend, SfapiSettings):
            yield f"compute.{name}.key", backend.key, _OTHERS
        elif isinstance(backend, KubernetesSettings) and backend.kubeconfig is not None:
            yield f"compute.{name}.kubeconfig", backend.kubeconfig, _OTHERS


def _look_at_secret(site: Site, secret: Secret) -> Said:
    reference = site.secret(secret)
    if reference is None:  # a Secret has one of its two
        return skipped("it is not named")
    reference.read()
    if secret.file is not None:
        return _look_at_file(site.path(secret.file), _OTHERS)
    return ok(f"variable {secret.variable}")


def _look_at_file(path: Path, forbidden: int) -> Said:
    """Whether a file of keys can be read here, and only here."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        is_empty = not file.read(1)
    if is_empty:
        return wrong(f"{path} is empty", "Write the key there, for the site's user only")
    if mode & forbidden:
        return wrong(f"{path} has mode {stat.S_IMODE(mode):04o}: others may read it", f"chmod 600 {path}, or renew it")
    return ok(str(path))
