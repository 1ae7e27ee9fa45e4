"""What a beamline file may say about quality: a limit and an action for everything that is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field, FiniteFloat, create_model, model_validator

from xpcs_assets.errors import SettingsError
from xpcs_assets.runs.criteria import CRITERIA, PARAMETERS, Action, Rules
from xpcs_assets.settings_base import Settings


def _off(value: Any) -> Any:
    """YAML takes a bare ``off`` for False."""
    return "off" if value is False else value


if TYPE_CHECKING:

    class QualityLimits(Settings):
        """What is taken for good. Both ends of two numbers are."""

    class QualityActions(Settings):
        """What follows when a limit is not kept: `warn`, `quarantine`, or `off`, which judges it not at all."""

else:
    QualityLimits = create_model(
        "QualityLimits",
        __base__=Settings,
        __doc__="What is taken for good. Both ends of two numbers are.",
        **{
            name: (
                tuple[FiniteFloat, FiniteFloat] if each.bound == "between" else FiniteFloat,
                Field(each.limit, description=f"{each.bound.capitalize()}: {each.what}"),
            )
            for name, each in CRITERIA.items()
        },
        **{name: (FiniteFloat, Field(value, description=text)) for name, (value, text) in PARAMETERS.items()},
    )
    QualityActions = create_model(
        "QualityActions",
        __base__=Settings,
        __doc__="What follows when a limit is not kept: `warn`, `quarantine`, or `off`, which judges it not at all.",
        **{
            name: (
                Annotated[Action, BeforeValidator(_off)],
                Field(each.action, description=f"Of the check {each.check}"),
            )
            for name, each in CRITERIA.items()
        },
    )


class QualitySettings(Settings):
    """How runs and results are judged; [quality.md](quality.md) says by what formula and why by this limit."""

    limits: QualityLimits = Field(QualityLimits(), description="What is taken for good")
    action: QualityActions = Field(QualityActions(), description="What follows when a limit is not kept")
    fields: tuple[str, ...] = Field(
        (), description="HDF5 paths that every metadata file must have beside those of its layout"
    )

    @model_validator(mode="after")
    def _are_rules(self) -> Self:
        try:
            self.rules  # noqa: B018 - making them checks them
        except SettingsError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def rules(self) -> Rules:
        """What the judgements take: the limits and actions that this file sets, the others are built in."""
        return Rules(
            {name: getattr(self.limits, name) for name in self.limits.model_fields_set},
            {name: getattr(self.action, name) for name in self.action.model_fields_set},
            self.fields,
        )
