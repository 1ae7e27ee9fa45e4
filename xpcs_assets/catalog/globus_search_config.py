"""What a Globus Search catalog needs to know, and who may see what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote, urlsplit
from uuid import UUID

from xpcs_assets.errors import CatalogError, SettingsError
from xpcs_assets.globus_login import wrong_address
from xpcs_assets.secret import SecretReference
from xpcs_assets.settings_catalogs import ENTRY_LEAST, ENTRY_LIMIT

PUBLIC = "public"
_PRINCIPAL = re.compile(r"urn:globus:(groups:id|auth:identity):([0-9a-f-]{36})")
_MOST_PRINCIPALS = 100  # of the service
_MOST_SUBJECT = 500  # bytes, of the service
_LAST_ZONE = timedelta(hours=12)  # where a day ends last


@dataclass(frozen=True)
class GlobusSearchConfig:
    """What a Globus Search catalog needs to know.

    Attributes
    ----------
    index_id
        Of the index, a UUID.
    operators
        URNs of groups or identities that see every entry: ``urn:globus:groups:id:`` or ``urn:globus:auth:identity:``
        and a UUID. The account that writes must be one of them, else it does not see what it wrote.
    token
        A long-lived token for Search with the scopes ``ingest`` and ``search``, or ``all``; wins over ``client_id``.
    client_id, client_secret
        A confidential client of Globus Auth, which gets tokens of its own.
    groups
        Name of a group of a dataset to the URN that sees the datasets of that group. The datasets of a group that is
        not named here are seen by the operators only.
    public_after_embargo
        Whether everybody sees a dataset after its embargo's last day; one without an embargo never becomes public.
    subject
        Pattern over ``{pid}``: what tells the datasets of the index apart. In an address, such as
        ``https://portal.example.org/dataset/{pid}``, the pid is percent-encoded.
    picture_url
        Pattern over ``{pid}`` and ``{name}``: the HTTPS address at which a plot can be seen. Empty: plots are named
        and not linked. Plots themselves are never sent.
    url, auth_url
        Of Search and of Globus Auth; empty: those of the SDK, also by its ``GLOBUS_SDK_SERVICE_URL_SEARCH`` and
        ``GLOBUS_SDK_SERVICE_URL_AUTH``.
    timeout_s
        The longest wait to connect, and for each piece of an answer.
    tries
        How often a request is made; the SDK makes it again after an error of the network or of the service.
    longest_sleep_s
        Between two of them, whatever the service asks for.
    poll_s, task_limit_s
        How often a task is asked for, and how long; one that is not done by then may still be done later.
    entry_bytes
        The most of one entry; metadata beyond are left out and counted.
    """

    index_id: str
    operators: tuple[str, ...]
    token: SecretReference | None = None
    client_id: str = ""
    client_secret: SecretReference | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    public_after_embargo: bool = False
    subject: str = "{pid}"
    picture_url: str = ""
    url: str = ""
    auth_url: str = ""
    timeout_s: float = 60.0
    tries: int = 3
    longest_sleep_s: float = 10.0
    poll_s: float = 1.0
    task_limit_s: float = 120.0
    entry_bytes: int = 4_000_000

    def __post_init__(self) -> None:
        wrong = [
            *(["index_id must be a UUID"] if not _is_uuid(self.index_id) else []),
            *(["name at least one operator: an entry that nobody sees is of no use"] if not self.operators else []),
            *(f"{urn!r} is no URN of a group or identity" for urn in self._principals() if not is_principal(urn)),
            *(["name a token, or a client_id and client_secret"] if not self._has_credentials() else []),
            *(wrong for name in ("url", "auth_url") for wrong in wrong_address(name, getattr(self, name))),
            *self._wrong_patterns(),
            *self._wrong_numbers(),
        ]
        if wrong:
            raise SettingsError("; ".join(wrong), where="catalog: globus-search")

    def visible_to(self, groups: Sequence[str], embargo_until: str, now: datetime) -> list[str]:
        """Who sees a dataset of these groups now: the operators, the groups that are known, everybody if that is so.

        Raises
        ------
        CatalogError
            More groups than the service takes.
        """
        known = [self.groups[group] for group in groups if group in self.groups]
        opens_at = self.public_from(embargo_until)
        everybody = [PUBLIC] if opens_at is not None and opens_at <= now else []
        principals = sorted({*self.operators, *known, *everybody})
        if len(principals) > _MOST_PRINCIPALS:
            what = f"{len(principals)} groups are to see it; the service takes {_MOST_PRINCIPALS}"
            raise CatalogError(what, where="catalog: globus-search")
        return principals

    def public_from(self, embargo_until: str) -> datetime | None:
        """When everybody sees a dataset with this embargo; None for never."""
        return _over_at(embargo_until) if self.public_after_embargo else None

    def subject_of(self, pid: str) -> str:
        """The subject of a dataset.

        Raises
        ------
        CatalogError
            It is longer than the service takes.
        """
        subject = self.subject.format(pid=quote(pid, safe="/~") if "://" in self.subject else pid)
        if len(subject.encode()) > _MOST_SUBJECT:
            raise CatalogError(f"the subject has more than {_MOST_SUBJECT} bytes", where=pid)
        return subject

    def picture_address(self, pid: str, name: str) -> str:
        """Where a plot can be seen; empty when that is not configured."""
        return self.picture_url.format(pid=quote(pid, safe="/~"), name=quote(name, safe="~"))

    def _principals(self) -> tuple[str, ...]:
        return (*self.operators, *self.groups.values())

    def _has_credentials(self) -> bool:
        return self.token is not None or bool(self.client_id and self.client_secret)

    def _wrong_patterns(self) -> list[str]:
        wrong = []
        for name, words in (("subject", {"pid": "p"}), ("picture_url", {"pid": "p", "name": "n"})):
            pattern = getattr(self, name)
            try:
                filled = pattern.format(**words)
            except (KeyError, ValueError, IndexError, AttributeError):
                wrong.append(f"{name}: the words in braces are {' and '.join(words)}")
                continue
            if pattern and not all(f"{{{word}}}" in pattern for word in words):
                wrong.append(f"{name} must hold {' and '.join(f'{{{word}}}' for word in words)}")
            if name == "picture_url" and pattern and urlsplit(filled).scheme != "https":
                wrong.append("picture_url must be https://")
        return wrong

    def _wrong_numbers(self) -> list[str]:
        positive = ("timeout_s", "tries", "longest_sleep_s", "poll_s", "task_limit_s")
        wrong = [f"{name} must be above 0" for name in positive if not getattr(self, name) > 0]
        if not ENTRY_LEAST <= self.entry_bytes <= ENTRY_LIMIT:
            wrong.append(f"entry_bytes must be from {ENTRY_LEAST} to {ENTRY_LIMIT}")
        return wrong


def is_principal(text: str) -> bool:
    """Whether a text is the URN of a Globus group or identity.

    >>> is_principal("urn:globus:groups:id:3f0a8ac4-5b1d-4d8f-8d9c-0c3c1c1c1c1c"), is_principal("public")
    (True, False)
    """
    found = _PRINCIPAL.fullmatch(text)
    return found is not None and _is_uuid(found[2])


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _over_at(embargo_until: str) -> datetime | None:
    """When an embargo's last day has passed everywhere on Earth; None for never: there is none, or it is no date."""
    try:
        last_day = date.fromisoformat(embargo_until[:10])
        return datetime(last_day.year, last_day.month, last_day.day, tzinfo=UTC) + timedelta(days=1) + _LAST_ZONE
    except (ValueError, OverflowError):
        return None
