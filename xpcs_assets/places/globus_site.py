"""What a site's settings say of Globus: the account, where a place lies, and the way between two places."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from uuid import UUID

import yaml

from xpcs_assets.errors import SettingsError
from xpcs_assets.globus_login import GlobusAccount
from xpcs_assets.places.globus import Collection, GlobusPlace
from xpcs_assets.places.globus_transfer import GlobusTransfers
from xpcs_assets.settings_places import GlobusPlaceSettings, GlobusSettings
from xpcs_assets.site import SITE_FILE, Site

_VARIABLE = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of a ``config.yml`` in the splash form.

    Attributes
    ----------
    uuid
        Of the collection.
    root_path
        The folder in it, an absolute path.
    uri
        Where it is, for people.
    """

    uuid: UUID
    root_path: str
    uri: str = ""


def read_endpoints(text: str, where: str, environment: Mapping[str, str] = os.environ) -> dict[str, Endpoint]:
    """The endpoints that a ``config.yml`` in the splash form has under ``globus.globus_endpoints``, by name.

    ``${NAME}`` in them is a variable of the environment. What else the file holds is not looked at.

    Raises
    ------
    SettingsError
        It is no such file, or an endpoint cannot be used.
    """
    try:
        content = yaml.safe_load(text)
        endpoints = content["globus"]["globus_endpoints"]
        names = dict(endpoints)
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        what = f"this has no globus.globus_endpoints ({type(error).__name__})"
        raise SettingsError(what, where=where, remedy="Name a config.yml in the splash form") from error
    return {str(name): _endpoint(said, f"{where}: {name}", environment) for name, said in names.items()}


def account_of(site: Site) -> GlobusAccount:
    """The account that the site moves files with.

    Raises
    ------
    SettingsError
        ``site.yaml`` names none, or one that cannot be used.
    """
    settings = _settings(site)
    return GlobusAccount(
        client_id=settings.client_id,
        client_secret=site.secret(settings.client_secret),
        token=site.secret(settings.token),
        url=settings.url,
        auth_url=settings.auth_url,
        timeout_s=settings.timeout,
    )


def groups_account_of(site: Site) -> GlobusAccount:
    """The account that the site finds and makes groups with.

    Raises
    ------
    SettingsError
        As :func:`account_of`, or there is a token for Transfer alone.
    """
    settings, account = _settings(site), account_of(site)
    if settings.token is not None and settings.groups_token is None:
        raise SettingsError(
            "a token for Transfer is none for Groups",
            where=site.home / SITE_FILE,
            remedy="Give `globus.groups_token` as well, or a client_id and client_secret in place of both",
        )
    return replace(account, url=settings.groups_url, token=site.secret(settings.groups_token))


def collection_of(site: Site, place: GlobusPlaceSettings) -> Collection:
    """Where in which collection a place lies.

    Raises
    ------
    SettingsError
        It names an endpoint that the site's file has not, or there is no such file.
    """
    if place.collection is not None:
        return Collection(str(place.collection), place.root, place.sha256)
    file = _settings(site).endpoints_file
    if file is None:
        raise SettingsError(
            f"endpoint {place.endpoint!r}: there is no globus.endpoints_file",
            where=site.home / SITE_FILE,
            remedy="Name a config.yml there, or give the place a collection and a root",
        )
    path = site.path(file)
    endpoints = read_endpoints(_read(path), str(path))
    found = endpoints.get(place.endpoint)
    if found is None:
        there_are = f"There are: {', '.join(endpoints) or 'none'}"
        raise SettingsError(f"no endpoint {place.endpoint!r}", where=path, remedy=there_are)
    return Collection(str(found.uuid), found.root_path, place.sha256)


def transfers_between(site: Site, source: GlobusPlace, target: GlobusPlace) -> GlobusTransfers:
    """The way from one place to another.

    Raises
    ------
    SettingsError
        See :func:`account_of`.
    """
    account, deadline_s = account_of(site), _settings(site).deadline
    return GlobusTransfers(account, source.collection, target.collection, deadline_s=deadline_s)


def _settings(site: Site) -> GlobusSettings:
    if site.settings.globus is None:
        raise SettingsError("there is no account for Globus", where=site.home / SITE_FILE, remedy="Give it `globus`")
    return site.settings.globus


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the file cannot be read ({error})", where=path, remedy="Give it back") from error


def _endpoint(said: object, where: str, environment: Mapping[str, str]) -> Endpoint:
    if not isinstance(said, dict):
        raise SettingsError("this is no endpoint", where=where, remedy="It has uuid, root_path and uri")
    told = {name: _filled(str(said.get(name) or ""), where, environment) for name in ("uuid", "root_path", "uri")}
    root = PurePosixPath(told["root_path"])
    if not root.is_absolute() or ".." in root.parts:
        raise SettingsError("root_path must be an absolute path without '..'", where=where)
    try:
        return Endpoint(UUID(told["uuid"]), str(root), told["uri"])
    except ValueError as error:
        raise SettingsError(f"uuid is {told['uuid']!r}, which is none", where=where) from error


def _filled(text: str, where: str, environment: Mapping[str, str]) -> str:
    lacking = sorted(name for name in _VARIABLE.findall(text) if name not in environment)
    if lacking:
        raise SettingsError(f"the environment has no {', '.join(lacking)}", where=where, remedy="Set it for the site")
    return _VARIABLE.sub(lambda match: environment[match[1]], text)
