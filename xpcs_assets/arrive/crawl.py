"""Crawling: every run below the watched folder that is meant is looked at, and the valid ones are submitted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from xpcs_assets.arrive.candidates import Candidate, find
from xpcs_assets.arrive.source import Source, source_of
from xpcs_assets.arrive.submit import Look, Match, hand_in, look_through
from xpcs_assets.arrive.tree import Tree
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import NotFoundError
from xpcs_assets.runs.selection import Selection
from xpcs_assets.settings import FIELD


@dataclass(frozen=True)
class Crawled:
    """What a crawl found.

    Attributes
    ----------
    new
        Valid runs that were submitted, or would be.
    known
        Valid runs that were taken before, with the very files they have now.
    invalid
        What cannot be taken, with the reasons.
    """

    new: tuple[Match, ...]
    known: tuple[Match, ...]
    invalid: tuple[Match, ...]

    @property
    def total(self) -> int:
        """All that were looked at."""
        return len(self.new) + len(self.known) + len(self.invalid)


def crawl(beamline: OpenBeamline, selection: Selection, below: Path | None = None, *, dry_run: bool = False) -> Crawled:
    """Look at all runs that are meant, and submit those that are valid and new.

    Parameters
    ----------
    below
        Only what lies in this folder of the watched one.
    dry_run
        Submit nothing; what is told is what would be done.

    Raises
    ------
    NotFoundError
        The folder is not there.
    SettingsError
        It is not below the watched folder, or the paths have no such field.
    """
    source = source_of(beamline)
    tree = source.tree()
    inside = _inside(source, tree, below)
    selection.refuse_unknown(FIELD.findall(beamline.settings.runs.source.path), beamline.name)
    found: dict[str, list[Match]] = {"new": [], "known": [], "invalid": []}
    candidates = (one for one in find(beamline.settings, source.root, tree) if _is_below(one, inside))
    for candidate, look in look_through(beamline, selection.among(candidates, _told), tree):
        kind, reason = _take(beamline, candidate, look, dry_run=dry_run)
        found[kind].append(Match(candidate.source, candidate.key, reason))
    return Crawled(*(tuple(found[kind]) for kind in ("new", "known", "invalid")))


def _take(beamline: OpenBeamline, candidate: Candidate, look: Look, *, dry_run: bool) -> tuple[str, str]:
    """Which kind it is of, and why it cannot be taken."""
    if look.reason:
        return "invalid", look.reason
    if look.is_known:
        return "known", ""
    if not dry_run:
        hand_in(beamline, candidate, look)
    return "new", ""


def _inside(source: Source, tree: Tree, below: Path | None) -> PurePosixPath:
    if below is None:
        return PurePosixPath()
    if not tree.exists(source.named(below)):
        raise NotFoundError("there is no such folder", where=below, remedy=f"Name one below {source.where}")
    return PurePosixPath(source.relative(below))


def _is_below(candidate: Candidate, folder: PurePosixPath) -> bool:
    return PurePosixPath(candidate.source).is_relative_to(folder)


def _told(candidate: Candidate) -> tuple[str, str, dict[str, str]]:
    return candidate.source, PurePosixPath(candidate.source).name, candidate.fields
