"""Making an object in S3 that never overwrites another, in pieces where it is big, and giving up unfinished uploads.

A name is given by one request, whole or not at all, and with the condition that nothing has it (``If-None-Match: *``).
Whoever is killed before leaves an upload without a name, which :func:`sweep_uploads` gives up.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote

from xpcs_assets.errors import CopyError
from xpcs_assets.places.files import refuse_wrong_source
from xpcs_assets.places.hashing import Hasher
from xpcs_assets.places.pouring import Digests
from xpcs_assets.places.s3_bucket import Bucket
from xpcs_assets.places.s3_reading import Reading, changed

PART_BYTES = 64 << 20
"""What one request carries at most; about two of them are in memory. Ten thousand of them are an object: 670 GB."""
_MAX_PARTS = 10_000
_PARTS_COPIED_AT_ONCE = 4
_UNFINISHED = timedelta(days=1)
_MISSING, _CONFLICT, _TAKEN = 404, 409, 412
_PAUSE_S = 0.5


class Writer:
    """Makes objects under free names of a bucket.

    Parameters
    ----------
    part_bytes
        5 MiB at least, which S3 demands.
    """

    def __init__(self, bucket: Bucket, part_bytes: int = PART_BYTES) -> None:
        self._bucket = bucket
        self._part_bytes = part_bytes

    def write(
        self, path: str, chunks: Iterable[bytes], sha256: str, also: Mapping[str, str], mtime_ns: int | None
    ) -> tuple[Digests, bool]:
        """Make an object of ``chunks``; length and digests of what came, and whether it has the name now.

        False when something has the name already: nothing was changed then.

        Raises
        ------
        SourceDiffersError
            The bytes are not those of ``sha256`` and ``also``; no object was made.
        CopyError
            The service refused, or did not answer: then the object may have been made, and is whole if it was.
        """
        incoming = _Incoming(chunks, also)
        metadata = {} if mtime_ns is None else {"mtime-ns": str(mtime_ns)}

        def came() -> Digests:
            refuse_wrong_source(self._bucket.named(path), incoming.digests, sha256, also)
            return incoming.digests

        parts = incoming.parts(self._part_bytes)
        part = next(parts, bytearray())
        if len(part) < self._part_bytes:
            digests = came()
            return digests, self._put(path, part, metadata)
        with self._upload(path, metadata) as upload:
            while part:
                upload.add(part)
                part = next(parts, bytearray())
            digests = came()
            return digests, upload.give_name()

    def copy(self, path: str, new_path: str, said: Mapping[str, Any]) -> bool:
        """Make another object of the bytes of one, without them coming here where it is big; see :meth:`write`.

        Parameters
        ----------
        said
            What the service said of the object that is copied; another than that is not copied.
        """
        size_bytes = int(said["ContentLength"])
        metadata = {name: value for name, value in said.get("Metadata", {}).items() if value.isascii()}
        if size_bytes < self._part_bytes:
            reading = Reading(self._bucket, path, etag=str(said["ETag"]))
            if reading.begin() is None:
                raise changed(self._bucket.named(path))
            return self._put(new_path, b"".join(reading.chunks()), metadata)
        step_bytes = self._part_bytes * _PARTS_COPIED_AT_ONCE
        with self._upload(new_path, metadata) as upload:
            for begin_bytes in range(0, size_bytes, step_bytes):
                upload.add_range(path, str(said["ETag"]), begin_bytes, min(begin_bytes + step_bytes, size_bytes) - 1)
            return upload.give_name()

    def _put(self, path: str, data: bytes | bytearray, metadata: Mapping[str, str]) -> bool:
        def put() -> int:
            return self._bucket.ask(
                "put_object",
                ready_for={_CONFLICT, _TAKEN},
                Key=self._bucket.key(path),
                Body=data,
                ContentMD5=_md5(data),
                IfNoneMatch="*",
                Metadata=dict(metadata),
            ).refused

        return self._bucket.look(path) is None and _is_given(self._bucket.named(path), put)

    @contextmanager
    def _upload(self, path: str, metadata: Mapping[str, str]) -> Iterator[_Upload]:
        upload = _Upload(self._bucket, path, metadata)
        try:
            yield upload
        except BaseException:
            with suppress(CopyError):  # what cannot be given up now is swept
                upload.give_up()
            raise


class _Upload:
    """An object on its way in parts. It has no name until :meth:`give_name`."""

    def __init__(self, bucket: Bucket, path: str, metadata: Mapping[str, str]) -> None:
        self._bucket = bucket
        self._path = path
        begun = bucket.ask("create_multipart_upload", Key=bucket.key(path), Metadata=dict(metadata))
        self._asked = {"Key": bucket.key(path), "UploadId": begun.said["UploadId"]}
        self._parts: list[dict[str, Any]] = []

    def add(self, data: bytes | bytearray) -> None:
        """Send the next part."""
        number = self._next()
        sent = self._bucket.ask("upload_part", **self._asked, PartNumber=number, Body=data, ContentMD5=_md5(data)).said
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})

    def add_range(self, path: str, etag: str, begin_bytes: int, last_bytes: int) -> None:
        """Have the next part copied from another object, of which this is the ETag."""
        number = self._next()
        copied = self._bucket.ask(
            "upload_part_copy",
            **self._asked,
            PartNumber=number,
            CopySource={"Bucket": self._bucket.name, "Key": self._bucket.key(path)},
            CopySourceIfMatch=etag,
            CopySourceRange=f"bytes={begin_bytes}-{last_bytes}",
        ).said
        self._parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})

    def give_name(self) -> bool:
        """Make the object of its parts; False, and nothing was made, when something has the name."""
        if self._bucket.look(self._path) is not None:
            self.give_up()
            return False
        refused = self._bucket.ask(
            "complete_multipart_upload",
            # Missing: this very request was answered before, and the answer was lost; or a sweeper gave the upload up.
            ready_for={_MISSING, _TAKEN},
            **self._asked,
            MultipartUpload={"Parts": self._parts},
            IfNoneMatch="*",
        ).refused
        if refused == _TAKEN:
            self.give_up()
        return not refused

    def give_up(self) -> None:
        """Have the service forget the parts."""
        self._bucket.ask("abort_multipart_upload", ready_for={_MISSING}, **self._asked)

    def _next(self) -> int:
        if len(self._parts) == _MAX_PARTS:
            raise CopyError(
                f"it has more than {_MAX_PARTS} parts",
                where=self._bucket.named(self._path),
                remedy="Cut it at the source: S3 takes no object of more parts",
            )
        return len(self._parts) + 1


class _Incoming:
    """Bytes that come in chunks and go on in parts of one length, the last but for what is left."""

    def __init__(self, chunks: Iterable[bytes], also: Iterable[str]) -> None:
        self._chunks = chunks
        self._hasher = Hasher(also)
        self._size_bytes = 0

    @property
    def digests(self) -> Digests:
        """Of all that came so far."""
        return Digests(self._size_bytes, self._hasher.sha256, self._hasher.also)

    def parts(self, part_bytes: int) -> Iterator[bytearray]:
        """The parts, one after the other; each may be kept by whoever asked."""
        part = bytearray()
        for chunk in self._chunks:
            self._hasher.update(chunk)
            self._size_bytes += len(chunk)
            rest = memoryview(chunk)
            while rest:
                taken = rest[: part_bytes - len(part)]
                part += taken
                rest = rest[len(taken) :]
                if len(part) == part_bytes:
                    yield part
                    part = bytearray()
        if part:
            yield part


def sweep_uploads(bucket: Bucket, folder: str = "") -> int:
    """Give up the uploads below a folder to which nothing was added for a day; how many those were.

    Nothing tells whether a writer lives. One that was only very slow is refused its next part and may begin again.

    Raises
    ------
    CopyError
        The service did not answer, or refused.
    """
    swept = 0
    for upload in _uploads(bucket, folder):
        asked = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
        if _is_dead(bucket, upload["Initiated"], asked):
            swept += not bucket.ask("abort_multipart_upload", ready_for={_MISSING}, **asked).refused
    return swept


def _uploads(bucket: Bucket, folder: str) -> Iterator[Mapping[str, Any]]:
    asked: dict[str, Any] = {"Prefix": bucket.below(folder), "EncodingType": "url"}
    while True:
        said = bucket.ask("list_multipart_uploads", **asked).said
        decoded: Callable[[str], str] = unquote if said.get("EncodingType") == "url" else str
        for upload in said.get("Uploads", ()):
            yield {**upload, "Key": decoded(upload["Key"])}
        if not said.get("IsTruncated"):
            return
        asked |= {"KeyMarker": decoded(said["NextKeyMarker"]), "UploadIdMarker": said["NextUploadIdMarker"]}


def _is_dead(bucket: Bucket, begun: datetime, asked: Mapping[str, Any]) -> bool:
    """Whether nothing was added to an upload for a day, by the clock of the service."""
    marker = 0
    while True:
        answer = bucket.ask("list_parts", ready_for={_MISSING}, **asked, PartNumberMarker=marker)
        if answer.refused:
            return False  # it came to its end meanwhile
        last = max([begun, *(part["LastModified"] for part in answer.said.get("Parts", ()))])
        if _now(answer.said) - last < _UNFINISHED:
            return False
        if not answer.said.get("IsTruncated"):
            return True
        marker = answer.said["NextPartNumberMarker"]


def _now(said: Mapping[str, Any]) -> datetime:
    return parsedate_to_datetime(said["ResponseMetadata"]["HTTPHeaders"]["date"])


def _is_given(where: str, put: Callable[[], int]) -> bool:
    """Whether ``put`` gave the name; while another write of it is under way, that one's end is waited for."""
    for _ in range(10):
        refused = put()
        if refused != _CONFLICT:
            return not refused
        time.sleep(_PAUSE_S)
    raise CopyError("another write of this name does not come to an end", where=where, remedy="Repeat when it has")


def _md5(data: bytes | bytearray) -> str:
    """What the service is to compare the bytes with when they come in, where it does."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
