"""Opening a back end by its name in the site file; what it needs is loaded when it is opened."""

from __future__ import annotations

from typing import Any

from xpcs_assets.commands import Commands, LocalCommands, SshCommands
from xpcs_assets.compute.backend import Backend
from xpcs_assets.errors import SettingsError
from xpcs_assets.settings_compute import ComputeSettings, SchedulerSettings
from xpcs_assets.site import SITE_FILE, Site


def backend_settings(site: Site, name: str) -> ComputeSettings:
    """What the site file says of a back end.

    Raises
    ------
    SettingsError
        It has none of this name.
    """
    found = site.settings.compute.get(name)
    if found is None:
        raise SettingsError(
            f"the site has no back end {name!r}",
            where=site.home / SITE_FILE,
            remedy=f"There are: {', '.join(site.settings.compute) or 'none'}; jobs that it has wait for its return",
        )
    return found


def open_backend(site: Site, name: str) -> Backend:
    """A back end by its name; nothing is asked of it.

    Raises
    ------
    SettingsError
        There is none, or what it needs is not installed.
    """
    return _scheduler(site, name, backend_settings(site, name))


def _scheduler(site: Site, name: str, settings: SchedulerSettings) -> Backend:
    from xpcs_assets.compute.htcondor import HTCondor
    from xpcs_assets.compute.pbs import PBS
    from xpcs_assets.compute.slurm import Slurm

    kinds: dict[str, Any] = {"slurm": Slurm, "pbs": PBS, "htcondor": HTCondor}
    called = {"queue_is": settings.queue_is} if settings.queue_is else {}
    backend: Backend = kinds[settings.kind](
        name,
        _commands(site, settings.through),
        limit_s=settings.call,
        programs=settings.programs,
        **called,
    )
    return backend


def _commands(site: Site, host: str) -> Commands:
    if not host:
        return LocalCommands()
    settings = site.settings.hosts[host]
    return SshCommands(
        address=settings.address,
        port=settings.port,
        user=settings.user,
        key=str(site.path(settings.key)),
        known_hosts=str(site.path(settings.known_hosts)),
        connect_s=settings.connect,
    )
