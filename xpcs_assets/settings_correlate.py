"""What a beamline file says of correlation: the q-map, the recipe, rules for special runs, and where it is run."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_type_hints

from pydantic import Field, create_model, model_validator

from xpcs_assets.errors import CorrelationError
from xpcs_assets.runs.recipe import AnalysisSettings, AnalysisType, described
from xpcs_assets.settings_base import NAME, Settings
from xpcs_assets.settings_compute import Deployment
from xpcs_assets.settings_rules import When
from xpcs_assets.units import Seconds


class QmapSource(Settings):
    """Which q-map a run is analysed with."""

    in_run: str = Field("", description="Name pattern of a q-map among the run's own files")
    path: Path | None = Field(None, description="One q-map for all runs; relative paths start at the site's home")
    registry: str = Field(
        "", description="A map of the registry (`xpcs-assets qmaps`): the version that is valid at the run's time"
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if [bool(self.in_run), self.path is not None, bool(self.registry)].count(True) != 1:
            raise ValueError("give either in_run or path or registry")
        if self.registry and NAME.fullmatch(self.registry) is None:
            raise ValueError("registry: a name has lower-case letters, digits and '-', such as standard")
        return self


if TYPE_CHECKING:

    class _RecipeSettings(Settings):
        type: AnalysisType
else:
    _KINDS = get_type_hints(AnalysisSettings)
    _RecipeSettings = create_model(
        "_RecipeSettings",
        __base__=Settings,
        **{
            "type" if item.name == "analysis_type" else item.name: (
                _KINDS[item.name],
                Field(item.default, description=described()[item.name].capitalize()),
            )
            for item in fields(AnalysisSettings)
            if item.name != "frames"  # a run's own
        },
    )


class RuleRecipe(_RecipeSettings):
    """What is otherwise for such runs; what is not named is as for all runs."""

    qmap: QmapSource | None = Field(None, description="Which q-map; left out, the beamline's own")


class RecipeRule(Settings):
    """What is done with runs of a special kind."""

    when: When
    use: RuleRecipe | None = Field(None, description="Their recipe; give this or skip")
    skip: str = Field("", description="Why they are not correlated, such as `dark run`")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.skip) == (self.use is not None):
            raise ValueError("give either use or skip")
        return self

    @property
    def told(self) -> str:
        """What it asks of a run, in words."""
        return ", ".join(f"{name} {wanted}" for name, wanted in self.when.items())


class Correlate(_RecipeSettings, Deployment):
    """The beamline's own recipe, and how it is run. Files are named relative to the site's home."""

    qmap: QmapSource = Field(description="Which q-map; give one of its keys")
    rules: tuple[RecipeRule, ...] = Field(
        (), description="What is done with special runs; the first rule that fits counts"
    )
    device: Literal["auto", "cpu", "gpu"] = Field("auto", description="Where the worker computes")
    time_limit: Seconds = Field(3600.0, description="A worker that takes longer is stopped and the run fails")

    @model_validator(mode="after")
    def _are_analyses(self) -> Self:
        told = ""
        try:
            self.settings  # noqa: B018 - making them checks them
            for number, rule in enumerate(self.rules, 1):
                told = f"rules: rule {number}: "
                self.settings_by(rule)
        except CorrelationError as error:
            raise ValueError(f"{told}{error}") from error
        return self

    @property
    def settings(self) -> AnalysisSettings:
        """The recipe's settings as the engine takes them."""
        return self._settings({})

    def settings_by(self, rule: RecipeRule) -> AnalysisSettings:
        """The same for runs that a rule fits.

        Raises
        ------
        CorrelationError
            They make no analysis.
        """
        use = rule.use
        named = use.model_fields_set & set(_RecipeSettings.model_fields) if use is not None else set[str]()
        return self._settings({name: getattr(use, name) for name in named})

    def _settings(self, otherwise: dict[str, Any]) -> AnalysisSettings:
        said = {name: getattr(self, name) for name in _RecipeSettings.model_fields} | otherwise
        return AnalysisSettings(analysis_type=said.pop("type"), **said)
