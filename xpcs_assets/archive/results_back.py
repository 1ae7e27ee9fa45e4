"""Getting results back: which bundles hold what of which recipe; their files to where results lie or to any folder.

The ledger names each recipe's result file with its digest, and each bundle's members. A bundle with such a file in it
is of that recipe. One without, where a recipe's files filled several, is told by its index, which names the manifest
that its bundles have in common.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from xpcs_assets.archive.bundle import RESULTS
from xpcs_assets.archive.index import INDEX_SUFFIX, damaged, read_index
from xpcs_assets.archive.retrieve import STEP, Fetch, Retrieved, folder_to, staging
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Bundle, Result, RunVersion
from xpcs_assets.errors import NotFoundError, XpcsAssetsError
from xpcs_assets.places.hpss import HpssPlace
from xpcs_assets.runs.manifest import FileEntry
from xpcs_assets.stage.returned import path_of

LATEST = "latest"
"""In place of a recipe's digest: that of the result which was recorded last."""


def retrieve_results(
    beamline: OpenBeamline,
    key: str,
    paths: Sequence[str] = (),
    *,
    recipe: str = "",
    version: int | None = None,
    to: Path | None = None,
    dry_run: bool = False,
) -> Retrieved:
    """Get the results of a run back, each file hashed against what the ledger has of it.

    Parameters
    ----------
    key
        The run.
    paths
        Files by ``<recipe's folder>/<path>``, or by the path in any recipe's folder; all of them without.
    recipe
        The beginning of a recipe's digest, or :data:`LATEST`; all recipes without.
    version
        Which version of the run; the newest without.
    to
        A folder to write them below, each recipe's in a folder of its own. Without, they go where results lie.
    dry_run
        Only tell what would come from where.

    Raises
    ------
    NotFoundError
        There is no such run, version, recipe, result or file.
    ConflictingBytesError, NoRoomError, CopyError, RefusedError
        The target cannot be written: other bytes have a name, it is full, or another worker is at the run.
    """
    chosen = beamline.latest(key) if version is None else beamline.ledger.version(beamline.name, key, version)
    search = _Search(beamline, chosen, _of_recipe(beamline, chosen, recipe), asks=not dry_run)
    search.sort()
    entries = search.entries(paths)
    unsorted = {} if paths else search.unsorted
    if to is not None:
        place = folder_to(to, dry_run=dry_run)
        work = FetchResults(beamline, chosen, place, "", dry_run=dry_run, search=search, unsorted=unsorted)
        return work.all_of(entries, place.root)
    place, version_folder = staging(beamline, chosen)
    results = version_folder.path / "results"
    folder = results.relative_to(place.root).as_posix()
    work = FetchResults(beamline, chosen, place, folder, dry_run=dry_run, search=search, unsorted=unsorted)
    if dry_run:
        return work.all_of(entries, results)
    with beamline.working(chosen.run_key, STEP) as work.on_bytes:
        place.sweep(folder)
        work.fetch(entries)
        work.on_bytes(0)
        work.note("result files", len(entries))
    return work.outcome(results)


