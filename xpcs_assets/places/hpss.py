"""An archive in HPSS, which is reached by jobs of a batch system alone: hsi and htar never run on this machine.

Whatever is asked is a job: see ``hpss_asking``. Who asks gets the answer of a job that ended lately, or waits a moment
for one; then the job goes on by itself, and UnderWayError says so. While HPSS cannot be asked everything is unknown.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpcs_assets.errors import (
    ConflictingBytesError,
    CopyError,
    NotFoundError,
    RemovalRefusedError,
    UnderWayError,
)
from xpcs_assets.places import reading
from xpcs_assets.places.files import ONLY_SHA256, Written
from xpcs_assets.places.hashing import Hasher
from xpcs_assets.places.hpss_asking import Asking
from xpcs_assets.places.hpss_scratch import INDEX, OUT
from xpcs_assets.places.marker import UNMARKED, Marker, why_unknown
from xpcs_assets.places.place import Listing, Presence, RemovalPermit, Stat, Usage
from xpcs_assets.places.reading import Hashed, Signature
from xpcs_assets.places.syscalls import SYSCALLS
from xpcs_assets.places.tape import TapePlace
from xpcs_assets.runs.folders import MARKER, PARTIAL_SUFFIX, UNLISTED
from xpcs_assets.runs.manifest import check_relative

MOST_MEMBERS = 200
"""So many members are taken out of a bundle by htar at once, as words of one command; for more it is got whole."""
_PLAIN = re.compile(r"[A-Za-z0-9._=+,@%][A-Za-z0-9._=+,@%/-]*")
_HTAR_INDEX = ".idx"
_ABSENT = "it is not there"


class HpssPlace:
    """A folder in HPSS, and the marker in it that tells it from any other.

    Parameters
    ----------
    asking
        The folder, and how jobs are made that reach it.
    failure_domain
        What is lost together with it; empty means HPSS and the folder.
    identity, unavailable
        As for :class:`xpcs_assets.places.posix.PosixPlace`.
    is_under_way
        It is unavailable since the job that meets it is not done yet.
    """

    holds_bundles = True
    seeks = True
    calls = SYSCALLS
    """For the files of this machine that are bundled."""

    def __init__(
        self,
        asking: Asking,
        failure_domain: str = "",
        *,
        identity: str | None = None,
        unavailable: str = "",
        is_under_way: bool = False,
    ) -> None:
        self.name = asking.name
        self.identity = identity
        self._asking = asking
        self._failure_domain = failure_domain
        self._not_met = unavailable
        self._is_under_way = is_under_way

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self._asking.root})"

    @property
    def failure_domain(self) -> str:
        """The one given, or HPSS and the folder; CopyError while the place is known to be unavailable."""
        if why := self.why_unavailable():
            raise self._unavailable(why)
        return self._failure_domain or f"HPSS {self._asking.root}"

    def why_unavailable(self) -> str:
        """Why nothing can be done here now; empty when it can, or when a job is still asking."""
        if self._not_met:
            return self._not_met
        try:
            told = self._ask("root", "", wait=False)
        except UnderWayError:
            return self._asking.hands.backend.why_unavailable()
        except CopyError as error:
            return error.what
        return "" if self.identity == UNMARKED else self._why_unknown(told)

    def stat(self, path: str) -> Stat:
        """Whether a file is there, as a job has seen it lately; unknown while it is asked."""
        check_relative(path)
        keys = [self._asking.key(do, path) for do in ("look", "fetch")]
        try:
            told = next(filter(None, map(self._asking.known, keys)), None) or self._ask("look", path)
        except CopyError as error:
            return Stat(Presence.UNKNOWN, reason=error.what, is_under_way=isinstance(error, UnderWayError))
        if told.get("size_bytes") is not None:
            return Stat(Presence.YES, self._signature(path, told["size_bytes"]))
        if unknown := self._why_unknown(told):
            return Stat(Presence.UNKNOWN, reason=unknown, is_under_way=self._is_under_way)
        return Stat(Presence.NO, reason=_ABSENT)

    def digest(self, path: str, also: Iterable[str] = ()) -> Hashed:
        """Have a file read by a job now; what it brought is hashed here."""
        hasher, size_bytes = Hasher(also), 0
        for chunk in self.read(path):
            hasher.update(chunk)
            size_bytes += len(chunk)
        return Hashed(hasher.sha256, hasher.also, self._signature(path, size_bytes))

    def read(self, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
        """The bytes of a file from an offset on, out of what a job has brought to scratch."""
        file, sha256 = self.fetch(path)
        digest = hashlib.sha256()
        with reading.told_as_copy_error(file), reading.open_regular(file) as descriptor:
            SYSCALLS.seek(descriptor, offset_bytes)
            for chunk in reading.chunks_of(descriptor):
                digest.update(chunk)
                yield chunk
        if not offset_bytes and digest.hexdigest() != sha256:
            self._asking.forget(self._asking.key("fetch", path))
            raise CopyError("what its job brought changed in scratch", where=file, remedy="Repeat: it is brought again")

    def fetch(self, path: str) -> tuple[Path, str]:
        """Where in scratch a file lies that a job has brought lately, and what its bytes hashed to there.

        Raises
        ------
        UnderWayError
            Its job is not done yet.
        NotFoundError, CopyError
            It is not there, or HPSS cannot be asked.
        """
        key = self._asking.key("fetch", _plain(path))
        told = self._ask("fetch", path)
        if told["sha256"] is None:
            if unknown := self._why_unknown(told):
                raise self._unavailable(unknown)
            raise NotFoundError("no such file", where=self._where(path), remedy="See whether it is in another place")
        file = self._data(key)
        if file is None:  # scratch was purged
            self._asking.forget(key)
            return self.fetch(path)
        return file, told["sha256"]

    def take_out(self, path: str, members: Sequence[str]) -> dict[str, Path] | None:
        """Members of a bundle, brought to scratch by htar in one job; None where htar cannot name them.

        Raises
        ------
        UnderWayError
            Its job is not done yet.
        CopyError
            HPSS cannot be asked, or htar does not find them.
        """
        wanted = sorted(members)
        if len(wanted) > MOST_MEMBERS or not all(map(_PLAIN.fullmatch, wanted)):
            return None
        key = self._asking.key("take_out", _plain(path), wanted)
        told = self._asking.ask(key, "take_out", path, {"members": wanted})
        folder = self._data(key)
        return {name: folder / name for name in told["members"]} if folder is not None else None

    def put(
        self,
        path: str,
        chunks: Iterable[bytes],
        *,
        sha256: str = "",
        also: Mapping[str, str] = ONLY_SHA256,
        mtime_ns: int | None = None,
    ) -> Written:
        """Have a job store a file, never over other bytes, and read it back; ``mtime_ns`` is not kept in HPSS."""
        _plain(path)
        self._refuse_not_met()
        poured = f"{secrets.token_hex(8)}.poured"
        written = self._asking.scratch.pour(poured, chunks, sha256, also)
        key = self._asking.key("store", path, written.sha256)
        if not self._asking.is_asked(key):
            out = self._asking.scratch.of(key) / OUT
            out.parent.mkdir(exist_ok=True)
            (self._asking.scratch.folder / poured).replace(out)
        self._asking.scratch.drop_file(poured)
        is_new = self._store(key, path, written.sha256, None)
        return Written(written.size_bytes, written.sha256, already_there=not is_new)

    def put_bundle(self, path: str, chunks: Iterable[bytes], index_path: str, index: bytes) -> bool:
        """Have one job store a bundle with its index beside it and read both back; see :meth:`TapePlace.put_bundle`.

        Raises
        ------
        UnderWayError
            Its job is not done yet. Asked again, ``chunks`` are not asked for again.
        """
        self._refuse_not_met()
        index_sha256 = hashlib.sha256(index).hexdigest()
        key = self._asking.key("store", _plain(path), _plain(index_path), index_sha256)
        scratch, sha256 = self._asking.scratch, ""
        if not self._asking.is_asked(key):
            self._asking.refuse_too_many(path)
            scratch.pour(f"{key}/{INDEX}", [index], index_sha256, ONLY_SHA256)
            sha256 = scratch.pour(f"{key}/{OUT}", chunks, "", ONLY_SHA256).sha256
        return self._store(key, path, sha256, {"path": index_path, "sha256": index_sha256})

    def settle(self, paths: Iterable[str]) -> None:
        """Take what was brought of files out of scratch: they are in HPSS, and were read."""
        self._refuse_not_met()
        settled = set(paths)
        if any(self._asking.known(self._asking.key("fetch", path)) is None for path in settled):
            told = self._ask("root", "")
            if unknown := self._why_unknown(told):
                raise self._unavailable(unknown)
        for key, request, report in list(self._asking.scratch.answers()):
            if request["path"] in settled and report is not None:
                self._asking.scratch.drop_file(f"{key}/{request['data']}")

    def remove(self, path: str, permit: RemovalPermit) -> bool:
        """Refuse: an archive only grows, whatever the permit."""
        raise RemovalRefusedError("nothing is removed from an archive", where=self._where(path))

    def set_aside(self, path: str, label: str, permit: RemovalPermit) -> str:
        """Refuse, as :meth:`remove` does."""
        raise RemovalRefusedError("nothing is moved in an archive", where=self._where(path))

    def put_back(self, aside_path: str, path: str) -> None:
        """Refuse, as :meth:`remove` does."""
        raise RemovalRefusedError("nothing is moved in an archive", where=self._where(aside_path))

    def sweep(self, folder: str = "") -> int:
        """Take answers that count no more out of scratch; what a dead job left in HPSS stays there."""
        with self._asking.scratch.locked():
            return self._asking.scratch.sweep()

    def usage(self) -> Usage | None:
        """Not known: HPSS tells quotas by other means."""
        return None

    def list(self, folder: str = "") -> Listing:
        """What lies below a folder, as a job has seen it lately; htar's own indexes of bundles are not told."""
        if folder:
            check_relative(folder)
        try:
            told = self._ask("list", folder)
        except CopyError as error:
            return Listing(Presence.UNKNOWN, reason=error.what)
        if unknown := self._why_unknown(told):
            return Listing(Presence.UNKNOWN, reason=unknown)
        if told["names"] is None:
            return Listing(Presence.NO, reason=_ABSENT)
        found = {name for name in told["names"] if name.split("/", 1)[0] not in UNLISTED}
        kept = sorted(name for name in found if name.removesuffix(_HTAR_INDEX) not in found - {name})
        files = tuple(name for name in kept if not name.endswith(PARTIAL_SUFFIX))
        return Listing(Presence.YES, files, tuple(name for name in kept if name not in files))

    def put_marker(self, marker: Marker) -> None:
        """Have a job store a marker: the first that was asked for, since each asking draws a new one."""
        key, scratch, sha256 = self._asking.key("store", MARKER), self._asking.scratch, ""
        if not self._asking.is_asked(key):
            sha256 = scratch.pour(f"{key}/{OUT}", [marker.to_json().encode()], "", ONLY_SHA256).sha256
        self._store(key, MARKER, sha256, None)

    def marker(self) -> Marker | None:
        """The marker that the root bears; None when there is none; CopyError when that cannot be known."""
        return self._told_marker(self._ask("root", ""))

    def _store(self, key: str, path: str, sha256: str, index: Mapping[str, str] | None) -> bool:
        """Whether the file was not there before."""
        facts = {"sha256": sha256, "index": index, "identity": None if path == MARKER else self.identity}
        told = self._asking.ask(key, "store", path, facts)
        if told["sha256"] is None:
            self._asking.forget(key)
            raise self._unavailable(self._why_unknown(told) or "its root was another one a moment ago")
        return self._stored(key, path)

    def _stored(self, key: str, path: str) -> bool:
        """Have what was read back of a file count as brought; whether it is told for the first time that it is new."""
        asking, scratch = self._asking, self._asking.scratch
        with scratch.locked():
            request = scratch.read(key)
            report = None if request is None else scratch.report(key, request)
            if request is None or report is None or request.get("is_told"):
                return False
            for other, asked, _ in list(scratch.answers()):  # what was seen before counts no more
                of_path = asked["path"].startswith(path) or asked["do"] == "list" or path == MARKER
                if of_path and asked["do"] != "store":
                    scratch.drop(other)
            fetched, back = asking.key("fetch", path), scratch.of(key) / request["data"]
            scratch.write(fetched, report, request["report"])
            if back.exists():  # a crash may have come between this and the rest
                back.replace(scratch.of(fetched) / request["data"])
            scratch.write(fetched, request | {"do": "fetch"})
            scratch.drop_file(f"{key}/{OUT}")
            scratch.write(key, request | {"is_told": True})
            return bool(report["is_new"])

    def _ask(self, do: str, path: str, *, wait: bool = True) -> dict[str, Any]:
        if path:
            _plain(path)
        return self._asking.ask(self._asking.key(do, path), do, path, wait=wait)

    def _data(self, key: str) -> Path | None:
        """What the job of a request has brought; None when it is not there any more."""
        request = self._asking.scratch.read(key)
        data = None if request is None else self._asking.scratch.of(key) / request["data"]
        return data if data is not None and data.exists() else None

    def _why_unknown(self, told: Mapping[str, Any]) -> str:
        return self._not_met or why_unknown(self.identity, lambda: self._told_marker(told))

    def _told_marker(self, told: Mapping[str, Any]) -> Marker | None:
        text = told["marker"]
        return None if text is None else Marker.from_json(text, self._where(MARKER))

    def _refuse_not_met(self) -> None:
        if self._not_met or self.identity == UNMARKED:
            raise self._unavailable(self._not_met or why_unknown(UNMARKED, lambda: None))

    def _unavailable(self, reason: str) -> CopyError:
        if self._is_under_way:
            return UnderWayError(reason, where=self._where(""), remedy="It is asked again by itself")
        return self._asking.unavailable(reason)

    def _signature(self, path: str, size_bytes: int) -> Signature:
        """HPSS tells times to the minute at best: a file there is known by its name and length."""
        device, inode = (
            int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
            for text in (self._asking.root, f"{self._asking.root}/{path}")
        )
        return Signature(device, inode, size_bytes, 0, 0)

    def _where(self, path: str) -> str:
        return f"{self.name}:{path}"


