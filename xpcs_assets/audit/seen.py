"""What lies in a place that the ledger does not account for: dark files, unknown bundles, copies without a row."""

from __future__ import annotations

from dataclasses import dataclass, field

from xpcs_assets.audit.scope import Scope
from xpcs_assets.copies.ledger import CopyState, FindingKind
from xpcs_assets.copies.standing import Standing, aside_paths, bundle_names, result_folders, versions_known
from xpcs_assets.places.place import Place, Presence
from xpcs_assets.runs.folders import ASIDE_FOLDER
from xpcs_assets.runs.manifest import FILE_NAME

_OF_A_VERSION = frozenset({FILE_NAME, "record.json", "copy.json"})
_RUN_SETS = "_run_sets"
_INDEX_SUFFIX = ".index.json"
_HERE = frozenset({CopyState.PRESENT, CopyState.BAD, CopyState.LOST, CopyState.PART_REMOVED})


@dataclass(frozen=True)
class Seen:
    """A listing of what is a beamline's in a place; ``reason`` says why there is none."""

    files: frozenset[str] = frozenset()
    aside: frozenset[str] = frozenset()
    reason: str = ""


@dataclass
class Odd:
    """What nothing accounts for.

    Attributes
    ----------
    dark
        Kind and reason by path.
    unclaimed
        Reason by path, of files that a manifest names and of which no copy is there: some files of a removed copy that
        were retrieved, what a killed retrieval left. They are nothing strange.
    unrecorded
        Run key, version and reason of each copy without a row, by its folder.
    unrecorded_files
        How many files those have.
    """

    dark: dict[str, tuple[FindingKind, str]] = field(default_factory=dict)
    unclaimed: dict[str, str] = field(default_factory=dict)
    unrecorded: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    unrecorded_files: int = 0


def look(place: Place, beamline: str, is_ours: bool) -> Seen:
    """List a place: the beamline's folder where the place is ours, and what was set aside in it."""
    listings = [place.list(folder) for folder in ((beamline, ASIDE_FOLDER) if is_ours else (ASIDE_FOLDER,))]
    for listing in listings:
        if listing.presence is Presence.UNKNOWN:
            return Seen(reason=listing.reason)
    files = frozenset(listings[0].files) if is_ours else frozenset()
    return Seen(files, frozenset(listings[-1].files))


def dark_files(scope: Scope, place: Place, known: tuple[Standing, ...], before: Seen, after: Seen) -> Odd:
    """What was there before and after the ledger was read, and is in no row of it."""
    odd = Odd()
    engine = scope.ledger.engine
    for path in sorted((before.aside & after.aside) - aside_paths(engine, scope.beamline, place.name)):
        odd.dark[path] = (FindingKind.UNKNOWN_ASIDE, "it was set aside, and the ledger knows nothing of it")
    both = before.files & after.files
    if place.holds_bundles:
        names = bundle_names(engine, scope.beamline, place.name)
        for path in sorted(both):
            if path.removesuffix(_INDEX_SUFFIX) not in names:
                kind = FindingKind.UNKNOWN_BUNDLE if path.endswith(".tar") else FindingKind.DARK
                odd.dark[path] = (kind, "no bundle of this name is recorded")
        return odd
    versions, folders = versions_known(engine, scope.beamline), result_folders(engine, scope.beamline)
    _unrecorded(scope, known, both, versions, odd)
    accounted: set[str] = set()
    named: dict[str, Standing] = {}
    for item in known:
        paths = {item.path(entry) for entry in item.manifest.files} if item.manifest is not None else set()
        if item.copy.state in _HERE:
            accounted |= paths
        else:
            named |= dict.fromkeys(paths, item)
    for path in sorted(both - accounted):
        if path in named:
            odd.unclaimed[path] = _why_unclaimed(named[path])
            continue
        reason = _why_dark(path, versions, folders)
        if reason and not any(path.startswith(f"{folder}/") for folder in _above(path) & set(odd.unrecorded)):
            odd.dark[path] = (FindingKind.DARK, reason)
    return odd


def _why_unclaimed(item: Standing) -> str:
    copy = item.copy
    return (
        f"it is a file of {copy.run_key} v{copy.version} where the copy is {copy.state}: some of its files came back; "
        "with all of them it is a copy again"
    )


def _above(path: str) -> set[str]:
    parts = path.split("/")
    return {"/".join(parts[:count]) for count in range(1, len(parts))}


def _unrecorded(
    scope: Scope, known: tuple[Standing, ...], files: frozenset[str], versions: frozenset[tuple[str, int]], odd: Odd
) -> None:
    """Manifests that lie beside data of which no row speaks."""
    rows = {item.copy.path for item in known}
    for path in sorted(files):
        parts = path.split("/")
        if len(parts) != 4 or parts[3] != FILE_NAME or (version := _number(parts[2])) is None:
            continue
        folder = "/".join(parts[:3])
        if f"{folder}/raw" not in rows:
            is_known = (parts[1], version) in versions
            told = "a manifest lies beside data, and the ledger knows no copy there"
            reason = told if is_known else f"{told}, nor that version of a run: `xpcs-assets rebuild` takes it in"
            odd.unrecorded[folder] = (parts[1], version, reason)
            odd.unrecorded_files += sum(each.startswith(f"{folder}/") for each in files)


def _why_dark(path: str, versions: frozenset[tuple[str, int]], folders: frozenset[str]) -> str:
    """Why a file below a beamline's folder is not accounted for; empty when its name is one of the platform's."""
    parts = path.split("/")
    if len(parts) > 2 and parts[1] == _RUN_SETS:
        return ""
    version = _number(parts[2]) if len(parts) > 3 else None
    if version is None or (parts[1], version) not in versions:
        return "it belongs to no version of a run that the ledger knows"
    if len(parts) == 4 and parts[3] in _OF_A_VERSION:
        return ""
    if parts[3] == "results":
        return "" if _above(path) & folders else "it lies in the folder of a result that the ledger does not know"
    return "no copy that the ledger has there names it"


def _number(text: str) -> int | None:
    digits = text.removeprefix("v")
    return int(digits) if text.startswith("v") and digits.isascii() and digits.isdigit() else None
