from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from xpcs_assets.testing.replicates import Law, Repeats, repeat

LAW = Law(photons=40.0, tau_frames=5.0, frames=70, n_static=2, pixels=10)


@pytest.fixture(scope="module")
def run() -> Repeats:
    return repeat(LAW, 12, seed=1)


def test_each_dynamic_bin_is_a_repeat_of_its_own(run: Repeats) -> None:
    assert run.g2.g2.shape == (run.plan.n_delays, 12)
    assert (run.g2.n_static_used == LAW.n_static).all()
    assert len(set(run.g2.g2[0].tolist())) == 12
    np.testing.assert_allclose(run.deviation(), run.g2.g2 - run.expected[:, None])


def test_the_last_frames_of_a_run_are_not_lost(run: Repeats) -> None:
    # 70 frames are one batch of 64 and a rest.
    assert run.g2.n_pairs[0] == LAW.frames - 1


def test_the_ratio_is_1_for_errors_of_the_true_size_and_2_for_half_of_it(run: Repeats) -> None:
    true = np.broadcast_to(np.sqrt((run.deviation() ** 2).mean(axis=1))[:, None], run.g2.g2.shape)
    every = np.ones(run.plan.n_delays, bool)
    assert run.ratio(true, every) == pytest.approx(1)
    assert run.ratio(true / 2, every) == pytest.approx(2)
    # A delay of large scatter counts no more than one of little.
    wrong_once = true.copy()
    wrong_once[0] /= 100
    assert run.ratio(wrong_once, every) == pytest.approx(np.sqrt((len(true) - 1 + 1e4) / len(true)))


@pytest.mark.parametrize("photons_a_frame", [0.02, 0.2], ids=["events", "frames"])
def test_the_same_seed_gives_the_same_photons_and_another_one_others(photons_a_frame: float) -> None:
    law = replace(LAW, photons=photons_a_frame * LAW.frames)
    once, again, other = (repeat(law, 3, seed=seed).g2.g2[0].tolist() for seed in (2, 2, 3))
    assert once == again
    assert once != other
