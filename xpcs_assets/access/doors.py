"""Opening the doors of a place by its kind: whose access lists it has, and where its groups come from."""

from __future__ import annotations

from typing import cast

from xpcs_assets.access.gates import access_in
from xpcs_assets.access.groups import GlobusGroups
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import CopyError
from xpcs_assets.places import globus_site
from xpcs_assets.places.access import Doors
from xpcs_assets.places.globus import GlobusPlace
from xpcs_assets.places.globus_access import GlobusDoors
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.places.posix_access import PosixDoors
from xpcs_assets.settings_places import GlobusAccessSettings


def open_doors(beamline: OpenBeamline, name: str) -> Doors:
    """The doors of a place.

    Raises
    ------
    CopyError
        The place is unavailable.
    SettingsError
        See :meth:`xpcs_assets.beamline.OpenBeamline.place`.
    """
    place = cast(PosixPlace, beamline.place(name))
    if reason := place.why_unavailable():
        raise CopyError(f"place {name!r} is unavailable: {reason}", where=place.root, remedy="Mount its disk")
    settings = access_in(beamline, name)
    if not isinstance(place, GlobusPlace) or not isinstance(settings, GlobusAccessSettings):
        return PosixDoors(place)
    groups = GlobusGroups(globus_site.groups_account_of(beamline.site), beamline.ledger, create=settings.create)
    return GlobusDoors(place, globus_site.account_of(beamline.site), groups.find, groups.close)
