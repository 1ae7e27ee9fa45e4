"""What lies below a folder of a place in S3, where there are no folders but only keys that begin alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xpcs_assets.errors import CopyError, NotVerifiedError
from xpcs_assets.places.place import Listing, Presence
from xpcs_assets.places.s3_bucket import Bucket
from xpcs_assets.runs.folders import UNLISTED
from xpcs_assets.runs.manifest import check_relative

ABSENT = "it is not there"


def list_objects(bucket: Bucket, folder: str) -> Listing:
    """What lies below a folder of a bucket that is known to be the place's; unknown when it is not told to its end.

    A key that is no relative path is one of the ``others``. An empty object whose key ends in a slash stands for a
    folder, as people make them by hand, and is no file.
    """
    files: list[str] = []
    others: list[str] = []
    is_there = not folder
    try:
        for path, size_bytes in _objects(bucket, folder):
            is_there = True
            if not folder and path.split("/", 1)[0] in UNLISTED:
                continue
            if _is_relative(path):
                files.append(path)
            elif size_bytes or (path and not _is_relative(path.removesuffix("/"))):
                others.append(path or "/")
    except CopyError as error:
        return Listing(Presence.UNKNOWN, reason=error.what)
    if not is_there:
        return Listing(Presence.NO, reason=ABSENT)
    return Listing(Presence.YES, tuple(sorted(files)), tuple(sorted(others)))


def _objects(bucket: Bucket, folder: str) -> Iterator[tuple[str, int]]:
    """Path and size of each object below a folder, however many answers that takes."""
    asked: dict[str, Any] = {"Prefix": bucket.below(folder)}
    while True:
        said = bucket.ask("list_objects_v2", **asked).said
        for found in said.get("Contents", ()):
            yield bucket.path(found["Key"]), int(found["Size"])
        if not said.get("IsTruncated"):
            return
        if "NextContinuationToken" not in said:
            raise CopyError("the listing breaks off", where=bucket.where, remedy="Have the service looked at")
        asked["ContinuationToken"] = said["NextContinuationToken"]


def _is_relative(path: str) -> bool:
    try:
        check_relative(path)
    except NotVerifiedError:
        return False
    return True
