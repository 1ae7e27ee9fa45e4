"""What is true of a site, by its disks alone: every byte is read anew, and the ledger is only asked what it claims.

After each thing that the product did the oracle compares what was there before with what is there now. Damage done by
the world is in both sights, so whatever differs is the product's doing. The invariants are those of the reference page
on faults (I1, I7, I8, I10, I15, I19, I21).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import combinations
from pathlib import Path, PurePosixPath

from sqlalchemy import select

from xpcs_assets.copies.book import value_of
from xpcs_assets.copies.database import reading
from xpcs_assets.copies.ledger import Copy, CopyState, Evidence, Removal, RemovalKind
from xpcs_assets.copies.tables import CopyRow, HoldRow, RemovalRow, VersionRow
from xpcs_assets.errors import NotVerifiedError
from xpcs_assets.places.files import is_partial
from xpcs_assets.runs.folders import ASIDE_FOLDER, MARKER
from xpcs_assets.runs.manifest import FILE_NAME, Manifest
from xpcs_assets_tests.faults.state_machine.tarfiles import members_of
from xpcs_assets_tests.faults.state_machine.world import BEAMLINE, DETECTOR, DISK, MIRROR, PLACES, TAPE, Hands, World

NOTE = "/copy.json"
INDEX_NAME = "xpcs-assets-index.json"
BELIEVED = timedelta(days=7, minutes=10)
"""How far ahead the first look at a clock after a restart may find it."""
Key = tuple[str, int]


class ViolationError(AssertionError):
    """The product broke an invariant."""


@dataclass(frozen=True)
class File:
    """A file's bytes, and which file it is whatever its name."""

    data: bytes
    inode: int


@dataclass(frozen=True)
class Disk:
    """What lies in a place; ``stand_in`` is what lies where its disk should be, while that is away."""

    domain: str
    in_reach: bool
    files: Mapping[str, File]
    stand_in: Mapping[str, File]


@dataclass(frozen=True)
class Sight:
    """A site at one moment: all bytes, and what the ledger claims; ``newest`` is each run's version taken last."""

    now: datetime
    disks: Mapping[str, Disk]
    copies: Mapping[tuple[str, int, str, str], Copy]
    held: frozenset[str]
    newest: Mapping[str, int]
    lines: tuple[Removal, ...]


