"""A part of an S3 bucket and the one way to ask for anything in it: time limits, names, and refusals told as errors."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from xpcs_assets.errors import CopyError, NoRoomError, NotVerifiedError, SettingsError
from xpcs_assets.places.reading import Signature
from xpcs_assets.runs.manifest import check_relative
from xpcs_assets.secret import SecretReference

_REPEAT = "Repeat when the service is well; what was written is whole or is not there"
_NO_KEY = ("the service does not know the access key", "See that both secrets of this place are those of one key")
_NO_RIGHT = (
    "the service denies it to this access key",
    "Give the key the rights to list the bucket, and to get, put and delete its objects",
)
_WRONG_REGION = ("the bucket is in another region", "Name its `region` in the beamline file")
_DAMAGED = ("the bytes were damaged on their way to the service", "Repeat; have the network looked at if it stays so")
_FULL = ("the service has no room for it", "Make room and repeat; nothing partial has the name")
_TOO_LONG = ("the name is too long for S3", "Rename it at the source")
_CAUSES: Mapping[str, tuple[str, str]] = {
    "InvalidAccessKeyId": _NO_KEY,
    "SignatureDoesNotMatch": _NO_KEY,
    "NoSuchBucket": ("there is no such bucket", "Make it, or name the right one in the beamline file"),
    "PermanentRedirect": _WRONG_REGION,
    "AuthorizationHeaderMalformed": _WRONG_REGION,
    "RequestTimeTooSkewed": ("this machine's clock is not that of the service", "Set the clock"),
    "InvalidObjectState": ("the object lies in a class that must be restored first", "Restore it, then repeat"),
    "NotImplemented": (
        "the service does not know a condition that keeps other bytes safe (If-None-Match, If-Match)",
        "Take a service that has conditional writes; see docs/how-to/use-a-place-in-s3.md",
    ),
    "BadDigest": _DAMAGED,
    "KeyTooLongError": _TOO_LONG,
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
}
_BY_STATUS: Mapping[int, tuple[str, str]] = {301: _WRONG_REGION, 403: _NO_RIGHT, 507: _FULL}
_NAME_BYTES = 1024


@dataclass(frozen=True)
class Answer:
    """What the service said to one request.

    Attributes
    ----------
    said
        The content; empty when it refused.
    refused
        The status of a refusal that the caller was ready for; 0 when there was none.
    """

    said: Mapping[str, Any]
    refused: int = 0


@dataclass(frozen=True)
class Bucket:
    """Which part of which bucket, and how it is asked. The credentials are references: no secret is in this object.

    Attributes
    ----------
    name
        Of the bucket.
    prefix
        The key below which all names lie, without slashes at its ends; empty for the whole bucket.
    endpoint
        Address of the service; empty for AWS.
    region
        The bucket's.
    access_key_id, secret_access_key
        Where the two parts of the access key lie; read anew for each request.
    connect_s, read_s
        How long to wait for a connection, and for each piece of an answer.
    attempts
        How often a request is sent at most, while the service gives no answer or says that it is not well.
    """

    name: str
    access_key_id: SecretReference
    secret_access_key: SecretReference
    prefix: str = ""
    endpoint: str = ""
    region: str = "us-east-1"
    connect_s: float = 10.0
    read_s: float = 60.0
    attempts: int = 4

    def __post_init__(self) -> None:
        if self.prefix:
            check_relative(self.prefix)

    @property
    def where(self) -> str:
        """What people call it."""
        return "/".join(filter(None, (f"s3://{self.name}", self.prefix)))

    @property
    def service(self) -> str:
        """Address of the service, for people."""
        return self.endpoint or f"AWS {self.region}"

    def named(self, path: str) -> str:
        """What people call one of its objects."""
        return f"{self.where}/{path}"

    def key(self, path: str) -> str:
        """The key of a path.

        Raises
        ------
        NotVerifiedError
            It is no path inside the place.
        CopyError
            No object can have this name.
        """
        key = "/".join(filter(None, (self.prefix, str(check_relative(path)))))
        try:
            length_bytes = len(key.encode())
        except UnicodeEncodeError as error:
            raise CopyError(
                "the name is not Unicode, and names in S3 are", where=ascii(path), remedy="Rename it at the source"
            ) from error
        if length_bytes > _NAME_BYTES:
            what, remedy = _TOO_LONG
            raise CopyError(what, where=path, remedy=remedy)
        return key

    def below(self, folder: str) -> str:
        """What the keys of all objects below a folder begin with."""
        start = self.key(folder) if folder else self.prefix
        return f"{start}/" if start else ""

    def path(self, key: str) -> str:
        """The path of a key of this part of the bucket, which may be one that :func:`check_relative` refuses."""
        return key.removeprefix(f"{self.prefix}/") if self.prefix else key

    def ask(self, operation: str, *, ready_for: Container[int] = (), **parameters: Any) -> Answer:
        """Send a request.

        Parameters
        ----------
        operation
            Of boto3's client.
        ready_for
            The statuses of refusals that are returned, not raised; that there is no such bucket is always raised.
        parameters
            Of the operation, but for the bucket.

        Raises
        ------
        CopyError
            The service did not answer, or refused; the message says why.
        SettingsError
            The client is not installed or cannot be made, or a secret is not there.
        """
        send = getattr(self._client(), operation)
        from botocore.exceptions import ClientError

        where = self.named(self.path(parameters["Key"])) if "Key" in parameters else self.where
        with self.told(where):
            try:
                return Answer(send(Bucket=self.name, **parameters))
            except ClientError as error:
                code, status = _said(error)
                if status in ready_for and code != "NoSuchBucket":
                    return Answer({}, status)
                raise _refusal(operation, code, status, where) from _cause(status, error)

    def look(self, path: str) -> Mapping[str, Any] | None:
        """What the service says of an object; None when it says that it is not there, or that there is no bucket.

        Raises
        ------
        CopyError
            It did not answer, or refused, or the answer is none of an S3 service.
        """
        answer = self.ask("head_object", ready_for={404}, Key=self.key(path))
        if answer.refused:
            return None
        self.signature(self.key(path), answer.said)
        return answer.said

    def why_unreachable(self) -> str:
        """Why nothing can be said of the bucket now; empty when it answers."""
        try:
            self.ask("list_objects_v2", Prefix=self.below(""), MaxKeys=1)
        except CopyError as error:
            return error.what
        return ""

    def signature(self, key: str, said: Mapping[str, Any]) -> Signature:
        """What an object is, from the headers of an answer that gave all of it, or only them.

        An object is never changed, only replaced: which one it is say its name and its ETag, and its version where the
        bucket has versions. So these are the inode, and the service and the bucket the device. An ETag is not compared
        with any digest, and is no proof of the bytes.

        Raises
        ------
        CopyError
            The answer is none of an S3 service.
        """
        try:
            size_bytes, etag, changed = said["ContentLength"], said["ETag"], said["LastModified"]
        except KeyError as error:
            raise CopyError(
                f"the answer has no {error}: no S3 service gave it",
                where=self.service,
                remedy="See that `endpoint` is the address of the service itself and of no web page",
            ) from error
        changed_ns = int(changed.timestamp()) * 10**9
        inode = _number(key, etag, said.get("VersionId", ""))
        return Signature(_number(self.endpoint, self.name), inode, size_bytes, changed_ns, changed_ns)

    @contextmanager
    def told(self, where: str) -> Iterator[None]:
        """Turn what goes wrong on the way to the service and back into the package's errors."""
        from botocore.exceptions import BotoCoreError
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (BotoCoreError, ResponseParserError, HTTPError) as error:
            raise CopyError(
                f"the S3 service {self.service} gave no answer that can be used ({type(error).__name__})",
                where=where,
                remedy=_REPEAT,
            ) from error

    def _client(self) -> Any:
        asked = (self.endpoint, self.region, self.connect_s, self.read_s, self.attempts)
        return _client(*asked, self.access_key_id.read(), self.secret_access_key.read())


