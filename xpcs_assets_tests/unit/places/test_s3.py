from __future__ import annotations

import hashlib
import json
import threading
import tracemalloc
from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from xpcs_assets.errors import (
    ChangedWhileReadingError,
    ConflictingBytesError,
    CopyError,
    NotFoundError,
    NotVerifiedError,
    SourceDiffersError,
)
from xpcs_assets.places import s3_writing
from xpcs_assets.places.marker import Marker
from xpcs_assets.places.place import Presence
from xpcs_assets.places.s3 import S3Place, S3Root
from xpcs_assets.places.s3_bucket import Answer, Bucket
from xpcs_assets.places.s3_writing import Writer
from xpcs_assets.runs.folders import ASIDE_FOLDER, MARKER
from xpcs_assets.secret import SecretReference
from xpcs_assets_tests.contract.test_places import Permit
from xpcs_assets_tests.s3 import S3Server, keys_of, made_bucket, s3_server, uploads_of

PART_BYTES = 5000
BIG = b"".join(bytes([number]) * 1000 for number in range(12))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def server() -> Iterator[S3Server]:
    found = s3_server()
    yield found
    found.reset()


@pytest.fixture
def bucket(server: S3Server, tmp_path: Path) -> Bucket:
    """All of a bucket of the test's own."""
    return made_bucket(server, tmp_path, f"b{uuid4().hex}")


@pytest.fixture
def place(bucket: Bucket) -> S3Place:
    return S3Place("here", bucket, part_bytes=PART_BYTES)


def other(bucket: Bucket) -> Any:
    """Puts objects as anybody may who has the right."""

    def put(key: str, data: bytes, **parameters: Any) -> None:
        s3_server().client().put_object(Bucket=bucket.name, Key=key, Body=data, **parameters)

    return put


