"""Take a run: read its files once at the source and write down what they are. The pure part of ``raw_file``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpcs_assets.arrive.candidates import Candidate, Seen, candidate_at, files_of, fingerprint
from xpcs_assets.arrive.source import Source, source_of
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import ChangedWhileReadingError, CopyError, NotFoundError

if TYPE_CHECKING:
    from xpcs_assets.copies.ledger import RunVersion


@dataclass(frozen=True)
class Taken:
    """A run as it was taken.

    Attributes
    ----------
    version
        The version that its files are.
    is_new
        Whether these files were not known before.
    raw
        The raw files' names.
    """

    version: RunVersion
    is_new: bool
    raw: tuple[str, ...]


def take(beamline: OpenBeamline, key: str) -> Taken:
    """Read the files of run ``key`` at the source, hash them, and record them as a version of the run.

    The same files are the same version, however often they are taken; other bytes under the same names are a new
    version beside the old one.

    Raises
    ------
    NotFoundError
        The run was never seen, or its files are no longer at the source.
    ChangedWhileReadingError
        A file changed, appeared or vanished meanwhile; the run waits and is taken again once it is still.
    """
    from xpcs_assets.copies.ledger import ArrivalState

    ledger = beamline.ledger
    arrival = ledger.arrival(beamline.name, key)
    if arrival is None:
        raise NotFoundError("no such run was seen", where=f"{beamline.name}/{key}", remedy="Submit its path")
    source = source_of(beamline)
    try:
        return _take(beamline, source, candidate_at(beamline.settings, source.root, arrival.source))
    except (CopyError, NotFoundError) as error:
        if arrival.state is not ArrivalState.TAKEN:
            ledger.retake(beamline.name, key, str(error))
        raise


def _take(beamline: OpenBeamline, source: Source, candidate: Candidate) -> Taken:
    from xpcs_assets.arrive.complete import raw_files
    from xpcs_assets.copies.ledger import ArrivalState, Evidence

    ledger, key = beamline.ledger, candidate.key
    before = _listed(beamline, source, candidate)
    also = beamline.settings.pipeline.stage.also_hash
    manifest = source.manifest(candidate, [item.path for item in before], also)
    after = _listed(beamline, source, candidate)
    if before != after:
        raise ChangedWhileReadingError(
            "the run's files changed while they were read",
            where=candidate.folder,
            remedy="It is taken again when still",
        )
    known = {version.version for version in ledger.versions(beamline.name, key)}
    version = ledger.record_version(beamline.name, key, manifest, candidate.source, owner(beamline, candidate))
    place = beamline.place(beamline.settings.runs.source.watch)
    ledger.record_copy(
        beamline.name,
        key,
        version.version,
        place=place.name,
        path=str(candidate.folder.relative_to(source.root)),
        failure_domain=place.failure_domain,
        evidence=Evidence.READ_BACK,
    )
    ledger.note_arrival(
        beamline.name, key, source=candidate.source, fingerprint=fingerprint(after), state=ArrivalState.TAKEN
    )
    is_new = version.version not in known
    ledger.note(beamline.name, key, "raw_file", f"version {version.version} {'taken' if is_new else 'seen again'}")
    return Taken(version, is_new, tuple(raw_files(candidate.folder, after, source.tree())))


def _listed(beamline: OpenBeamline, source: Source, candidate: Candidate) -> tuple[Seen, ...]:
    tree = source.tree()
    try:
        files = files_of(beamline.settings, candidate, source.root, tree)
    except FileNotFoundError as error:
        if tree.exists(candidate.folder):
            raise ChangedWhileReadingError(
                f"{error.filename} vanished while the run was read",
                where=candidate.folder,
                remedy="It is taken again when its files are back",
            ) from error
        files = ()
    if not files:
        raise NotFoundError(
            "the run's files are no longer at the source",
            where=candidate.folder,
            remedy="Its staged copy and archive stand; materialise what is downstream instead",
        )
    return files


def owner(beamline: OpenBeamline, candidate: Candidate) -> dict[str, object]:
    """Proposal, experiment, groups and embargo of a run, from the beamline file and the fields of its path."""
    settings = beamline.settings.runs.owner

    def filled(text: str) -> str:
        for name, value in candidate.fields.items():
            text = text.replace("{" + name + "}", value)
        return text

    return {
        "proposal": filled(settings.proposal),
        "experiment": filled(settings.experiment),
        "groups": [filled(group) for group in settings.groups],
        "embargo_until": settings.embargo_until,
    }
