"""What lies in a beamline's places, brought into a ledger that is made again: versions, copies, results and bundles.

The journal was brought in before. What it says and the data agree on stays as it is; what only the data tell is added;
where they contradict each other the run is *frozen*: the contradiction is told, and a hold keeps every copy of the run.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from xpcs_assets.archive.deposit import read_twice
from xpcs_assets.archive.index import INDEX_SUFFIX, Index, read_index
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.beside import FILE_NAME as NOTE
from xpcs_assets.copies.beside import Note, report_beside
from xpcs_assets.copies.database import writing
from xpcs_assets.copies.keeping import advance_numbers, columns_of
from xpcs_assets.copies.ledger import CopyState, Evidence
from xpcs_assets.copies.tables import BundleRow, BundleRunRow, CopyRow, MemberRow, ResultRow, VersionRow
from xpcs_assets.errors import CopyError, NotFoundError, NotVerifiedError
from xpcs_assets.places.place import Place, Presence
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.runs.manifest import FileEntry, Manifest

_VERSION_FOLDER = re.compile(r"([^/]+)/([^/]+)/v([1-9][0-9]*)/([^/]+)")


@dataclass
class Found:
    """What was found while a ledger was made again.

    Attributes
    ----------
    unavailable
        Places that could not be asked, each with the reason: what lies there is not in the new ledger.
    told
        What a person should know, in words.
    frozen
        Run keys that are to be held, by beamline, each with the reason.
    """

    unavailable: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    frozen: dict[tuple[str, str], str] = field(default_factory=dict)

    def freeze(self, beamline: str, run_key: str, why: str) -> None:
        """Tell that a run is to be held."""
        self.frozen.setdefault((beamline, run_key), why)
        self.told.append(f"{beamline}/{run_key}: {why}; the run is frozen")


class FromData:
    """The places of one beamline, brought into the ledger of ``beamline``, which is the new one."""

    def __init__(self, beamline: OpenBeamline, found: Found) -> None:
        self.beamline = beamline
        self.name = beamline.name
        self.found = found
        self.staged_in = beamline.settings.pipeline.stage.to
        self.listed: dict[str, frozenset[str]] = {}
        self.notes: dict[tuple[str, int], Note] = {}

    def bring_in(self) -> None:
        """Go through all places: staged versions first, then archives, then what copies and results lack."""
        for name in self.beamline.settings.places:
            self._list(name)
        with writing(self.beamline.engine) as session:
            for folder in self._version_folders():
                self._version(session, folder)
            indexes = {name: self._indexes(name) for name in self._archives()}
            for place, by_name in indexes.items():
                self._versions_of_archive(session, place, by_name)
            session.flush()
            for note in self.notes.values():
                self._copies(session, note)
                self._results(session, note)
            self._unnoted_results(session)
            for place, by_name in indexes.items():
                for bundle, index in by_name.items():
                    self._bundle(session, place, bundle, index)
            session.flush()
            advance_numbers(session)
            self._lost(session)

    def _list(self, name: str) -> None:
        watched = name == self.beamline.settings.runs.source.watch
        listing = self.beamline.place(name).list("" if watched else self.name)
        if listing.presence is Presence.UNKNOWN:
            self.found.unavailable[f"{self.name}:{name}"] = listing.reason
        else:
            self.listed[name] = frozenset(listing.files)

    def _archives(self) -> list[str]:
        return [name for name in self.listed if self.beamline.place(name).holds_bundles]

    def _version_folders(self) -> list[VersionFolder]:
        """Folders of versions that hold anything, in the staging place."""
        root = self.beamline.root(self.staged_in)
        seen = set()
        for path in self.listed.get(self.staged_in, ()):
            parts = path.split("/")
            if len(parts) > 3 and (match := _VERSION_FOLDER.fullmatch("/".join(parts[:4]))):
                seen.add((match[2], int(match[3])))
        return [VersionFolder(root, self.name, run_key, version) for run_key, version in sorted(seen)]

    def _version(self, session: Session, folder: VersionFolder) -> None:
        """A staged version, from its manifest and note; frozen when they are damaged or contradict the journal."""
        manifest = note = None
        where = f"{folder.run_key} v{folder.version}"
        try:
            manifest = _manifest(folder)
        except NotVerifiedError as error:
            self.found.freeze(self.name, folder.run_key, f"the manifest of v{folder.version} is damaged: {error.what}")
        try:
            note = Note.from_json((folder.path / NOTE).read_bytes(), where=str(folder.path / NOTE))
        except FileNotFoundError:
            self.found.told.append(f"{where} has no {NOTE}: its source, owner and copies elsewhere are not known")
        except (OSError, NotVerifiedError) as error:
            self.found.told.append(f"{where}: {error}")
        key = (self.name, folder.run_key, folder.version)
        if note is not None and tuple(note.version[name] for name in ("beamline", "run_key", "version")) != key:
            self.found.freeze(self.name, folder.run_key, f"the note of v{folder.version} is another version's")
            note = None
        row = session.get(VersionRow, key)
        expected = row.manifest_digest if row is not None else note and note.version["manifest_digest"]
        if manifest is not None and expected is not None and manifest.digest != expected:
            self.found.freeze(self.name, folder.run_key, f"the manifest of v{folder.version} is not the recorded one")
            manifest = None
        if note is not None and (row is not None or manifest is not None):
            self.notes[folder.run_key, folder.version] = note
        if row is not None or manifest is None:
            return
        told = note.version if note else _unknown(folder.manifest, key, manifest)
        session.add(VersionRow(**columns_of(VersionRow, told), manifest=manifest.to_json()))
        if note is None:
            session.flush()  # the copy refers to it
            self._add_copy(session, key, self.staged_in, f"{self.name}/{folder.run_key}/v{folder.version}/raw")

    def _add_copy(self, session: Session, key: tuple[str, str, int], place: str, path: str) -> None:
        """A copy of which nothing but its files is known: it does not count until it is read again."""
        now = self.beamline.ledger.clock()
        session.add(
            CopyRow(
                **dict(zip(("beamline", "run_key", "version"), key, strict=True)),
                place=place,
                path=path,
                failure_domain=self.beamline.place(place).failure_domain,
                state=CopyState.PRESENT.value,
                reason="found when the ledger was made again, and not read since",
                evidence=Evidence.LEDGER.value,
                recorded_at=now,
                verified_at=now,
            )
        )

    def _copies(self, session: Session, note: Note) -> None:
        """Copies that the note knows and the journal does not; as well known as the note says, never better."""
        for told in note.copies:
            where = {name: told[name] for name in ("beamline", "run_key", "version", "place", "path")}
            if session.scalar(select(CopyRow).filter_by(**where)) is None:
                session.add(CopyRow(**columns_of(CopyRow, told)))

    def _results(self, session: Session, note: Note) -> None:
        for told in note.results:
            path = self.beamline.root(self.staged_in) / told["path"]
            report = told.get("report") or report_beside(path)
            if report is None or told["path"] not in self.listed[self.staged_in]:
                self.found.told.append(f"the result {told['path']} or its report is gone: it is not in the ledger")
            else:
                session.add(ResultRow(**columns_of(ResultRow, {**told, "report": dict(report)})))

    def _unnoted_results(self, session: Session) -> None:
        """Results that no note knows: told by their reports, if the file is the one that the report is of."""
        session.flush()
        known = {(row.path, row.result_digest) for row in session.scalars(select(ResultRow))}
        for path in sorted(self.listed.get(self.staged_in, ())):
            parts = path.split("/")
            if len(parts) < 6 or parts[3] != "results" or not path.endswith("_results.hdf"):
                continue
            file = self.beamline.root(self.staged_in) / path
            report = report_beside(file) or {}
            digest, recipe = report.get("result_digest", ""), report.get("recipe_digest", "")
            run_key, version = parts[1], int(parts[2].removeprefix("v"))
            if any(name == path for name, _ in known) or session.get(VersionRow, (self.name, run_key, version)) is None:
                continue
            if not recipe or _digest(file) != digest:
                self.found.told.append(f"{path} is not the result that its report is of: it is not in the ledger")
                continue
            made_at = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            session.add(
                ResultRow(
                    beamline=self.name,
                    analysis_key=run_key,
                    run_key=run_key,
                    version=version,
                    recipe_digest=recipe,
                    result_digest=digest,
                    path=path,
                    report=report,
                    promoted=False,
                    recorded_at=made_at,
                )
            )
            self.found.told.append(f"{path} is known by its report alone: it is shown under {run_key}")

    def _indexes(self, place: str) -> dict[str, Index]:
        """The indexes of the bundles in an archive, by the bundle's path."""
        found = {}
        for path in sorted(self.listed[place]):
            bundle = path.removesuffix(INDEX_SUFFIX)
            if path == bundle and path.endswith(".tar"):
                index = self._index(place, path)
                if index is not None and index.beamline == self.name:
                    found[path] = index
            elif path != bundle and bundle not in self.listed[place]:
                self.found.told.append(f"{place}:{bundle} is gone, only its index is there")
        return found

    def _index(self, place: str, bundle: str) -> Index | None:
        """The index beside a bundle; where that cannot be read or is gone, the one inside, for which all is read."""
        archive, where = self.beamline.place(place), f"{place}:{bundle}"
        try:
            return read_index(b"".join(archive.read(bundle + INDEX_SUFFIX)), where + INDEX_SUFFIX)
        except (NotVerifiedError, CopyError, NotFoundError) as error:
            told = f"{error}; the index inside is taken"
        try:
            index = read_twice(archive, bundle, ()).told
        except (NotVerifiedError, CopyError, NotFoundError) as error:
            told = f"{error}; nor is there a sound index beside it: it is not in the ledger"
            index = None
        self.found.told.append(told)
        return index

    def _versions_of_archive(self, session: Session, place: str, indexes: Mapping[str, Index]) -> None:
        """Versions that lie in an archive alone: their manifests are put together from the indexes."""
        files: dict[tuple[str, int, str], list[FileEntry]] = defaultdict(list)
        for index in indexes.values():
            if index.content != "raw":
                continue
            for run in index.runs:
                files[run.run_key, run.version, run.manifest_digest] += _entries(index, run.prefix)
        for (run_key, version, digest), entries in sorted(files.items()):
            if session.get(VersionRow, (self.name, run_key, version)) is not None:
                continue
            manifest = Manifest.of(run_key, dict.fromkeys(entries))
            if manifest.digest != digest:
                self.found.freeze(self.name, run_key, f"v{version} lies in {place} and its bundles lack files of it")
                continue
            key = (self.name, run_key, version)
            session.add(
                VersionRow(
                    **columns_of(VersionRow, _unknown(Path(), key, manifest)),
                    manifest=manifest.to_json(),
                )
            )
            self.found.told.append(f"{run_key} v{version} lies in {place} alone: its source and owner are not known")

    def _bundle(self, session: Session, place: str, name: str, index: Index) -> None:
        """A bundle as journal or note know it; one that neither knows is read from its first byte to its last."""
        row = session.get(BundleRow, (place, name))
        if row is None:
            noted = self._noted_bundle(place, name)
            row = noted or self._read_bundle(session, place, name, index)
            if row is None:
                return
            session.add(row)
            session.flush()
        if session.scalar(select(MemberRow).filter_by(place=place, bundle=name).limit(1)) is not None:
            return
        for run in index.runs:
            session.add(
                BundleRunRow(
                    place=place,
                    bundle=name,
                    beamline=self.name,
                    run_key=run.run_key,
                    version=run.version,
                    prefix=run.prefix,
                )
            )
        for member in index.members:
            session.add(
                MemberRow(
                    place=place,
                    bundle=name,
                    path=member.path,
                    offset_bytes=member.offset_bytes,
                    size_bytes=member.size_bytes,
                    sha256=member.sha256,
                )
            )

    def _noted_bundle(self, place: str, name: str) -> BundleRow | None:
        told = (each for note in self.notes.values() for each in note.bundles)
        noted = next((each for each in told if (each["place"], each["name"]) == (place, name)), None)
        return None if noted is None else BundleRow(**columns_of(BundleRow, noted))

    def _read_bundle(self, session: Session, place: str, name: str, index: Index) -> BundleRow | None:
        archive: Place = self.beamline.place(place)
        try:
            content = read_twice(archive, name, ())
        except (NotVerifiedError, CopyError, NotFoundError) as error:
            self.found.told.append(f"{error}; it is not in the ledger")
            return None
        if tuple(content.members) != index.members:
            self.found.told.append(f"{place}:{name} is not what the index beside it says; it is not in the ledger")
            return None
        now = self.beamline.ledger.clock()
        for run in index.runs:
            path = name if run.prefix else name.rpartition("/")[0]
            key = (self.name, run.run_key, run.version)
            where = {"place": place, "path": path}
            of = dict(zip(("beamline", "run_key", "version"), key, strict=True))
            known = session.scalar(select(CopyRow).filter_by(**of, **where))
            if index.content == "raw" and known is None and session.get(VersionRow, key) is not None:
                self._add_copy(session, key, place, path)
                session.flush()
        return BundleRow(
            place=place,
            name=name,
            beamline=self.name,
            content=index.content,
            size_bytes=content.size_bytes,
            sha256=content.sha256,
            index_digest=content.index_digest,
            evidence=Evidence.READ_BACK.value,
            recorded_at=now,
            verified_at=now,
        )

    def _lost(self, session: Session) -> None:
        """Copies that should be there and lack files: told, and marked as lost."""
        query = select(CopyRow, VersionRow.manifest).join(VersionRow, _SAME_VERSION)
        rows = session.execute(query.where(CopyRow.beamline == self.name, CopyRow.state == CopyState.PRESENT.value))
        for copy, text in rows.all():
            listed = self.listed.get(copy.place)
            if listed is None or self.beamline.place(copy.place).holds_bundles:
                continue
            folder = "" if copy.path in {"", "."} else f"{copy.path}/"
            missing = [each.path for each in Manifest.from_json(text).files if folder + each.path not in listed]
            if missing:
                copy.state = CopyState.LOST.value
                copy.reason = f"{len(missing)} of its files were not there when the ledger was made again"
                self.found.told.append(f"{copy.place}:{copy.path} (v{copy.version}): {copy.reason}")


