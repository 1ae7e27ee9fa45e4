"""What is asked before a forecast is made, when some of it cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xpcs_assets.prune.pruning import _bringing
from xpcs_assets_tests.unit.conftest import Altered

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