class Oracle:
    """Looks at a world and judges what the product did to it.

    Attributes
    ----------
    truth
        The bytes of each version of each run that was taken, by path.
    gone
        How many files the product took away, each of them rightly.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.truth: dict[Key, dict[str, bytes]] = {}
        self.gone = 0
        self._bundles: dict[str, bytes] = {}
        self._recorded_s: dict[tuple[str, int, str, str, datetime], float] = {}
        self._clock_is_believed = False
        self._since: dict[tuple[str, str], int] = {}

    def look(self, hands: Hands) -> Sight:
        """See the site as it is."""
        with reading(hands.engine) as session:
            copies = [
                value_of(Copy, row, state=CopyState, evidence=Evidence) for row in session.scalars(select(CopyRow))
            ]
            held = session.scalars(select(HoldRow.run_key).where(HoldRow.released_at.is_(None)))
            newest = session.execute(select(VersionRow.run_key, VersionRow.version).order_by(VersionRow.taken_at))
            lines = session.scalars(select(RemovalRow).order_by(RemovalRow.id))
            return Sight(
                now=self.world.clock.now,
                disks={name: self._disk(name) for name in PLACES},
                copies={(copy.run_key, copy.version, copy.place, copy.path): copy for copy in copies},
                held=frozenset(held),
                newest={row.run_key: row.version for row in newest},
                lines=tuple(value_of(Removal, row, kind=RemovalKind) for row in lines),
            )

    def _disk(self, place: str) -> Disk:
        away = place in self.world.away
        stand_in = _files_below(self.world.mount(place)) if away else {}
        return Disk(self.world.spec.domains[place], not away, _files_below(self.world.disk(place)), stand_in)

    def judge(self, before: Sight, after: Sight, what: str) -> None:
        """Hold the product to its word for what it did between two sights.

        Raises
        ------
        ViolationError
            It broke it; the message says how, and what it was doing.
        """
        try:
            for place in PLACES:
                self._judge_place(place, before, after)
            self._judge_claims(before, after)
        except ViolationError as error:
            raise ViolationError(f"{what}: {error}") from None

    def learn(self, hands: Hands, before: Sight) -> None:
        """Learn the versions that the ledger took, each against what lay in the detector's place (I10)."""
        for run in self.world.written:
            lay = {
                name.removeprefix(f"{run}/"): file.data
                for name, file in before.disks[DETECTOR].files.items()
                if name.startswith(f"{run}/")
            }
            for version in hands.ledger.versions(BEAMLINE, run):
                if (run, version.version) in self.truth:
                    continue
                if _said(version.manifest) != _sums(lay):
                    raise ViolationError(f"I10: version {version.version} of {run} is not what the detector wrote")
                self.truth[run, version.version] = lay

    def member(self, place: str, path: str) -> Iterator[tuple[Key, bytes]]:
        """The versions of which a file in a place is a part, each with the bytes it should have."""
        for (run, version), files in self.truth.items():
            folder = folder_of(place, run, version)
            inside = path.removeprefix(f"{folder}/")
            if place != TAPE and inside != path and inside in files:
                yield (run, version), files[inside]

    def is_good(self, sight: Sight, place: str, key: Key) -> bool:
        """Whether all bytes of a version are right in a place that is in reach."""
        disk = sight.disks[place]
        if not disk.in_reach:
            return False
        if place == TAPE:
            return self._is_archived(disk, key)
        folder = folder_of(place, *key)
        return all(_bytes_of(disk, f"{folder}/{path}") == data for path, data in self.truth[key].items())

    def _is_archived(self, disk: Disk, key: Key) -> bool:
        """Whether the bundles hold all bytes of a version; what rots between its members is not its own."""
        found: dict[str, bytes] = {}
        for name in self._bundles.keys() & disk.files.keys():
            with suppress(ValueError):
                found |= _inside(name, disk.files[name].data, key)
        return self.truth[key].items() <= found.items()

    def others_left(self, before: Sight, after: Sight, place: str, key: Key) -> int:
        """In how many other failure domains a version is whole, no file of it being one that another copy counts."""
        own = before.disks[place]
        mine = self._inodes(own, place, key)
        good = [
            name
            for name in PLACES
            if name != place and after.disks[name].domain != own.domain and self.is_good(after, name, key)
        ]
        for size in range(len(good), 0, -1):
            for chosen in combinations(good, size):
                domains = {after.disks[name].domain for name in chosen}
                sets = [mine, *(self._inodes(after.disks[name], name, key) for name in chosen)]
                if len(domains) == size and len(frozenset().union(*sets)) == sum(map(len, sets)):
                    return size
        return 0

    def _inodes(self, disk: Disk, place: str, key: Key) -> frozenset[int]:
        folder = folder_of(place, *key)
        return frozenset(file.inode for name, file in disk.files.items() if name.startswith(f"{folder}/"))

    def _judge_place(self, place: str, before: Sight, after: Sight) -> None:
        old, new = before.disks[place], after.disks[place]
        if old.stand_in != new.stand_in:
            raise ViolationError(f"something was done to the folder that stands where {place} should be")
        if not old.in_reach and old.files != new.files:
            raise ViolationError(f"{place} is out of reach, yet its files changed")
        for path, file in old.files.items():
            now = new.files.get(path)
            if is_partial(Path(path).name) or (now is not None and now.data == file.data):
                continue
            if now is None:
                self._judge_gone(place, path, file, before, after)
            else:
                self._judge_changed(place, path, file, new)
        for path, file in new.files.items():
            if path not in old.files or old.files[path].data != file.data:
                self._since[place, path] = max((line.id for line in before.lines), default=0)
                self._judge_new(place, path, file.data)

    def _judge_gone(self, place: str, path: str, file: File, before: Sight, after: Sight) -> None:
        if path == MARKER:
            raise ViolationError(f"I8: the marker of {place} is gone")
        from_aside = path.startswith(f"{ASIDE_FOLDER}/")
        if from_aside:
            path = path.split("/", 2)[2]
            if _bytes_of(after.disks[place], path) == file.data:
                return  # it was put back
        versions = [key for key, data in self.member(place, path) if data == file.data]
        if not versions:
            if _is_aside(after.disks[place], path, file.data):
                return
            raise ViolationError(f"a file that no proof can cover is gone: {place}:{path}")
        named = [key for key in versions if self._is_written(place, path, key, after)]
        if not named:
            raise ViolationError(f"I19: {place}:{path} is gone and no intent and tombstone name it")
        self._judge_owner(place, path, versions, named, before)
        for key in named if not from_aside else ():
            self._judge_age(place, path, key, before, after)
        for key in versions:  # a file may be a part of several versions
            if key in named or self.is_good(before, place, key):
                self._judge_goodbye(place, path, key, before, after)
        self.gone += 1

    def _judge_owner(self, place: str, path: str, versions: Sequence[Key], named: Sequence[Key], before: Sight) -> None:
        """A name that a run was written to again is the newest version's: no proof of an earlier one covers it."""
        for key in versions:
            row = before.copies.get((*key, place, folder_of(place, *key)))
            owns = before.newest[key[0]] == key[1] and row is not None and row.state is not CopyState.REMOVED
            if owns and key not in named:
                raise ViolationError(f"{place}:{path} is of {key[0]} v{key[1]} now, and went as {named}'s")

    def _judge_goodbye(self, place: str, path: str, key: Key, before: Sight, after: Sight) -> None:
        word, name = self.world.spec.words[place], f"{place}:{path} of {key[0]} v{key[1]}"
        left = self.others_left(before, after, place, key)
        if left < word.min_copies:
            raise ViolationError(f"I1: {name} is gone, {left} other good copies are left of {word.min_copies}")
        if word.needs_archive and not self.is_good(after, TAPE, key):
            raise ViolationError(f"I11: {name} is gone and the archive does not have it")
        if key[0] in before.held:
            raise ViolationError(f"I21: {name} is gone while a hold stands")

    def _judge_age(self, place: str, path: str, key: Key, before: Sight, after: Sight) -> None:
        row, name = before.copies.get((*key, place, folder_of(place, *key))), f"{place}:{path} of {key[0]} v{key[1]}"
        if row is None:
            raise ViolationError(f"{name} is gone and the ledger knew no such copy")
        keep = timedelta(seconds=self.world.spec.words[place].keep_for_s)
        if not row.recorded_at <= row.recorded_at + keep <= after.now:
            raise ViolationError(f"{name} is gone, {after.now - row.recorded_at} old; its place keeps it for {keep}")

        recorded_s = self._recorded_s.get((*key, place, row.path, row.recorded_at), 0.0)
        true_age = timedelta(seconds=self.world.stopwatch() - recorded_s)
        if true_age + BELIEVED < keep and not self._clock_is_believed:
            raise ViolationError(f"F43: {name} is gone after {true_age}, because a clock was set; {keep} were promised")

    def believe_clock(self) -> None:
        """From now on ages may be told by a clock that a person has said to be right."""
        self._clock_is_believed = True

    def _is_written(self, place: str, path: str, key: Key, after: Sight) -> bool:
        since = self._since.get((place, path), 0)
        for line in after.lines:
            of_it = (line.run_key, line.version, line.place) == (*key, place)
            if line.kind is RemovalKind.TOMBSTONE and of_it and line.id > since and path in line.detail["files"]:
                return any(each.id == line.intent and each.kind is RemovalKind.INTENT for each in after.lines)
        return False

    def _judge_changed(self, place: str, path: str, old: File, new: Disk) -> None:
        if "/results/" in path or path.endswith(NOTE):
            return  # they can be made again and take their name over; the archive keeps every result
        if self._is_right(place, path, old.data) or not self._is_right(place, path, new.files[path].data):
            raise ViolationError(f"I8: {place}:{path} was overwritten with other bytes")
        if not _is_aside(new, path, old.data):
            raise ViolationError(f"{place}:{path} was mended, and its bad bytes were not kept")

    def _is_right(self, place: str, path: str, data: bytes) -> bool:
        """Whether these bytes belong under that name: a file of a version, or the manifest beside its copy."""
        for key, files in self.truth.items():
            if place != TAPE and path == str(PurePosixPath(folder_of(place, *key)).with_name(FILE_NAME)):
                return _says(data, files)
        return any(data == bytes_ for _, bytes_ in self.member(place, path))

    def _judge_new(self, place: str, path: str, data: bytes) -> None:
        if is_partial(Path(path).name) or path == MARKER or path.startswith(f"{ASIDE_FOLDER}/"):
            return
        right = [bytes_ for _, bytes_ in self.member(place, path)]
        if right and data not in right:
            raise ViolationError(f"I7: {place}:{path} has its final name and wrong bytes")
        if path.endswith(".tar"):
            self._judge_bundle(path, data)

    def _judge_bundle(self, path: str, data: bytes) -> None:
        if self._bundles.setdefault(path, data) != data:
            raise ViolationError(f"I8: the name of bundle {path} is used for other bytes")
        try:
            members = members_of(data)
        except ValueError as error:
            raise ViolationError(f"I7: bundle {path} is no whole tar file: {error}") from None
        if "/raw/" not in path:
            return
        keys = [key for key in self.truth if path.startswith(f"{folder_of(TAPE, *key)}/")]
        if not any(
            members.items() - {(INDEX_NAME, members.get(INDEX_NAME))} <= self.truth[key].items() for key in keys
        ):
            raise ViolationError(f"I7: bundle {path} holds other bytes than its run")

    def _judge_claims(self, before: Sight, after: Sight) -> None:
        for name, row in after.copies.items():
            self._recorded_s.setdefault((*name, row.recorded_at), self.world.stopwatch())
            was = before.copies.get(name)
            if was is not None and (was.state, was.verified_at) == (row.state, row.verified_at):
                continue
            run, version, place, path = name
            if (run, version) not in self.truth or (place != TAPE and path != folder_of(place, run, version)):
                continue
            good = self.is_good(after, place, (run, version))
            if row.state is CopyState.PRESENT and not good and not self._stood_before(was, row):
                raise ViolationError(f"I15: {place}:{path} is called present and is not right")
            of_tape = place == TAPE and after.disks[place].in_reach  # another bundle may be good
            superseded = place == DETECTOR and any(other[0] == run and other[1] != version for other in after.copies)
            absent = row.state in {CopyState.LOST, CopyState.BAD} and not (of_tape or superseded)
            if absent and (good or not after.disks[place].in_reach):
                raise ViolationError(f"I4: {place}:{path} is called {row.state} and is right, or cannot be asked")
            if row.state is CopyState.REMOVED and any(
                _bytes_of(after.disks[place], f"{path}/{file}") == data
                for file, data in self.truth[run, version].items()
            ):
                raise ViolationError(f"I15: {place}:{path} is called removed and is there")

    @staticmethod
    def _stood_before(was: Copy | None, row: Copy) -> bool:
        """Whether the row only went back to what it was, without a word on what was read."""
        return was is not None and was.verified_at == row.verified_at


