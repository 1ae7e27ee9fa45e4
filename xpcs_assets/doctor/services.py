"""Probes of what answers over the network: the site's own processes, hosts, catalogs and back ends of analyses."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.client import HTTPException
from typing import Any

from xpcs_assets.catalog.opening import open_catalog
from xpcs_assets.compute.opening import open_backend
from xpcs_assets.doctor.found import Probe, Said, ok, skipped, wrong
from xpcs_assets.doctor.places import said_of
from xpcs_assets.intake.kafka_client import waiting
from xpcs_assets.orchestrate.processes import address_of
from xpcs_assets.plain import counted
from xpcs_assets.run_database.database import RunDatabase
from xpcs_assets.secret import SecretReference
from xpcs_assets.settings_run_database import RunDatabaseSettings
from xpcs_assets.site import Site

DAGSTER_QUERY = """{
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
  workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename } } } }
}"""
_DOWN = "the site is not up"
_OTHER_PORT = "See what it is, or give this one another port in site.yaml"
_HTTP_S = 10.0
_UNAUTHORISED = 401


def probes(site: Site, limit_s: float) -> Iterator[Probe]:
    """One for each host, catalog and back end of ``site.yaml``, and for each process of the site."""
    for name in site.settings.hosts:
        yield Probe(f"host {name}", partial(_call_host, site, name, limit_s))
    for name in site.settings.catalogs:
        yield Probe(f"catalog {name}", partial(_check_catalog, site, name))
    for name in site.settings.compute:
        yield Probe(f"compute {name}", partial(_ask_backend, site, name))
    for name, settings in site.beamlines.items():
        if (database := settings.runs.source.run_database) is not None:
            yield Probe(f"{name} run database", partial(_ask_run_database, site, database))
    yield Probe("daemon", partial(_ask_dagster, site))
    yield Probe("intake", partial(_knock, site))
    yield Probe("kafka", partial(_ask_kafka, site, limit_s))


def _call_host(site: Site, name: str, limit_s: float) -> Said:
    host = site.host(name)
    answer = host.run(["true"], limit_s=limit_s)
    return ok(f"{host.where} answers") if answer.code == 0 else wrong(f"{host.where}: {answer.told}", "Log in by hand")


def _check_catalog(site: Site, name: str) -> Said:
    with closing(open_catalog(site, name)) as catalog:
        catalog.check()
    return ok("it answers and lets us write")


def _ask_backend(site: Site, name: str) -> Said:
    backend = open_backend(site, name)
    return said_of(backend.why_unavailable, "Its jobs wait meanwhile, or go to the next of the analysis' `on`")


def _ask_run_database(site: Site, settings: RunDatabaseSettings) -> Said:
    """Whether it answers and may be read; nothing is claimed."""
    url = site.secret(settings.url) or SecretReference()
    with closing(RunDatabase(settings, url, holder="doctor", host="doctor")) as database:
        database.to_take(database.now())
        return ok("it answers" if database.is_on() else "it answers; its switch is off: no new run is taken")


def _ask_dagster(site: Site) -> Said:
    """Whether the daemon looks after sensors and the queue, and the code location loads, as the webserver says."""
    address = address_of(site)
    answer = _post(f"{address}/graphql", json.dumps({"query": DAGSTER_QUERY}).encode())
    if answer is None:
        return skipped(f"{_DOWN}: nothing listens at {address}; `xpcs-assets up` starts it")
    try:
        told = json.loads(answer[1])["data"]
        daemons = [each for each in told["instance"]["daemonHealth"]["allDaemonStatuses"] if each["required"]]
        entries = told["workspaceOrError"].get("locationEntries", [])
        said = [f"{each['daemonType']} is not healthy" for each in daemons if not each["healthy"]]
        said += [f"code location {each['name']} does not load" for each in entries if _is_broken(each)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return wrong(f"what listens at {address} does not answer as this site's webserver", _OTHER_PORT)
    if said:
        return wrong("; ".join(said), f"Its log is in {site.home / 'log'}; `xpcs-assets up` starts it again")
    return ok(f"{address}: {', '.join(sorted(each['daemonType'].lower() for each in daemons))}")


def _is_broken(location: dict[str, Any]) -> bool:
    return (location["locationOrLoadError"] or {}).get("__typename") == "PythonError"


def _knock(site: Site) -> Said:
    """Whether the intake listens: who comes without the token is sent away."""
    settings = site.settings.intake
    if settings is None:
        return skipped("the site has none")
    address = f"http://{settings.host}:{settings.port}"
    answer = _post(f"{address}/beamlines/doctor/files", b"{}")
    if answer is None and _post(f"{address_of(site)}/graphql", b"{}") is None:
        return skipped(f"{_DOWN}: nothing listens at {address}")
    if answer is None:
        return wrong(f"nothing listens at {address}", f"Its log is {site.home / 'log' / 'intake.log'}")
    if answer[0] != _UNAUTHORISED:
        return wrong(f"what listens at {address} does not answer as this site's intake", _OTHER_PORT)
    return ok(f"{address} listens, and sends away who has no token")


def _ask_kafka(site: Site, limit_s: float) -> Said:
    """Whether a broker answers and has the topics, and how much waits there."""
    if site.settings.kafka is None:
        return skipped("the site has none")
    found = waiting(site, min(limit_s, _HTTP_S))
    return ok("; ".join(f"{topic}: {counted(number, 'message')} to take" for topic, number in found.items()))


def _post(url: str, body: bytes) -> tuple[int, bytes] | None:
    """Status and content of an answer, 0 when it is none of HTTP; None when nothing listens there."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - from the site file
    try:
        with urllib.request.urlopen(request, timeout=_HTTP_S) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except HTTPException:
        return 0, b""
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            return None
        raise
