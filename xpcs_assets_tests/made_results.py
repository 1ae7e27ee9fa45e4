"""Results and records made of numbers alone, for tests of what is drawn, judged and catalogued."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from xpcs_assets.copies.ledger import RunVersion
from xpcs_assets.describe.building import build_record
from xpcs_assets.describe.record import Record
from xpcs_assets.engine.delays import make_plan
from xpcs_assets.readers.series import SeriesInfo
from xpcs_assets.results.result import Result
from xpcs_assets.runs.manifest import FileEntry, Manifest
from xpcs_assets.runs.recipe import AnalysisSettings, Recipe

CONTRAST = 0.25
FRAME_TIME_S = 0.001
SHAPE = (60, 80)


def make_result(
    *, n_q: int = 4, n_phi: int = 1, n_frames: int = 400, counts: float = 0.5, dynamic_bins: str = "", seed: int = 1
) -> Result:
    """A result of diffusing spheres on rings around the middle, two static bins a dynamic one, with its noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.indices(SHAPE)
    radius = np.hypot(rows - 29.5, columns - 39.5)
    below = (rows > 29.5).astype(int) if n_phi == 2 else np.zeros(SHAPE, int)
    ring = np.clip(((radius - 4) / 24 * 2 * n_q).astype(int), 0, 2 * n_q)
    mask = (radius >= 4) & (ring < 2 * n_q)
    mask[:3] = False
    dynamic = np.where(mask, ring // 2 * n_phi + below + 1, 0).astype(np.int32)
    static = np.where(mask, ring * n_phi + below + 1, 0).astype(np.int32)
    plan = make_plan(n_frames)
    q = np.linspace(0.002, 0.006, n_q).repeat(n_phi)
    delay_s = plan.delay * FRAME_TIME_S
    error = 0.01 / np.sqrt(np.maximum(plan.n_pairs, 1) / n_frames)[:, None] * np.ones((1, q.size))
    tau_s = 1e-7 / q**2
    g2 = 1 + CONTRAST * np.exp(-2 * delay_s[:, None] / tau_s) + random.normal(0, 0.2, error.shape) * error
    pattern = random.poisson(counts * n_frames * np.exp(-radius / 60)) / n_frames * mask
    per_static = np.array([pattern[static == number].mean() for number in range(1, 2 * n_q * n_phi + 1)])
    intensity = np.stack([np.arange(n_frames), random.normal(pattern[mask].mean(), 0.01, n_frames)])
    return Result(
        path=Path("A001_made_a0001_f000400_r00001_results.hdf"),
        delay_frames=plan.delay,
        delay_s=delay_s,
        g2=g2,
        g2_error=error,
        n_pairs=plan.n_pairs,
        n_static_used=np.full(g2.shape, 2),
        static_g2=np.full((len(delay_s), len(per_static)), np.nan),
        q_inv_angstrom=q,
        labels=tuple(f"q = {value:.4g} Å⁻¹" for value in q),
        static_q=np.linspace(0.0018, 0.0062, 2 * n_q).repeat(n_phi),
        scattering_2d=pattern.astype(np.float32),
        scattering_1d=per_static.astype(np.float32),
        segments=(per_static * random.normal(1, 0.02, (10, 1))).astype(np.float32),
        intensity_vs_time=intensity.astype(np.float32),
        frame_time_s=FRAME_TIME_S,
        mask=mask,
        dynamic_map=dynamic,
        static_map=static,
        recipe=Recipe(AnalysisSettings(dynamic_bins=dynamic_bins), "sha256:" + "0" * 64, "made 1"),
    )


def without_g2(result: Result, number: int) -> Result:
    """The same result, but g2 of dynamic bin ``number`` (from 0) undefined everywhere."""
    g2, error = result.g2.copy(), result.g2_error.copy()
    g2[:, number] = error[:, number] = np.nan
    return replace(result, g2=g2, g2_error=error)


def make_run(*, run_key: str = "A001_made_a0001_f000400_r00001", version: int = 1) -> RunVersion:
    """A version of a run as the ledger gives it."""
    manifest = Manifest.of(run_key, [FileEntry("A001.imm", 4000, "a" * 64), FileEntry("m.hdf", 96, "b" * 64)])
    owner = {"proposal": "P-1234", "experiment": "comm202610", "groups": ["p1234", "staff"], "embargo_until": ""}
    taken_at = datetime(2026, 5, 1, 12, tzinfo=UTC)
    return RunVersion("test-beamline", run_key, version, manifest.digest, manifest, "comm/A001", owner, taken_at)


def make_info(*, n_recorded: int = 400, kind: str = "events") -> SeriesInfo:
    """What a reader tells of the raw file."""
    form = "imm" if kind == "events" else "nexus_hdf5"
    return SeriesInfo(form, kind, SHAPE, n_recorded, "int16", (Path("A001.imm"),), extra={"immversion": 12})  # type: ignore[arg-type]


def make_record(metadata: Path | None = None, *, version: int = 1) -> Record:
    """The record of :func:`make_run`."""
    return build_record(make_run(version=version), info=make_info(), metadata=metadata)
