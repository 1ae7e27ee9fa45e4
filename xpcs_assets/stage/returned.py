"""Results that go back to the beamline: the result and its report, read again where they were put.

Another recipe has another folder, another version of the run another name: nothing that was put there ever changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from xpcs_assets.arrive.candidates import candidate_at
from xpcs_assets.arrive.source import source_of
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Result, RunVersion
from xpcs_assets.errors import NotFoundError, NotVerifiedError
from xpcs_assets.places.place import Place
from xpcs_assets.settings import ReturnResults

_PURPOSE = "return results"


@dataclass(frozen=True)
class Returned:
    """Where a result was put.

    Attributes
    ----------
    result
        Which.
    path, report
        Its file, and that of its report, in the place.
    size_bytes
        Of both.
    """

    result: Result
    path: str
    report: str
    size_bytes: int


def return_results(beamline: OpenBeamline, key: str) -> Returned:
    """Put the newest result under a partition key, and its report, where results go back to.

    Raises
    ------
    NotFoundError
        There is no result, or none goes back.
    NotVerifiedError
        The result or its report is not what was recorded, or did not come out there as it was sent.
    ConflictingBytesError, NoRoomError, CopyError, RefusedError
        Other bytes have the name there; it is full; it cannot be asked; another worker is at it.
    """
    settings = beamline.settings.pipeline.return_results
    if settings is None:
        raise NotFoundError("no result goes back at this beamline", where=beamline.name)
    result = beamline.result(key)
    version = beamline.ledger.version(beamline.name, result.run_key, result.version)
    store, target = beamline.place(beamline.settings.pipeline.stage.to), beamline.place(settings.to)
    path = path_of(beamline, settings, version, result)
    report = path.with_suffix(".json")
    with beamline.working(result.run_key, _PURPOSE) as renew:
        sha256 = result.result_digest.removeprefix("sha256:")
        size_bytes = _put(target, path, _told(store.read(result.path), renew), sha256)
        text = _report(store, result)
        size_bytes += _put(target, report, [text], hashlib.sha256(text).hexdigest())
        target.settle([str(path), str(report)])
    return Returned(result, str(path), str(report), size_bytes)


def path_of(beamline: OpenBeamline, settings: ReturnResults, version: RunVersion, result: Result) -> PurePosixPath:
    """Where the file of a result goes; versions after the first are told apart by their names."""
    fields = dict(candidate_at(beamline.settings, source_of(beamline).root, version.source).fields)
    fields |= {
        "run_key": version.run_key,
        "analysis_key": result.analysis_key,
        "recipe": PurePosixPath(result.path).parent.name,
    }
    folder = settings.path
    for name, value in fields.items():
        folder = folder.replace("{" + name + "}", value)
    numbered = f"_v{version.version}" if version.version > 1 else ""
    return PurePosixPath(folder) / f"{version.run_key}{numbered}_results.hdf"


def _put(target: Place, path: PurePosixPath, chunks: Iterator[bytes] | list[bytes], sha256: str) -> int:
    """Write a file and read it there, whatever the place says of its writing; its length."""
    written = target.put(str(path), chunks, sha256=sha256)
    if target.digest(str(path)).sha256 != sha256:
        raise NotVerifiedError(
            "what came back is not what was sent", where=f"{target.name}:{path}", remedy="Have its disk looked at"
        )
    return written.size_bytes


def _told(chunks: Iterator[bytes], renew: Callable[[int], None]) -> Iterator[bytes]:
    for chunk in chunks:
        renew(len(chunk))
        yield chunk


def _report(store: Place, result: Result) -> bytes:
    """The report beside a result, if it is that result's."""
    path = str(PurePosixPath(result.path).with_suffix(".json"))
    text = b"".join(store.read(path))
    try:
        told = dict(json.loads(text))
    except (ValueError, TypeError):
        told = {}
    if (told.get("result_digest"), told.get("recipe_digest")) != (result.result_digest, result.recipe_digest):
        raise NotVerifiedError(
            "the report is not the one of this result",
            where=f"{store.name}:{path}",
            remedy="Move it and the result away, and materialise correlation again",
        )
    return text
