"""What a bundle is: a tar file whose bytes follow from its members alone, with an index of them inside and beside it.

The same members always give the same bytes and the same name. The index is the last member, :data:`INDEX_NAME`: JSON
with run, version and, for each member, offset, size, sha256 and time. Nothing here knows where bundles are kept.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpcs_assets.copies.ledger import Member
from xpcs_assets.errors import NotVerifiedError
from xpcs_assets.runs.manifest import FileEntry, Manifest, check_relative

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

FORMAT = "xpcs-assets bundle 1"
INDEX_NAME = "xpcs-assets-index.json"
_PAD = tarfile.BLOCKSIZE
_END_BYTES = 2 * _PAD
_PIECE_BYTES = 1 << 20
_DAMAGED = "Do not count on this bundle; archive the run again from another copy"


@dataclass(frozen=True)
class BundlePlan:
    """A bundle to be, with everything about it known before a byte is written.

    Attributes
    ----------
    beamline, run_key, version
        Whose files it holds.
    content
        ``raw`` or ``results``.
    manifest_digest
        Of the manifest that the files are of, some of which may be in other bundles.
    entries
        The files, sorted by path.
    """

    beamline: str
    run_key: str
    version: int
    content: str
    manifest_digest: str
    entries: tuple[FileEntry, ...]

    @property
    def name(self) -> str:
        """The file name: run, version, content, and 16 hex digits of what the members are."""
        what = [FORMAT, self.beamline, self.run_key, self.version, self.content, self.manifest_digest]
        what += [[e.path, e.size_bytes, e.sha256, e.mtime_ns] for e in self.entries]
        digest = hashlib.sha256(json.dumps(what, separators=(",", ":")).encode()).hexdigest()
        return f"{self.run_key}-v{self.version}-{self.content}-{digest[:16]}.tar"

    @property
    def members(self) -> tuple[Member, ...]:
        """The files with the offsets of their bytes in the bundle."""
        members, offset = [], 0
        for entry in self.entries:
            offset += len(_header(entry.path, entry.size_bytes, entry.mtime_ns))
            members.append(Member(entry.path, offset, entry.size_bytes, entry.sha256))
            offset += entry.size_bytes + _padding(entry.size_bytes)
        return tuple(members)

    @property
    def index(self) -> bytes:
        """The member index, as it lies inside and beside the bundle."""
        content = {
            "format": FORMAT,
            "beamline": self.beamline,
            "run_key": self.run_key,
            "version": self.version,
            "content": self.content,
            "manifest_digest": self.manifest_digest,
            "members": [
                {
                    "path": member.path,
                    "offset_bytes": member.offset_bytes,
                    "size_bytes": member.size_bytes,
                    "sha256": member.sha256,
                    "mtime_ns": entry.mtime_ns,
                }
                for member, entry in zip(self.members, self.entries, strict=True)
            ],
        }
        return (json.dumps(content, indent=1) + "\n").encode()

    def chunks(self, open_member: Callable[[str], Iterable[bytes]]) -> Iterator[bytes]:
        """The bundle's bytes.

        Parameters
        ----------
        open_member
            Gives the bytes of a member by its path.

        Raises
        ------
        NotVerifiedError
            A member's bytes are not those of its entry.
        """
        for entry in self.entries:
            yield _header(entry.path, entry.size_bytes, entry.mtime_ns)
            digest, size_bytes = hashlib.sha256(), 0
            for data in open_member(entry.path):
                digest.update(data)
                size_bytes += len(data)
                yield data
            if (size_bytes, digest.hexdigest()) != (entry.size_bytes, entry.sha256):
                raise NotVerifiedError(
                    "the file is not what its manifest says", where=entry.path, remedy="Verify the run's copies"
                )
            yield bytes(_padding(size_bytes))
        index = self.index
        yield _header(INDEX_NAME, len(index), 0) + index + bytes(_padding(len(index)) + _END_BYTES)


@dataclass(frozen=True)
class BundleContent:
    """What was found in a bundle that was read from its first byte to its last.

    Attributes
    ----------
    members
        Every file but the index, in order, each hashed.
    index
        The bytes of the index inside.
    size_bytes, sha256
        Of the whole bundle.
    """

    members: tuple[Member, ...]
    index: bytes
    size_bytes: int
    sha256: str


def plan_bundles(
    beamline: str,
    version: int,
    content: str,
    manifest: Manifest,
    *,
    alone_over_bytes: int,
    up_to_bytes: int,
) -> tuple[BundlePlan, ...]:
    """Distribute a manifest: files above ``alone_over_bytes`` alone, the others together up to ``up_to_bytes``."""
    groups: list[list[FileEntry]] = []
    together: list[FileEntry] = []
    size_bytes = 0
    for entry in manifest.files:
        if entry.size_bytes > alone_over_bytes:
            groups.append([entry])
            continue
        if together and size_bytes + entry.size_bytes > up_to_bytes:
            groups.append(together)
            together, size_bytes = [], 0
        together.append(entry)
        size_bytes += entry.size_bytes
    if together:
        groups.append(together)
    of = (beamline, manifest.run_key, version, content, manifest.digest)
    return tuple(BundlePlan(*of, tuple(group)) for group in groups)


def read_bundle(chunks: Iterable[bytes], *, where: str) -> BundleContent:
    """Read a bundle from its first byte to its last and hash every member; offsets are never taken on trust.

    Raises
    ------
    NotVerifiedError
        It is damaged, ends early, holds anything but plain files under safe names of its own, or its index does not
        name exactly what is there.
    """
    stream = _HashedStream(chunks)
    members: list[Member] = []
    index = b""
    try:
        reader = io.BufferedReader(stream, _PIECE_BYTES)
        with tarfile.open(
            fileobj=reader, mode="r|", bufsize=_PIECE_BYTES, encoding="utf-8", errors="surrogateescape"
        ) as archive:
            for info in archive:
                if index:
                    raise _damaged(f"{info.name!r} follows the index", where)
                body = _body(archive, info, where)
                if info.name == INDEX_NAME:
                    index = b"".join(body)
                else:
                    members.append(_hashed(info, body))
        while reader.read(_PIECE_BYTES):  # the hash is of the whole, padding included
            pass
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise _damaged(f"it is damaged ({error})", where) from error
    if _indexed(index, where) != tuple(members):
        raise _damaged("its index does not name exactly what is in it", where)
    return BundleContent(tuple(members), index, stream.size_bytes, stream.digest.hexdigest())


class _HashedStream(io.RawIOBase):
    """Chunks as a file that can only be read on, hashed on the way."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fill ``buffer`` as far as the current chunk reaches; 0 at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self.digest.update(chunk)
            self.size_bytes += len(chunk)
            self._rest = memoryview(chunk)
        into = memoryview(buffer).cast("B")
        taken = min(len(into), len(self._rest))
        into[:taken] = self._rest[:taken]
        self._rest = self._rest[taken:]
        return taken