def folder_of(place: str, run: str, version: int) -> str:
    """Where a version lies in a place; on tape, the folder of its bundles."""
    if place == DETECTOR:
        return run
    if place in {DISK, MIRROR, TAPE}:
        return f"{BEAMLINE}/{run}/v{version}/raw"
    raise ValueError(place)


def _inside(bundle: str, data: bytes, key: Key) -> dict[str, bytes]:
    """The files of a version in a bundle, which is its own or one of several runs."""
    if bundle.startswith(f"{folder_of(TAPE, *key)}/"):
        return members_of(data)
    if not bundle.startswith(f"{BEAMLINE}/gathered/"):
        return {}
    prefix = f"{key[0]}/v{key[1]}/"
    return {name.removeprefix(prefix): body for name, body in members_of(data).items() if name.startswith(prefix)}


def _files_below(folder: Path) -> dict[str, File]:
    found: dict[str, File] = {}
    folders = [""] if folder.is_dir() else []
    while folders:
        inside = folders.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                name = f"{inside}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{name}/")
                elif entry.is_file(follow_symlinks=False):
                    found[name] = File(Path(entry.path).read_bytes(), entry.inode())
    return found


def _bytes_of(disk: Disk, path: str) -> bytes | None:
    file = disk.files.get(path)
    return None if file is None else file.data


def _is_aside(disk: Disk, path: str, data: bytes) -> bool:
    return any(
        name.startswith(f"{ASIDE_FOLDER}/") and name.endswith(f"/{path}") and file.data == data
        for name, file in disk.files.items()
    )


def _says(data: bytes, files: Mapping[str, bytes]) -> bool:
    """Whether a manifest is whole and names these very files."""
    try:
        return _said(Manifest.from_json(data.decode("utf-8", "replace"), where="a sight")) == _sums(files)
    except NotVerifiedError:
        return False


def _said(manifest: Manifest) -> dict[str, tuple[int, str]]:
    return {entry.path: (entry.size_bytes, entry.sha256) for entry in manifest.files}


def _sums(files: Mapping[str, bytes]) -> dict[str, tuple[int, str]]:
    return {path: (len(data), sha256(data).hexdigest()) for path, data in files.items()}
