"""What a beamline file may say of a command that is the analysis: its words, what it must leave, and its targets."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from xpcs_assets.runs.command_words import FIELDS, TARGETS, WORD_FIELD
from xpcs_assets.settings_base import Settings
from xpcs_assets.settings_compute import Deployment
from xpcs_assets.settings_rules import When
from xpcs_assets.units import Seconds


class TargetRule(Settings):
    """Targets of runs of a special kind."""

    when: When
    target: tuple[str, ...] = Field(min_length=1, description="Their targets")


class Process(Deployment):
    """Any command as the analysis, here or at back ends. Its words are never read by a shell."""

    command: tuple[str, ...] = Field(
        min_length=1,
        description="Its words, which may hold {raw}, the folder of the staged files, {output}, the folder for what it "
        "makes, {run_key}, {target} and {context}; a word that is {target} becomes one for each target",
    )
    outputs: tuple[str, ...] = Field(
        min_length=1, description="Name patterns of files below {output}; each must be there, and none be empty"
    )
    to: str = Field(description="A place of kind posix or globus, used for nothing else, that gets the outputs")
    target: tuple[str, ...] = Field((), description="Its targets, where no rule says otherwise")
    targets: tuple[TargetRule, ...] = Field((), description="Targets of special runs; the first rule that fits counts")
    context: str = Field("", description="What {context} stands for")
    environment: dict[str, str] = Field({}, description="Variables for it, beside PATH, HOME and the like. No secrets")
    time_limit: Seconds = Field(3600.0, gt=0, description="When it takes longer on this machine, it is ended")
    work: Path = Field(
        Path("work"),
        description="Folder that it works in, which back ends must see; relative paths start at the site's home",
    )

    @field_validator("command")
    @classmethod
    def _has_known_fields(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted({name for word in value for name in WORD_FIELD.findall(word)} - set(FIELDS))
        if unknown:
            raise ValueError(
                f"names {', '.join(unknown)}; a word may hold {', '.join(f'{{{name}}}' for name in FIELDS)}"
            )
        return value

    @model_validator(mode="after")
    def _has_targets(self) -> Self:
        if not self.target and any(TARGETS in word for word in self.command):
            raise ValueError("the command holds {target}: give target, for runs that no rule fits")
        return self
