"""Rules of a Globus collection, with the real SDK: exactly those of the run's folder, once each, and no one else's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xpcs_assets.errors import CopyError, UnreachableError
from xpcs_assets.places.access import EVERYBODY, Principal
from xpcs_assets.places.globus import Collection, GlobusPlace
from xpcs_assets.places.globus_access import GlobusDoors
from xpcs_assets.testing.globus_transfer_server import GlobusTransferServer
from xpcs_assets_tests.globus_transfer import account_for

A, B = (Principal("group", f"{number * 8}-0000-4000-8000-000000000000") for number in "12")
PATH = "/data/xpcs/A001/v1/"
RULES = "/access$"


@pytest.fixture
def server() -> Iterator[GlobusTransferServer]:
    with GlobusTransferServer() as running:
        yield running


@pytest.fixture
def doors(server: GlobusTransferServer, tmp_path: Path) -> Iterator[GlobusDoors]:
    """A place with one run's folder."""
    (tmp_path / "place" / "xpcs" / "A001" / "v1").mkdir(parents=True)
    shared = Collection(server.service.share(tmp_path / "place", "/data"), "/data")
    made = GlobusDoors(
        GlobusPlace("place", tmp_path / "place", collection=shared),
        account_for(server, tmp_path),
        {"a": A.identity, "b": B.identity}.__getitem__,
    )
    yield made
    made.close()


def collection(server: GlobusTransferServer) -> str:
    (uuid,) = server.service.collections
    return uuid


def told(server: GlobusTransferServer) -> set[tuple[str, str, str]]:
    return server.rules.told(collection(server), PATH)


def rule(path: str, kind: str = "group", principal: str = A.identity, permissions: str = "r") -> dict[str, str]:
    return {
        "DATA_TYPE": "access",
        "principal_type": kind,
        "principal": principal,
        "path": path,
        "permissions": permissions,
    }


def readers(doors: GlobusDoors) -> set[Principal]:
    seen = doors.look("xpcs/A001/v1", inside=True)
    assert seen is not None
    return set(seen.readers)


def test_each_reader_has_one_rule_about_the_runs_folder(server: GlobusTransferServer, doors: GlobusDoors) -> None:
    assert readers(doors) == set()
    doors.allow("xpcs/A001/v1", {A, B})
    assert told(server) == {("group", A.identity, "r"), ("group", B.identity, "r")}
    assert readers(doors) == {A, B}
    doors.allow("xpcs/A001/v1", {A, B})
    assert sum(method == "POST" and path.endswith("/access") for method, path, _ in server.seen) == 2


def test_who_is_no_longer_wanted_goes_and_rules_about_other_folders_stay(
    server: GlobusTransferServer, doors: GlobusDoors
) -> None:
    for path in ("/data/xpcs/", "/data/xpcs/A001/v10/"):
        server.rules.add(collection(server), rule(path, principal=B.identity))
    server.rules.add(collection(server), rule(PATH, "identity", B.identity, "rw"))
    doors.allow("xpcs/A001/v1", {A})
    assert told(server) == {("group", A.identity, "r")}
    doors.allow("xpcs/A001/v1", {EVERYBODY})
    assert told(server) == {("all_authenticated_users", "", "r")}
    doors.allow("xpcs/A001/v1", ())
    assert told(server) == set()
    seen = doors.look("xpcs/A001/v1", inside=True)
    assert seen is not None
    assert seen.above == (B,), "a rule above lets them in, and is not ours"
    assert len(server.rules.of(collection(server))) == 3


def test_a_rule_that_lets_somebody_write_is_another_one(server: GlobusTransferServer, doors: GlobusDoors) -> None:
    server.rules.add(collection(server), rule(PATH, permissions="rw"))
    assert readers(doors) == {Principal("group", A.identity, "rw")}
    doors.allow("xpcs/A001/v1", {A})
    assert told(server) == {("group", A.identity, "r")}


@pytest.mark.parametrize("fault", ["reset after", "time-out after", "500 after"])
def test_a_rule_that_was_made_without_an_answer_is_made_once(
    server: GlobusTransferServer, doors: GlobusDoors, fault: str
) -> None:
    server.faults.add("POST", RULES, fault)
    doors.allow("xpcs/A001/v1", {A})
    assert told(server) == {("group", A.identity, "r")}
    server.faults.add("DELETE", "/access/", fault)
    doors.allow("xpcs/A001/v1", ())
    assert told(server) == set()


def test_a_collection_whose_rules_are_anothers_refuses_with_a_remedy(
    server: GlobusTransferServer, doors: GlobusDoors
) -> None:
    server.rules.forbidden.add(collection(server))
    with pytest.raises(CopyError, match="HTTP 403 PermissionDenied You do not have the access manager role"):
        doors.allow("xpcs/A001/v1", {A})


def test_a_collection_that_takes_no_more_rules_says_so(server: GlobusTransferServer, doors: GlobusDoors) -> None:
    server.rules.most = 0
    with pytest.raises(CopyError, match="HTTP 409 LimitExceeded"):
        doors.allow("xpcs/A001/v1", {A})


def test_a_service_that_is_down_is_asked_again_later(server: GlobusTransferServer, doors: GlobusDoors) -> None:
    with server.down(), pytest.raises(UnreachableError):
        doors.look("xpcs/A001/v1", inside=True)
    assert readers(doors) == set()


def test_of_a_folder_that_has_gone_the_rules_are_left_and_told(
    server: GlobusTransferServer, doors: GlobusDoors, tmp_path: Path
) -> None:
    doors.allow("xpcs/A001/v1", {A})
    (tmp_path / "place" / "xpcs" / "A001" / "v1").rmdir()
    seen = doors.look("xpcs/A001/v1", inside=True)
    assert seen is not None
    assert (seen.is_gone, seen.readers) == (True, {A})
    doors.allow("xpcs/A001/v1", ())
    assert doors.look("xpcs/A001/v1", inside=True) is None


def test_a_group_is_what_it_is_called(doors: GlobusDoors) -> None:
    assert str(doors.group("a")) == f"group a ({A.identity})"