# ---- big objects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, len(BIG)])
def test_what_comes_in_chunks_of_any_length_goes_in_parts_and_comes_back(
    place: S3Place, server: S3Server, size_bytes: int
) -> None:
    data = BIG[:size_bytes]
    chunks = (data[begin : begin + 701] for begin in range(0, size_bytes, 701))
    written = place.put("run/big", chunks, mtime_ns=1_700_000_000_123_456_789)
    assert (written.size_bytes, written.sha256, written.already_there) == (size_bytes, sha256(data), False)
    assert keys_of(server, place.bucket.name) == {"run/big": data}
    parts = sum("partNumber" in target for _, target in server.seen)
    assert parts == (0 if size_bytes < PART_BYTES else -(-size_bytes // PART_BYTES))
    said = server.client().head_object(Bucket=place.bucket.name, Key="run/big")
    assert said["Metadata"] == {"mtime-ns": "1700000000123456789"}


def test_a_big_object_is_never_whole_in_memory() -> None:
    held_bytes: list[int] = []

    class Deaf(Bucket):
        """Takes everything, and keeps nothing of it."""

        def ask(self, operation: str, *, ready_for: Container[int] = (), **parameters: Any) -> Answer:
            ours = tracemalloc.take_snapshot().filter_traces(
                [tracemalloc.Filter(inclusive=True, filename_pattern=s3_writing.__file__)]
            )
            held_bytes.append(sum(trace.size for trace in ours.traces))
            return Answer({"UploadId": "1", "ETag": "1"}, 404 if operation == "head_object" else 0)

    chunk = bytes(300_000)
    deaf = Deaf("deaf", SecretReference(), SecretReference())
    tracemalloc.start()
    try:
        came, is_ours = Writer(deaf, 1 << 20).write("big", (chunk for _ in range(100)), "", {}, None)
    finally:
        tracemalloc.stop()
    assert (came.size_bytes, is_ours, len(held_bytes)) == (30_000_000, True, 29 + 3)
    assert max(held_bytes) < 3 << 20


def test_an_object_of_too_many_parts_is_refused_and_leaves_nothing(
    place: S3Place, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_writing, "_MAX_PARTS", 2)
    with pytest.raises(CopyError, match="more than 2 parts"):
        place.put("big", [BIG])
    assert (keys_of(server, place.bucket.name), uploads_of(server, place.bucket.name)) == ({}, [])


def test_a_big_object_with_other_bytes_than_promised_gets_no_name(place: S3Place, server: S3Server) -> None:
    with pytest.raises(SourceDiffersError):
        place.put("big", [BIG], sha256=sha256(b"x"))
    assert (keys_of(server, place.bucket.name), uploads_of(server, place.bucket.name)) == ({}, [])


def test_a_source_that_breaks_off_leaves_nothing(place: S3Place, server: S3Server) -> None:
    def chunks() -> Iterator[bytes]:
        yield BIG
        raise ChangedWhileReadingError("it shrank")

    with pytest.raises(ChangedWhileReadingError):
        place.put("big", chunks())
    assert (keys_of(server, place.bucket.name), uploads_of(server, place.bucket.name)) == ({}, [])


def test_a_big_object_is_set_aside_without_coming_here_twice(place: S3Place, server: S3Server) -> None:
    place.put("big", [BIG], mtime_ns=5)
    aside = place.set_aside("big", "trash", Permit("big"))
    assert keys_of(server, place.bucket.name) == {aside: BIG}
    assert server.client().head_object(Bucket=place.bucket.name, Key=aside)["Metadata"] == {"mtime-ns": "5"}
    place.put_back(aside, "big")
    assert keys_of(server, place.bucket.name) == {"big": BIG}
    assert sum(method == "PUT" and "partNumber" in target for method, target in server.seen) == 3 + 1 + 1


# ---- nothing is overwritten ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"mine", BIG], ids=["in one request", "in parts"])
@pytest.mark.parametrize("theirs", [b"else", None], ids=["other bytes", "the same bytes"])
def test_a_name_that_is_taken_in_the_last_moment_keeps_its_bytes(
    place: S3Place, server: S3Server, data: bytes, theirs: bytes | None
) -> None:
    """Taken between the look and the request that gives the name: then only the service's condition helps."""
    there = data if theirs is None else theirs
    put = other(place.bucket)

    def take(number: int, when: str) -> None:
        method, target = server.seen[number - 1]
        gives_name = (method == "PUT" and "partNumber" not in target) or (method == "POST" and "uploadId" in target)
        if when == "before" and "/x?" in target and gives_name:
            server.on_request = lambda *_: None
            put("x", there)

    server.on_request = take
    if theirs is None:
        assert place.put("x", [data]).already_there
    else:
        with pytest.raises(ConflictingBytesError):
            place.put("x", [data])
    assert (keys_of(server, place.bucket.name), uploads_of(server, place.bucket.name)) == ({"x": there}, [])


@pytest.mark.parametrize("data", [b"mine", BIG], ids=["in one request", "in parts"])
def test_a_service_that_knows_no_condition_is_looked_at_before(place: S3Place, server: S3Server, data: bytes) -> None:
    server.ignores_conditions = True
    other(place.bucket)("x", b"else")
    with pytest.raises(ConflictingBytesError):
        place.put("x", [data])
    assert (keys_of(server, place.bucket.name), uploads_of(server, place.bucket.name)) == ({"x": b"else"}, [])


def test_a_service_that_let_another_overwrite_is_found_out_when_it_is_read_back(
    place: S3Place, server: S3Server
) -> None:
    def overwrite(number: int, when: str) -> None:
        method, target = server.seen[number - 1]
        if when == "after" and method == "PUT" and "/x?" in target:
            server.on_request = lambda *_: None
            other(place.bucket)("x", b"else")

    server.on_request = overwrite
    with pytest.raises(NotVerifiedError, match="not what was sent"):
        place.put("x", [b"mine"])
    assert keys_of(server, place.bucket.name) == {"x": b"else"}


def test_two_writers_of_different_bytes_at_once_one_wins_and_the_other_is_told(bucket: Bucket) -> None:
    started = threading.Barrier(2)

    def put(data: bytes, outcome: list[object]) -> None:
        def chunks() -> Iterator[bytes]:
            started.wait()  # both have looked
            yield data

        try:
            outcome.append(S3Place("here", bucket).put("x", chunks()).sha256)
        except ConflictingBytesError as error:
            outcome.append(type(error))

    outcomes: list[object] = []
    writers = [threading.Thread(target=put, args=(data, outcomes)) for data in (b"one", b"two")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = S3Place("here", bucket).digest("x").sha256
    assert sorted(outcomes, key=str) == sorted([ConflictingBytesError, found], key=str)


@pytest.mark.parametrize("times", [1, 3])
def test_while_another_write_is_under_way_its_end_is_waited_for(
    place: S3Place, server: S3Server, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(s3_writing, "_PAUSE_S", 0.01)
    server.faults.add("PUT", r"/x\?", "409", times=times)
    assert not place.put("x", [b"mine"]).already_there
    server.faults.add("PUT", r"/y\?", "409", times=99)
    with pytest.raises(CopyError, match="does not come to an end"):
        place.put("y", [b"mine"])


# ---- what an object is -----------------------------------------------------------------------------------------------


def test_another_object_under_the_name_is_seen_without_reading_it(place: S3Place) -> None:
    place.put("x", [b"one"])
    before = place.stat("x").signature
    assert (before, place.digest("x").signature) == (place.stat("x").signature, before)
    other(place.bucket)("x", b"two")
    assert before is not None
    assert place.stat("x").signature != before
    assert place.digest("x").sha256 == sha256(b"two")


def test_two_places_that_see_one_object_see_that_it_is_one(place: S3Place, bucket: Bucket) -> None:
    place.put("a/x", [b"one"])
    place.put("x", [b"one"])
    below = S3Place("below", replace(bucket, prefix="a"))
    seen = [where.stat("x").signature for where in (place, below)] + [place.stat("a/x").signature]
    assert seen[1] == seen[2] != seen[0]


def test_no_digest_of_the_service_is_believed(place: S3Place) -> None:
    right = b"right"
    other(place.bucket)("x", b"wrong", Metadata={"sha256": sha256(right)})
    assert place.digest("x", ["md5"]).sha256 == sha256(b"wrong")
    with pytest.raises(ConflictingBytesError):
        place.put("x", [right], sha256=sha256(right))


def test_what_was_sent_and_came_back_damaged_is_not_called_written(place: S3Place, server: S3Server) -> None:
    def damage(number: int, when: str) -> None:
        method, target = server.seen[number - 1]
        if when == "before" and method == "GET" and "/x?" in target:
            server.on_request = lambda *_: None
            other(place.bucket)("x", b"bight")

    server.on_request = damage
    with pytest.raises(NotVerifiedError):
        place.put("x", [b"right"])


# ---- listing ---------------------------------------------------------------------------------------------------------


def test_a_listing_that_comes_in_several_answers_is_whole(place: S3Place, server: S3Server) -> None:
    server.page = 2
    names = [f"run/{number} \u00e9 .x" for number in range(5)]
    for name in names:
        place.put(name, [b""])
    assert place.list("run").files == tuple(names)
    assert sum("continuation-token" in target for _, target in server.seen) == 2


def test_keys_that_are_no_paths_are_told_apart(place: S3Place) -> None:
    put = other(place.bucket)
    for key in ("a/x", "a/", "b/", "a//y", "/z", "a/not empty/", ".hidden", f"{ASIDE_FOLDER}/t/x", "ab"):
        put(key, b"" if key in {"a/", "b/"} else b"x")
    found = place.list()
    assert (found.files, found.others) == ((".hidden", "a/x", "ab"), ("/z", "a//y", "a/not empty/"))
    assert place.list("a").files == ("a/x",)
    assert [place.list(folder).presence for folder in ("b", "c")] == [Presence.YES, Presence.NO]
    assert place.list(ASIDE_FOLDER).files == (f"{ASIDE_FOLDER}/t/x",)


def test_the_prefix_itself_may_stand_for_a_folder(bucket: Bucket) -> None:
    place = S3Place("here", replace(bucket, prefix="p/q"))
    for data, others in ((b"", ()), (b"x", ("/",))):
        other(bucket)("p/q/", data)
        found = place.list()
        assert (found.presence, found.files, found.others) == (Presence.YES, (), others)


def test_the_marker_is_listed_nowhere_but_below_the_root(place: S3Place) -> None:
    S3Root(place.bucket).leave_marker(Marker("0f" * 16, "here", "then"))
    other(place.bucket)(f"a/{MARKER}", b"x")
    assert (place.list().files, place.list("a").files) == ((f"a/{MARKER}",), (f"a/{MARKER}",))


def test_a_listing_that_breaks_off_is_unknown(place: S3Place, server: S3Server) -> None:
    server.page = 1
    for number in range(3):
        place.put(f"x{number}", [b""])
    server.faults.add("GET", "continuation-token", "403")
    assert place.list().presence is Presence.UNKNOWN


@pytest.mark.parametrize(("name", "said"), [("caf\udce9", "not Unicode"), ("n" * 1025, "too long for S3")])
def test_a_name_that_no_object_can_have_is_refused(place: S3Place, name: str, said: str) -> None:
    with pytest.raises(CopyError, match=said):
        place.put(name, [b"x"])


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_what_breaks_off_is_read_on_from_there(place: S3Place, server: S3Server) -> None:
    place.put("big", [BIG])
    server.cut_after_bytes[:] = [5_000, 4_000, 10]
    assert place.digest("big").sha256 == sha256(BIG)
    assert server.cut_after_bytes == []
    server.cut_after_bytes[:] = [100]
    assert b"".join(place.read("big", 7)) == BIG[7:]


def test_what_breaks_off_again_and_again_is_told(place: S3Place, server: S3Server) -> None:
    place.put("x", [b"0123456789"])
    server.cut_after_bytes[:] = [0] * 10
    with pytest.raises(CopyError, match="no answer that can be used"):
        place.digest("x")


@pytest.mark.parametrize("gone", [True, False])
def test_what_is_replaced_while_it_is_read_is_not_pieced_together(place: S3Place, server: S3Server, gone: bool) -> None:
    place.put("big", [BIG])
    server.cut_after_bytes[:] = [5_000]
    chunks = place.read("big")
    next(chunks)
    if gone:
        server.client().delete_object(Bucket=place.bucket.name, Key="big")
    else:
        other(place.bucket)("big", BIG[::-1])
    with pytest.raises(ChangedWhileReadingError):
        list(chunks)


# ---- sweeping --------------------------------------------------------------------------------------------------------


def test_uploads_that_nobody_goes_on_with_are_given_up(
    place: S3Place, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, name = server.client(), place.bucket.name
    for key in ("run/a \u00e9", "run/b", "runs/c"):
        begun = client.create_multipart_upload(Bucket=name, Key=key)
        if key != "run/b":  # of which the service of the tests says that it was begun in 2010
            client.upload_part(Bucket=name, Key=key, UploadId=begun["UploadId"], PartNumber=1, Body=b"x")
    assert (place.sweep("run"), uploads_of(server, name)) == (1, ["run/a \u00e9", "runs/c"])
    monkeypatch.setattr(s3_writing, "_UNFINISHED", timedelta(0))
    assert (place.sweep("run"), uploads_of(server, name)) == (1, ["runs/c"])
    assert (place.sweep(), uploads_of(server, name)) == (1, [])


def test_an_upload_that_was_given_up_by_another_is_told_and_can_be_repeated(place: S3Place, server: S3Server) -> None:
    server.faults.add("POST", "uploadId=", "404")
    with pytest.raises(CopyError, match="given up, or it was removed"):
        place.put("big", [BIG])
    assert not place.put("big", [BIG]).already_there


def test_an_upload_whose_end_was_answered_and_the_answer_lost_is_whole(place: S3Place, server: S3Server) -> None:
    server.faults.add("POST", "uploadId=", "reset after")
    assert place.put("big", [BIG]).sha256 == sha256(BIG)
    server.faults.add("PUT", "/small", "500 after")
    assert place.put("small", [b"x"]).already_there
    assert keys_of(server, place.bucket.name) == {"big": BIG, "small": b"x"}


# ---- removing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "when"), [("HEAD", "after"), ("DELETE", "before")])
def test_only_the_object_that_was_looked_at_is_removed(
    place: S3Place, server: S3Server, method: str, when: str
) -> None:
    """Replaced after the first look, which the second sees, or after that, which only the service can."""
    place.put("x", [b"one"])

    def replaced(number: int, now: str) -> None:
        if (server.seen[number - 1][0], now) == (method, when):
            server.on_request = lambda *_: None
            put("x", b"two")

    put = other(place.bucket)
    server.on_request = replaced
    with pytest.raises(ChangedWhileReadingError):
        place.remove("x", Permit("x"))
    assert keys_of(server, place.bucket.name) == {"x": b"two"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_another_removes_meanwhile_is_gone(place: S3Place, server: S3Server, when: str) -> None:
    place.put("x", [b"one"])

    def removed(number: int, now: str) -> None:
        if (server.seen[number - 1][0], now) == ("DELETE" if when == "before" else "HEAD", when):
            server.on_request = lambda *_: None
            server.client().delete_object(Bucket=place.bucket.name, Key="x")

    server.on_request = removed
    assert place.remove("x", Permit("x"))
    assert keys_of(server, place.bucket.name) == {}


def test_in_a_bucket_with_versions_the_bytes_stay_as_an_old_version(place: S3Place, server: S3Server) -> None:
    client, name = server.client(), place.bucket.name
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    place.put("x", [b"one"])
    assert place.stat("x").signature == place.digest("x").signature
    assert place.remove("x", Permit("x"))
    assert (place.stat("x").presence, place.list().files) == (Presence.NO, ())
    (version,) = client.list_object_versions(Bucket=name)["Versions"]
    assert client.get_object(Bucket=name, Key="x", VersionId=version["VersionId"])["Body"].read() == b"one"
    assert not place.put("x", [b"two"]).already_there


def test_a_copy_that_is_not_what_it_was_lets_the_old_one_stay(place: S3Place, server: S3Server) -> None:
    place.put("x", [b"one"])
    aside = f"{ASIDE_FOLDER}/trash/x"

    def damage(number: int, when: str) -> None:
        method, target = server.seen[number - 1]
        if when == "after" and method == "PUT" and aside in target:
            server.on_request = lambda *_: None
            other(place.bucket)(aside, b"two")

    server.on_request = damage
    with pytest.raises(NotVerifiedError):
        place.set_aside("x", "trash", Permit("x"))
    assert keys_of(server, place.bucket.name) == {"x": b"one", aside: b"two"}
    with pytest.raises(ConflictingBytesError):
        place.set_aside("x", "trash", Permit("x"))


def test_what_is_set_aside_is_asked_for_twice_and_comes_back(place: S3Place, server: S3Server) -> None:
    place.put("a/x", [b"one"])
    permit = Permit("a/x")
    aside = place.set_aside("a/x", "trash/7", permit)
    assert (aside, permit.asked) == (f"{ASIDE_FOLDER}/trash/7/a/x", [("here", "a/x")] * 2)
    assert (place.list().files, place.list("a").presence) == ((), Presence.NO)
    assert place.set_aside("a/x", "trash/7", permit) == aside
    for _ in range(2):
        place.put_back(aside, "a/x")
    assert keys_of(server, place.bucket.name) == {"a/x": b"one"}


# ---- the root --------------------------------------------------------------------------------------------------------


def test_the_marker_that_was_quicker_stays(bucket: Bucket, server: S3Server) -> None:
    root, first = S3Root(bucket), Marker("0f" * 16, "here", "then")
    assert (root.where, root.read_marker()) == (f"s3://{bucket.name}", None)

    def leave(number: int, when: str) -> None:
        if when == "before" and server.seen[number - 1][0] == "PUT":
            server.on_request = lambda *_: None
            other(bucket)(MARKER, first.to_json().encode())

    server.on_request = leave
    assert root.leave_marker(Marker("e1" * 16, "here", "then")) == first
    assert root.read_marker() == root.leave_marker(Marker("e1" * 16, "here", "then")) == first


def test_a_root_has_names_of_objects_and_of_what_they_lie_in(bucket: Bucket) -> None:
    root = S3Root(replace(bucket, prefix="p"))
    S3Place("here", root.bucket).put("run/a", [b""])
    asked = (["run"], ["run/a"], ["gone", "run"], ["ru"], ["run/a/b"], [])
    assert [root.has_any(paths) for paths in asked] == [True, True, True, False, False, False]
    assert root.where == f"s3://{bucket.name}/p"


def test_no_marker_is_left_where_there_is_no_right_and_that_is_told_as_a_meeting_needs_it(
    bucket: Bucket, server: S3Server
) -> None:
    server.faults.add("PUT", ".*", "403")
    with pytest.raises(CopyError, match="denies it") as caught:
        S3Root(bucket).leave_marker(Marker("0f" * 16, "here", "then"))
    assert isinstance(caught.value.__cause__, PermissionError)


def test_a_damaged_marker_is_told(bucket: Bucket) -> None:
    other(bucket)(MARKER, json.dumps({"format": "another"}).encode())
    with pytest.raises(NotVerifiedError, match="the marker is damaged"):
        S3Root(bucket).read_marker()


def test_a_place_tells_its_name_and_where_it_is(place: S3Place) -> None:
    assert repr(place) == f"S3Place('here', s3://{place.bucket.name})"
    assert place.usage() is None
    with pytest.raises(NotFoundError, match="no such file"):
        place.digest("gone")


@pytest.mark.parametrize("doing", [lambda place: place.settle(["../x"]), lambda place: place.sweep("..")])
def test_i17_no_path_leaves_the_prefix(place: S3Place, doing: Callable[[S3Place], object]) -> None:
    with pytest.raises(NotVerifiedError, match="no path inside"):
        doing(place)
