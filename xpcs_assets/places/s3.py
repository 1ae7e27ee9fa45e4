"""A place that is a part of an S3 bucket: each file is an object, whose key is the prefix and the path."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from xpcs_assets.errors import ConflictingBytesError, CopyError, NotFoundError, NotVerifiedError
from xpcs_assets.places.files import ONLY_SHA256, Written
from xpcs_assets.places.marker import UNMARKED, Marker, why_unknown
from xpcs_assets.places.place import Listing, Presence, RemovalPermit, Stat
from xpcs_assets.places.reading import Hashed, Signature
from xpcs_assets.places.s3_bucket import Bucket
from xpcs_assets.places.s3_listing import ABSENT, list_objects
from xpcs_assets.places.s3_reading import Reading, changed, hash_object
from xpcs_assets.places.s3_writing import PART_BYTES, Writer, sweep_uploads
from xpcs_assets.runs.folders import ASIDE_FOLDER, MARKER
from xpcs_assets.runs.manifest import check_relative

_MISSING, _REPLACED = 404, 412


@dataclass(frozen=True)
class S3Root:
    """The part of a bucket that is a place's, with the marker in it, which is an object."""

    bucket: Bucket

    @property
    def where(self) -> str:
        """``s3://bucket/prefix``."""
        return self.bucket.where

    def read_marker(self) -> Marker | None:
        """The marker there; None when there is none. CopyError when that cannot be known, or it is damaged."""
        reading = Reading(self.bucket, MARKER)
        if reading.begin() is None:
            return None
        return Marker.from_json(b"".join(reading.chunks()), self.bucket.named(MARKER))

    def leave_marker(self, marker: Marker) -> Marker:
        """Put a marker where there is none, and return the one that is there then: another's if that was quicker."""
        if found := self.read_marker():
            return found
        Writer(self.bucket).write(MARKER, [marker.to_json().encode()], "", ONLY_SHA256, None)
        found = self.read_marker()
        if found is None:
            raise NotVerifiedError(
                "the marker that was left is not there", where=self.where, remedy="Have the service looked at"
            )
        return found

    def has_any(self, paths: Sequence[str]) -> bool:
        """Whether an object has one of these names, or any lies below it."""
        return any(self.bucket.look(path) is not None or self._has_below(path) for path in paths)

    def _has_below(self, folder: str) -> bool:
        said = self.bucket.ask("list_objects_v2", Prefix=self.bucket.below(folder), MaxKeys=1).said
        return bool(said.get("Contents"))


