"""Meeting a place: which marker its root must bear, from the ledger or, the first time, from the root itself."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.errors import CopyError, RefusedError, UnderWayError
from xpcs_assets.places.marker import UNMARKED, Marker, Root

_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_COPIES_TO_LOOK_FOR = 100


@dataclass(frozen=True)
class Met:
    """What a place must be opened with.

    Attributes
    ----------
    identity
        The marker's; ``UNMARKED`` for a root that bears none and cannot be written.
    unavailable
        Why the place was not met, and nothing may be done there; empty when it was.
    is_under_way
        It is being asked, and may be met the next time.
    """

    identity: str
    unavailable: str = ""
    is_under_way: bool = False


def meet(ledger: Ledger, beamline: str, place: str, root: Root) -> Met:
    """The identity expected of a place. The first time the marker found is adopted, or one is left where there is none.

    A root is not met, and never marked, when it is not there, when the ledger has copies in the place of which none is
    found below the root, or when its marker is another place's of the beamline (the same folder twice, a bind mount).
    """
    known = ledger.known_place(beamline, place)
    if known is not None:
        return Met(known.identity)
    try:
        marker = root.read_marker()
        if missing := _why_strange(ledger, beamline, place, root):
            return Met(UNMARKED, missing)
        marker = marker or root.leave_marker(_new_marker(ledger, place))
    except CopyError as error:
        is_forbidden = isinstance(error.__cause__, OSError) and error.__cause__.errno in _FORBIDDEN
        return Met(UNMARKED, "" if is_forbidden else error.what, isinstance(error, UnderWayError))
    if taken := _why_taken(ledger, beamline, place, marker):
        return Met(UNMARKED, taken)
    return Met(ledger.meet_place(beamline, place, marker.identity, root.where).identity)


def adopt(ledger: Ledger, beamline: str, place: str, root: Root) -> str:
    """Expect from now on the marker that the root bears, or one that is left there now; its identity.

    Raises
    ------
    CopyError
        The root is not there, cannot be written where it has no marker, or its marker cannot be read.
    RefusedError
        The marker is another place's of the beamline.
    """
    marker = root.read_marker() or root.leave_marker(_new_marker(ledger, place))
    if taken := _why_taken(ledger, beamline, place, marker):
        raise RefusedError(taken, where=root.where, remedy="Give each place a folder of its own, on a disk of its own")
    return ledger.adopt_place(beamline, place, marker.identity, root.where).identity


def _new_marker(ledger: Ledger, place: str) -> Marker:
    return Marker.new(place, ledger.clock().isoformat(timespec="seconds"))


def _why_taken(ledger: Ledger, beamline: str, place: str, marker: Marker) -> str:
    for known in ledger.known_places(beamline):
        if known.identity == marker.identity and known.place != place:
            return f"its marker is that of place {known.place!r}: they are one folder, or its disk is mounted here"
    return ""


def _why_strange(ledger: Ledger, beamline: str, place: str, root: Root) -> str:
    """Why this cannot be the disk that the ledger's copies in this place were on; empty when it may be."""
    copies = ledger.copies_in(place, beamline=beamline, limit=_COPIES_TO_LOOK_FOR)
    for copy in copies:
        files = ledger.version(beamline, copy.run_key, copy.version).manifest.files if copy.path == "." else ()
        names = [file.path for file in files] or [copy.path]
        if root.has_any(names):
            return ""
    return f"none of {len(copies)} copies that the ledger has there is found in it" if copies else ""
