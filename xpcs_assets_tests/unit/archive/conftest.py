"""Staged runs at a beamline whose clock is moved by hand, and what lies on its tape."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Copy, Ledger
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.conftest import Altered, bare_run

Gathering = Callable[..., OpenBeamline]


def clocked(beamline: OpenBeamline) -> HandClock:
    """Give a beamline's ledger a clock that is moved by hand."""
    clock = HandClock()
    beamline.__dict__["ledger"] = Ledger(beamline.engine, clock)
    return clock


def clock_of(beamline: OpenBeamline) -> HandClock:
    clock = beamline.ledger.clock
    assert isinstance(clock, HandClock)
    return clock


@pytest.fixture
def gathering(altered: Altered) -> Gathering:
    """Open a beamline that gathers small runs; settings of ``gather`` as keywords."""

    def opened(path: str = "{run}/", proposal: str = "", **gather: object) -> OpenBeamline:
        settings = {"under": "1 MB", "until": "1 GB", "wait": "1 day", "by": [], **gather}
        runs = {"from": {"path": path}, "owner": {"proposal": proposal}}
        beamline = altered({"runs": runs, "pipeline": {"archive": {"bundle": {"gather": settings}}}})
        clocked(beamline)
        return beamline

    return opened


def staged(beamline: OpenBeamline, *names: str) -> None:
    """Runs that were taken and staged, a second apart."""
    for name in names:
        done = submit(beamline, bare_run(beamline.source_root / name))
        take(beamline, done.key)
        stage(beamline, done.key)
        clock_of(beamline).advance(1)


def tape(beamline: OpenBeamline) -> dict[str, bytes]:
    """The bundles and their indexes by path."""
    root = beamline.root("tape")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.tar*"))}


def copy_on_tape(beamline: OpenBeamline, run: str, version: int = 1) -> Copy | None:
    """What the ledger says of a run's copy on tape."""
    found = [copy for copy in beamline.ledger.copies(beamline.name, run, version) if copy.place == "tape"]
    assert len(found) <= 1, "a copy is recorded twice"
    return found[0] if found else None
