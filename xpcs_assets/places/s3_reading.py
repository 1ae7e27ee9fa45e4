"""Reading an object of S3 to its end, and going on where a connection broke."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from xpcs_assets.errors import ChangedWhileReadingError, CopyError
from xpcs_assets.places.hashing import Hasher
from xpcs_assets.places.reading import CHUNK_BYTES, Hashed
from xpcs_assets.places.s3_bucket import Bucket

_MISSING, _REPLACED, _BEYOND_THE_END = 404, 412, 416


class Reading:
    """One object from an offset on. What breaks off is asked for again from there, of the same object or not at all.

    Parameters
    ----------
    path
        Relative to the place's root.
    etag
        Of the one object that may be read, where that is known.
    """

    def __init__(self, bucket: Bucket, path: str, offset_bytes: int = 0, etag: str = "") -> None:
        self._bucket = bucket
        self._key = bucket.key(path)
        self._where = bucket.named(path)
        self._at_bytes = offset_bytes
        self._etag = etag
        self._body: Any = None

    def begin(self) -> Mapping[str, Any] | None:
        """Ask for it; what the service says of it, and None when it says that this object is not there."""
        asked: dict[str, Any] = {"Key": self._key}
        if self._at_bytes:
            asked["Range"] = f"bytes={self._at_bytes}-"
        if self._etag:
            asked["IfMatch"] = self._etag
        answer = self._bucket.ask("get_object", ready_for={_MISSING, _REPLACED, _BEYOND_THE_END}, **asked)
        if answer.refused == _BEYOND_THE_END:
            return {}  # there is nothing to read, and no body
        if answer.refused:
            return None
        self._body = answer.said["Body"]
        try:
            self._refuse_other_answers(answer.said)
        except CopyError:
            self._close()
            raise
        self._etag = str(answer.said["ETag"])
        return answer.said

    def chunks(self) -> Iterator[bytes]:
        """The bytes, once it was begun.

        Raises
        ------
        ChangedWhileReadingError
            It was replaced or removed while it was read.
        CopyError
            It broke off again and again, and no byte came in between.
        """
        broken = 0
        try:
            while self._body is not None:
                try:
                    with self._bucket.told(self._where):
                        data = self._body.read(CHUNK_BYTES)
                except CopyError:
                    broken += 1
                    if broken >= self._bucket.attempts:
                        raise
                    self._go_on()
                    continue
                if not data:
                    return
                broken = 0
                self._at_bytes += len(data)
                yield data
        finally:
            self._close()

    def _refuse_other_answers(self, said: Mapping[str, Any]) -> None:
        self._bucket.signature(self._key, said)
        if self._at_bytes and "ContentRange" not in said:
            raise CopyError(
                "the service does not read from an offset", where=self._where, remedy="Take a service that has ranges"
            )

    def _go_on(self) -> None:
        self._close()
        if self.begin() is None:
            raise changed(self._where)

    def _close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


def changed(where: str) -> ChangedWhileReadingError:
    """What is said of an object that is no longer the one that was read."""
    return ChangedWhileReadingError(
        "it was replaced or removed while it was read", where=where, remedy="Read it again when nobody writes it"
    )


def hash_object(bucket: Bucket, path: str, also: Iterable[str] = ()) -> Hashed | None:
    """Read an object from the service now: its digests, and what it was; None when the service says it is not there.

    Raises
    ------
    CopyError
        It cannot be read.
    SettingsError
        The library that makes one of the digests is not installed.
    """
    hasher, reading = Hasher(also), Reading(bucket, path)
    said = reading.begin()
    if said is None:
        return None
    signature = bucket.signature(bucket.key(path), said)
    for data in reading.chunks():
        hasher.update(data)
    return Hashed(hasher.sha256, hasher.also, signature)
