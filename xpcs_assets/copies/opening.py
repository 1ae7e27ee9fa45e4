"""Opening a beamline's places by their kind in the settings.

A kind is an entry of ``_KINDS``; its modules and the libraries they need are loaded when a place of it is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from xpcs_assets.copies import meeting
from xpcs_assets.copies.meeting import Met
from xpcs_assets.errors import SettingsError
from xpcs_assets.places.marker import PosixRoot, Root
from xpcs_assets.places.place import Place
from xpcs_assets.secret import SecretReference
from xpcs_assets.settings import Beamline
from xpcs_assets.settings_places import (
    HSI_PATH,
    GlobusPlaceSettings,
    HpssPlaceSettings,
    S3PlaceSettings,
    SshPlaceSettings,
)
from xpcs_assets.site import Site

if TYPE_CHECKING:
    from xpcs_assets.copies.ledger import Ledger


@dataclass(frozen=True)
class Reached:
    """A place of the settings that was not met yet.

    Attributes
    ----------
    root
        Its root, as a meeting sees it.
    open
        Makes the place of what the meeting came to.
    """

    root: Root
    open: Callable[[Met], Place]


def reach(site: Site, beamline: Beamline, name: str) -> Reached:
    """A place by its name; nothing is asked of it.

    Raises
    ------
    SettingsError
        The beamline has no such place, or what it is reached by is missing or not installed.
    """
    settings = beamline.places.get(name)
    if settings is None:
        there_are = f"There are: {', '.join(beamline.places)}"
        raise SettingsError(f"{beamline.beamline} has no place {name!r}", remedy=there_are)
    return _KINDS[settings.kind](site, beamline, name)


def open_place(site: Site, beamline: Beamline, name: str, ledger: Ledger) -> Place:
    """A place by its name, which expects the marker that its root had when the site first met it.

    Raises
    ------
    SettingsError
        See :func:`reach`.
    """
    reached = reach(site, beamline, name)
    return reached.open(meeting.meet(ledger, beamline.beamline, name, reached.root))


def _folder(site: Site, beamline: Beamline, name: str) -> Reached:
    from xpcs_assets.places.posix import PosixPlace
    from xpcs_assets.places.tape import TapePlace

    settings = beamline.places[name]
    kind = TapePlace if settings.kind == "tape" else PosixPlace
    root = site.folder(beamline, name)

    def made(met: Met) -> Place:
        return kind(name, root, settings.failure_domain, identity=met.identity, unavailable=met.unavailable)

    return Reached(PosixRoot(root), made)


def _s3(site: Site, beamline: Beamline, name: str) -> Reached:
    from xpcs_assets.places.s3 import S3Place, S3Root
    from xpcs_assets.places.s3_bucket import Bucket

    settings = cast(S3PlaceSettings, beamline.places[name])
    bucket = Bucket(
        name=settings.bucket,
        access_key_id=site.secret(settings.access_key_id) or SecretReference(),
        secret_access_key=site.secret(settings.secret_access_key) or SecretReference(),
        prefix=settings.prefix,
        endpoint=settings.endpoint,
        region=settings.region,
    )

    def made(met: Met) -> Place:
        return S3Place(name, bucket, settings.failure_domain, met.identity, met.unavailable)

    return Reached(S3Root(bucket), made)


def _globus(site: Site, beamline: Beamline, name: str) -> Reached:
    from xpcs_assets.places.globus import GlobusPlace
    from xpcs_assets.places.globus_site import collection_of

    settings = cast(GlobusPlaceSettings, beamline.places[name])
    root, lies, domain = site.folder(beamline, name), collection_of(site, settings), settings.failure_domain

    def made(met: Met) -> Place:
        return GlobusPlace(name, root, domain, collection=lies, identity=met.identity, unavailable=met.unavailable)

    return Reached(PosixRoot(root), made)


def _ssh(site: Site, beamline: Beamline, name: str) -> Reached:
    from xpcs_assets.places.ssh import SshPlace
    from xpcs_assets.places.ssh_root import SshRoot

    settings = cast(SshPlaceSettings, beamline.places[name])
    commands = site.host(settings.host)

    def made(met: Met) -> Place:
        return SshPlace(
            name,
            commands,
            settings.root,
            settings.failure_domain,
            identity=met.identity,
            unavailable=met.unavailable,
        )

    return Reached(SshRoot(commands, settings.root), made)


def _hpss(site: Site, beamline: Beamline, name: str) -> Reached:
    from xpcs_assets.compute.backend import Resources
    from xpcs_assets.compute.opening import backend_settings, open_backend
    from xpcs_assets.places.hpss import HpssPlace, HpssRoot
    from xpcs_assets.places.hpss_asking import Asking, Hands
    from xpcs_assets.places.hpss_scratch import Scratch

    settings = cast(HpssPlaceSettings, beamline.places[name])
    through, scratch = backend_settings(site, settings.through), site.path(settings.scratch)
    hands = Hands(
        open_backend(site, settings.through),
        python=through.python,
        folder=through.folder,
        seen=through.seen,
        hsi=settings.hsi,
        htar=settings.htar,
        resources=Resources(
            walltime_s=settings.walltime,
            account=settings.account or through.account,
            queue=settings.queue or through.queue,
            extra=settings.extra,  # the back end's own are for analyses
        ),
        environment=through.environment,
        max_jobs=settings.max_jobs,
        wait_s=settings.wait,
        settle_s=through.settle,
    )
    if HSI_PATH.fullmatch(str(scratch)) is None:
        raise SettingsError(
            f"hsi cannot be told the path {str(scratch)!r}",
            where=f"places.{name}.scratch",
            remedy="It takes letters, digits and '._=+,@%-' between slashes",
        )
    asking = Asking(name, settings.root, Scratch(scratch, settings.fresh), hands)

    def made(met: Met) -> Place:
        return HpssPlace(
            asking,
            settings.failure_domain,
            identity=met.identity,
            unavailable=met.unavailable,
            is_under_way=met.is_under_way,
        )

    return Reached(HpssRoot(asking), made)


_KINDS: dict[str, Callable[[Site, Beamline, str], Reached]] = {
    "posix": _folder,
    "tape": _folder,
    "ssh": _ssh,
    "s3": _s3,
    "globus": _globus,
    "hpss": _hpss,
}
