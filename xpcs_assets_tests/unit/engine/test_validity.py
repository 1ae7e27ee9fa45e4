from __future__ import annotations

import numpy as np
import pytest

from xpcs_assets.engine.delays import make_plan
from xpcs_assets.engine.validity import Validity


@pytest.mark.parametrize("n_pushed", [40, 100, 101])
def test_a_frame_is_regular_below_the_first_level_where_a_partner_lacks(n_pushed: int) -> None:
    plan = make_plan(101)
    validity = Validity(plan)
    valid = np.ones(n_pushed, bool)
    valid[[30, 31]] = False
    validity.push(0, valid)
    below = validity.regular_below()
    status = [validity.status(level) for level in range(plan.n_levels)]
    assert validity.n_frames().tolist() == [len(of_level) for of_level in status]
    for frame in range(n_pushed):
        irregular = [
            level
            for level, of_level in enumerate(status)
            if frame >> level >= len(of_level) or of_level[frame >> level] != 2
        ]
        assert below[frame] == min(irregular, default=plan.n_levels)
    assert below[30] == 0
