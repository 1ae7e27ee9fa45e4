"""Who sees what, and configurations that are refused before anything is sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from xpcs_assets.catalog.globus_search_config import PUBLIC, GlobusSearchConfig
from xpcs_assets.errors import CatalogError, SettingsError
from xpcs_assets.secret import SecretReference
from xpcs_assets.testing.globus_search_server import INDEX_ID, OPERATORS, OTHERS, USERS, group
from xpcs_assets_tests.globus_search import NOW


def config(**changes: Any) -> GlobusSearchConfig:
    least = {"index_id": INDEX_ID, "operators": (OPERATORS,), "token": SecretReference(variable="A_TOKEN")}
    return GlobusSearchConfig(**{**least, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"index_id": "my-index"}, "index_id must be a UUID"),
        ({"operators": ()}, "name at least one operator"),
        ({"operators": ("staff",)}, "'staff' is no URN"),
        ({"operators": (PUBLIC,)}, "'public' is no URN"),
        ({"groups": {"p1234": "all_authenticated_users"}}, "is no URN"),
        ({"groups": {"p1234": "urn:globus:groups:id:" + "-" * 36}}, "is no URN"),
        ({"token": None}, "name a token, or a client_id"),
        ({"token": None, "client_id": "a"}, "name a token, or a client_id"),
        ({"url": "search.api.globus.org"}, "url must be https://host"),
        ({"auth_url": "http://auth.globus.org"}, "auth_url must be https: a token is sent there"),
        ({"url": "https://a:b@search.api.globus.org"}, "url must not hold a password"),
        ({"subject": "all"}, r"subject must hold \{pid\}"),
        ({"subject": "{pid}/{name}"}, "subject: the words in braces are pid"),
        ({"picture_url": "https://example.org/{pid}"}, r"picture_url must hold \{pid\} and \{name\}"),
        ({"picture_url": "http://example.org/{pid}/{name}"}, "picture_url must be https://"),
        ({"picture_url": "https://example.org/{pid}/{0}"}, "picture_url: the words in braces"),
        ({"timeout_s": 0}, "timeout_s must be above 0"),
        ({"tries": 0}, "tries must be above 0"),
        ({"poll_s": float("nan")}, "poll_s must be above 0"),
        ({"entry_bytes": 9_900_001}, "entry_bytes must be from 10000 to 9900000"),
        ({"entry_bytes": 100}, "entry_bytes must be"),
    ],
)
def test_what_cannot_work_is_refused_with_its_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        config(**changes)


def test_loopback_needs_no_https() -> None:
    assert config(url="http://127.0.0.1:1", auth_url="http://localhost:1").url


def test_a_dataset_is_seen_by_the_operators_alone_unless_its_groups_are_mapped() -> None:
    assert config().visible_to(["p1234", "staff"], "", NOW) == [OPERATORS]
    mapped = config(groups={"p1234": USERS, "p9999": OTHERS})
    assert mapped.visible_to(["p1234", "staff"], "", NOW) == [OPERATORS, USERS]
    assert mapped.visible_to([], "", NOW) == [OPERATORS]


def test_a_group_and_an_operator_of_the_same_urn_are_one() -> None:
    assert config(groups={"staff": OPERATORS, "p": USERS, "q": USERS}).visible_to(["staff", "p", "q"], "", NOW) == [
        OPERATORS,
        USERS,
    ]


@pytest.mark.parametrize(
    ("embargo_until", "over"),
    [
        ("2026-05-31", True),
        ("2026-05-31T23:00:00+02:00", True),
        ("2026-06-01", False),
        ("2027-01-01", False),
        ("", False),
        ("soon", False),
        ("2026-13-01", False),
    ],
)
def test_a_dataset_becomes_public_after_its_embargo_only_where_that_is_configured(
    embargo_until: str,
    over: bool,
) -> None:
    opened = config(public_after_embargo=True).visible_to([], embargo_until, NOW)
    assert opened == ([PUBLIC] if over else []) + [OPERATORS]
    assert config().visible_to([], embargo_until, NOW) == [OPERATORS]


def test_an_embargo_ends_when_its_last_day_is_over_everywhere() -> None:
    opened = config(public_after_embargo=True)
    last = datetime(2026, 6, 2, 12, tzinfo=UTC)
    assert PUBLIC in opened.visible_to([], "2026-06-01", last)
    assert PUBLIC not in opened.visible_to([], "2026-06-01", last - timedelta(seconds=1))


def test_more_groups_than_the_service_takes_are_refused() -> None:
    groups = {str(number): group(number) for number in range(2, 103)}
    assert len(config(groups=groups).visible_to([*groups][:99], "", NOW)) == 100
    with pytest.raises(CatalogError, match="takes 100"):
        config(groups=groups).visible_to([*groups][:100], "", NOW)


def test_a_subject_is_the_pid_or_an_address_with_it() -> None:
    pid = "xpcs-assets/b/A 1#2/v1"
    assert config().subject_of(pid) == pid
    address = config(subject="https://portal.example.org/dataset/{pid}").subject_of(pid)
    assert address == "https://portal.example.org/dataset/xpcs-assets/b/A%201%232/v1"


def test_a_subject_that_is_too_long_is_refused() -> None:
    assert config().subject_of("ä" * 250)
    with pytest.raises(CatalogError, match="500 bytes"):
        config().subject_of("ä" * 251)


def test_a_plot_has_an_address_where_that_is_configured() -> None:
    linked = config(picture_url="https://example.org/plots/{pid}/{name}")
    assert linked.picture_address("a/b", "g2 1.png") == "https://example.org/plots/a/b/g2%201.png"
    assert config().picture_address("a/b", "g2.png") == ""
