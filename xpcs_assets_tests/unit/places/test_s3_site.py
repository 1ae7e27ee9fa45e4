"""A beamline whose place is a part of an S3 bucket, by its settings alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import CopyError
from xpcs_assets.places.marker import Marker
from xpcs_assets.places.place import Presence
from xpcs_assets.runs.folders import MARKER
from xpcs_assets.settings_places import S3PlaceSettings
from xpcs_assets_tests.s3 import KEY_ID, SECRET, S3Server, keys_of, s3_server

Opening = Callable[[], OpenBeamline]


@pytest.fixture
def server() -> Iterator[S3Server]:
    found = s3_server()
    yield found
    found.reset()


@pytest.fixture
def settings(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of a place in a bucket of the test's own."""
    monkeypatch.setenv("S3_KEY", KEY_ID)
    monkeypatch.setenv("S3_SECRET", SECRET)
    name = f"b{uuid4().hex}"
    server.client().create_bucket(Bucket=name)
    key = {"access_key_id": {"variable": "S3_KEY"}, "secret_access_key": {"variable": "S3_SECRET"}}
    return {"kind": "s3", "bucket": name, "prefix": "/xpcs/2024/", "endpoint": server.url, **key}


@pytest.fixture
def opening(altered: Callable[[dict[str, Any]], OpenBeamline], settings: dict[str, Any]) -> Opening:
    return lambda: altered({"places": {"bucket": settings}})


def test_a_place_in_s3_is_met_marked_and_met_again(
    opening: Opening, server: S3Server, settings: dict[str, Any]
) -> None:
    place = opening().place("bucket")
    assert place.put("run/x", [b"x"]).size_bytes == 1
    there = keys_of(server, settings["bucket"])
    assert set(there) == {f"xpcs/2024/{MARKER}", "xpcs/2024/run/x"}
    assert Marker.from_json(there[f"xpcs/2024/{MARKER}"], "").place == "bucket"
    again = opening().place("bucket")
    assert (again.why_unavailable(), again.stat("run/x").presence, again.stat("y").presence) == (
        "",
        Presence.YES,
        Presence.NO,
    )


def test_a_bucket_that_was_emptied_is_not_taken_for_the_place(
    opening: Opening, server: S3Server, settings: dict[str, Any]
) -> None:
    opening().place("bucket")
    server.client().delete_object(Bucket=settings["bucket"], Key=f"xpcs/2024/{MARKER}")
    place = opening().place("bucket")
    assert place.stat("run/x").presence is Presence.UNKNOWN
    with pytest.raises(CopyError, match="unavailable"):
        place.put("run/x", [b"x"])


def test_a_bucket_that_may_only_be_read_is_read_and_nothing_is_absent_there(
    opening: Opening, server: S3Server, settings: dict[str, Any]
) -> None:
    server.client().put_object(Bucket=settings["bucket"], Key="xpcs/2024/x", Body=b"x")
    server.faults.add("PUT", ".*", "403", times=9)
    place = opening().place("bucket")
    assert (place.why_unavailable(), b"".join(place.read("x"))) == ("", b"x")
    assert place.stat("gone").presence is Presence.UNKNOWN


def test_a_service_that_is_down_is_not_met_and_is_met_when_it_is_back(
    opening: Opening, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
    beamline = opening()
    with server.down():
        assert "gave no answer" in beamline.place("bucket").why_unavailable()
    assert beamline.place("bucket").why_unavailable() == ""


@pytest.mark.parametrize("prefix", ["a/../b", "a//b", "./a"])
def test_a_prefix_that_is_no_path_is_refused(prefix: str) -> None:
    key = {"access_key_id": {"variable": "A"}, "secret_access_key": {"variable": "B"}}
    with pytest.raises(ValidationError, match="single slashes"):
        S3PlaceSettings.model_validate({"kind": "s3", "bucket": "runs", "prefix": prefix, **key})
    assert S3PlaceSettings.model_validate({"kind": "s3", "bucket": "runs", "prefix": "/", **key}).prefix == ""
