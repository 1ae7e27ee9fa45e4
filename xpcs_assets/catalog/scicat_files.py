"""A dataset's files and pictures as SciCat wants them: OrigDatablocks with sha256, and small pictures as data URLs.

An OrigDatablock has no identifier of our own, so which ones to write is found by comparing what is held, file by
file, with what is meant.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from xpcs_assets.catalog.dataset import Picture
from xpcs_assets.errors import CatalogError
from xpcs_assets.runs.manifest import FileEntry

ALGORITHM = "sha256"
_SMALLEST_PX = 64
_KINDS = {"PNG": "image/png", "JPEG": "image/jpeg"}


@dataclass(frozen=True)
class Plan:
    """What makes the OrigDatablocks that are held those that are meant.

    Attributes
    ----------
    missing
        Files that no block which stays tells of.
    stale
        Identifiers of blocks that are copies of others, or tell of files as they no longer are.
    """

    missing: tuple[FileEntry, ...]
    stale: tuple[str, ...]

    @property
    def done(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.missing or self.stale)


def plan(held: Sequence[Mapping[str, Any]], files: Sequence[FileEntry], *, immutable: bool, where: str) -> Plan:
    """Compare the blocks that are held with the files that are meant.

    Parameters
    ----------
    immutable
        The files of this dataset never change: another sha256 under the same path is another dataset.

    Raises
    ------
    CatalogError
        Two files have the same path; a block tells of files that are not meant; or of other bytes, and ``immutable``.
    """
    wanted = {entry.path: entry for entry in files}
    if len(wanted) != len(files):
        raise CatalogError("two files have the same path", where=where)
    told: set[str] = set()
    stale = []
    for block in sorted(held, key=lambda block: (str(block.get("createdAt")), str(block.get("_id")))):
        paths = [str(one["path"]) for one in block["dataFileList"]]
        unknown = [path for path in paths if path not in wanted]
        if unknown:
            remedy = "Somebody else wrote to this pid: look at the dataset, and remove what does not belong to it"
            raise CatalogError(
                f"SciCat lists a file that the dataset has not ({unknown[0]})", where=where, remedy=remedy
            )
        others = [one for one in block["dataFileList"] if _other_bytes(one, block, wanted[one["path"]])]
        if others and immutable:
            remedy = "The pid is taken by other data: give this site a prefix of its own"
            raise CatalogError(f"SciCat has other bytes under {others[0]['path']}", where=where, remedy=remedy)
        if others or not _has_checksums(block) or told.intersection(paths):
            stale.append(str(block["_id"]))
        else:
            told.update(paths)
    return Plan(tuple(entry for path, entry in wanted.items() if path not in told), tuple(stale))


def blocks(files: Sequence[FileEntry], *, most_files: int, most_bytes: int) -> Iterator[dict[str, Any]]:
    """The files as bodies of OrigDatablocks, each within the limits; without the dataset's pid.

    Raises
    ------
    CatalogError
        One file's entry alone is more than ``most_bytes``.
    """
    listed: list[dict[str, Any]] = []
    size = 0
    for entry in files:
        told = _told(entry)
        length = len(json.dumps(told)) + 2
        if length > most_bytes:
            raise CatalogError("a file's entry is larger than an OrigDatablock may be", where=entry.path[:200])
        if listed and (len(listed) >= most_files or size + length > most_bytes):
            yield _block(listed)
            listed, size = [], 0
        listed.append(told)
        size += length
    if listed:
        yield _block(listed)


def attachment_id(pid: str, name: str) -> str:
    """The same for ever, so that a picture is attached once.

    >>> attachment_id("p/1", "g2.png") == attachment_id("p/1", "g2.png") != attachment_id("p/1", "saxs.png")
    True
    """
    return "xpcs-" + hashlib.sha256(f"{pid}\n{name}".encode()).hexdigest()[:32]


def data_url(picture: Picture, most_bytes: int) -> str:
    """A picture as SciCat stores it; made smaller when it is more than ``most_bytes`` characters.

    Raises
    ------
    CatalogError
        It is neither PNG nor JPEG, damaged, or cannot be made small enough.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(picture.content), formats=tuple(_KINDS)) as image:
            kind = str(image.format)
            url = _url(kind, picture.content)
            if len(url) <= most_bytes:
                image.verify()
                return url
            return _smaller(image, kind, len(url), most_bytes, picture.name)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise CatalogError(f"the picture cannot be read ({type(error).__name__})", where=picture.name) from error


def _smaller(image: Any, kind: str, length: int, most_bytes: int, where: str) -> str:
    """Shrink until it fits; each step takes as much off as the last length asks for."""
    width, height = image.size
    while True:
        factor = min((most_bytes / length) ** 0.5, 0.8)
        width, height = int(width * factor), int(height * factor)
        if min(width, height) < _SMALLEST_PX:
            raise CatalogError(f"the picture cannot be made smaller than {most_bytes} bytes", where=where)
        buffer = io.BytesIO()
        _plain(image).resize((width, height)).save(buffer, kind, optimize=True)
        url = _url(kind, buffer.getvalue())
        if len(url) <= most_bytes:
            return url
        length = len(url)


def _plain(image: Any) -> Any:
    """Without a palette, whose colours cannot be averaged."""
    return image.convert("RGBA") if image.mode == "P" else image


def _url(kind: str, content: bytes) -> str:
    return f"data:{_KINDS[kind]};base64,{base64.b64encode(content).decode()}"


def _told(entry: FileEntry) -> dict[str, Any]:
    changed = datetime.fromtimestamp(entry.mtime_ns // 1_000_000 / 1000, UTC)
    return {"path": entry.path, "size": entry.size_bytes, "time": changed.isoformat(), "chk": entry.sha256}


def _block(listed: list[dict[str, Any]]) -> dict[str, Any]:
    return {"size": sum(one["size"] for one in listed), "chkAlg": ALGORITHM, "dataFileList": listed}


def _has_checksums(block: Mapping[str, Any]) -> bool:
    return block.get("chkAlg") == ALGORITHM and all(one.get("chk") for one in block["dataFileList"])


def _other_bytes(told: Mapping[str, Any], block: Mapping[str, Any], entry: FileEntry) -> bool:
    """Whether a block tells of other bytes; one without a sha256 can only tell by the size."""
    known = block.get("chkAlg") == ALGORITHM and told.get("chk")
    return bool(told["size"] != entry.size_bytes or (known and told["chk"] != entry.sha256))
