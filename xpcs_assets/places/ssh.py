"""A place that is a folder of another machine, reached by the system's ssh.

Each operation is one request to a program that is sent along (``ssh_far``); the connection is shared, so that it costs
no handshake. Digests are made at the far side. What cannot be reached is unknown, and never taken for absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from xpcs_assets.commands import SshCommands
from xpcs_assets.errors import ChangedWhileReadingError, ConflictingBytesError, CopyError
from xpcs_assets.places.files import ONLY_SHA256, Written, refuse_wrong_source
from xpcs_assets.places.hashing import KINDS, Hasher
from xpcs_assets.places.marker import UNMARKED, why_unknown
from xpcs_assets.places.place import Listing, Presence, RemovalPermit, Stat, Usage
from xpcs_assets.places.pouring import Digests
from xpcs_assets.places.reading import Hashed, Signature
from xpcs_assets.places.ssh_far_files import DIGESTS
from xpcs_assets.places.ssh_session import PATIENCE_S, session
from xpcs_assets.places.ssh_wire import OutOfReachError, Session, request_of, told_marker
from xpcs_assets.runs.folders import ASIDE_FOLDER, MARKER
from xpcs_assets.runs.manifest import check_relative

_REMEDY = "Bring its machine and disk back; `xpcs-assets place` shows what is expected, and takes another with --adopt"


class SshPlace:
    """A folder of another machine, and the marker in it that tells it from any other disk mounted in its stead.

    Parameters
    ----------
    name
        Its name in the site's settings.
    commands
        The machine.
    root
        The folder there, an absolute path.
    failure_domain
        What is lost together with it; empty means the machine.
    identity, unavailable
        As for :class:`xpcs_assets.places.posix.PosixPlace`.
    """

    holds_bundles = False
    seeks = True

    def __init__(
        self,
        name: str,
        commands: SshCommands,
        root: str,
        failure_domain: str = "",
        *,
        identity: str | None = None,
        unavailable: str = "",
    ) -> None:
        self.name = name
        self.commands = commands
        self.root = root
        self.identity = identity
        self._failure_domain = failure_domain
        self._not_met = unavailable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.where})"

    @property
    def where(self) -> str:
        """What people call its root."""
        return f"{self.commands.where}:{self.root}"

    @property
    def failure_domain(self) -> str:
        """The one given, or the machine; CopyError while the place is unavailable."""
        self.request("available")
        return self._failure_domain or f"host {self.commands.address}"

    def why_unavailable(self) -> str:
        """Why nothing is done here now (not reached, not mounted, another disk); empty when this is the place."""
        try:
            return self._why_refused(self.request("look")["marker"])
        except _StrangeError as error:
            return error.reason

    def stat(self, path: str) -> Stat:
        """Whether a regular file is there; what is not is absent only where the root is known to be the place's."""
        check_relative(path)
        try:
            found = self.request("stat", path)
        except CopyError as error:
            return Stat(Presence.UNKNOWN, reason=_reason(error))
        if "signature" in found:
            return Stat(Presence.YES, Signature(*found["signature"]))
        unknown = self._why_unknown(found["marker"])
        return Stat(Presence.UNKNOWN, reason=unknown) if unknown else Stat(Presence.NO, reason=found["absent"])

    def digest(self, path: str, also: Iterable[str] = ()) -> Hashed:
        """Read a file from its disk now, at the far side; for a digest that is not made there the bytes come here.

        Raises
        ------
        NotFoundError, CopyError
            It is not there, no regular file, cannot be read; ChangedWhileReadingError if it changed meanwhile.
        SettingsError
            The library that makes one of the digests is not installed.
        """
        check_relative(path)
        wanted = sorted(KINDS.intersection(also))
        if set(wanted) <= set(DIGESTS):
            found = self.request("digest", path, also=wanted)
            sums = dict(found["sums"])
        else:
            hasher = Hasher(wanted)
            with self._asked("read", path, offset_bytes=0) as asked:
                while "data" in (found := self._answer(asked)):
                    for data in asked.take(found["data"]):
                        hasher.update(data)
            sums = {"sha256": hasher.sha256, **hasher.also}
        if found["changed"]:
            raise ChangedWhileReadingError(
                "it changed while it was read", where=self._path(path), remedy="Read it again when nobody writes it"
            )
        return Hashed(sums["sha256"], {kind: sums[kind] for kind in wanted}, Signature(*found["signature"]))

    def read(self, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
        """The bytes of a file from an offset on."""
        check_relative(path)
        with self._asked("read", path, offset_bytes=offset_bytes) as asked:
            while "data" in (found := self._answer(asked)):
                yield from asked.take(found["data"])

    def put(
        self,
        path: str,
        chunks: Iterable[bytes],
        *,
        sha256: str = "",
        also: Mapping[str, str] = ONLY_SHA256,
        mtime_ns: int | None = None,
    ) -> Written:
        """Write a file; see :func:`xpcs_assets.places.files.write_file_safely`, which is done at the far side.

        What was sent is hashed here, what was read back from the disk there, and only then it is given its name.
        """
        check_relative(path)
        with self._asked("put", path, sha256=sha256) as asked:
            found = self._answer(asked)
            if "there" in found:
                self._refuse_other_digests(path, also)
                return Written(found["there"], sha256, already_there=True)
            sent = self._send(asked, chunks, also)
            refuse_wrong_source(self._path(path), sent, sha256, also)
            asked.end_of_file()
            asked.say(sha256=sent.sha256, mtime_ns=mtime_ns)
            return Written(sent.size_bytes, sent.sha256, already_there=self._answer(asked)["already_there"])

    def _refuse_other_digests(self, path: str, also: Mapping[str, str]) -> None:
        """Refuse a file that is there, and is of the sha256 promised but not of the digests beside it."""
        if also and self.digest(path, also).also != also:
            raise ConflictingBytesError(
                "the name is taken by other bytes than the digests say",
                where=self._path(path),
                remedy="One of them is wrong: take a new manifest",
            )

    def _send(self, asked: Session, chunks: Iterable[bytes], also: Iterable[str]) -> Digests:
        hasher, size_bytes = Hasher(also), 0
        for chunk in chunks:
            hasher.update(chunk)
            size_bytes += len(chunk)
            if not asked.pour(chunk):
                self._answer(asked)  # raises why it takes no more
        return Digests(size_bytes, hasher.sha256, hasher.also)

    def settle(self, paths: Iterable[str]) -> None:
        """Have the names of all folders above files on the disk; all in one request."""
        folders = {above.as_posix().strip(".") for path in paths for above in check_relative(path).parents}
        self.request("settle", paths=sorted(folders))

    def remove(self, path: str, permit: RemovalPermit) -> bool:
        """Remove a file that the permit allows to go; folders that are empty then go with it."""
        check_relative(path)
        return bool(self.request("remove", path, permit)["removed"])

    def set_aside(self, path: str, label: str, permit: RemovalPermit) -> str:
        """Move a file out of its name within this place, on the same file system and never over another."""
        aside_path = str(check_relative(f"{ASIDE_FOLDER}/{label}/{path}"))
        self.request("move", path, permit, new_path=aside_path)
        return aside_path

    def put_back(self, aside_path: str, path: str) -> None:
        """Give a file that was set aside its name again."""
        for each in (aside_path, path):
            check_relative(each)
        self.request("move", aside_path, _Free(), new_path=path)

    def sweep(self, folder: str = "") -> int:
        """Remove the partials below a folder whose writers are dead; how many those were."""
        return int(self.request("sweep", _checked(folder))["swept"])

    def usage(self) -> Usage | None:
        """How full the file system of the root is, by what is free to this user."""
        try:
            found = self.request("usage")
        except CopyError:
            return None
        return Usage(found["used_bytes"], found["free_bytes"])

    def list(self, folder: str = "") -> Listing:
        """What lies below a folder; unknown when any of it cannot be read, or the root may be another disk's."""
        _checked(folder)
        names: list[tuple[str, bool]] = []
        try:
            with self._asked("names", folder) as asked:
                while True:
                    found = self._answer(asked)
                    if "absent" in found:
                        return Listing(Presence.NO, reason=found["absent"])
                    names.extend((path, is_file) for path, is_file in found["names"])
                    if found["end"]:
                        break
        except CopyError as error:
            return Listing(Presence.UNKNOWN, reason=_reason(error))
        files, others = (
            tuple(sorted(path for path, is_file in names if is_file is wanted)) for wanted in (True, False)
        )
        return Listing(Presence.YES, files, others)

    def request(
        self,
        do: str,
        path: str = "",
        permit: RemovalPermit | None = None,
        *,
        patience_s: float = PATIENCE_S,
        **facts: Any,
    ) -> dict[str, Any]:
        """The answer to a request to the far side that has one; see ``ssh_far.Far`` for what may be asked."""
        with self._asked(do, path, patience_s=patience_s, **facts) as asked:
            return self._answer(asked, permit, path)

    @contextmanager
    def _asked(self, do: str, path: str = "", *, patience_s: float = PATIENCE_S, **facts: Any) -> Iterator[Session]:
        """A request under way; CopyError where the machine or the root cannot be reached."""
        request = request_of(self.root, do, path=path, **facts)
        try:
            with session(self.commands, request, self._path(path), patience_s) as asked:
                yield asked
        except OutOfReachError as error:
            raise self.unavailable(error.what) from error

    def _answer(self, asked: Session, permit: RemovalPermit | None = None, path: str = "") -> dict[str, Any]:
        """The next answer; what the far side asks before is judged, and it goes on or is left."""
        while "ask" in (facts := asked.hear()):
            if facts["ask"] == "allow":
                if permit is None:
                    raise CopyError("it asks for what was not asked of it", where=self._path(path))
                permit.allow(self.name, path)
            elif why := (self._why_unknown if facts["ask"] == "known" else self._why_refused)(facts["marker"]):
                raise self.unavailable(why)
            asked.say(go_on=True)
        return facts

    def _why_refused(self, marker: dict[str, Any]) -> str:
        return self._not_met if self.identity == UNMARKED else self._why_unknown(marker)

    def _why_unknown(self, marker: dict[str, Any]) -> str:
        return self._not_met or why_unknown(self.identity, lambda: told_marker(marker, self._path(MARKER)))

    def unavailable(self, reason: str) -> CopyError:
        """The error that says so."""
        error = _StrangeError(f"place {self.name!r} is unavailable: {reason}", where=self.where, remedy=_REMEDY)
        error.reason = reason
        return error

    def _path(self, path: str) -> str:
        return f"{self.where}/{path}" if path else self.where


class _StrangeError(CopyError):
    """The place is unavailable, for ``reason``."""

    reason = ""


class _Free:
    """Allows what needs no permit."""

    def allow(self, place: str, path: str) -> None:
        """See :class:`RemovalPermit`."""


def _reason(error: CopyError) -> str:
    return error.reason if isinstance(error, _StrangeError) else error.what


def _checked(folder: str) -> str:
    return str(check_relative(folder)) if folder else ""