class S3Place:
    """A part of an S3 bucket, and the marker in it that tells it from any other bucket of the same name.

    Nothing that a service says of digests is taken for evidence: bytes are read back and hashed here. That nothing is
    overwritten is asked of the service with each write (``If-None-Match: *``), and looked at before and after.

    Parameters
    ----------
    name
        Its name in the site's settings.
    bucket
        Where it is, and how it is asked.
    failure_domain
        What is lost together with it; empty means the service and the bucket.
    identity, unavailable
        As for :class:`~xpcs_assets.places.posix.PosixPlace`.
    part_bytes
        What one request carries at most; about twice that is held in memory.
    """

    holds_bundles = False
    seeks = True

    def __init__(
        self,
        name: str,
        bucket: Bucket,
        failure_domain: str = "",
        identity: str | None = None,
        unavailable: str = "",
        part_bytes: int = PART_BYTES,
    ) -> None:
        self.name = name
        self.bucket = bucket
        self.identity = identity
        self._failure_domain = failure_domain
        self._not_met = unavailable
        self._writer = Writer(bucket, part_bytes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.bucket.where})"

    @property
    def failure_domain(self) -> str:
        """The one given, or the service and the bucket; CopyError while the place is unavailable."""
        self._refuse_unavailable()
        return self._failure_domain or f"bucket {self.bucket.name} at {self.bucket.service}"

    def why_unavailable(self) -> str:
        """Why nothing is done here now (no answer, no right, another bucket); empty when this is the place."""
        if self.identity == UNMARKED:
            return self._not_met or self.bucket.why_unreachable()
        return self._why_unknown()

    def stat(self, path: str) -> Stat:
        """Whether an object is there; what is not is absent only where the bucket is known to be the place's."""
        check_relative(path)
        try:
            said = self.bucket.look(path)
            if said is not None:
                return Stat(Presence.YES, self._signature(path, said))
        except CopyError as error:
            return Stat(Presence.UNKNOWN, reason=error.what)
        unknown = self._why_unknown()
        return Stat(Presence.UNKNOWN, reason=unknown) if unknown else Stat(Presence.NO, reason=ABSENT)

    def digest(self, path: str, also: Iterable[str] = ()) -> Hashed:
        """Read an object from the service now; see :func:`xpcs_assets.places.s3_reading.hash_object`."""
        found = hash_object(self.bucket, path, also)
        if found is None:
            raise self._absent(path)
        return found

    def read(self, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
        """The bytes of an object from an offset on; where a connection breaks it is read on from there."""
        reading = Reading(self.bucket, path, offset_bytes)
        if reading.begin() is None:
            raise self._absent(path)
        yield from reading.chunks()

    def put(
        self,
        path: str,
        chunks: Iterable[bytes],
        *,
        sha256: str = "",
        also: Mapping[str, str] = ONLY_SHA256,
        mtime_ns: int | None = None,
    ) -> Written:
        """Write an object under a free name, in one request or in parts, and read it back.

        Its name comes before the read-back, since a service shows nothing that has none. ``mtime_ns`` is kept beside
        it as ``mtime-ns``, for people.

        Raises
        ------
        ConflictingBytesError
            Other bytes have the name; nothing was changed.
        SourceDiffersError
            The bytes are not those of ``sha256`` and ``also``; nothing has the name.
        NotVerifiedError
            They did not come back as they were sent. What is there is kept.
        CopyError
            The place is unavailable, or the service refused.
        """
        check_relative(path)
        self._refuse_unknown()
        if sha256 and self.bucket.look(path) is not None:
            found = self._read_back(path, also)
            _refuse_other_bytes(found, sha256, also, self.bucket.named(path))
            return Written(found.size_bytes, sha256, already_there=True)
        came, is_ours = self._writer.write(path, chunks, sha256, also, mtime_ns)
        found = self._read_back(path, also)
        if not is_ours:
            _refuse_other_bytes(found, came.sha256, came.also, self.bucket.named(path))
        elif (found.sha256, found.also) != (came.sha256, came.also):
            raise self._not_verified(path)
        return Written(came.size_bytes, came.sha256, already_there=not is_ours)

    def settle(self, paths: Iterable[str]) -> None:
        """Nothing is left to be done: what the service took is there by its name. CopyError when it is not the place's.

        Parameters
        ----------
        paths
            Of the files that were written.
        """
        for path in paths:
            check_relative(path)
        self._refuse_unavailable()

    def remove(self, path: str, permit: RemovalPermit) -> bool:
        """Remove an object that the permit allows to go; in a bucket with versions its bytes stay as an old version."""
        check_relative(path)
        self._refuse_unavailable()
        said = self.bucket.look(path)
        if said is None:
            self._refuse_unknown()
            return False
        self._delete(path, said, partial(permit.allow, self.name, path))
        return True

    def set_aside(self, path: str, label: str, permit: RemovalPermit) -> str:
        """Give a file another name in this place: it is copied, the copy is read back, and then the old one goes."""
        aside_path = str(check_relative(f"{ASIDE_FOLDER}/{label}/{path}"))
        self._move(path, aside_path, partial(permit.allow, self.name, path))
        return aside_path

    def put_back(self, aside_path: str, path: str) -> None:
        """Give a file that was set aside its name again, likewise."""
        self._move(aside_path, path)

    def sweep(self, folder: str = "") -> int:
        """Give up the unfinished uploads below a folder; see :func:`xpcs_assets.places.s3_writing.sweep_uploads`."""
        self._refuse_unavailable()
        return sweep_uploads(self.bucket, folder)

    def usage(self) -> None:
        """A bucket has no end that it tells."""

    def list(self, folder: str = "") -> Listing:
        """What lies below a folder; unknown when any part of it cannot be asked for, or the bucket may be another."""
        if folder:
            check_relative(folder)
        if unknown := self._why_unknown():
            return Listing(Presence.UNKNOWN, reason=unknown)
        return list_objects(self.bucket, folder)

    def _move(self, old: str, new: str, allow: Callable[[], None] = lambda: None) -> None:
        """Copy, read back, delete: killed at any point it loses nothing, and a repeat finishes."""
        self.bucket.key(old)
        self._refuse_unknown()
        said = self.bucket.look(old)
        if said is None:
            if self.bucket.look(new) is None:
                raise self._absent(old)
            return
        before = self.digest(old)
        if before.signature != self._signature(old, said):
            raise changed(self.bucket.named(old))
        allow()
        is_ours = self._writer.copy(old, new, said)
        found = self._read_back(new)
        if not is_ours:
            _refuse_other_bytes(found, before.sha256, {}, self.bucket.named(new))
        elif found.sha256 != before.sha256:
            raise self._not_verified(new)
        self._delete(old, said, allow)

    def _delete(self, path: str, said: Mapping[str, Any], allow: Callable[[], None]) -> None:
        """Delete this very object. Another that has taken its name is kept: looked at, and asked of the service."""
        allow()  # at the last moment: whoever is stopped before it may wake up too late
        now = self.bucket.look(path)
        if now is None:
            return
        asked = {"Key": self.bucket.key(path), "IfMatch": said["ETag"]}
        if (
            self._signature(path, now) != self._signature(path, said)
            or self.bucket.ask("delete_object", ready_for={_MISSING, _REPLACED}, **asked).refused == _REPLACED
        ):
            raise changed(self.bucket.named(path))

    def _signature(self, path: str, said: Mapping[str, Any]) -> Signature:
        return self.bucket.signature(self.bucket.key(path), said)

    def _read_back(self, path: str, also: Iterable[str] = ()) -> Hashed:
        found = hash_object(self.bucket, path, also)
        if found is None:
            raise CopyError(
                "it was not there when it was read back: its upload was given up, or it was removed",
                where=self.bucket.named(path),
                remedy="Repeat",
            )
        return found

    def _not_verified(self, path: str) -> NotVerifiedError:
        return NotVerifiedError(
            "what came back from the service is not what was sent",
            where=self.bucket.named(path),
            remedy="It is kept: see who else writes there, have the service looked at, move it away, then repeat",
        )

    def _absent(self, path: str) -> NotFoundError:
        """That an object is not there; CopyError is raised where that is not known."""
        self._refuse_unknown()
        return NotFoundError("no such file", where=self.bucket.named(path), remedy="It was moved or removed by another")

    def _why_unknown(self) -> str:
        """Why what is not found may be there all the same; empty when it is not."""
        if self.identity is None:
            return self._not_met or self.bucket.why_unreachable()
        return self._not_met or why_unknown(self.identity, S3Root(self.bucket).read_marker)

    def _refuse_unknown(self) -> None:
        self._refuse(self._why_unknown())

    def _refuse_unavailable(self) -> None:
        self._refuse(self.why_unavailable())

    def _refuse(self, reason: str) -> None:
        if reason:
            raise CopyError(
                f"place {self.name!r} is unavailable: {reason}",
                where=self.bucket.where,
                remedy="See whether the service answers; `xpcs-assets place` shows what is expected there, and takes "
                "another with --adopt",
            )


def _refuse_other_bytes(found: Hashed, sha256: str, also: Mapping[str, str], where: str) -> None:
    if (found.sha256, dict(found.also)) != (sha256, dict(also)):
        raise ConflictingBytesError(
            "the name is taken by other bytes",
            where=where,
            remedy="Both were kept: look which is right, and move the other away",
        )