@dataclass
class _Search:
    """Which bundles hold files of the results of one version.

    Attributes
    ----------
    results
        Those that are wanted.
    asks
        Whether a job may be sent for an index.
    bundles
        By a recipe's folder, the bundles with its files, the last recorded first.
    unsorted
        By the path of a bundle, why it is not known whose it is.
    """

    beamline: OpenBeamline
    version: RunVersion
    results: Sequence[Result]
    asks: bool
    bundles: dict[str, list[Bundle]] = field(default_factory=dict)
    unsorted: dict[str, str] = field(default_factory=dict)
    _unread: dict[str, str] = field(default_factory=dict)

    def sort(self) -> None:
        """Find out whose each bundle is."""
        ledger, version = self.beamline.ledger, self.version
        every = {_file(result) for result in ledger.results(version.beamline, version.run_key, version=version.version)}
        self.bundles = {folder_of_result(result): [] for result in self.results}
        others: list[Bundle] = []
        known = [
            bundle
            for bundle in ledger.bundles(version.beamline, version.run_key, version.version)
            if bundle.content == RESULTS and bundle.place in self.beamline.settings.places
        ]
        for bundle in sorted(known, key=lambda each: each.recorded_at, reverse=True):
            held = every & {(member.path, member.sha256) for member in ledger.members(bundle.place, bundle.name)}
            for folder in {folder_of_result(result) for result in self.results if _file(result) in held}:
                self.bundles[folder].append(bundle)
            if not held:
                others.append(bundle)
        if others:
            self._sort_by_index(others)

    def _sort_by_index(self, others: Sequence[Bundle]) -> None:
        """Those without a result file go with the ones of the same manifest."""
        manifests = {folder: {self._manifest(bundle) for bundle in mine} for folder, mine in self.bundles.items()}
        for bundle in others:
            own = self._manifest(bundle)
            of = [folder for folder, known in manifests.items() if own and own in known]
            for folder in of:
                self.bundles[folder].append(bundle)
            if not of and self._unread:  # else it is of another recipe, or of a result that was made anew
                why = self._unread.get(bundle.name) or next(iter(self._unread.values()))
                self.unsorted[bundle.name] = f"which recipe's files are in it is not known: {why}"
        for mine_too in self.bundles.values():
            mine_too.sort(key=lambda each: each.recorded_at, reverse=True)

    def _manifest(self, bundle: Bundle) -> str:
        """The digest of the manifest that a bundle is of, by the index beside it; empty when that cannot be read."""
        where = f"{bundle.place}:{bundle.name}{INDEX_SUFFIX}"
        try:
            return read_index(self._index(bundle, where), where).runs[0].manifest_digest
        except XpcsAssetsError as error:
            self._unread[bundle.name] = error.what
            return ""

    def _index(self, bundle: Bundle, where: str) -> bytes:
        place = self.beamline.place(bundle.place)
        if isinstance(place, HpssPlace) and not self.asks:
            raise NotFoundError("a job has to bring its index first", where=where, remedy="Repeat without --dry-run")
        data = b"".join(place.read(bundle.name + INDEX_SUFFIX))
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != bundle.index_digest:
            raise damaged("the index beside it is not the one that was read back", where)
        return data

    def entries(self, paths: Sequence[str]) -> list[FileEntry]:
        """The files that are wanted, each below its recipe's folder; a result that is in no bundle among them.

        Raises
        ------
        NotFoundError
            A path is of none of them.
        """
        found: dict[str, FileEntry] = {}
        for folder, bundles in self.bundles.items():
            for bundle in bundles:
                for member in self.beamline.ledger.members(bundle.place, bundle.name):
                    path = f"{folder}/{member.path}"
                    found.setdefault(path, FileEntry(path, member.size_bytes, member.sha256))
        for result in self.results:
            name, sha256 = _file(result)
            path = f"{folder_of_result(result)}/{name}"
            if path not in found or found[path].sha256 != sha256:
                found[path] = FileEntry(path, 0, sha256)
        wanted = {path: [each for each in found if path in (each, each.partition("/")[2])] for path in paths}
        unknown = [path for path, those in wanted.items() if not those]
        if unknown:
            told = "; ".join(f"{name}: {why}" for name, why in self.unsorted.items())
            raise NotFoundError(
                f"no result has a file {', '.join(map(repr, unknown))}{f' ({told})' if told else ''}",
                where=f"{self.version.beamline}/{self.version.run_key}/v{self.version.version}",
                remedy=f"There are {len(found)}: {', '.join(list(found)[:5])}{' ...' if len(found) > 5 else ''}",
            )
        names = dict.fromkeys(each for those in wanted.values() for each in those) if paths else found
        return [found[name] for name in names]

    def elsewhere(self, entry: FileEntry) -> list[tuple[str, str]]:
        """Place and path of the files beside the staged copy, and where results went back to, that may be this one."""
        folder, _, rest = entry.path.partition("/")
        result = next(each for each in self.results if folder_of_result(each) == folder)
        found = [(self.beamline.settings.pipeline.stage.to, str(PurePosixPath(result.path).parent / rest))]
        back = self.beamline.settings.pipeline.return_results
        if back is not None:
            there = path_of(self.beamline, back, self.version, result)
            name = PurePosixPath(result.path)
            returned = {name.name: there, name.with_suffix(".json").name: there.with_suffix(".json")}
            found += [(back.to, str(returned[rest]))] if rest in returned else []
        return found


@dataclass
class FetchResults(Fetch):
    """Bringing result files to one folder of a place.

    Attributes
    ----------
    search
        Where they are.
    unsorted
        Bundles that may hold more of them.
    """

    search: _Search = field(kw_only=True)
    unsorted: dict[str, str] = field(kw_only=True)

    @property
    def missing(self) -> dict[str, str]:
        """Why each file that did not come could not be had, and why there may be more."""
        return super().missing | self.unsorted

    def _from_copies(self, entries: Sequence[FileEntry]) -> None:
        for entry in self._left(entries):
            for name, path in self.search.elsewhere(entry):
                is_target = (name, path) == (self.target.name, self._name(entry))
                if not is_target and self._from_file(self.beamline.place(name), path, name, entry):
                    break
        for folder, bundles in self.search.bundles.items():
            for bundle in sorted(bundles, key=lambda each: -each.evidence.rank):
                left = [entry for entry in self._left(entries) if entry.path.startswith(f"{folder}/")]
                if left:
                    self._from_bundle(bundle, {entry.path.removeprefix(f"{folder}/"): entry for entry in left})


def folder_of_result(result: Result) -> str:
    """The name of the folder that a recipe's results lie in."""
    return PurePosixPath(result.path).parent.name


def _file(result: Result) -> tuple[str, str]:
    """Name and sha256 of a result file."""
    return PurePosixPath(result.path).name, result.result_digest.removeprefix("sha256:")


def _of_recipe(beamline: OpenBeamline, version: RunVersion, recipe: str) -> list[Result]:
    """The newest result under each path, of all recipes or of one."""
    known = beamline.ledger.results(beamline.name, version.run_key, version=version.version)
    where = f"{beamline.name}/{version.run_key}/v{version.version}"
    if not known:
        raise NotFoundError(
            "it has no result", where=where, remedy="Materialise correlation; or name another --version"
        )
    newest: dict[str, Result] = {}
    for result in known:
        newest.setdefault(result.path, result)
    if not recipe:
        return list(newest.values())
    begins = known[0].recipe_digest if recipe == LATEST else f"sha256:{recipe.removeprefix('sha256:')}"
    digests = {result.recipe_digest for result in newest.values() if result.recipe_digest.startswith(begins)}
    if len(digests) != 1:
        raise NotFoundError(
            f"{len(digests)} recipes begin with {recipe!r}",
            where=where,
            remedy=f"It has results of {', '.join(sorted({result.recipe_digest for result in known}))}",
        )
    return [result for result in newest.values() if result.recipe_digest in digests]
