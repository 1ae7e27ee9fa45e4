from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from xpcs_assets.errors import (
    CopyError,
    NoRoomError,
    NotVerifiedError,
    SettingsError,
    XpcsAssetsError,
)
from xpcs_assets.places import s3_bucket
from xpcs_assets.places.marker import UNMARKED
from xpcs_assets.places.place import Presence
from xpcs_assets.places.s3 import S3Place, S3Root
from xpcs_assets.places.s3_bucket import Bucket
from xpcs_assets.secret import SecretReference
from xpcs_assets_tests.contract.test_places import Permit
from xpcs_assets_tests.s3 import KEY_ID, SECRET, S3Server, made_bucket, s3_server


@pytest.fixture
def server() -> Iterator[S3Server]:
    found = s3_server()
    yield found
    found.reset()


@pytest.fixture
def bucket(server: S3Server, tmp_path: Path) -> Bucket:
    """All of a bucket of the test's own, asked for but once."""
    return made_bucket(server, tmp_path, f"b{uuid4().hex}", attempts=1)


# ---- what is not known -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["403", "500 before", "reset", "502 of a proxy", "page of a proxy"])
@pytest.mark.parametrize("identity", [None, "0f" * 16, UNMARKED])
def test_whatever_the_service_says_but_that_it_is_not_there_is_unknown(
    bucket: Bucket, server: S3Server, kind: str, identity: str | None
) -> None:
    place = S3Place("here", bucket, identity=identity)
    server.faults.add(".*", ".*", kind, times=99)
    for answer in (place.stat("x"), place.list(), place.list("a")):
        assert answer.presence is Presence.UNKNOWN
        assert answer.reason
    assert place.why_unavailable()
    everything: tuple[Callable[[], object], ...] = (
        lambda: place.digest("x"),
        lambda: list(place.read("x")),
        lambda: place.put("x", [b"x"]),
        lambda: place.remove("x", Permit("x")),
        lambda: place.set_aside("x", "trash", Permit("x")),
        lambda: S3Root(bucket).read_marker(),
        lambda: S3Root(bucket).has_any(["x"]),
    )
    for do in everything:
        with pytest.raises(CopyError):
            do()


def test_a_bucket_that_is_not_there_is_unknown(bucket: Bucket) -> None:
    place = S3Place("here", replace(bucket, name="gone"))
    for answer in (place.stat("x"), place.list("a")):
        assert (answer.presence, answer.reason) == (Presence.UNKNOWN, "there is no such bucket")
    for identity in (None, "0f" * 16):
        with pytest.raises(CopyError, match=r"unavailable: .*there is no such bucket"):
            S3Place("here", replace(bucket, name="gone"), identity=identity).put("x", [b"x"])
    with pytest.raises(CopyError, match="there is no such bucket"):
        S3Root(replace(bucket, name="gone")).read_marker()


def test_a_service_that_is_down_is_unknown_and_the_place_is_back_with_it(bucket: Bucket, server: S3Server) -> None:
    place = S3Place("here", bucket)
    place.put("x", [b"x"])
    with server.down():
        assert {place.stat("x").presence, place.stat("y").presence} == {Presence.UNKNOWN}
        assert "gave no answer" in place.why_unavailable()
        with pytest.raises(CopyError, match="EndpointConnectionError"):
            place.failure_domain  # noqa: B018 - it asks
    assert (place.stat("x").presence, place.stat("y").presence) == (Presence.YES, Presence.NO)


def test_a_service_that_does_not_answer_is_not_waited_for(bucket: Bucket, server: S3Server) -> None:
    server.faults.add(".*", ".*", "time-out before", times=9)
    answer = S3Place("here", replace(bucket, read_s=0.2)).stat("x")
    assert (answer.presence, answer.reason.endswith("(ReadTimeoutError)")) == (Presence.UNKNOWN, True)
    with server.down():  # which ends the answers that wait
        pass


def test_what_fails_once_is_asked_again(bucket: Bucket, server: S3Server) -> None:
    server.faults.add("HEAD", ".*", "500 before")
    assert S3Place("here", replace(bucket, attempts=2)).stat("x").presence is Presence.NO


# ---- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "kind", "said"),
    [
        (403, "AccessDenied", CopyError, "denies it"),
        (403, "InvalidAccessKeyId", CopyError, "does not know the access key"),
        (403, "SignatureDoesNotMatch", CopyError, "does not know the access key"),
        (403, "RequestTimeTooSkewed", CopyError, "clock"),
        (403, "InvalidObjectState", CopyError, "restored first"),
        (301, "301", CopyError, "another region"),
        (400, "BadDigest", NotVerifiedError, "damaged on their way"),
        (400, "KeyTooLongError", CopyError, "too long"),
        (400, "QuotaExceeded", NoRoomError, "no room"),
        (507, "", NoRoomError, "no room"),
        (501, "NotImplemented", CopyError, "If-None-Match"),
        (418, "Teapot", CopyError, "refused put_object with 418 Teapot"),
    ],
)
def test_each_refusal_is_told_with_what_to_do(status: int, code: str, kind: type[CopyError], said: str) -> None:
    error = s3_bucket._refusal("put_object", code, status, "s3://b/x")
    assert type(error) is kind
    assert said in error.what
    assert (error.where, bool(error.remedy)) == ("s3://b/x", True)


@pytest.mark.parametrize("doing", ["refused", "down", "not signed"])
def test_no_secret_is_told(bucket: Bucket, server: S3Server, caplog: pytest.LogCaptureFixture, doing: str) -> None:
    caplog.set_level(logging.DEBUG)
    place = S3Place("here", bucket)
    if doing == "refused":
        server.faults.add(".*", ".*", "403", times=9)
    asked = replace(bucket, endpoint="http://127.0.0.1:1") if doing == "down" else bucket
    if doing == "not signed":
        asked = replace(bucket, endpoint="not an address")
    with pytest.raises(XpcsAssetsError) as caught:
        S3Place("here", asked).digest("x")
    told = "".join(traceback.format_exception(caught.value)) + repr(bucket) + repr(place) + str(vars(place))
    assert SECRET not in told + caplog.text
    assert KEY_ID not in told


def test_a_changed_secret_is_taken_at_once(bucket: Bucket, tmp_path: Path) -> None:
    client = bucket._client()
    assert bucket._client() is client
    (tmp_path / "secret").write_text("another\n", encoding="utf-8")
    assert bucket._client() is not client


def test_a_secret_that_is_not_there_is_told(bucket: Bucket) -> None:
    with pytest.raises(SettingsError, match="secret"):
        replace(bucket, secret_access_key=SecretReference(variable="NOT_THERE")).ask("list_objects_v2")


def test_a_client_that_is_not_installed_is_told_by_the_name_of_what_to_install(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3.session", None)
    with pytest.raises(SettingsError, match=r"xpcs-assets\[s3\]"):
        replace(bucket, region="eu-north-1").ask("list_objects_v2")


def test_an_endpoint_that_is_none_is_told(bucket: Bucket) -> None:
    with pytest.raises(SettingsError, match="no client can be made"):
        replace(bucket, endpoint="not an address").ask("list_objects_v2")


def test_where_the_service_is_is_said_by_the_settings_alone(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    aws = replace(bucket, endpoint="", region="eu-north-1")
    assert aws._client().meta.endpoint_url == "https://s3.eu-north-1.amazonaws.com"
    assert aws.service == "AWS eu-north-1"


def test_a_prefix_does_not_lead_out_of_itself(bucket: Bucket) -> None:
    with pytest.raises(NotVerifiedError):
        replace(bucket, prefix="a/../b")
