"""What the tests of the catalog put into it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from xpcs_assets.catalog.documents import Derived
from xpcs_assets.describe.quality import Quality, frames_sane, g2_sane
from xpcs_assets.describe.record import Entry, Owner, Record
from xpcs_assets_tests.made_results import make_record, make_result


def described(run_key: str = "A001", *, sample: str = "silica in water", **changes: Any) -> Record:
    """A record with a sample, of a run taken at the minute that its key's digits say."""
    entry = Entry("/entry/sample/short_description", sample)
    minute = int("".join(character for character in run_key if character.isdigit()) or 0) % 60
    taken_at = datetime(2026, 5, 1, 12, minute, tzinfo=UTC).isoformat()
    return replace(
        make_record(), run_key=run_key, groups={"sample": (entry,)}, taken_at=taken_at, missing=(), **changes
    )


def derived(record: Record | None = None, *, analysis_key: str = "", good: bool = True) -> Derived:
    """A result of a run with fits and quality; not ``good``: with a contrast that cannot be."""
    record = record or described()
    result = make_result()
    fits = result.fit()
    if not good:
        fits = [replace(fit, contrast=3.0) for fit in fits]
    return Derived(
        record=record,
        analysis_key=analysis_key or record.run_key,
        recipe=result.recipe,
        folder=f"/staged/{record.run_key}/v{record.version}/results/{result.recipe.folder}",
        size_bytes=5000,
        result_digest="sha256:" + "c" * 64,
        created_at=datetime(2026, 5, 1, 13, tzinfo=UTC),
        report={"device": "cpu", "seconds": {"read": 0.1, "correlate": float("nan")}},
        labels=result.labels,
        fits=fits,
        law=result.fit_tau_q(fits),
        quality=Quality((*frames_sane(result).judgements, *g2_sane(result, fits).judgements)),
    )


def owned_by(proposal: str, *groups: str) -> Owner:
    """An owner."""
    return Owner(proposal=proposal, experiment=f"{proposal}-experiment", groups=groups)
