"""What a site file may say about channels to people, and a beamline file about what is said to which of them."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from xpcs_assets.settings_base import Secret, Settings
from xpcs_assets.units import Seconds, Share

LOG = "log"
"""The channel that every site has: the log of the beamline's sensor."""
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
Kind = Literal[
    "failed", "late", "silent", "quota", "unavailable", "prune", "catalog", "backend", "parked", "campaign",
    "approval",
]  # fmt: skip
_ADDRESS = re.compile(r"[!-?A-~]+@[!-?A-~]+")


def _address(value: str) -> str:
    if _ADDRESS.fullmatch(value) is None:
        raise ValueError(f"{value!r} is no mail address")
    return value


class MailSettings(Settings):
    """A mail server, and whom to write to."""

    kind: Literal["mail"] = Field(description="Which kind of channel this is")
    host: str = Field(min_length=1, description="The mail server")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(587, description="Its port")
    starttls: bool = Field(default=True, description="Speak TLS, and check the server's certificate")
    username: str = Field("", description="To log in with; empty: the server asks for none")
    password: Secret | None = Field(None, description="To log in with")
    sender: str = Field(description="The address that mails come from")
    to: tuple[str, ...] = Field(min_length=1, description="The addresses that get them")
    timeout: Seconds = Field(10.0, gt=0, le=60, description="How long to wait for each answer")

    @field_validator("sender")
    @classmethod
    def _is_address(cls, value: str) -> str:
        return _address(value)

    @field_validator("to")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_address, value))

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        if bool(self.username) != (self.password is not None):
            raise ValueError("username and password go together")
        if self.password is not None and not self.starttls and self.host not in LOOPBACK:
            raise ValueError("a password is only sent over TLS: leave starttls on")
        return self


class WebhookSettings(Settings):
    """An address that takes a message over HTTP, such as a chat's or a logbook's."""

    kind: Literal["webhook"] = Field(description="Which kind of channel this is")
    url: Secret = Field(description="Where the address lies: whoever has it can write there. https, or this machine")
    form: Literal["text", "json"] = Field(
        "text", description='text: `{"text": ...}`, as chats take it; json: the message in its parts'
    )
    token: Secret | None = Field(None, description="Sent as `Authorization: Bearer`, where the service asks for it")
    timeout: Seconds = Field(10.0, gt=0, le=60, description="How long to wait for the answer")


ChannelSettings = Annotated[MailSettings | WebhookSettings, Field(discriminator="kind")]


class Alerts(Settings):
    """When to call somebody, and how."""

    silent_for: Seconds = Field(
        86400.0, ge=60, description="No run for this long: the raw_file asset turns stale, and people are told"
    )
    to: tuple[str, ...] = Field(
        (LOG,), description=f"Who is told: `{LOG}`, the log of the sensor, and names under `channels` in the site file"
    )
    digest_every: Seconds = Field(900.0, ge=60, description="After a word, the next one comes no sooner")
    late_after: Seconds = Field(
        86400.0, ge=3600, description="A run that was taken so long ago and has no result or no catalog entry is late"
    )
    quota: Share = Field(0.9, gt=0, le=1, description="So much of a place's disk in use is told")
    prune_soon: Seconds = Field(
        3 * 86400.0, ge=86400, le=30 * 86400, description="So long before copies may go by their age it is told"
    )
    mute: tuple[Kind, ...] = Field((), description="What nobody is told of")

    @field_validator("to", "mute")
    @classmethod
    def _are_named_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names each once")
        return value