@lru_cache(maxsize=32)
def _client(
    endpoint: str,
    region: str,
    connect_s: float,
    read_s: float,
    attempts: int,
    access_key_id: str,
    secret_access_key: str,
) -> Any:
    """One client for each service and key, with its connections: making one takes a tenth of a second."""
    try:
        from boto3.session import Session
    except ImportError as error:
        raise SettingsError(
            "a place in S3 needs a library that is not installed", remedy="Install `xpcs-assets[s3]`"
        ) from error
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    # What boto3 adds unasked (CRC32, in trailers) many services besides AWS refuse; each request has its MD5 instead.
    config = Config(
        connect_timeout=connect_s,
        read_timeout=read_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint else "auto"},
        ignore_configured_endpoint_urls=True,
    )
    try:
        return Session().client(
            "s3",
            region_name=region,
            endpoint_url=endpoint or None,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            config=config,
        )
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(
            f"no client can be made ({type(error).__name__})",
            where=endpoint or region,
            remedy="See `endpoint` and `region` of the place in the beamline file",
        ) from error


def _said(error: Any) -> tuple[str, int]:
    answer = error.response
    return str(answer.get("Error", {}).get("Code", "")), int(answer["ResponseMetadata"]["HTTPStatusCode"])


def _cause(status: int, error: Exception) -> BaseException:
    """The error's cause; where the right is missing one of the system, which whoever meets a place looks for."""
    if status != 403:
        return error
    forbidden = PermissionError(errno.EACCES, "the service answered 403")
    forbidden.__cause__ = error
    return forbidden


def _refusal(operation: str, code: str, status: int, where: str) -> CopyError:
    what, remedy = (
        _CAUSES.get(code)
        or _BY_STATUS.get(status)
        or (
            f"the service refused {operation} with {status} {code}".rstrip(),
            _REPEAT,
        )
    )
    kind = NotVerifiedError if (what, remedy) == _DAMAGED else NoRoomError if (what, remedy) == _FULL else CopyError
    return kind(what, where=where, remedy=remedy)


def _number(*parts: str) -> int:
    """A number below 2^63 that stands for some words."""
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode()).digest()[:8]) >> 1
