"""The stand-in for Globus Search does what the service's documentation says: asked with the real SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import globus_sdk
import pytest
from globus_sdk.transport import RequestsTransport, RetryConfig

from xpcs_assets.testing.globus_search_server import (
    ADMIN,
    INDEX_ID,
    OPERATORS,
    OTHERS,
    STRANGER,
    USER,
    USERS,
    WRITER,
    Client,
    GlobusSearchServer,
)


@pytest.fixture
def server() -> Iterator[GlobusSearchServer]:
    with GlobusSearchServer() as running:
        running.index.polls = 0
        yield running


class Asked:
    """Clients of the SDK, closed at the end."""

    def __init__(self, server: GlobusSearchServer) -> None:
        self.server = server
        self.opened: list[globus_sdk.SearchClient] = []

    def __call__(self, client: Client | None = WRITER) -> globus_sdk.SearchClient:
        authorizer = globus_sdk.AccessTokenAuthorizer(self.server.token(client)) if client else None
        retries = RetryConfig(max_retries=0)
        transport = RequestsTransport(http_timeout=2.0)
        made = globus_sdk.SearchClient(
            base_url=self.server.url, authorizer=authorizer, transport=transport, retry_config=retries
        )
        self.opened.append(made)
        return made


@pytest.fixture
def asked(server: GlobusSearchServer) -> Iterator[Asked]:
    made = Asked(server)
    yield made
    for one in made.opened:
        one.transport.close()


def entry(content: Any = None, *, subject: str = "s", entry_id: str | None = "i", **changes: Any) -> dict[str, Any]:
    data = {"subject": subject, "id": entry_id, "visible_to": [OPERATORS], "content": content or {"a": 1}, **changes}
    return {"ingest_type": "GMetaEntry", "ingest_data": data}


def written(asked: Asked, *documents: dict[str, Any]) -> list[tuple[str, str | None]]:
    """State and message of the task of each document."""
    client = asked()
    told = []
    for document in documents:
        task = client.get_task(client.ingest(INDEX_ID, document)["task_id"])
        told.append((task["state"], task["message"]))
    return told


def refused(call: Any) -> tuple[int, str]:
    with pytest.raises(globus_sdk.SearchAPIError) as raised:
        call()
    return raised.value.http_status, raised.value.message or ""


def test_an_ingest_is_a_task_that_goes_from_pending_over_progress_to_success(
    server: GlobusSearchServer, asked: Asked
) -> None:
    server.index.polls = 2
    answer = asked().ingest(INDEX_ID, entry())
    assert (answer["acknowledged"], answer["success"], answer["num_documents_ingested"]) == (True, True, 1)
    assert refused(lambda: asked().get_subject(INDEX_ID, "s"))[0] == 404
    states = [asked().get_task(answer["task_id"])["state"] for _ in range(4)]
    assert states == ["PENDING", "PROGRESS", "SUCCESS", "SUCCESS"]
    assert asked().get_subject(INDEX_ID, "s")["entries"][0]["content"] == {"a": 1}


def test_tasks_are_done_in_the_order_in_which_they_came(server: GlobusSearchServer, asked: Asked) -> None:
    asked().ingest(INDEX_ID, entry({"a": 1}))
    last = asked().ingest(INDEX_ID, entry({"a": 2}))
    asked().get_task(last["task_id"])
    assert server.index.entries["s", "i"]["content"] == {"a": 2}
    assert [task["state"] for task in asked().get_task_list(INDEX_ID)["tasks"]] == ["SUCCESS", "SUCCESS"]


def test_a_list_of_entries_is_one_task(server: GlobusSearchServer, asked: Asked) -> None:
    several = [entry(subject=subject)["ingest_data"] for subject in ("s1", "s2")]
    listed = {"ingest_type": "GMetaList", "ingest_data": {"gmeta": several}}
    assert written(asked, listed) == [("SUCCESS", None)]
    assert len(server.index.entries) == 2


def test_an_entry_replaces_the_one_of_its_subject_and_id_and_no_other(server: GlobusSearchServer, asked: Asked) -> None:
    written(asked, entry({"a": 1}), entry({"a": 2}), entry({"a": 3}, entry_id=None))
    found = asked().get_subject(INDEX_ID, "s")["entries"]
    assert {one["entry_id"]: one["content"]["a"] for one in found} == {"i": 2, None: 3}
    assert asked().get_entry(INDEX_ID, "s")["entries"][0]["content"] == {"a": 3}
    assert asked().get_entry(INDEX_ID, "s", entry_id="i")["entries"][0]["content"] == {"a": 2}


def test_an_entry_is_seen_by_those_it_is_visible_to_and_others_are_told_that_there_is_none(asked: Asked) -> None:
    written(
        asked,
        entry(subject="users", visible_to=[USERS]),
        entry(subject="all", visible_to=["public"]),
        entry(subject="logged in", visible_to=["all_authenticated_users"]),
        entry(subject="one", visible_to=[STRANGER.identity]),
    )

    def seen(client: Client | None) -> set[str]:
        return {one["subject"] for one in asked(client).post_search(INDEX_ID, {"q": "*"})["gmeta"]}

    assert seen(None) == {"all"}
    assert seen(USER) == {"all", "logged in", "users"}
    assert seen(STRANGER) == {"all", "logged in", "one"}
    assert seen(WRITER) == {"all", "logged in"}, "a role on the index shows no entry"
    assert refused(lambda: asked(WRITER).get_subject(INDEX_ID, "users"))[0] == 404
    assert "visible_to" not in json.dumps(asked(USER).get_subject(INDEX_ID, "users").data)


def test_only_admins_may_look_past_visible_to(asked: Asked) -> None:
    written(asked, entry(visible_to=[OTHERS]))
    past = {"bypass_visible_to": "true"}
    assert asked(ADMIN).get_subject(INDEX_ID, "s", query_params=past)["subject"] == "s"
    assert refused(lambda: asked(WRITER).get_subject(INDEX_ID, "s", query_params=past))[0] == 403


def test_only_writers_may_ingest_and_look_at_tasks(server: GlobusSearchServer, asked: Asked) -> None:
    task_id = asked().ingest(INDEX_ID, entry())["task_id"]
    for client, status in ((USER, 403), (None, 401)):
        assert refused(lambda client=client: asked(client).ingest(INDEX_ID, entry()))[0] == status  # type: ignore[misc]
        assert refused(lambda client=client: asked(client).get_task(task_id))[0] == status  # type: ignore[misc]
        assert refused(lambda client=client: asked(client).get_task_list(INDEX_ID))[0] == status  # type: ignore[misc]
    server.scopes = frozenset({"search"})
    assert refused(lambda: asked().ingest(INDEX_ID, entry()))[0] == 403
    server.scopes = frozenset({"ingest"})
    assert refused(lambda: asked().get_subject(INDEX_ID, "s"))[0] == 403
    assert len(server.index.tasks) == 1


def test_a_token_that_was_made_worthless_is_401(server: GlobusSearchServer, asked: Asked) -> None:
    client = asked()
    server.tokens.expire()
    assert refused(lambda: client.get_subject(INDEX_ID, "s"))[0] == 401


def test_an_index_or_task_that_does_not_exist_is_404_and_one_that_is_being_deleted_is_409(
    server: GlobusSearchServer, asked: Asked
) -> None:
    other = "00000000-0000-4000-8000-000000000000"
    assert refused(lambda: asked().ingest(other, entry()))[0] == 404
    assert refused(lambda: asked().get_task(other))[0] == 404
    server.index.status = "delete_pending"
    assert refused(lambda: asked().ingest(INDEX_ID, entry()))[0] == 409
    assert asked().get_index(INDEX_ID)["status"] == "delete_pending"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"visible_to": []}, "visible_to must name 1 to 100"),
        ({"visible_to": [OPERATORS] * 101}, "visible_to must name 1 to 100"),
        ({"visible_to": ["staff"]}, "principal URNs"),
        ({"visible_to": "public"}, "visible_to"),
        ({"subject": "ä" * 251}, "500 bytes"),
        ({"subject": ""}, "subject"),
        ({"entry_id": 7}, "id must be a text"),
        ({"visibleTo": ["public"]}, "no unknown field"),
        ({"content": ["a"]}, "content must be an object"),
    ],
)
def test_what_is_no_gmetaentry_is_refused(asked: Asked, changes: dict[str, Any], said: str) -> None:
    status, message = refused(lambda: asked().ingest(INDEX_ID, entry(**changes)))
    assert status == 400
    assert said in message


@pytest.mark.parametrize("document", [{}, {"ingest_type": "GMeta"}, {"ingest_type": "GMetaList", "ingest_data": {}}, 3])
def test_what_is_no_gingest_is_refused(asked: Asked, document: Any) -> None:
    assert refused(lambda: asked().ingest(INDEX_ID, document))[0] == 400


def test_nan_is_no_json(asked: Asked) -> None:
    text = json.dumps(entry({"a": float("nan")}))
    path, headers = f"/v1/index/{INDEX_ID}/ingest", {"Content-Type": "application/json"}
    assert refused(lambda: asked().post(path, data=text, headers=headers, encoding="text"))[0] == 400
    assert refused(lambda: asked().post(path, data=json.dumps(entry()), encoding="text"))[0] == 400


def test_a_request_beyond_ten_megabytes_is_413(asked: Asked) -> None:
    assert refused(lambda: asked().ingest(INDEX_ID, entry({"a": ["x" * 30_000] * 340})))[0] == 413


@pytest.mark.parametrize(
    ("first", "then", "state"),
    [
        (1, 2, "SUCCESS"),
        (1, 1.5, "FAILED"),
        (1.5, 1, "SUCCESS"),
        (1, "bar", "FAILED"),
        ("bar", 1, "SUCCESS"),
        ("bar", True, "SUCCESS"),
        (True, "bar", "FAILED"),
        ("2026-05-01", "bar", "FAILED"),
        ("bar", "2026-05-01", "SUCCESS"),
        ("2026-05-01", "2026-05-01T12:00:00Z", "SUCCESS"),
        ({"b": 1}, "bar", "FAILED"),
        ([1, 2], 3, "SUCCESS"),
        (None, "bar", "SUCCESS"),
    ],
)
def test_a_field_has_the_type_of_its_first_value_and_takes_what_loses_nothing(
    server: GlobusSearchServer, asked: Asked, first: Any, then: Any, state: str
) -> None:
    told = written(asked, entry({"foo": first}), entry({"foo": then}, subject="other"))
    assert [one[0] for one in told] == ["SUCCESS", state]
    assert (("other", "i") in server.index.entries) == (state == "SUCCESS")
    assert state == "SUCCESS" or "[foo] of type" in str(told[1][1])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({f"k{n}": n for n in range(1001)}, "1000 fields"),
        ({"a": "x" * 32_001}, "32000 bytes"),
        ({".".join(["a"] * 22): 1}, "deeper than 20"),
    ],
)
def test_a_task_fails_where_a_limit_is_passed_and_nothing_of_the_entry_stands(
    server: GlobusSearchServer, asked: Asked, content: Any, said: str
) -> None:
    ((state, message),) = written(asked, entry(content))
    assert state == "FAILED"
    assert said in str(message)
    assert not server.index.entries
    assert not server.index.mapped.types


def test_a_dot_in_a_name_is_a_level(server: GlobusSearchServer, asked: Asked) -> None:
    told = written(asked, entry({"a": {"b": 1.5}}), entry({"a.b": "text"}), entry({"a": 3}))
    assert [state for state, _ in told] == ["SUCCESS", "FAILED", "FAILED"]


def test_a_subject_has_ten_entries_at_most(asked: Asked) -> None:
    told = written(asked, *(entry(entry_id=str(n)) for n in range(11)))
    assert [state for state, _ in told] == ["SUCCESS"] * 10 + ["FAILED"]


def test_a_subject_is_removed_by_a_task(server: GlobusSearchServer, asked: Asked) -> None:
    written(asked, entry(), entry(entry_id="other"), entry(subject="kept"))
    task_id = asked().delete_subject(INDEX_ID, "s")["task_id"]
    assert len(server.index.entries) == 3
    assert asked().get_task(task_id)["state"] == "SUCCESS"
    assert set(server.index.entries) == {("kept", "i")}


def test_a_search_finds_words_ranges_and_values(asked: Asked) -> None:
    written(
        asked,
        entry({"day": "2026-05-01", "n": [{"v": 1.5}, {"v": 2.5}], "name": "silica in water"}),
        entry({"day": "2026-05-02", "n": [{"v": 9.5}], "name": "silica"}, subject="other"),
    )

    def found(**query: Any) -> list[str]:
        return [one["subject"] for one in asked().post_search(INDEX_ID, query)["gmeta"]]

    assert found(q="WATER silica") == ["s"]
    assert found(q="silica", limit=1, offset=1) == ["other"]
    assert found(filters=[{"type": "range", "field_name": "n.v", "values": [{"from": 2, "to": 3}]}]) == ["s"]
    days = [{"from": "2026-05-02", "to": "*"}]
    assert found(q="*", filters=[{"type": "range", "field_name": "day", "values": days}]) == ["other"]
    assert found(filters=[{"type": "match_all", "field_name": "name", "values": ["silica"]}]) == ["other"]
    assert found(filters=[{"type": "match_any", "field_name": "no.such", "values": ["silica"]}]) == []
    assert refused(lambda: found(query="x"))[0] == 400
    assert refused(lambda: found(filters=[{"type": "like", "field_name": "name", "values": []}]))[0] == 400


@pytest.mark.parametrize(
    ("client", "secret", "scope", "status"),
    [
        (WRITER.name, WRITER.secret, globus_sdk.SearchClient.scopes.all, 200),
        (WRITER.name, "wrong", globus_sdk.SearchClient.scopes.all, 401),
        ("nobody", WRITER.secret, globus_sdk.SearchClient.scopes.all, 401),
        (WRITER.name, WRITER.secret, globus_sdk.TransferClient.scopes.all, 400),
    ],
)
def test_a_confidential_client_gets_a_token_for_search(
    server: GlobusSearchServer, client: str, secret: str, scope: Any, status: int
) -> None:
    transport = RequestsTransport(http_timeout=2.0)
    auth = globus_sdk.ConfidentialAppAuthClient(client, secret, base_url=server.url, transport=transport)
    try:
        if status == 200:
            told = auth.oauth2_client_credentials_tokens(scope).by_resource_server["search.api.globus.org"]
            assert server.tokens.user(f"Bearer {told['access_token']}") == WRITER.name
        else:
            with pytest.raises(globus_sdk.AuthAPIError) as raised:
                auth.oauth2_client_credentials_tokens(scope)
            assert raised.value.http_status == status
    finally:
        transport.close()


@pytest.mark.parametrize("fault", ["401", "403", "404", "409", "429"])
def test_an_ordered_status_is_told_as_the_service_tells_errors(
    server: GlobusSearchServer, asked: Asked, fault: str
) -> None:
    server.faults.add("GET", "/subject$", fault)
    assert refused(lambda: asked().get_subject(INDEX_ID, "s")) == (int(fault), "it was ordered")
    assert server.seen[-1][2] == int(fault)


def test_a_task_can_be_held_and_be_told_to_fail(server: GlobusSearchServer, asked: Asked) -> None:
    server.index.held = True
    task_id = asked().ingest(INDEX_ID, entry())["task_id"]
    assert {asked().get_task(task_id)["state"] for _ in range(5)} == {"PENDING"}
    server.index.held = False
    server.index.failures.append("the backend is unwell")
    told = asked().get_task(task_id)
    assert (told["state"], told["message"]) == ("FAILED", "the backend is unwell")
    written(asked, entry())
    server.index.settle()
    assert len(server.index.entries) == 1
