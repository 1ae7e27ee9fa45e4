from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xpcs_assets.correlate.suggest import kernel, suggest
from xpcs_assets.readers.inspect import Inspection, inspect
from xpcs_assets.testing.simulate import simulate
from xpcs_assets.testing.writers import AcquisitionFacts
from xpcs_assets.testing.writers_hdf5 import write_als7011

FACTS = AcquisitionFacts("MTE3", 40, 0.5, 0.4, 0.778, (3, 3), 15e-6, 0.208, "2026-11-20T10:00:00")


def advice(found: Inspection) -> str:
    return "\n".join(f"{item.option}: {item.reason}" for item in suggest(found))


@pytest.fixture
def plain(tmp_path: Path) -> Inspection:
    return inspect(simulate(tmp_path, format="imm", frames=400, shape=(64, 72), mean_counts=0.02).raw)


def test_a_sound_photon_counting_run_needs_no_advice(plain: Inspection) -> None:
    assert suggest(plain) == []
    assert kernel(plain) == "events"


def test_the_kernel_follows_the_occupancy(plain: Inspection) -> None:
    assert kernel(replace(plain, occupancy=0.5)) == "frames"
    assert kernel(replace(plain, info=replace(plain.info, kind="frames"))) == "frames"


def test_a_name_that_claims_more_frames_is_told(tmp_path: Path) -> None:
    imm = simulate(tmp_path, format="imm", frames=100, shape=(64, 72), missing_tail=20)
    assert ": the name says 100 frames, 80 are recorded" in advice(inspect(imm.raw))
    assert "--frames" not in advice(inspect(imm.raw))
    rigaku = simulate(tmp_path / "r", format="rigaku500k", frames=100, missing_tail=20)
    assert "--frames 100: the name says 100 frames" in advice(inspect(rigaku.raw))


def test_a_run_without_its_times_asks_for_metadata(tmp_path: Path) -> None:
    run = simulate(tmp_path, format="imm", frames=50, shape=(64, 72))
    run.metadata.unlink()
    assert "--metadata FILE: neither" in advice(inspect(run.raw))


def camera(path: Path, offset_adu: float) -> Inspection:
    rng = np.random.default_rng(5)
    frames = [(np.arange(200), rng.poisson(2.0, 200)) for _ in range(40)]
    write_als7011(path, (10, 20), frames, FACTS, adu_per_photon=38.0, offset_adu=offset_adu)
    return inspect(path)


def test_a_camera_with_an_offset_is_asked_for_dark_and_gain(tmp_path: Path) -> None:
    text = advice(camera(tmp_path / "a.h5", 600.0))
    assert "--dark-file FILE or --offset-region" in text
    assert "no pixel is ever 0" in text
    assert "--adu-per-photon UNITS" in text


def test_of_a_subtracted_camera_the_ratio_tells_the_gain(tmp_path: Path) -> None:
    found = camera(tmp_path / "a.h5", 0.0)
    assert found.noise_ratio == pytest.approx(38.0, rel=0.1)
    assert "if no dark image was subtracted" in advice(found)
    assert f"variance over mean is {found.noise_ratio:.3g}" in advice(found)


def test_a_drift_of_the_beam_is_told_with_what_takes_it_out(plain: Inspection) -> None:
    drifting = replace(plain, intensity=np.linspace(1.0, 1.3, 1000), n_good=4608)
    assert "--normalize frame" in advice(drifting)


def test_bursts_and_single_frames_are_told(plain: Inspection) -> None:
    bursts = replace(plain, info=replace(plain.info, frames_per_burst=100))
    assert "bursts of 100 frames" in advice(bursts)
    single = replace(plain, info=replace(plain.info, n_recorded=1))
    assert "1 frame makes no correlation" in advice(single)


def test_a_run_that_would_take_very_long_is_advised_to_average(plain: Inspection) -> None:
    info = replace(plain.info, kind="frames", n_recorded=1_000_000, shape=(1000, 1000))
    assert "--average 3:" in advice(replace(plain, info=info))
