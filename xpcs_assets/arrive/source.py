"""Where the files of a beamline's runs come from: a folder of this machine, or one of another, reached over ssh.

All that differs between the two is here and in :mod:`xpcs_assets.arrive.tree`: what a path means, how one looks, how
files are read, and how they are brought.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol, cast

from xpcs_assets.arrive.candidates import Candidate, below
from xpcs_assets.arrive.tree import HERE, LOOK_S, FarTree, Tree
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import (
    ConflictingBytesError,
    CopyError,
    NoRoomError,
    NotFoundError,
    SettingsError,
    SourceDiffersError,
)
from xpcs_assets.places.place import Presence
from xpcs_assets.places.ssh_rsync import RSYNC_LIMIT_S, pull
from xpcs_assets.runs.manifest import FileEntry, Manifest
from xpcs_assets.settings_places import SshPlaceSettings
from xpcs_assets.stage.copy import Staged, changed, inside, mark_complete, stage_run, take_manifest, vanished
from xpcs_assets.stage.side_by_side import while_renewing

if TYPE_CHECKING:
    from xpcs_assets.places.posix import PosixPlace
    from xpcs_assets.places.reading import Signature
    from xpcs_assets.places.ssh import SshPlace
    from xpcs_assets.runs.folders import VersionFolder


class Source(Protocol):
    """The watched folder, wherever it is."""

    @property
    def root(self) -> Path:
        """The folder, by its path on its own machine."""

    @property
    def where(self) -> str:
        """What people call it."""

    def refuse_unavailable(self) -> None:
        """CopyError when it cannot be asked, or another disk lies there: what it lacks is not gone."""

    def tree(self) -> Tree:
        """What lies there now."""

    def named(self, path: Path) -> Path:
        """A path as a person names it, on the source's own machine."""

    def relative(self, path: Path) -> str:
        """Where a path, as a person names it, is below the root; SettingsError when it is not."""

    def manifest(self, candidate: Candidate, paths: Sequence[str], also: Iterable[str]) -> Manifest:
        """Read a run's files once; see :func:`xpcs_assets.stage.copy.take_manifest`."""

    def stage(
        self,
        manifest: Manifest,
        folder: Path,
        target: VersionFolder,
        place: PosixPlace,
        *,
        together: int,
        on_bytes: Callable[[int], None],
    ) -> Staged:
        """Copy a run's files out of their folder here; see :func:`xpcs_assets.stage.copy.stage_run`."""


def source_of(beamline: OpenBeamline) -> Source:
    """Where the runs of a beamline come from; nothing is asked of it."""
    settings = beamline.settings.places[beamline.settings.runs.source.watch]
    return FarSource(beamline, settings) if isinstance(settings, SshPlaceSettings) else NearSource(beamline)


class NearSource:
    """A folder of this machine."""

    def __init__(self, beamline: OpenBeamline) -> None:
        self._beamline = beamline
        self.root = beamline.source_root

    @property
    def where(self) -> str:
        """See :class:`Source`."""
        return str(self.root)

    def refuse_unavailable(self) -> None:
        """See :class:`Source`."""
        if reason := self._beamline.place(self._beamline.settings.runs.source.watch).why_unavailable():
            remedy = f"`xpcs-assets place {self._beamline.name}` shows what is expected there"
            raise CopyError(f"the watched folder is unavailable: {reason}", where=self.root, remedy=remedy)

    def tree(self) -> Tree:
        """See :class:`Source`."""
        return HERE

    def named(self, path: Path) -> Path:
        """See :class:`Source`."""
        return path

    def relative(self, path: Path) -> str:
        """See :class:`Source`."""
        return below(self.root, path)

    def manifest(self, candidate: Candidate, paths: Sequence[str], also: Iterable[str]) -> Manifest:
        """See :class:`Source`."""
        return take_manifest(candidate.key, candidate.folder, paths, also)

    def stage(
        self,
        manifest: Manifest,
        folder: Path,
        target: VersionFolder,
        place: PosixPlace,
        *,
        together: int,
        on_bytes: Callable[[int], None],
    ) -> Staged:
        """See :class:`Source`."""
        return stage_run(manifest, folder, target, place, together=together, on_bytes=on_bytes)


