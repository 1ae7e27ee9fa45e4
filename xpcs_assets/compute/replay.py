"""Make a recorded result again from the same inputs, into a temporary place, and compare what came out.

The recorded provenance says what it was made of: recipe, digests of raw data, metadata and q-map, form of the kernel,
device. Nothing that is stored is changed.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.local import WorkerJob, run
from xpcs_assets.errors import (
    InputError,
    MetadataError,
    NotFoundError,
    NotVerifiedError,
    QmapError,
    RawDataError,
    RefusedError,
    ResultError,
)
from xpcs_assets.runs.recipe import Recipe

if TYPE_CHECKING:
    from xpcs_assets.copies.ledger import Result, RunVersion
    from xpcs_assets.results.same import Difference

STEP = "replay"
_TIME_LIMIT_S = 86400.0
_MADE_BY = ("engine", "device", "form", "n_passes", "versions", "host", "qmap")
_NAME_OF_QMAP = re.compile(r"/xpcs/\w+/config/qmap")


@dataclass(frozen=True)
class Replayed:
    """A result that was made again.

    Attributes
    ----------
    result
        As recorded.
    differences
        The datasets that are not the same; none when it is the same result.
    before, now
        What made the recorded result and what made it again: engine, device, versions, ..., the name of the q-map
        file, whose bytes are the same, and the seconds.
    came_from
        Where the raw data were read.
    """

    result: Result
    differences: tuple[Difference, ...]
    before: Mapping[str, Any]
    now: Mapping[str, Any]
    came_from: str

    @property
    def same(self) -> bool:
        """Whether every dataset is the same."""
        return not self.differences

    @property
    def made_otherwise(self) -> dict[str, tuple[Any, Any]]:
        """What made them and is not the same, by name: before and now."""
        return {
            name: (self.before.get(name), self.now.get(name))
            for name in _MADE_BY
            if self.before.get(name) != self.now.get(name)
        }


def chosen_result(beamline: OpenBeamline, key: str, digest: str = "") -> Result:
    """The result to replay.

    Parameters
    ----------
    key
        Run key, or analysis key with ``~``.
    digest
        Beginning of a result's digest, with or without ``sha256:``; empty takes the newest under the key.

    Raises
    ------
    NotFoundError
        There is no such run or result.
    RefusedError
        Several results begin with this digest.
    """
    latest = beamline.latest(key)
    where = f"{beamline.name}/{key}"
    if not digest:
        newest = beamline.ledger.results(beamline.name, latest.run_key, analysis_key=key, version=latest.version)
        if not newest:
            raise NotFoundError("there is no result", where=where, remedy="Materialise correlation for it first")
        return newest[0]
    wanted = f"sha256:{digest.removeprefix('sha256:')}"
    found = {
        result.result_digest: result
        for result in beamline.ledger.results(beamline.name, latest.run_key)
        if result.result_digest.startswith(wanted)
    }
    if not found:
        what = f"the run has no result whose digest begins with {wanted}"
        raise NotFoundError(what, where=where, remedy="Leave --result out for the newest one")
    if len(found) > 1:
        what = f"{len(found)} results begin with {wanted}"
        raise RefusedError(what, where=where, remedy="Give more digits")
    return next(iter(found.values()))


def replay(
    beamline: OpenBeamline,
    result: Result,
    log: Callable[[str], None],
    *,
    qmap: Path | None = None,
    device: str = "",
) -> Replayed:
    """Make a result again and compare.

    Parameters
    ----------
    result
        As recorded, see :func:`chosen_result`.
    log
        Is told what the worker says.
    qmap
        Where the q-map lies, if it is neither the run's nor the beamline's.
    device
        ``cpu`` or ``gpu``; empty takes the recorded one.

    Raises
    ------
    ResultError
        The recorded file is gone or is not the one that was recorded.
    InputError, NotVerifiedError
        An input with the recorded digest cannot be had.
    RefusedError
        The result is an average, or its recipe names files that are others now.
    XpcsAssetsError
        The worker failed.
    """
    from xpcs_assets.results.same import differences

    report = result.report
    if not isinstance(report.get("inputs"), Mapping) or "raw" not in report["inputs"]:
        what = "it was not made of raw data, but of other results"
        raise RefusedError(what, where=result.path, remedy="Replay the results it was averaged from")
    stored = beamline.result_path(result)
    _check_digest(stored, result.result_digest)
    version = beamline.ledger.version(beamline.name, result.run_key, result.version)
    recipe = _recipe(result)
    with tempfile.TemporaryDirectory(prefix="xpcs-replay-") as temporary:
        folder, came_from = _raw_folder(beamline, version, Path(temporary))
        made = Path(temporary) / "made" / stored.name
        made.parent.mkdir()
        arguments = (
            *_input_arguments(beamline, version, folder, report["inputs"], qmap),
            *("--output", str(made), "--device", device or str(report.get("device", "auto"))),
            *("--kernel", str(report.get("form", "auto")), *_memory(report), *recipe.settings.arguments()),
        )
        settings = beamline.settings.pipeline.correlate
        limit_s = _TIME_LIMIT_S if settings is None else settings.time_limit
        now = run(WorkerJob(arguments, made.with_suffix(".json"), limit_s), log)
        _check_inputs(report["inputs"], now["inputs"], folder)
        others = tuple(one for one in differences(stored, made) if not _NAME_OF_QMAP.fullmatch(one.name))
        done = Replayed(result, others, _making(report), _making(now), came_from)
    word = "made again, and the same" if done.same else f"made again: {len(done.differences)} datasets differ"
    detail = {"result_digest": result.result_digest, "differences": [one.name for one in done.differences]}
    beamline.ledger.note(beamline.name, result.run_key, STEP, word, detail)
    return done


def _memory(report: Mapping[str, Any]) -> tuple[str, ...]:
    """The recorded bound on memory, which decides the passes and so the last bits; none where there is not so much."""
    from xpcs_assets.engine.device import memory_limit_bytes

    recorded = report.get("memory_bytes")
    return ("--memory", str(recorded)) if recorded and recorded <= memory_limit_bytes() else ()


def _making(report: Mapping[str, Any]) -> dict[str, Any]:
    told = {**report, "qmap": report["inputs"]["qmap"]["name"]}
    return {name: told[name] for name in (*_MADE_BY, "seconds") if name in told}


def _check_digest(path: Path, digest: str) -> None:
    found = _digest_of(path, ResultError)
    if found != digest:
        what = "the stored file is not the recorded result"
        raise ResultError(what, where=path, remedy="Look at `xpcs-assets audit`; correlation makes it anew")


def _recipe(result: Result) -> Recipe:
    """The recorded recipe, whose files are there unchanged.

    Raises
    ------
    RefusedError
        A file that it names is gone, or is another one.
    """
    recipe = Recipe.from_dict(dict(result.report["recipe"]))
    for setting, digest in recipe.file_digests.items():
        path = Path(getattr(recipe.settings, setting))
        if not path.is_file() or _digest_of(path, InputError) != digest:
            what = f"the {setting.replace('_', ' ')} of its recipe is gone or is another one"
            raise RefusedError(what, where=path, remedy=f"Put the file back whose digest is {digest}")
    return recipe


def _raw_folder(beamline: OpenBeamline, version: RunVersion, temporary: Path) -> tuple[Path, str]:
    """The folder of the raw data: the staged copy if it is whole, else wherever they are, copied and verified.

    Raises
    ------
    NotVerifiedError
        No copy has all files.
    """
    from xpcs_assets.archive.retrieve import retrieve

    staged = beamline.staged(version).raw
    files = version.manifest.files
    if all((staged / entry.path).is_file() for entry in files):
        return staged, str(staged)
    fetched = retrieve(beamline, version.run_key, version=version.version, to=temporary / "raw")
    if fetched.missing:
        told = "; ".join(f"{path}: {why}" for path, why in fetched.missing.items())
        what = f"{len(fetched.missing)} of {len(files)} files could not be had from any copy ({told})"
        raise NotVerifiedError(what, where=staged, remedy="Bring back a place that has them, then replay")
    return fetched.folder, ", ".join(sorted(set(fetched.came_from.values())))


def _input_arguments(
    beamline: OpenBeamline, version: RunVersion, folder: Path, inputs: Mapping[str, Any], qmap: Path | None
) -> Iterator[str]:
    from xpcs_assets.readers.companions import raw_among
    from xpcs_assets.readers.recognise import is_raw_name

    files = [folder / entry.path for entry in version.manifest.files]
    raw = raw_among([path for path in files if is_raw_name(path.name)])
    if not raw:
        raise RawDataError("the run has no raw file", where=folder, remedy="Look at the files it was taken with")
    by_digest = {f"sha256:{entry.sha256}": folder / entry.path for entry in version.manifest.files}
    metadata = by_digest.get(inputs["metadata"]["digest"])
    if metadata is None:
        what = "no file of the run is the metadata that the result was made with"
        raise MetadataError(what, where=folder, remedy=f"It was {inputs['metadata']['name']}")
    yield from map(str, raw)
    yield from ("--metadata", str(metadata), "--qmap", str(_qmap(beamline, version, by_digest, inputs["qmap"], qmap)))
    if beamline.settings.runs.frames_from:
        yield from ("--frames-field", beamline.settings.runs.frames_from)


def _qmap(
    beamline: OpenBeamline,
    version: RunVersion,
    by_digest: Mapping[str, Path],
    wanted: Mapping[str, str],
    given: Path | None,
) -> Path:
    """The q-map of the recorded digest: the given one, the run's, the beamline's, or one that was asked for."""
    if given is None and wanted["digest"] in by_digest:
        return by_digest[wanted["digest"]]
    looked_at = [given] if given is not None else list(_qmaps(beamline, version))
    for path in looked_at:
        if path.is_file() and _digest_of(path, QmapError) == wanted["digest"]:
            return path
    told = ", ".join(map(str, looked_at)) or "the run's own files"
    what = f"the q-map {wanted['name']} that the result was made with is not there any more (looked at {told})"
    raise QmapError(what, where=version.run_key, remedy=f"Give --qmap the file whose digest is {wanted['digest']}")


def _qmaps(beamline: OpenBeamline, version: RunVersion) -> Iterator[Path]:
    settings = beamline.settings.pipeline.correlate
    if settings is not None and settings.qmap.path is not None:
        yield beamline.site.path(settings.qmap.path)
    for name in beamline.ledger.qmap_names(beamline.name):
        for entry in beamline.ledger.qmaps(beamline.name, name):
            yield beamline.site.path(Path(entry.path))
    for event in beamline.ledger.timeline(beamline.name, version.run_key):
        asked = event.detail.get("settings")
        if isinstance(asked, Mapping) and asked.get("qmap"):
            yield Path(str(asked["qmap"]))


def _check_inputs(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Hold what the worker read to what the result was made from.

    Raises
    ------
    RawDataError
        The raw data are others.
    QmapError
        The q-map has become another one since it was looked at.
    """
    if now["qmap"]["digest"] != before["qmap"]["digest"]:
        what = "the q-map is not the one that the result was made with"
        raise QmapError(what, where=now["qmap"]["name"], remedy=f"Its digest was {before['qmap']['digest']}")
    recorded = [item["digest"] for item in before["raw"]]
    found = {item["digest"]: item["name"] for item in now["raw"]}
    others = [name for digest, name in found.items() if digest not in recorded]
    if others or len(recorded) != len(now["raw"]):
        what = f"the raw data are not those that the result was made from: {', '.join(others) or 'files are missing'}"
        raise RawDataError(what, where=folder, remedy="Run `xpcs-assets verify`, and `repair` the copy")


def _digest_of(path: Path, kind: type[InputError]) -> str:
    try:
        with path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise kind(f"it cannot be read ({error.strerror})", where=path, remedy="Bring it back") from error
