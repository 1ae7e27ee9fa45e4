"""Which checks of Dagster's a finding about a copy turns red, and when they are green again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Finding, FindingKind, FindingState

JUDGES = (
    FindingKind.BAD,
    FindingKind.LOST,
    FindingKind.SIZE,
    FindingKind.UNREADABLE,
    FindingKind.BAD_BUNDLE,
    FindingKind.LOST_BUNDLE,
)


@dataclass(frozen=True)
class Judged:
    """What a check says of one run now; ``reason`` says why it fails, or that it passes again."""

    asset: str
    check: str
    run_key: str
    passed: bool
    reason: str


def judged(beamline: OpenBeamline, since: datetime) -> Iterator[Judged]:
    """The checks that findings, opened or closed since a moment, are about; each once, by all that stands now."""
    states = (FindingState.OPEN, FindingState.CLOSED)
    changed = beamline.ledger.findings(beamline.name, states=states, kinds=JUDGES, changed_since=since)
    standing = beamline.ledger.findings(beamline.name, kinds=JUDGES) if changed else ()
    seen: set[tuple[str, str]] = set()
    for finding in changed:
        asset, check = _check_of(beamline, finding.place)
        for run_key in _runs(beamline, finding) if asset else ():
            if (asset, run_key) in seen:
                continue
            seen.add((asset, run_key))
            against = [
                f"{each.path}: {each.reason}"
                for each in standing
                if each.place == finding.place and run_key in _runs(beamline, each)
            ]
            right = f"the copy in {finding.place} is right again"
            yield Judged(asset, check, run_key, not against, "; ".join(against[:3]) or right)


def _check_of(beamline: OpenBeamline, place: str) -> tuple[str, str]:
    pipeline = beamline.settings.pipeline
    if place == pipeline.stage.to:
        return "staged_copy", "copy_verified"
    if pipeline.archive is not None and place == pipeline.archive.to:
        return "archive", "archive_read_back"
    return "", ""


def _runs(beamline: OpenBeamline, finding: Finding) -> tuple[str, ...]:
    """The runs that a finding is about: all of a bundle, which is noted under the first."""
    for bundle in beamline.ledger.bundles(beamline.name, finding.run_key, finding.version):
        if (bundle.place, bundle.name) == (finding.place, finding.path):
            return tuple(dict.fromkeys(run.run_key for run in bundle.runs))
    return (finding.run_key,) if finding.run_key else ()