def _header(path: str, size_bytes: int, mtime_ns: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.size, info.mtime, info.mode = size_bytes, max(0, mtime_ns // 1_000_000_000), 0o444
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(size_bytes: int) -> int:
    return -size_bytes % _PAD


def _body(archive: tarfile.TarFile, info: tarfile.TarInfo, where: str) -> Iterator[bytes]:
    check_relative(info.name)
    file = archive.extractfile(info) if info.isreg() else None
    if file is None:
        raise _damaged(f"{info.name!r} is no plain file", where)
    return iter(lambda: file.read(_PIECE_BYTES), b"")


def _hashed(info: tarfile.TarInfo, body: Iterator[bytes]) -> Member:
    digest = hashlib.sha256()
    for data in body:
        digest.update(data)
    return Member(info.name, info.offset_data, info.size, digest.hexdigest())


def _indexed(index: bytes, where: str) -> Sequence[Member]:
    try:
        content = json.loads(index)
        if content["format"] != FORMAT:
            raise _damaged(f"it is of format {content['format']!r}", where)
        return tuple(Member(m["path"], m["offset_bytes"], m["size_bytes"], m["sha256"]) for m in content["members"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(f"its index cannot be read ({error!r})", where) from error


def _damaged(what: str, where: str) -> NotVerifiedError:
    return NotVerifiedError(what, where=where, remedy=_DAMAGED)
