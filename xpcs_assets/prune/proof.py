"""The proof that a deletion needs: made now, by asking the other copies and reading every byte of them.

The ledger only says where to look. A copy counts when each file of the manifest was read there just now and hashed
right; when its place is another failure domain than the victim's and than those already counted; and when none of its
files is the very file (hard link, bind mount) of the victim or of a counted copy. What cannot be asked never counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xpcs_assets.copies.clock import Stopwatch, boot_time_s
from xpcs_assets.copies.ledger import Copy, CopyState, Evidence
from xpcs_assets.errors import NotFoundError, NotVerifiedError, XpcsAssetsError
from xpcs_assets.places.place import Place, Presence
from xpcs_assets.prune.witness import (
    SeenFile,
    Witness,
    files_of,
    inodes_of,
    place_of,
    read_bundles,
    read_files,
    refused,
    victim_files,
)
from xpcs_assets.runs.manifest import FileEntry, Manifest
from xpcs_assets.runs.retention import Retention

VALID_FOR_S = 300.0
_NOT_THERE = frozenset({CopyState.REMOVED, CopyState.IN_TRASH})


@dataclass(frozen=True)
class RemovalProof:
    """The right to delete the files of one copy, for a short time. Only :func:`prove` makes one.

    Attributes
    ----------
    victim, victim_domain
        The copy that may go, and its failure domain.
    manifest_digest
        Of the run's version.
    files
        The victim's files that were read and are the manifest's; nothing else may be touched.
    gone, kept
        Paths of the manifest that are not there; those that hold other bytes or cannot be read, with the reason.
    witnesses
        The copies that remain.
    min_copies
        How many must.
    expires_at_s
        By ``stopwatch``: from then on the proof is void.
    """

    victim: Copy
    victim_domain: str
    manifest_digest: str
    files: tuple[SeenFile, ...]
    gone: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]
    witnesses: tuple[Witness, ...]
    min_copies: int
    expires_at_s: float
    stopwatch: Stopwatch = field(repr=False, compare=False, default=boot_time_s)

    def __post_init__(self) -> None:
        domains = {witness.failure_domain for witness in self.witnesses if witness.evidence.counts}
        if self.min_copies < 1 or len(domains - {"", self.victim_domain}) < self.min_copies:
            raise refused(self.victim, "the remaining copies are too few to prove anything")

    def allow(self, place: str, path: str) -> None:
        """Return if this file may go now.

        Raises
        ------
        RemovalRefusedError
            The proof has expired, or is about other files.
        """
        if self.stopwatch() >= self.expires_at_s:
            raise refused(self.victim, "the proof has expired")
        if place != self.victim.place or all(path != file.path for file in self.files):
            raise refused(self.victim, f"the proof does not cover {place}:{path}")

    def confirm(self, places: Mapping[str, Place]) -> None:
        """Ask the witnesses once more, without reading: each file must still be the one that was read.

        Raises
        ------
        RemovalRefusedError
            One is not, or cannot be asked.
        """
        for witness in self.witnesses:
            for file in witness.files:
                now = places[witness.place].stat(file.path)
                if now.signature != file.signature:
                    state = "cannot be asked" if now.presence is Presence.UNKNOWN else "changed or is gone"
                    raise refused(self.victim, f"{witness.place}:{file.path} {state} since it was read")

    def to_dict(self) -> dict[str, Any]:
        """What the tombstone keeps of it."""
        return {
            "manifest_digest": self.manifest_digest,
            "min_copies": self.min_copies,
            "victim_domain": self.victim_domain,
            "files": [file.path for file in self.files],
            "size_bytes": sum(file.signature.size_bytes for file in self.files),
            "gone": list(self.gone),
            "kept": [list(item) for item in self.kept],
            "witnesses": [
                {
                    "place": witness.place,
                    "path": witness.path,
                    "failure_domain": witness.failure_domain,
                    "evidence": witness.evidence.value,
                    "files": len(witness.files),
                }
                for witness in self.witnesses
            ],
        }


def prove(
    victim: Copy,
    manifest: Manifest,
    others: Sequence[Copy],
    places: Mapping[str, Place],
    retention: Retention,
    *,
    files: Sequence[tuple[str, FileEntry]] | None = None,
    on_file: Callable[[], object] = lambda: None,
    on_finding: Callable[[Copy, CopyState, str], object] = lambda copy, state, reason: None,
    valid_for_s: float = VALID_FOR_S,
    stopwatch: Stopwatch = boot_time_s,
) -> RemovalProof:
    """Read the other copies and make the proof that ``victim`` may go.

    Reading stops once enough copies are found right, an archive among them where the retention needs one. After all
    reading the witnesses are asked once more (:meth:`RemovalProof.confirm`); the proof's time runs from then.

    Parameters
    ----------
    others
        Where to look: the version's copies in the ledger, the victim's own row left out by itself.
    places
        By name; a copy in a place that is not there does not count.
    retention
        The victim's: how many other copies must remain, and whether one of them is an archive.
    files
        Where the victim's files lie, and what each must be; the default is the manifest's under its path.
    on_file
        Called before each file is read: to renew a lease.
    on_finding
        Called with a copy that was found lost or bad, and why: to put the ledger right.
    valid_for_s
        How long the proof holds, s.

    Raises
    ------
    RemovalRefusedError
        Too few other copies are right now; the message says of each one why it does not count.
    """
    victim_place = place_of(victim, places)
    if victim_place.holds_bundles:
        raise refused(victim, "nothing is removed from an archive")
    try:
        domain = victim_place.failure_domain
    except XpcsAssetsError as error:
        raise refused(victim, f"its own place cannot be asked ({error.what})") from error
    wanted = files_of(victim, manifest) if files is None else files
    right, gone, kept = victim_files(wanted, victim_place, on_file)
    search = _Search(victim, manifest, places, retention, on_file, on_finding, {domain}, inodes_of(right))
    witnesses = search.run(others)
    proof = RemovalProof(
        victim=victim,
        victim_domain=domain,
        manifest_digest=manifest.digest,
        files=right,
        gone=gone,
        kept=kept,
        witnesses=witnesses,
        min_copies=retention.min_copies,
        expires_at_s=stopwatch() + valid_for_s,
        stopwatch=stopwatch,
    )
    proof.confirm(places)
    return proof


@dataclass
class _Search:
    """The search for witnesses: what is wanted, and which domains and inodes no longer count."""

    victim: Copy
    manifest: Manifest
    places: Mapping[str, Place]
    retention: Retention
    on_file: Callable[[], object]
    on_finding: Callable[[Copy, CopyState, str], object]
    taken_domains: set[str]
    taken_inodes: frozenset[tuple[int, int]]

    def run(self, others: Sequence[Copy]) -> tuple[Witness, ...]:
        """Enough witnesses, or the refusal that says why there are not."""
        found: list[Witness] = []
        reasons: list[str] = []
        archives = 0
        for other in sorted(others, key=self._is_no_archive):
            if len(found) >= self.retention.min_copies:
                break
            if (other.place, other.path) == (self.victim.place, self.victim.path) or other.state in _NOT_THERE:
                continue
            try:
                witness = self._question(other)
            except XpcsAssetsError as error:
                reasons.append(f"{other.place}:{other.path}: {error.what}")
                self._tell(other, error)
                continue
            found.append(witness)
            archives += self.places[witness.place].holds_bundles
            self.taken_domains.add(witness.failure_domain)
            self.taken_inodes |= witness.inodes
        why = "; ".join(reasons) or "the ledger knows no other"
        if len(found) < self.retention.min_copies:
            needed = self.retention.min_copies
            raise refused(self.victim, f"{len(found)} other copies are right, {needed} are needed ({why})")
        if self.retention.needs_archive and not archives:
            raise refused(self.victim, f"no archive of it could be read back ({why})")
        return tuple(found)

    def _is_no_archive(self, copy: Copy) -> bool:
        place = self.places.get(copy.place)
        return place is None or not place.holds_bundles

    def _tell(self, other: Copy, error: XpcsAssetsError) -> None:
        # A place that cannot be asked says neither: only an answer changes what the ledger believes. Of a copy whose
        # removal began, missing files are no news.
        if other.state is CopyState.PART_REMOVED:
            return
        if isinstance(error, NotFoundError):
            self.on_finding(other, CopyState.LOST, error.what)
        elif isinstance(error, NotVerifiedError):
            self.on_finding(other, CopyState.BAD, error.what)

    def _question(self, other: Copy) -> Witness:
        version = (self.victim.beamline, self.victim.run_key, self.victim.version)
        if (other.beamline, other.run_key, other.version) != version:
            raise refused(other, "it is of another run or version")
        place = place_of(other, self.places)
        domain = place.failure_domain
        if domain in self.taken_domains or not domain:
            raise refused(other, f"its failure domain {domain!r} is the victim's, or counted already")
        read = read_bundles if place.holds_bundles else read_files
        seen = tuple(read(place, other, self.manifest, self.on_file))
        witness = Witness(other.place, other.path, domain, Evidence.READ_BACK, seen)
        if witness.inodes & self.taken_inodes:
            raise refused(other, "it is the same file as the victim or as a copy counted already")
        return witness