@dataclass(frozen=True)
class HpssRoot:
    """The root of a place in HPSS, as a meeting sees it."""

    asking: Asking

    @property
    def where(self) -> str:
        """HPSS and the folder."""
        return f"HPSS:{self.asking.root}"

    def read_marker(self) -> Marker | None:
        """The marker there; None when there is none; CopyError when that cannot be known (yet)."""
        return self._place.marker()

    def leave_marker(self, marker: Marker) -> Marker:
        """Put a marker where there is none, and return the one that is there then: another's if that was quicker."""
        found = self.read_marker()
        if found is not None:
            return found
        with suppress(ConflictingBytesError):  # another site came between look and write
            self._place.put_marker(marker)
        self.asking.forget(self.asking.key("root", ""))
        found = self.read_marker()
        if found is None:
            raise CopyError("the marker that was stored is not there", where=self.where, remedy="Have HPSS looked at")
        return found

    def has_any(self, paths: Sequence[str]) -> bool:
        """Whether a file has one of these names, or lies below one; CopyError when that cannot be known."""
        listing = self._place.list()
        if listing.presence is Presence.UNKNOWN:
            raise self.asking.unavailable(listing.reason)
        return any(name == path or name.startswith(f"{path}/") for name in listing.files for path in paths)

    @property
    def _place(self) -> HpssPlace:
        return HpssPlace(self.asking)


ArchivePlace = TapePlace | HpssPlace
"""A place that bundles are archived to."""


def _plain(path: str) -> str:
    """A path that hsi can be told; CopyError for one that it would read as something else."""
    check_relative(path)
    if _PLAIN.fullmatch(path) is None:
        raise CopyError(
            f"{path!r} is no name for hsi",
            where=path,
            remedy="In HPSS names are letters, digits and '._=+,@%-', the first of them no '-'",
        )
    return path
