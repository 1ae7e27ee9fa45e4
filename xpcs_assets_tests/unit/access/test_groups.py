"""Groups of Globus by their names, with the real SDK: found or made once, whatever fails or is killed in between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from xpcs_assets.access.groups import GlobusGroups
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import CopyError, NotFoundError, RefusedError, UnreachableError
from xpcs_assets.testing.globus_groups_server import GlobusGroupsServer
from xpcs_assets_tests.globus_transfer import groups_account_for

Made = Callable[..., GlobusGroups]


@pytest.fixture
def server() -> Iterator[GlobusGroupsServer]:
    with GlobusGroupsServer() as running:
        yield running


@pytest.fixture
def groups(server: GlobusGroupsServer, beamline: OpenBeamline, tmp_path: Path) -> Iterator[Made]:
    """Makes what finds groups, each as another process has it."""
    opened: list[GlobusGroups] = []

    def make(*, create: bool = True) -> GlobusGroups:
        opened.append(GlobusGroups(groups_account_for(server, tmp_path), beamline.ledger, create=create))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def posts(server: GlobusGroupsServer) -> int:
    return sum((method, path) == ("POST", "/v2/groups") for method, path, _ in server.seen)


def test_a_group_that_is_there_is_found_and_remembered(server: GlobusGroupsServer, groups: Made) -> None:
    server.add("others")
    ours = server.add("p1")
    assert groups().find("p1") == ours
    server.groups[ours] = "renamed"
    asked = len(server.seen)
    assert groups().find("p1") == ours, "it is still the same one, whatever it is called"
    assert len(server.seen) == asked
    assert posts(server) == 0


def test_a_group_that_is_not_there_is_made_once(server: GlobusGroupsServer, groups: Made) -> None:
    made = groups().find("p1")
    assert server.named("p1") == [made]
    assert groups().find("p1") == made
    assert posts(server) == 1


def test_nothing_is_made_where_that_is_not_said(server: GlobusGroupsServer, groups: Made) -> None:
    with pytest.raises(NotFoundError, match="Globus has no group 'p1'"):
        groups(create=False).find("p1")
    assert posts(server) == 0


def test_an_id_is_what_it_says_and_asks_nobody(server: GlobusGroupsServer, groups: Made) -> None:
    assert groups().find("11111111-2222-4333-8444-555555555555") == "11111111-2222-4333-8444-555555555555"
    assert server.seen == []


@pytest.mark.parametrize("fault", ["reset after", "time-out after", "500 after"])
def test_a_group_that_was_made_without_an_answer_is_found_and_not_made_again(
    server: GlobusGroupsServer, groups: Made, fault: str
) -> None:
    server.faults.add("POST", "/v2/groups$", fault)
    made = groups().find("p1")
    assert server.named("p1") == [made]
    assert posts(server) == 1


@pytest.mark.parametrize("fault", ["reset", "503"])
def test_a_group_that_could_not_be_made_is_made_the_next_time(
    server: GlobusGroupsServer, groups: Made, fault: str
) -> None:
    server.faults.add("POST", "/v2/groups$", fault)
    with pytest.raises(UnreachableError):
        groups().find("p1")
    assert server.named("p1") == []
    made = groups().find("p1")
    assert server.named("p1") == [made]


def test_whoever_died_after_making_it_left_it_to_be_found(
    server: GlobusGroupsServer, groups: Made, beamline: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(type(beamline.ledger), "note", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            groups().find("p1")
    assert groups().find("p1") == server.named("p1")[0]
    assert len(server.named("p1")) == 1


def test_two_who_ask_at_once_make_one(server: GlobusGroupsServer, groups: Made) -> None:
    both, found, refused = threading.Barrier(2), [], []
    made = [groups(), groups()]

    def ask(one: GlobusGroups) -> None:
        both.wait(10)
        try:
            found.append(one.find("p1"))
        except RefusedError as error:
            refused.append(error)

    threads = [threading.Thread(target=ask, args=(one,)) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(server.named("p1")) == 1
    assert set(found) == set(server.named("p1"))
    assert len(found) + len(refused) == 2


def test_two_groups_of_a_name_are_left_to_a_person(server: GlobusGroupsServer, groups: Made) -> None:
    ids = sorted([server.add("p1"), server.add("p1")])
    with pytest.raises(CopyError, match=f"there are 2 groups 'p1': {', '.join(ids)}"):
        groups().find("p1")
    assert posts(server) == 0


def test_a_refusal_is_told_with_what_the_service_says(server: GlobusGroupsServer, groups: Made) -> None:
    server.may_create = False
    with pytest.raises(CopyError, match=r"Globus Groups: group: HTTP 403 FORBIDDEN"):
        groups().find("p1")


def test_a_service_that_is_down_says_nothing_of_a_group(server: GlobusGroupsServer, groups: Made) -> None:
    with server.down(), pytest.raises(UnreachableError):
        groups().find("p1")


def test_a_wrong_secret_is_refused(server: GlobusGroupsServer, beamline: OpenBeamline, tmp_path: Path) -> None:
    account = replace(groups_account_for(server, tmp_path), client_id="11111111-0000-4000-8000-000000000001")
    one = GlobusGroups(account, beamline.ledger, create=True)
    with pytest.raises(CopyError, match="Globus Groups: the log-in is refused"):
        one.find("p1")
    one.close()
