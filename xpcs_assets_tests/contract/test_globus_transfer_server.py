"""The stand-in for Globus Transfer does what the service does, seen through the real SDK."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import globus_sdk
import pytest
from globus_sdk.transport import RetryConfig

from xpcs_assets.testing.globus_search_index import Refused
from xpcs_assets.testing.globus_search_server import Client
from xpcs_assets.testing.globus_transfer_access import AccessRules
from xpcs_assets.testing.globus_transfer_server import MOVER, GlobusTransferServer

GROUP = "11111111-2222-4333-8444-555555555555"
OTHER = Client("ffffffff-0000-4000-8000-00000000000f", "donkey")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GlobusTransferServer]:
    with GlobusTransferServer() as running:
        running.clients[OTHER.name] = OTHER
        yield running


@pytest.fixture
def asked(server: GlobusTransferServer) -> Iterator[Callable[[Client], globus_sdk.TransferClient]]:
    """A client of the SDK that makes each request once."""
    made: list[globus_sdk.TransferClient] = []

    def client(who: Client = MOVER) -> globus_sdk.TransferClient:
        authorizer = globus_sdk.AccessTokenAuthorizer(server.token(who))
        once = RetryConfig(max_retries=0)
        made.append(globus_sdk.TransferClient(base_url=server.url, authorizer=authorizer, retry_config=once))
        return made[-1]

    yield client
    for one in made:
        one.close()


@pytest.fixture
def ends(server: GlobusTransferServer, tmp_path: Path) -> tuple[str, str]:
    """Two collections; the first holds files a and b."""
    made = []
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
        made.append(server.service.share(tmp_path / name, f"/{name}"))
    for name in ("a", "b"):
        (tmp_path / "source" / name).write_text(name)
    return made[0], made[1]


def document(ends: tuple[str, str], *names: str, **options: Any) -> globus_sdk.TransferData:
    asked = {"deadline": "2100-01-01T00:00:00+00:00", "preserve_timestamp": True, "fail_on_quota_errors": True}
    made = globus_sdk.TransferData(*ends, **{**asked, **options})
    for name in names:
        made.add_item(f"/source/{name}", f"/target/deep/{name}")
    return made


def refused(call: Callable[[], object]) -> tuple[int, str | None]:
    with pytest.raises(globus_sdk.TransferAPIError) as raised:
        call()
    return raised.value.http_status, raised.value.code


def test_files_are_moved_and_told(asked: Any, ends: tuple[str, str], tmp_path: Path) -> None:
    client = asked()
    answer = client.submit_transfer(document(ends, "a", "b", label="one"))
    assert answer["code"] == "Accepted"
    task = client.get_task(answer["task_id"])
    assert (task["status"], task["files_transferred"], task["faults"], task["label"]) == ("SUCCEEDED", 2, 0, "one")
    assert (tmp_path / "target" / "deep" / "a").read_text() == "a"
    moved = [one["destination_path"] for one in client.task_successful_transfers(answer["task_id"])]
    assert moved == ["/target/deep/a", "/target/deep/b"]
    assert [one["code"] for one in client.task_event_list(answer["task_id"])] == ["SUCCEEDED"]
    assert [one["name"] for one in client.operation_ls(ends[1], path="/target/deep")] == ["a", "b"]


def test_tasks_are_found_by_label_and_status_and_are_their_owners(
    server: GlobusTransferServer, asked: Any, ends: tuple[str, str]
) -> None:
    client = asked()
    server.service.troubles = ["", "fails"]
    first, second = (client.submit_transfer(document(ends, "a", label=label))["task_id"] for label in ("one", "two"))
    assert [task["task_id"] for task in client.task_list()] == [second, first]
    assert [task["task_id"] for task in client.task_list(filter={"label": "one"})] == [first]
    assert [task["task_id"] for task in client.task_list(filter={"label": ["one", "two"], "status": "FAILED"})] == [
        second
    ]
    assert list(asked(OTHER).task_list()) == []
    assert refused(lambda: asked(OTHER).get_task(first)) == (404, "TaskNotFound")


def test_a_submission_that_is_known_is_a_duplicate_and_one_that_is_not_is_refused(
    server: GlobusTransferServer, asked: Any, ends: tuple[str, str]
) -> None:
    client = asked()
    data = document(ends, "a")
    first = client.submit_transfer(data)
    again = client.submit_transfer(data)
    assert (again["code"], again["task_id"]) == ("Duplicate", first["task_id"])
    unknown = document(ends, "a", submission_id="00000000-0000-4000-8000-000000000000")
    assert refused(lambda: client.submit_transfer(unknown)) == (400, "ClientError.BadRequest")
    assert len(server.service.tasks) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"label": "x" * 129},
        {"label": "two\nlines"},
        {"sync_level": 4},
        {"deadline": "2001-01-01T00:00:00+00:00"},
        {"additional_fields": {"colour": "red"}},
        {"additional_fields": {"DATA_TYPE": "delete"}},
        {"additional_fields": {"DATA": []}},
        {"additional_fields": {"DATA": [{"source_path": "a", "destination_path": "/target/a"}]}},
    ],
)
def test_a_document_that_the_service_would_not_take_is_refused(
    asked: Any, ends: tuple[str, str], changes: dict[str, Any]
) -> None:
    names = () if "additional_fields" in changes else ("a",)
    assert refused(lambda: asked().submit_transfer(document(ends, *names, **changes)))[0] == 400


def test_the_wait_of_the_sdk_says_true_of_a_task_that_failed(
    server: GlobusTransferServer, asked: Any, ends: tuple[str, str]
) -> None:
    server.service.troubles = ["fails"]
    client = asked()
    task = client.submit_transfer(document(ends, "a"))["task_id"]
    assert client.task_wait(task, timeout=1, polling_interval=1) is True
    assert client.get_task(task)["status"] == "FAILED"


def test_a_consent_is_named_until_it_is_given(server: GlobusTransferServer, asked: Any, tmp_path: Path) -> None:
    collection = server.service.share(tmp_path, wants_consent=True)
    with pytest.raises(globus_sdk.TransferAPIError) as raised:
        asked().operation_ls(collection)
    (scope,) = raised.value.info.consent_required.required_scopes or ()
    assert scope.endswith(f"[*https://auth.globus.org/scopes/{collection}/data_access]")
    auth = globus_sdk.ConfidentialAppAuthClient(MOVER.name, MOVER.secret, base_url=server.url)
    auth.oauth2_client_credentials_tokens(requested_scopes=scope)
    auth.close()
    assert asked().operation_ls(collection, path="/")["DATA_TYPE"] == "file_list"


def test_a_paused_task_says_why_and_goes_on(server: GlobusTransferServer, asked: Any, ends: tuple[str, str]) -> None:
    server.service.troubles = ["is paused"]
    client = asked()
    task = client.submit_transfer(document(ends, "a"))["task_id"]
    assert (client.get_task(task)["status"], client.get_task(task)["is_paused"]) == ("ACTIVE", True)
    assert client.task_pause_info(task)["pause_rules"][0]["message"]
    server.service.resume(task)
    assert client.get_task(task)["status"] == "SUCCEEDED"
    assert client.task_pause_info(task)["pause_rules"] == []


def test_a_skipped_file_is_told_beside_succeeded(
    server: GlobusTransferServer, asked: Any, ends: tuple[str, str]
) -> None:
    server.service.troubles = ["skips a file"]
    client = asked()
    task = client.submit_transfer(document(ends, "a", "b"))["task_id"]
    told = client.get_task(task)
    assert (told["status"], told["subtasks_skipped_errors"], told["files_transferred"]) == ("SUCCEEDED", 1, 1)
    assert [one["source_path"] for one in client.task_skipped_errors(task)] == ["/source/a"]


def test_a_file_that_is_missing_is_tried_again_and_not_given_up(
    server: GlobusTransferServer, asked: Any, ends: tuple[str, str], tmp_path: Path
) -> None:
    client = asked()
    task = client.submit_transfer(document(ends, "a", "late"))["task_id"]
    assert (client.get_task(task)["status"], client.get_task(task)["nice_status"]) == ("ACTIVE", "FILE_NOT_FOUND")
    (tmp_path / "source" / "late").write_text("late")
    server.service.advance(task)
    assert client.get_task(task)["status"] == "SUCCEEDED"


def test_what_is_there_already_is_skipped_and_what_differs_is_replaced(
    asked: Any, ends: tuple[str, str], tmp_path: Path
) -> None:
    client = asked()
    client.submit_transfer(document(ends, "a", "b"))
    (tmp_path / "source" / "b").write_text("other")
    told = client.get_task(client.submit_transfer(document(ends, "a", "b"))["task_id"])
    assert (told["files_skipped"], told["files_transferred"]) == (1, 1)
    assert (tmp_path / "target" / "deep" / "b").read_text() == "other"


def test_a_cancelled_task_is_failed_and_is_not_cancelled_twice(
    server: GlobusTransferServer, asked: Any, ends: tuple[str, str]
) -> None:
    server.service.by_hand = True
    client = asked()
    task = client.submit_transfer(document(ends, "a"))["task_id"]
    assert client.get_task(task)["nice_status"] == "Queued"
    assert client.cancel_task(task)["code"] == "Canceled"
    assert client.get_task(task)["fatal_error"]["code"] == "CANCELED"
    assert refused(lambda: client.cancel_task(task)) == (409, "TaskComplete")


def test_nobody_and_nothing_that_is_not_there_is_answered(server: GlobusTransferServer, asked: Any) -> None:
    client = asked()
    nowhere = "00000000-0000-4000-8000-000000000000"
    assert refused(lambda: client.operation_ls(nowhere)) == (404, "EndpointNotFound")
    assert refused(lambda: client.get("/v0.10/bookmark_list")) == (404, "ClientError.NotFound")
    assert refused(lambda: client.get_task(nowhere)) == (404, "TaskNotFound")
    server.tokens.expire()
    assert refused(client.get_submission_id) == (401, "AuthenticationFailed")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"path": "/data/run"}, "the path must begin and end with '/'"),
        ({"permissions": "x"}, "permissions must be r or rw"),
        ({"principal": "staff"}, "the principal must be a uuid"),
        ({"principal_type": "all_authenticated_users"}, "the principal must be empty"),
        ({"create_time": "now"}, "unknown field create_time"),
    ],
)
def test_an_access_rule_that_the_service_would_not_take_is_refused(changes: dict[str, str], said: str) -> None:
    rule = {"DATA_TYPE": "access", "principal_type": "group", "principal": GROUP, "path": "/data/", "permissions": "r"}
    with pytest.raises(Refused, match=re.escape(said)):
        AccessRules().add("collection", {**rule, **changes})


def test_a_principal_has_one_rule_about_a_path() -> None:
    rules = AccessRules()
    rule = {"DATA_TYPE": "access", "principal_type": "group", "principal": GROUP, "path": "/data/", "permissions": "r"}
    rules.add("collection", rule)
    with pytest.raises(Refused, match="already has permissions"):
        rules.add("collection", {**rule, "permissions": "rw"})
    rules.delete("collection", rules.of("collection")[-1]["id"])
    with pytest.raises(Refused, match="There is no access rule"):
        rules.delete("collection", "x")
