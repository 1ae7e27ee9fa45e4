"""Opening a back end by its name in the site file; what it needs is loaded when it is opened."""

from __future__ import annotations

from typing import Any

from xpcs_assets.commands import LocalCommands
from xpcs_assets.compute.backend import Backend
from xpcs_assets.errors import SettingsError
from xpcs_assets.settings_compute import (
    ComputeSettings,
    GlobusComputeSettings,
    KubernetesSettings,
    SchedulerSettings,
    SfapiSettings,
)
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
    match backend_settings(site, name):
        case SfapiSettings() as settings:
            return _sfapi(site, name, settings)
        case KubernetesSettings() as settings:
            return _kubernetes(site, name, settings)
        case GlobusComputeSettings() as settings:
            return _globus_compute(site, name, settings)
        case settings:
            return _scheduler(site, name, settings)


def _scheduler(site: Site, name: str, settings: SchedulerSettings) -> Backend:
    from xpcs_assets.compute.htcondor import HTCondor
    from xpcs_assets.compute.pbs import PBS
    from xpcs_assets.compute.slurm import Slurm

    kinds: dict[str, Any] = {"slurm": Slurm, "pbs": PBS, "htcondor": HTCondor}
    called = {"queue_is": settings.queue_is} if settings.queue_is else {}
    backend: Backend = kinds[settings.kind](
        name,
        site.host(settings.through) if settings.through else LocalCommands(),
        limit_s=settings.call,
        programs=settings.programs,
        **called,
    )
    return backend


def _sfapi(site: Site, name: str, settings: SfapiSettings) -> Backend:
    from xpcs_assets.compute.sfapi import Sfapi
    from xpcs_assets.compute.sfapi_service import API_URL, TOKEN_URL, Account

    key = str(site.path(settings.key))
    return Sfapi(
        name,
        Account(settings.client_id, key, settings.url or API_URL, settings.token_url or TOKEN_URL),
        machine=settings.machine,
        limit_s=settings.call,
        poll_s=settings.task,
        queue_is=settings.queue_is,
    )


def _kubernetes(site: Site, name: str, settings: KubernetesSettings) -> Backend:
    from xpcs_assets.compute.kubernetes import KubernetesBackend
    from xpcs_assets.compute.kubernetes_job import Template

    template = Template(
        settings.image,
        service_account=settings.service_account,
        user_id=settings.user_id,
        group_id=settings.group_id,
        keep_s=settings.keep,
        volumes=settings.volumes,
        mounts=settings.mounts,
        node_selector=settings.node_selector,
        tolerations=settings.tolerations,
        pull_secrets=settings.pull_secrets,
        gpu=settings.gpu_is,
    )
    return KubernetesBackend(
        name,
        settings.namespace,
        template,
        limit_s=settings.call,
        kubeconfig=str(site.path(settings.kubeconfig)) if settings.kubeconfig else "",
        context=settings.context,
    )


def _globus_compute(site: Site, name: str, settings: GlobusComputeSettings) -> Backend:
    from xpcs_assets.compute.globus_compute import GlobusCompute
    from xpcs_assets.globus_login import GlobusAccount

    account = GlobusAccount(
        client_id=settings.client_id,
        client_secret=site.secret(settings.client_secret),
        token=site.secret(settings.token),
        url=settings.url,
        auth_url=settings.auth_url,
        timeout_s=settings.call,
        tries=1,
    )
    return GlobusCompute(
        name,
        account,
        str(settings.endpoint),
        settings.folder,
        config=settings.config,
        function=str(settings.function or ""),
    )
