"""What looking after copies works on: a beamline's ledger and places, and the right to be alone with a run."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from xpcs_assets.copies.ledger import Ledger
from xpcs_assets.places.place import Place

if TYPE_CHECKING:
    from xpcs_assets.beamline import OpenBeamline

LEASE_S = 3600.0
ALL_RUNS = "*"
"""Stands where a lease has a run key; no run is called so."""


@dataclass(frozen=True)
class Scope:
    """A beamline whose copies are looked after.

    Attributes
    ----------
    beamline
        Its name.
    ledger
        Its ledger.
    places
        Every place of it by name.
    """

    beamline: str
    ledger: Ledger
    places: Mapping[str, Place]

    @classmethod
    def of(cls, opened: OpenBeamline) -> Scope:
        """All of an open beamline."""
        return cls(opened.name, opened.ledger, {name: opened.place(name) for name in opened.settings.places})

    @contextmanager
    def working(self, run_key: str, purpose: str) -> Iterator[Callable[[], object]]:
        """Hold a lease on a run, or on :data:`ALL_RUNS`; what is yielded renews it, to be called before each file.

        Raises
        ------
        RefusedError
            Another works there, or has taken the lease over: stop.
        """
        holder = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}:{purpose}"
        with self.ledger.lease(self.beamline, run_key, purpose, holder, LEASE_S) as lease:
            yield partial(self.ledger.renew, lease, LEASE_S)

    def why_unavailable(self, place: str) -> str:
        """Why a place cannot be asked now; empty when it can."""
        return self.places[place].why_unavailable()
