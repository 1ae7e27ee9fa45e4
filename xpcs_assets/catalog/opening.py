"""The catalogs outside the site, made of what ``site.yaml`` says. Nothing is asked of them here."""

from __future__ import annotations

from collections.abc import Callable

from xpcs_assets.catalog.dataset import Catalog
from xpcs_assets.catalog.globus_search import GlobusSearchCatalog
from xpcs_assets.catalog.globus_search_config import GlobusSearchConfig
from xpcs_assets.catalog.scicat import ScicatCatalog
from xpcs_assets.catalog.scicat_config import ScicatConfig
from xpcs_assets.copies.clock import Clock, utc_now
from xpcs_assets.errors import SettingsError
from xpcs_assets.settings_catalogs import GlobusSearchSettings, ScicatSettings
from xpcs_assets.site import SITE_FILE, Site


def open_catalog(
    site: Site, name: str, before_write: Callable[[], object] = lambda: None, clock: Clock = utc_now
) -> Catalog:
    """The catalog that ``site.yaml`` has under a name.

    Parameters
    ----------
    before_write
        Called before each request that may change something; what it raises keeps the request from being made.
    clock
        Wall time: embargoes end.

    Raises
    ------
    SettingsError
        There is none, its settings cannot be used, or its library is not installed.
    """
    settings = site.settings.catalogs.get(name)
    if settings is None:
        there_are = f"There are: {', '.join(site.settings.catalogs) or 'none'}"
        raise SettingsError(f"no catalog {name!r}", where=site.home / SITE_FILE, remedy=there_are)
    if isinstance(settings, GlobusSearchSettings):
        return GlobusSearchCatalog(globus_search_config(site, settings), clock, before_write)
    return ScicatCatalog(scicat_config(site, settings), before_write=before_write)


def scicat_config(site: Site, settings: ScicatSettings) -> ScicatConfig:
    """A SciCat catalog's settings as the catalog takes them."""
    said = settings.model_dump(exclude={"kind", "token", "password", "connect", "read"})
    return ScicatConfig(
        **said,
        token=site.secret(settings.token),
        password=site.secret(settings.password),
        connect_s=settings.connect,
        read_s=settings.read,
    )


def globus_search_config(site: Site, settings: GlobusSearchSettings) -> GlobusSearchConfig:
    """A Globus Search catalog's settings as the catalog takes them."""
    times = {"timeout", "longest_sleep", "poll", "task_limit"}
    said = settings.model_dump(exclude={"kind", "token", "client_secret", *times})
    return GlobusSearchConfig(
        **said,
        **{f"{name}_s": getattr(settings, name) for name in times},
        token=site.secret(settings.token),
        client_secret=site.secret(settings.client_secret),
    )
