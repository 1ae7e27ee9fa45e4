"""Flight files: small files that are written below a folder of their own, read back, and taken away again.

They lie in ``.xpcs-flight/<beamline>/<purpose>/`` of a place's root, which no other step looks at. Whoever flies holds
a lease of the purpose: what is there besides was left by one that died, and goes first.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.errors import CopyError, NotFoundError, NotVerifiedError, RemovalRefusedError, XpcsAssetsError
from xpcs_assets.places.place import Place, Presence
from xpcs_assets.runs.folders import FLIGHT_FOLDER
from xpcs_assets.runs.manifest import check_relative

_DEPTH = 4
_TRIES = 10


@dataclass(frozen=True)
class FlightPermit:
    """Lets one flight file of one place go, and nothing else.

    Raises
    ------
    RemovalRefusedError
        The path is not one of a flight file.
    """

    place: str
    path: str

    def __post_init__(self) -> None:
        parts = check_relative(self.path).parts
        if len(parts) < _DEPTH or parts[0] != FLIGHT_FOLDER:
            raise RemovalRefusedError("this is no flight file", where=f"{self.place}:{self.path}")

    def allow(self, place: str, path: str) -> None:
        """Return if this is that file; RemovalRefusedError if not."""
        if (place, path) != (self.place, self.path):
            raise RemovalRefusedError("the permit is for another file", where=f"{place}:{path}")


def flight_folder(beamline: str, purpose: str) -> str:
    """Where flight files of a purpose lie in any place."""
    return f"{FLIGHT_FOLDER}/{beamline}/{purpose}"


@contextmanager
def flying(ledger: Ledger, beamline: str, purpose: str, for_s: float) -> Iterator[str]:
    """Be the only one to fly for a purpose; the folder to fly in.

    Raises
    ------
    RefusedError
        Another does, or died less than ``for_s`` ago.
    """
    holder = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
    folder = flight_folder(beamline, purpose)
    with ledger.lease(beamline, folder, "flight", holder, for_s):
        yield folder


def take_away(place: Place, path: str) -> bool:
    """Remove a flight file; False when it was not there. RemovalRefusedError when it is any other file."""
    return place.remove(path, FlightPermit(place.name, path))


def sweep(place: Place, folder: str) -> int:
    """Take away what flights that died have left; how many files those were.

    Raises
    ------
    CopyError
        It cannot be known what is there.
    """
    place.sweep(folder)
    left = place.list(folder)
    if left.presence is Presence.UNKNOWN:
        raise CopyError(f"what lies there is not known: {left.reason}", where=f"{place.name}:{folder}")
    return sum(take_away(place, path) for path in left.files)


def new_file(size_bytes: int) -> tuple[str, bytes, str]:
    """Name, content and sha256 of a flight file; no two are alike, so that none is found there from before."""
    content = secrets.token_bytes(size_bytes)
    return f"{secrets.token_hex(8)}.flight", content, hashlib.sha256(content).hexdigest()


def write(place: Place, path: str, chunks: Callable[[], Iterable[bytes]], sha256: str) -> None:
    """Write a flight file, once more where another flight's end has just taken the empty folder away.

    Raises
    ------
    CopyError, NotFoundError
        It cannot be written.
    """
    for last in (False,) * (_TRIES - 1) + (True,):
        try:
            place.put(path, chunks(), sha256=sha256)
            return
        except NotFoundError:
            if last:
                raise


def refuse_other(place: Place, path: str, sha256: str) -> None:
    """Read a flight file; NotVerifiedError when it holds other bytes, CopyError when it cannot be read."""
    if place.digest(path).sha256 != sha256:
        raise NotVerifiedError(
            "it came back with other bytes", where=f"{place.name}:{path}", remedy="Have its disk looked at"
        )


@contextmanager
def gone_afterwards(place: Place, path: str) -> Iterator[None]:
    """Take a flight file away at the end; where something went wrong before, that is what is raised."""
    try:
        yield
    except XpcsAssetsError:
        with suppress(XpcsAssetsError):  # what cannot be taken away now goes with the next sweep
            take_away(place, path)
        raise
    take_away(place, path)


def try_writing(place: Place, folder: str, size_bytes: int = 64) -> None:
    """Write a flight file, read it back and take it away, after what was left before.

    Raises
    ------
    CopyError
        Any of that did not work.
    """
    sweep(place, folder)
    name, content, sha256 = new_file(size_bytes)
    path = f"{folder}/{name}"
    with gone_afterwards(place, path):
        write(place, path, lambda: [content], sha256)
        refuse_other(place, path, sha256)
