"""What a site file says of Kafka, from which it hears that runs are complete."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from xpcs_assets.settings_base import Secret, Settings


class KafkaSecurity(Settings):
    """How the brokers know this site, and it them."""

    protocol: Literal["ssl", "sasl_ssl", "sasl_plaintext"] = Field(description="As the brokers have it")
    ca: Path | None = Field(None, description="Certificates to believe; left out: those of this machine")
    certificate: Path | None = Field(None, description="This site's own certificate, where the brokers ask for one")
    key: Path | None = Field(None, description="Its key")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How user and password are told, with sasl"
    )
    user: str = Field("", description="With sasl: who this site is")
    password: Secret | None = Field(None, description="With sasl: where the password lies")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.protocol.startswith("sasl") != bool(self.user and self.password is not None):
            raise ValueError("sasl needs user and password, and ssl alone has neither")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("give certificate and key, or neither")
        return self


class KafkaSettings(Settings):
    """Where the site hears from Kafka that runs are complete."""

    brokers: tuple[str, ...] = Field(min_length=1, description="Some of them, as host:port")
    topics: dict[str, str] = Field(min_length=1, description="Of which beamline each topic tells")
    group: str = Field("xpcs-assets", min_length=1, description="The consumer group; each site has one of its own")
    security: KafkaSecurity | None = Field(None, description="Left out: plain text, and nobody is asked who they are")
