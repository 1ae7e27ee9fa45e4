"""Channels of a site file, and what a beamline file says is told to whom."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from xpcs_assets.settings import SiteSettings
from xpcs_assets.settings_alerts import Alerts, ChannelSettings, MailSettings, WebhookSettings
from xpcs_assets.site import SITE_FILE, Site
from xpcs_assets_tests.unit.conftest import Altered

MAIL = {"kind": "mail", "host": "mail.example.org", "sender": "xpcs@example.org", "to": ["a@example.org"]}
CHANNEL: TypeAdapter[Any] = TypeAdapter(ChannelSettings)


def test_by_default_the_log_is_told_of_everything() -> None:
    alerts = Alerts()
    assert (alerts.to, alerts.mute, alerts.digest_every, alerts.quota) == (("log",), (), 900.0, 0.9)


def test_channels_are_told_apart_by_their_kind() -> None:
    assert isinstance(CHANNEL.validate_python(MAIL), MailSettings)
    hook = CHANNEL.validate_python({"kind": "webhook", "url": {"variable": "HOOK"}})
    assert isinstance(hook, WebhookSettings)
    assert "HOOK" in repr(hook)  # where the secret lies, which is none


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"to": []}, r"at least 1 item"),
        ({"to": ["a@example.org\nBcc: b@example.org"]}, r"is no mail address"),
        ({"to": ["a@example.org, b@example.org"]}, r"is no mail address"),
        ({"sender": "xpcs"}, r"is no mail address"),
        ({"username": "xpcs"}, r"go together"),
        ({"password": {"variable": "P"}}, r"go together"),
        ({"username": "x", "password": {"variable": "P"}, "starttls": False}, r"only sent over TLS"),
        ({"kind": "pager"}, r"'mail', 'webhook'"),
        ({"timeout": "2 min"}, r"less than or equal to 60"),
    ],
)
def test_a_channel_that_cannot_work_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        CHANNEL.validate_python(MAIL | changes)


@pytest.mark.parametrize(
    ("alerts", "told"),
    [
        ({"to": ["log", "log"]}, r"names each once"),
        ({"mute": ["beauty"]}, r"'failed', 'late'"),
        ({"quota": 0}, r"greater than 0"),
        ({"prune_soon": "31 days"}, r"less than or equal"),  # the forecast goes no further
        ({"digest_every": "1 s"}, r"greater than or equal to 60"),
    ],
)
def test_what_a_beamline_cannot_ask_for_is_refused(alerts: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Alerts.model_validate(alerts)


def test_the_log_is_no_name_for_another_channel() -> None:
    with pytest.raises(ValidationError, match=r"'log': a name has"):
        SiteSettings.model_validate({"channels": {"log": MAIL}})


def test_a_beamline_that_names_an_unknown_channel_does_not_run_and_says_which_there_are(
    site: Site, altered: Altered
) -> None:
    (site.home / SITE_FILE).write_text(f"channels: {{mail: {MAIL}}}\n")
    assert altered({"alerts": {"to": ["log", "mail"]}}).settings.alerts.to == ("log", "mail")
    with pytest.raises(Exception, match=r"alerts\.to: site\.yaml has no channel chat\. There are: log, mail"):
        altered({"alerts": {"to": ["mail", "chat"]}})
