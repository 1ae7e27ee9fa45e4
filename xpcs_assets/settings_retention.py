"""What a beamline file may say about how long copies stay, and how they are looked after."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from xpcs_assets.errors import SettingsError
from xpcs_assets.runs.retention import Retention
from xpcs_assets.settings_base import Settings
from xpcs_assets.units import Seconds, Share


class RetentionSettings(Settings):
    """How long copies stay in a place."""

    keep_for: Seconds = Field(gt=0, description="A younger copy stays")
    min_copies: Annotated[int, Field(ge=1)] = Field(description="Other verified copies that must remain; at least 1")
    needs: tuple[Literal["archive", "catalog"], ...] = Field(
        ("archive", "catalog"),
        description="What must be done first: the raw data read back from the archive, catalogued",
    )

    high_water: Share | None = Field(
        None, description="Nothing goes before this much of the disk is in use; with low_water. Empty: what may go goes"
    )
    low_water: Share | None = Field(None, description="Then the oldest goes first, until this much is in use")
    trash_for: Seconds = Field(0.0, description="Removed files stay in the place's trash for so long; 0 is no trash")
    at_most_copies: int = Field(200, description="More copies than this in a day wait for a person's word")
    at_most_share: Share = Field(0.2, description="So does more than this part of the place's copies")

    @model_validator(mode="after")
    def _is_a_rule(self) -> Self:
        try:
            self.rule  # noqa: B018 - making it checks it
        except SettingsError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def rule(self) -> Retention:
        """The value that the pruning rules take."""
        return Retention(
            keep_for_s=self.keep_for,
            min_copies=self.min_copies,
            needs_archive="archive" in self.needs,
            needs_catalog="catalog" in self.needs,
            high_water=self.high_water,
            low_water=self.low_water,
            trash_for_s=self.trash_for,
            at_most_copies=self.at_most_copies,
            at_most_share=self.at_most_share,
        )


class Audit(Settings):
    """How the copies are looked after while nobody asks for them."""

    reread_within: Seconds = Field(
        90 * 86400.0, ge=3600, description="Every copy is read again and hashed within this time, a part of it a day"
    )
    every: Seconds = Field(86400.0, ge=60, description="How often places, ledger, archive and catalog are compared")
    dark_after: Seconds = Field(
        7 * 86400.0, description="A file that nothing knows of is called dark once it was seen for so long, twice"
    )
    at_most_dark: Share = Field(0.1, description="More dark files than this part: the audit stops and asks")
    at_most_lost: Share = Field(0.1, description="More lost copies than this part: the audit stops and asks")
