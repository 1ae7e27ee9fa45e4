"""What a bundle is: a tar file whose bytes follow from its members alone, with an index of them inside and beside it.

The same members always give the same bytes and the same name. The index is the last member, ``INDEX_NAME``. Nothing
here knows where bundles are kept.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from xpcs_assets.archive.index import (
    INDEX_NAME,
    ONE_RUN,
    SEVERAL_RUNS,
    Index,
    damaged,
    index_bytes,
    member_lines,
    read_index,
    run_prefix,
)
from xpcs_assets.copies.ledger import BundleRun, Member
from xpcs_assets.errors import SourceDiffersError
from xpcs_assets.places.hashing import Hasher
from xpcs_assets.runs.key import encode
from xpcs_assets.runs.manifest import FileEntry, Manifest, check_relative

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

RAW = "raw"
RESULTS = "results"
MEMBER_LIMIT_BYTES = 68_000_000_000
"""Most that HPSS takes as one member of a bundle, its header included; what is longer is bundled alone."""

_LONGEST_BY = 96
_PAD = tarfile.BLOCKSIZE
_PLAIN = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})
_END_BYTES = 2 * _PAD
_PIECE_BYTES = 1 << 20
_INDEX_BYTES_A_MEMBER = 1 << 16  # an index is read into memory; a path has 4096 bytes at most, six characters each


@dataclass(frozen=True)
class Plan(ABC):
    """A bundle to be, with everything about it known before a byte is written.

    Attributes
    ----------
    beamline, content
        Whose files it holds, :data:`RAW` or :data:`RESULTS`.
    again
        How many bundles of these very files there are that were found damaged: it takes a new name each time.
    """

    beamline: str
    content: str
    again: int = field(default=0, kw_only=True)

    @property
    @abstractmethod
    def folder(self) -> str:
        """Where it lies, relative to the archive's root."""

    @property
    @abstractmethod
    def runs(self) -> tuple[BundleRun, ...]:
        """The runs that it holds files of."""

    if TYPE_CHECKING:  # a field of the one kind, made by the other

        @property
        def entries(self) -> tuple[FileEntry, ...]:
            """The files in their order, under their paths in the bundle."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The file name; its 16 hex digits say what the members are."""

    @property
    @abstractmethod
    def index(self) -> bytes:
        """The member index, as it lies inside and beside the bundle."""

    @property
    def path(self) -> str:
        """Folder and name."""
        return f"{self.folder}/{self.name}"

    @property
    def kinds(self) -> frozenset[str]:
        """The digests beside sha256 that its files are known by."""
        return frozenset(kind for entry in self.entries for kind in entry.kinds)

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The files with the offsets of their bytes in the bundle."""
        members, offset = [], 0
        for entry in self.entries:
            offset += len(_header(entry.path, entry.size_bytes, entry.mtime_ns))
            members.append(Member(entry.path, offset, entry.size_bytes, entry.sha256))
            offset += entry.size_bytes + _padding(entry.size_bytes)
        return tuple(members)

    @property
    def size_bytes(self) -> int:
        """Length of the whole bundle: headers, padding and index included."""
        last, index = self.members[-1], len(self.index)
        end = last.offset_bytes + last.size_bytes + _padding(last.size_bytes)
        return end + len(_header(INDEX_NAME, index, 0)) + index + _padding(index) + _END_BYTES

    def chunks(self, open_member: Callable[[str], Iterable[bytes]]) -> Iterator[bytes]:
        """The bundle's bytes.

        Parameters
        ----------
        open_member
            Gives the bytes of a member by its path in the bundle.

        Raises
        ------
        SourceDiffersError
            A member's bytes are not those of its entry.
        """
        for entry in self.entries:
            yield _header(entry.path, entry.size_bytes, entry.mtime_ns)
            hasher, size_bytes = Hasher(entry.kinds), 0
            for data in open_member(entry.path):
                hasher.update(data)
                size_bytes += len(data)
                yield data
            if entry.differs(ReadMember(size_bytes, hasher.sha256, hasher.also)):
                raise SourceDiffersError(
                    "the file is not what its manifest says", where=entry.path, remedy="Verify the run's copies"
                )
            yield bytes(_padding(size_bytes))
        index = self.index
        yield _header(INDEX_NAME, len(index), 0) + index + bytes(_padding(len(index)) + _END_BYTES)

    def _digest16(self, *what: object) -> str:
        """16 hex digits of what the members are: digests beside sha256 and ``again`` only where there are any."""
        lines = [
            [e.path, e.size_bytes, e.sha256, e.mtime_ns, *([dict(e.also)] if e.also else [])] for e in self.entries
        ]
        told = [*what, *lines, *([self.again] if self.again else [])]
        return hashlib.sha256(json.dumps(told, separators=(",", ":")).encode()).hexdigest()[:16]

    def _indexed(self, about: Mapping[str, object]) -> bytes:
        again = {"again": self.again} if self.again else {}
        return index_bytes({**about, **again, "members": member_lines(self.entries, self.members)})


@dataclass(frozen=True)
class BundlePlan(Plan):
    """A bundle of one run: files of one version's raw data, or of one recipe's results.

    Attributes
    ----------
    run_key, version
        Whose files it holds.
    manifest_digest
        Of the manifest that the files are of, some of which may be in other bundles.
    entries
        The files, sorted by path.
    """

    run_key: str
    version: int
    manifest_digest: str
    entries: tuple[FileEntry, ...]

    @property
    def folder(self) -> str:
        """Where bundles of this content of the version lie."""
        return f"{self.beamline}/{self.run_key}/v{self.version}/{self.content}"

    @property
    def runs(self) -> tuple[BundleRun, ...]:
        """The one run."""
        return (BundleRun(self.run_key, self.version),)

    @property
    def name(self) -> str:
        """Run, version, content, and what the members are."""
        digest = self._digest16(ONE_RUN, self.beamline, self.run_key, self.version, self.content, self.manifest_digest)
        return f"{self.run_key}-v{self.version}-{self.content}-{digest}.tar"

    @property
    def index(self) -> bytes:
        """The index, format 1."""
        about = {
            "format": ONE_RUN,
            "beamline": self.beamline,
            "run_key": self.run_key,
            "version": self.version,
            "content": self.content,
            "manifest_digest": self.manifest_digest,
        }
        return self._indexed(about)


@dataclass(frozen=True)
class GatheredPlan(Plan):
    """A bundle of the raw data of several runs, each below a prefix of its own.

    Attributes
    ----------
    by
        What the runs have in common: a proposal, a cycle.
    manifests
        Version and manifest of each, sorted by run key and version.
    """

    by: tuple[str, ...]
    manifests: tuple[tuple[int, Manifest], ...]

    @property
    def folder(self) -> str:
        """``<beamline>/gathered/`` and what the runs have in common, made safe."""
        return "/".join([self.beamline, "gathered", *safe_names(self.by)])

    @property
    def runs(self) -> tuple[BundleRun, ...]:
        """The runs with their prefixes."""
        return tuple(
            BundleRun(manifest.run_key, version, run_prefix(manifest.run_key, version))
            for version, manifest in self.manifests
        )

    @cached_property
    def entries(self) -> tuple[FileEntry, ...]:
        """The files of one run after those of the other."""
        return tuple(
            replace(entry, path=run.prefix + entry.path)
            for run, (_, manifest) in zip(self.runs, self.manifests, strict=True)
            for entry in manifest.files
        )

    @property
    def name(self) -> str:
        """How many runs, and what the members are."""
        digests = [[run.run_key, run.version, m.digest] for run, (_, m) in zip(self.runs, self.manifests, strict=True)]
        digest = self._digest16(SEVERAL_RUNS, self.beamline, self.content, digests)
        return f"{len(self.manifests)}-runs-{self.content}-{digest}.tar"

    @property
    def index(self) -> bytes:
        """The index, format 2."""
        about = {
            "format": SEVERAL_RUNS,
            "beamline": self.beamline,
            "content": self.content,
            "runs": [
                {"run_key": run.run_key, "version": run.version, "manifest_digest": m.digest, "prefix": run.prefix}
                for run, (_, m) in zip(self.runs, self.manifests, strict=True)
            ],
        }
        return self._indexed(about)


def safe_names(values: Sequence[str]) -> tuple[str, ...]:
    """Folder names for what runs have in common; all of them together at most 96 characters.

    >>> safe_names(["2024-2", "", "µ/x"])
    ('2024-2', 'none', '0=.=C2=B5=2Fx')
    """
    names = [encode(value) if value else "none" for value in values]
    if len("/".join(names)) <= _LONGEST_BY:
        return tuple(names)
    return (hashlib.sha256(json.dumps(names).encode()).hexdigest()[:32],)


@dataclass(frozen=True)
class ReadMember:
    """What the bytes of a member were when they were read; compare with ``FileEntry.differs``."""

    size_bytes: int
    sha256: str
    also: Mapping[str, str]


@dataclass(frozen=True)
class BundleContent:
    """What was found in a bundle that was read from its first byte to its last.

    Attributes
    ----------
    members
        Every file but the index, in order, each hashed.
    index, told
        The index inside: its bytes, and what it says.
    also
        By path, the digests beside sha256 that were asked for.
    size_bytes, sha256
        Of the whole bundle.
    """

    members: tuple[Member, ...]
    index: bytes
    told: Index
    also: Mapping[str, Mapping[str, str]]
    size_bytes: int
    sha256: str

    @property
    def index_digest(self) -> str:
        """``sha256:`` of the index."""
        return f"sha256:{hashlib.sha256(self.index).hexdigest()}"

    def files_of(self, beamline: str, run_key: str, version: int) -> dict[str, ReadMember]:
        """What was read of one version, by the paths in its manifest; empty when the bundle holds none of it."""
        prefix = self.told.prefix_of(run_key, version)
        if prefix is None or self.told.beamline != beamline:
            return {}
        return {
            member.path.removeprefix(prefix): ReadMember(member.size_bytes, member.sha256, self.also[member.path])
            for member in self.members
            if member.path.startswith(prefix)
        }


def plan_bundles(
    beamline: str,
    version: int,
    content: str,
    manifest: Manifest,
    *,
    alone_over_bytes: int,
    up_to_bytes: int,
) -> tuple[BundlePlan, ...]:
    """Distribute a manifest over bundles.

    A file above ``alone_over_bytes``, or above :data:`MEMBER_LIMIT_BYTES` with its header, is alone in its bundle,
    however long that is. The others are together, in the order of their paths, in bundles of at most ``up_to_bytes``:
    headers, padding and index included.
    """
    plan = BundlePlan(beamline, content, manifest.run_key, version, manifest.digest, ())
    alone = [entry for entry in manifest.files if _goes_alone(entry, alone_over_bytes)]
    rest = [entry for entry in manifest.files if not _goes_alone(entry, alone_over_bytes)]
    plans = [replace(plan, entries=(entry,)) for entry in alone]
    while rest:
        first = _as_many_as_fit(plan, rest, up_to_bytes)
        plans.append(replace(plan, entries=tuple(rest[:first])))
        rest = rest[first:]
    return tuple(sorted(plans, key=lambda each: each.entries[0].path))


def member_bytes(entry: FileEntry) -> int:
    """Length of a file as a member: its header and its bytes."""
    return len(_header(entry.path, entry.size_bytes, entry.mtime_ns)) + entry.size_bytes


def _goes_alone(entry: FileEntry, alone_over_bytes: int) -> bool:
    return entry.size_bytes > alone_over_bytes or member_bytes(entry) > MEMBER_LIMIT_BYTES


def _as_many_as_fit(plan: BundlePlan, entries: Sequence[FileEntry], up_to_bytes: int) -> int:
    """How many of ``entries`` one bundle takes, at least one; found by halving, since an index is long to make."""
    if replace(plan, entries=tuple(entries)).size_bytes <= up_to_bytes:
        return len(entries)
    fit, too_many = 1, len(entries)
    while too_many - fit > 1:
        middle = (fit + too_many) // 2
        if replace(plan, entries=tuple(entries[:middle])).size_bytes <= up_to_bytes:
            fit = middle
        else:
            too_many = middle
    return fit


def read_bundle(chunks: Iterable[bytes], *, where: str, also: Collection[str] = ()) -> BundleContent:
    """Read a bundle from its first byte to its last and hash every member; offsets are never taken on trust.

    Parameters
    ----------
    also
        Digests to make of every member beside sha256. Where the index names one that was made, it must agree.

    Raises
    ------
    NotVerifiedError
        It is damaged, ends early, holds anything but plain files under safe names of its own, or its index does not
        name exactly what is there.
    """
    stream = _HashedStream(chunks)
    members: list[Member] = []
    made: dict[str, Mapping[str, str]] = {}
    index = b""
    try:
        reader = io.BufferedReader(stream, _PIECE_BYTES)
        with tarfile.open(
            fileobj=reader, mode="r|", bufsize=_PIECE_BYTES, encoding="utf-8", errors="surrogateescape"
        ) as archive:
            for info in archive:
                if index:
                    raise damaged(f"{info.name!r} follows the index", where)
                body = _body(archive, info, where)
                if info.name == INDEX_NAME:
                    if info.size > _INDEX_BYTES_A_MEMBER * (len(members) + 1):
                        raise damaged(f"its index has {info.size} bytes for {len(members)} members", where)
                    index = b"".join(body)
                else:
                    member, made[info.name] = _hashed(info, body, also)
                    members.append(member)
        while reader.read(_PIECE_BYTES):  # the hash is of the whole, padding included
            pass
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise damaged(f"it is damaged ({error})", where) from error
    told = read_index(index, where)
    if told.members != tuple(members):
        raise damaged("its index does not name exactly what is in it", where)
    for path, digests in told.also.items():
        if any(kind in made[path] and made[path][kind] != value for kind, value in digests.items()):
            raise damaged(f"a digest of {path!r} is not what its index says", where)
    return BundleContent(tuple(members), index, told, made, stream.size_bytes, stream.digest.hexdigest())


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
    # A sparse member is called regular and yields as many zeros as it claims.
    file = archive.extractfile(info) if info.type in _PLAIN and not info.issparse() else None
    if file is None:
        raise damaged(f"{info.name!r} is no plain file", where)
    return iter(lambda: file.read(_PIECE_BYTES), b"")


def _hashed(info: tarfile.TarInfo, body: Iterator[bytes], also: Collection[str]) -> tuple[Member, dict[str, str]]:
    hasher = Hasher(also)
    for data in body:
        hasher.update(data)
    return Member(info.name, info.offset_data, info.size, hasher.sha256), hasher.also
