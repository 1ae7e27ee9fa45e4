"""A writer to S3 that ends at any request, or whose service does: nothing is lost, and a repeat finishes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from xpcs_assets.errors import CopyError
from xpcs_assets.places.s3 import S3Place
from xpcs_assets.places.s3_bucket import Bucket
from xpcs_assets.runs.folders import ASIDE_FOLDER
from xpcs_assets_tests.contract.test_places import Permit
from xpcs_assets_tests.s3 import S3Server, keys_of, made_bucket, s3_server

PART_BYTES = 5000
SMALL, BIG = b"small", b"".join(bytes([number]) * 1000 for number in range(12))
ASIDE = f"{ASIDE_FOLDER}/trash/run/x"


@pytest.fixture
def server() -> Iterator[S3Server]:
    found = s3_server()
    yield found
    found.reset()


@pytest.fixture
def bucket(server: S3Server, tmp_path: Path) -> Bucket:
    return made_bucket(server, tmp_path, f"b{uuid4().hex}", attempts=1)


def _put(place: S3Place, data: bytes) -> None:
    place.put("run/x", [data[:3333], data[3333:]])


def _set_aside(place: S3Place, data: bytes) -> None:
    place.set_aside("run/x", "trash", Permit("run/x"))


def _put_back(place: S3Place, data: bytes) -> None:
    place.put_back(ASIDE, "run/x")


DOINGS: dict[str, tuple[Callable[[S3Place, bytes], None], str, str]] = {
    "put": (_put, "", "run/x"),
    "set aside": (_set_aside, "run/x", ASIDE),
    "put back": (_put_back, ASIDE, "run/x"),
}
"""What is done, the name that the bytes have before, and the one that they have after."""


@pytest.mark.parametrize(
    ("doing", "data"),
    [("put", SMALL), ("put", BIG), ("set aside", SMALL), ("set aside", BIG), ("put back", SMALL)],
    ids=["put", "put in parts", "set aside", "set aside in parts", "put back"],
)
def test_a_service_that_ends_at_any_request_leaves_all_bytes_under_a_name_and_a_repeat_finishes(
    bucket: Bucket, server: S3Server, doing: str, data: bytes
) -> None:
    do, old, new = DOINGS[doing]

    def begin(prefix: str) -> S3Place:
        place = S3Place("here", replace(bucket, prefix=prefix), part_bytes=PART_BYTES)
        if old:
            place.put(old, [data])
        server.seen.clear()
        return place

    do(begin("whole"), data)
    steps = len(server.seen)
    assert steps >= 4
    for step in range(steps):
        for last in ("reset", "reset after"):
            prefix = f"{step}-{last.replace(' ', '-')}"
            place = begin(prefix)
            server.faults.add(".*", ".*", last, passed=step)
            server.faults.add(".*", ".*", "reset", times=99, passed=step)
            with pytest.raises(CopyError):
                do(place, data)
            server.faults.ordered.clear()
            found = {place.bucket.path(key): there for key, there in keys_of(server, bucket.name, f"{prefix}/").items()}
            assert set(found.values()) <= {data}
            assert set(found) <= {old, new}
            assert found or not old
            do(place, data)
            there = keys_of(server, bucket.name, f"{prefix}/")
            assert there == {f"{prefix}/{new}": data}


WRITER = """
import sys
from xpcs_assets.places.s3 import S3Place
from xpcs_assets.places.s3_bucket import Bucket
from xpcs_assets.secret import SecretReference

name, endpoint, folder = sys.argv[1:]
key = [SecretReference(file=f"{folder}/{part}") for part in ("id", "secret")]
place = S3Place("here", Bucket(name, *key, endpoint=endpoint), part_bytes=5000)
place.put("run/x", (bytes([number]) * 1000 for number in range(12)))
"""


@pytest.mark.parametrize(
    ("method", "asked", "when"),
    [
        ("PUT", "partNumber=2", "before"),
        ("POST", "uploadId", "before"),
        ("POST", "uploadId", "after"),
    ],
)
def test_a_writer_that_is_killed_leaves_no_half_object_and_the_repeat_succeeds(
    bucket: Bucket, server: S3Server, tmp_path: Path, method: str, asked: str, when: str
) -> None:
    command = [sys.executable, "-c", WRITER, bucket.name, bucket.endpoint, str(tmp_path)]
    server.seen.clear()
    writer = subprocess.Popen(command)

    def kill(number: int, now: str) -> None:
        seen_method, target = server.seen[number - 1]
        if (seen_method, now) == (method, when) and asked in target and bucket.name in target:
            os.kill(writer.pid, signal.SIGKILL)

    server.on_request = kill
    assert writer.wait(timeout=60) == -signal.SIGKILL
    server.on_request = lambda *_: None
    # A request that was on its way may be done after its sender's end, but then as a whole.
    assert set(keys_of(server, bucket.name).values()) <= {BIG}
    assert S3Place("here", bucket, part_bytes=PART_BYTES).put("run/x", [BIG]).size_bytes == len(BIG)
    assert keys_of(server, bucket.name) == {"run/x": BIG}
