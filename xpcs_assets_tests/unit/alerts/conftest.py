"""A beamline with a clock that tests move, and runs that were taken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from xpcs_assets.alerts.looking import Look
from xpcs_assets.alerts.word import Word
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Ledger
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.conftest import Altered, bare_run

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
Watched = Callable[..., OpenBeamline]


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOON)


@pytest.fixture
def watched(altered: Altered, clock: HandClock) -> Watched:
    """Open the beamline with settings of its alerts, and its ledger with the clock."""

    def opened(changes: dict[str, Any] | None = None, **alerts: Any) -> OpenBeamline:
        beamline = altered({**(changes or {}), "alerts": alerts})
        vars(beamline)["ledger"] = Ledger(beamline.engine, clock)
        return beamline

    return opened


@pytest.fixture
def at_noon(watched: Watched) -> OpenBeamline:
    return watched()


def taken(beamline: OpenBeamline, *names: str) -> None:
    for name in names:
        folder = beamline.source_root / name
        submit(beamline, folder if folder.exists() else bare_run(folder))
        take(beamline, name)


def fails(beamline: OpenBeamline, run: str, why: str = "no q-map", *, key: str = "", step: str = "correlation") -> None:
    beamline.ledger.note("xpcs", run, step, f"failed: {why}", {"partition": key or run})


def goes_well(beamline: OpenBeamline, run: str, step: str = "correlation") -> None:
    beamline.ledger.note("xpcs", run, step, "done", {"partition": run})


def wrong(beamline: OpenBeamline, *stood: Word, seen: int = 0) -> list[Word]:
    """What is wrong now."""
    return Look(beamline).now(stood, seen)[0]


def told_of(words: list[Word], kind: str) -> list[str]:
    return [f"{one.subject}: {one.text}" for one in words if one.kind == kind]