_SAME_VERSION = (
    (VersionRow.beamline == CopyRow.beamline)
    & (VersionRow.run_key == CopyRow.run_key)
    & (VersionRow.version == CopyRow.version)
)


def _manifest(folder: VersionFolder) -> Manifest:
    """The manifest of a version's folder; NotVerifiedError when it is missing, damaged or another run's."""
    try:
        text = folder.manifest.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise NotVerifiedError(f"it cannot be read ({error})", where=folder.manifest) from error
    manifest = Manifest.from_json(text, where=str(folder.manifest))
    if manifest.run_key != folder.run_key:
        raise NotVerifiedError(f"it is of run {manifest.run_key!r}", where=folder.manifest)
    return manifest


def _unknown(file: Path, key: tuple[str, str, int], manifest: Manifest) -> Mapping[str, Any]:
    """A version of which nothing but its manifest is known; its time is that of the manifest's file."""
    newest_ns = max((entry.mtime_ns for entry in manifest.files), default=0)
    taken_ns = file.stat().st_mtime_ns if file.is_file() else newest_ns
    return {
        **dict(zip(("beamline", "run_key", "version"), key, strict=True)),
        "manifest_digest": manifest.digest,
        "source": "",
        "owner": {},
        "taken_at": taken_ns // 1000,
    }


def _entries(index: Index, prefix: str) -> Iterable[FileEntry]:
    for member in index.members:
        if member.path.startswith(prefix):
            also = tuple(sorted(index.also.get(member.path, {}).items()))
            yield FileEntry(member.path.removeprefix(prefix), member.size_bytes, member.sha256, 0, also)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
