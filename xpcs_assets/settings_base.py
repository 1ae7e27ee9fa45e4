"""What every part of a settings file is made of: models that refuse unknown keys, names, and references to secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Of a beamline, and of what the site file names: catalogs, hosts, compute back ends."""


class Settings(BaseModel):
    """What every part of a settings file is: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Secret(Settings):
    """Where a secret lies, never the secret itself; give one of the two."""

    file: Path | None = Field(None, description="Its first line; relative paths start at the site's home")
    variable: str = Field("", description="A variable of the environment of every process of the site")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.variable) == (self.file is not None):
            raise ValueError("give either file or variable")
        return self