class FarSource:
    """A folder of another machine. Nothing there is opened by us: it lists and hashes, and rsync brings the files."""

    def __init__(self, beamline: OpenBeamline, settings: SshPlaceSettings) -> None:
        self._beamline = beamline
        self.root = Path(settings.root)
        self.where = f"{settings.host}:{settings.root}"

    def _place(self) -> SshPlace:
        """The place, opened anew: one that was not met while its machine was down may be met now."""
        return cast("SshPlace", self._beamline.place(self._beamline.settings.runs.source.watch))

    def refuse_unavailable(self) -> None:
        """See :class:`Source`."""
        self._place().request("available", patience_s=LOOK_S)

    def tree(self) -> FarTree:
        """See :class:`Source`."""
        return FarTree(self._place(), len(PurePosixPath(self._beamline.settings.runs.source.path).parts))

    def named(self, path: Path) -> Path:
        """See :class:`Source`; a path that is not absolute starts at the root."""
        return self.root / self.relative(path)

    def relative(self, path: Path) -> str:
        """See :class:`Source`; a path that is not absolute starts at the root."""
        full = PurePosixPath(self.root / path)
        if ".." in full.parts or not full.is_relative_to(self.root):
            raise SettingsError(
                "this path is not below the watched folder",
                where=path,
                remedy=f"Runs of this beamline lie below {self.where}: name them by their path there",
            )
        return str(full.relative_to(self.root))

    def manifest(self, candidate: Candidate, paths: Sequence[str], also: Iterable[str]) -> Manifest:
        """See :class:`Source`; the digests are made at the far side."""
        kinds, place = tuple(also), self._place()
        entries = [self._entry(place, candidate.folder / path, path, kinds) for path in dict.fromkeys(paths)]
        after = self.tree()
        for entry, read in entries:  # a file read early may have changed while a later one was read
            file = candidate.folder / entry.path
            if not after.exists(file):
                raise vanished(file)
            if after.signature(file) != read:
                raise changed(file)
        return Manifest.of(candidate.key, [entry for entry, _ in entries])

    def _entry(self, place: SshPlace, file: Path, path: str, kinds: tuple[str, ...]) -> tuple[FileEntry, Signature]:
        try:
            found = place.digest(file.relative_to(self.root).as_posix(), kinds)
        except NotFoundError as error:
            raise vanished(file) from error
        read = found.signature
        return FileEntry(path, found.size_bytes, found.sha256, read.mtime_ns, tuple(sorted(found.also.items()))), read

    def stage(
        self,
        manifest: Manifest,
        folder: Path,
        target: VersionFolder,
        place: PosixPlace,
        *,
        together: int,
        on_bytes: Callable[[int], None],
    ) -> Staged:
        """See :class:`Source`; rsync brings the files, and goes on where it was cut off."""
        began_s, far = time.monotonic(), self._place()
        place.sweep(str(inside(target).path))
        already_there = sum((target.raw / each.path).exists() for each in manifest.files)
        source_folder, goal = PurePosixPath(folder.relative_to(self.root)), str(inside(target).raw)
        try:
            moved_bytes = while_renewing(
                lambda: pull(far, str(source_folder), manifest.files, place, goal, RSYNC_LIMIT_S), on_bytes
            )
        except SourceDiffersError as error:
            raise changed(error.where) from error
        except (ConflictingBytesError, NoRoomError):
            raise
        except (CopyError, NotFoundError) as error:
            _refuse_vanished(far, source_folder, manifest, error)
            raise
        mark_complete(manifest, target, place)
        return Staged(moved_bytes, manifest.size_bytes, already_there, time.monotonic() - began_s)


def _refuse_vanished(far: SshPlace, folder: PurePosixPath, manifest: Manifest, cause: Exception) -> None:
    """Raise what says so when a file is not at the source any more, by the place's own word."""
    for entry in manifest.files:
        path = str(folder / entry.path)
        presence = far.stat(path).presence
        if presence is Presence.NO:
            raise vanished(f"{far.where}/{path}") from cause
        if presence is Presence.UNKNOWN:
            return
