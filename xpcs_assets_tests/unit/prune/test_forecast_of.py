"""What is asked before a forecast is made, when some of it cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.prune.pruning import _bringing, forecast_of, prune
from xpcs_assets.stage.staging import stage
from xpcs_assets_tests.unit.conftest import Altered, bare_run

RULE: dict[str, Any] = {"keep_for": "20 days", "min_copies": 1, "needs": [], "at_most_share": 1.0}
ROOMS = {name: {"failure_domain": f"{name} room"} for name in ("detector", "store", "tape")}


@pytest.mark.parametrize("given", ["store room", ""])
def test_a_place_that_is_away_is_known_by_the_domain_it_was_given(altered: Altered, given: str) -> None:
    rooms = ROOMS | {"store": {"failure_domain": given}}
    beamline = altered({"places": rooms, "retention": {"detector": RULE}})
    root = Path(beamline.place("store").root)
    root.rename(root.with_name("away"))
    assert dict(_bringing(beamline).domains) == {
        name: room["failure_domain"] for name, room in rooms.items() if room["failure_domain"]
    }


def test_a_copy_that_leaves_the_ledger_while_the_trash_is_looked_at_is_not_forecast(
    altered: Altered, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = RULE | {"keep_for": "1 ms", "trash_for": "1 h"}
    beamline = altered({"places": ROOMS, "retention": {"detector": rule}})
    submit(beamline, bare_run(beamline.source_root / "A001"), as_is=True)
    take(beamline, "A001")
    stage(beamline, "A001")
    copy = next(one for one in beamline.ledger.copies(beamline.name, "A001") if one.place == "detector")
    prune(beamline, "A001", 1, copy.place, copy.path, holder="h", by="b", reason="r")
    assert forecast_of(beamline, "detector").trash.days
    monkeypatch.setattr(type(beamline.ledger), "copy_seen", lambda ledger, copy: None)
    assert not forecast_of(beamline, "detector").trash.days
