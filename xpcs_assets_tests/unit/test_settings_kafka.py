"""What the site file may say of Kafka."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from xpcs_assets.settings_kafka import KafkaSettings

LEAST = {"brokers": ["127.0.0.1:9092"], "topics": {"xpcs.runs": "xpcs"}}


def test_brokers_and_topics_are_enough() -> None:
    assert KafkaSettings.model_validate(LEAST).group == "xpcs-assets"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"brokers": []}, r"at least 1 item"),
        ({"topics": {}}, r"at least 1 item"),
        ({"security": {"protocol": "sasl_ssl"}}, r"sasl needs user and password"),
        ({"security": {"protocol": "ssl", "user": "me", "password": {"variable": "X"}}}, r"ssl alone has neither"),
        ({"security": {"protocol": "ssl", "certificate": "own.pem"}}, r"certificate and key, or neither"),
        ({"security": {"protocol": "sasl_ssl", "user": "me", "password": "s3cret"}}, r"password"),
    ],
)
def test_what_is_half_said_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        KafkaSettings.model_validate(LEAST | changes)
