"""What a site file may say about catalogs and about who belongs to a proposal. Secrets are only referred to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from xpcs_assets.settings_base import Secret, Settings
from xpcs_assets.units import Seconds, SizeBytes

EMBEDDED = "embedded"
"""The catalog that every site has; it is always filled, and first."""
WORDS = ("group", "proposal", "beamline")
"""What the patterns of a catalog's rules may hold in braces."""
ENTRY_LEAST, ENTRY_LIMIT = 10_000, 9_900_000
"""Bytes of an entry of Globus Search; a request of the service has 10 MB, with subject and visible_to."""


def wrong_url(url: str) -> list[str]:
    """Why this is no address of a service; nothing when it is one.

    >>> wrong_url("https://scicat.example.org"), wrong_url("scicat.example.org")
    ([], ['url must be http(s)://host'])
    """
    parts = urlsplit(url)
    return [
        *(["url must be http(s)://host"] if parts.scheme not in {"http", "https"} or not parts.hostname else []),
        *(["url must not hold a password"] if parts.password or parts.username else []),
    ]


def wrong_pattern(pattern: str, words: tuple[str, ...] = WORDS) -> list[str]:
    """Why this is no pattern over ``words``; nothing when it is one.

    >>> wrong_pattern("p{proposal}"), wrong_pattern("{cycle}")
    ([], ["'{cycle}': the words in braces are group, proposal and beamline"])
    """
    try:
        pattern.format(**dict.fromkeys(words, "x"))
    except (KeyError, ValueError, IndexError, AttributeError):
        return [f"{pattern!r}: the words in braces are {', '.join(words[:-1])} and {words[-1]}"]
    return []


class ScicatSettings(Settings):
    """A SciCat backend, the account, and the rules by which datasets are written there."""

    kind: Literal["scicat"] = Field(description="Which kind of catalog this is")
    url: str = Field(description="Of the backend, without `/api`: `https://scicat.example.org`")
    contact_email: str = Field(description="Of every dataset whose proposal names none; with a real top-level domain")
    token: Secret | None = Field(None, description="A long-lived token; wins over username")
    username: str = Field("", description="To log in with")
    password: Secret | None = Field(None, description="To log in with")
    api: Literal["v4", "v3"] = Field("v4", description="v3 where version 4 is not served")
    backend: Literal["auto", "older"] = Field(
        "auto", description="auto: the SDK's field names, and older ones once those are refused; older: those at once"
    )
    pid_prefix: str = Field("", description="Stands before every pid, such as the facility's handle prefix")
    principal_investigator: str = Field("unknown", description="Where the roster names none")
    owner_group: str = Field(
        "{group}", description="Who owns a dataset: a pattern over {group}, {proposal} and {beamline}"
    )
    access_groups: tuple[str, ...] = Field((), description="Who else may see it, beside the run's own groups")
    creation_location: str = Field("{beamline}", description="Where it was taken")
    make_links: bool = Field(
        default=False, description="Make proposals and samples that are not there; no where a user office makes them"
    )
    connect: Seconds = Field(5.0, gt=0, description="How long to wait for a connection")
    read: Seconds = Field(60.0, gt=0, description="How long to wait between two pieces of an answer")
    reads_tried: Annotated[int, Field(ge=1)] = Field(3, description="How often a request that only reads is made")
    files_in_block: Annotated[int, Field(ge=1)] = Field(5000, description="The most files of one OrigDatablock")
    bytes_in_block: SizeBytes = Field(8 * 2**20, ge=1024, description="The most bytes of one OrigDatablock")
    attachment_bytes: SizeBytes = Field(2**20, ge=1024, description="The most of one plot, encoded")

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        patterns = (self.owner_group, self.creation_location, *self.access_groups)
        wrong = [*wrong_url(self.url), *(why for pattern in patterns for why in wrong_pattern(pattern))]
        if self.token is None and (self.password is None or not self.username):
            wrong.append("name a token, or a username and password")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


class RosterSettings(Settings):
    """Who belongs to a proposal: the groups that see its data in every catalog, and its people."""

    file: Path | None = Field(
        None,
        description="YAML or CSV, by proposal: `owner`, `groups`, `investigator`, `email`; relative to the site's home",
    )
    groups: tuple[str, ...] = Field(
        (), description="Groups of a proposal that the file does not name: patterns over {proposal} and {beamline}"
    )

    @model_validator(mode="after")
    def _has_patterns(self) -> Self:
        wrong = [why for pattern in self.groups for why in wrong_pattern(pattern, ("proposal", "beamline"))]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


class GlobusSearchSettings(Settings):
    """A Globus Search index, the account, and who sees what there."""

    kind: Literal["globus-search"] = Field(description="Which kind of catalog this is")
    index_id: str = Field(description="Of the index, a UUID")
    operators: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        description="URNs of Globus groups or identities that see every entry, the account that writes among them"
    )
    token: Secret | None = Field(None, description="A long-lived token for Search; wins over client_id")
    client_id: str = Field("", description="A confidential client of Globus Auth")
    client_secret: Secret | None = Field(None, description="Its secret")
    groups: dict[str, str] = Field(
        {}, description="The URN of each of our groups; the datasets of other groups are for the operators only"
    )
    public_after_embargo: bool = Field(
        default=False, description="Everybody sees a dataset after its embargo; one without an embargo never"
    )
    subject: str = Field("{pid}", description="What tells the datasets of the index apart: a pattern over {pid}")
    picture_url: str = Field(
        "", description="The address at which a plot can be seen, a pattern over {pid} and {name}; empty: no link"
    )
    url: str = Field("", description="Of Search; empty: the SDK's")
    auth_url: str = Field("", description="Of Globus Auth; empty: the SDK's")
    timeout: Seconds = Field(60.0, gt=0, description="How long to wait to connect, and for each piece of an answer")
    tries: Annotated[int, Field(ge=1)] = Field(3, description="How often a request is made")
    longest_sleep: Seconds = Field(10.0, description="Between two of them, whatever the service asks for")
    poll: Seconds = Field(1.0, gt=0, description="How often an ingest is asked for")
    task_limit: Seconds = Field(120.0, gt=0, description="How long; one that is not done by then is asked for later")
    entry_bytes: SizeBytes = Field(
        4_000_000, ge=ENTRY_LEAST, le=ENTRY_LIMIT, description="The most of one entry; more metadata are left out"
    )

    @model_validator(mode="after")
    def _has_credentials(self) -> Self:
        if self.token is None and (self.client_secret is None or not self.client_id):
            raise ValueError("name a token, or a client_id and client_secret")
        return self


CatalogSettings = Annotated[ScicatSettings | GlobusSearchSettings, Field(discriminator="kind")]
