"""What a beamline file says of quality becomes the rules that judge; what it does not say is built in."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from xpcs_assets.runs.criteria import CRITERIA, PARAMETERS
from xpcs_assets.settings_quality import QualitySettings


def said(text: str) -> QualitySettings:
    content: Any = yaml.safe_load(text)
    return QualitySettings.model_validate(content or {})


def test_without_a_word_every_limit_and_action_is_the_built_in_one() -> None:
    rules = said("").rules
    assert (dict(rules.limits), dict(rules.actions), rules.fields) == ({}, {}, ())
    for name, criterion in CRITERIA.items():
        assert (rules.limit(name), rules.action(name)) == (criterion.limit, criterion.action)
        assert rules.source(name) == f"built in: {criterion.why}"
    assert rules.parameter("dark_below") == 0.5


def test_every_criterion_and_parameter_has_a_key_with_its_default_and_a_meaning() -> None:
    settings = QualitySettings()
    limits, actions = type(settings.limits).model_fields, type(settings.action).model_fields
    assert list(limits) == [*CRITERIA, *PARAMETERS]
    assert list(actions) == list(CRITERIA)
    assert all(info.description for info in (*limits.values(), *actions.values()))
    assert all(limits[name].default == criterion.limit for name, criterion in CRITERIA.items())


def test_what_is_said_holds_and_is_named_as_the_source() -> None:
    rules = said(
        "{limits: {hot_pixels: 3, baseline: [0.9, 1.1], dark_below: 0.2}, action: {flags: quarantine}, fields: [/a]}"
    ).rules
    assert (rules.limit("hot_pixels"), rules.limit("baseline")) == (3, (0.9, 1.1))
    assert rules.source("baseline") == "beamline file, quality.limits.baseline"
    assert (rules.parameter("dark_below"), rules.action("flags"), rules.fields) == (0.2, "quarantine", ("/a",))


def test_a_limit_that_is_said_to_be_the_built_in_one_is_still_the_beamline_s() -> None:
    assert said("limits: {hot_pixels: 0}").rules.source("hot_pixels") == "beamline file, quality.limits.hot_pixels"


def test_off_needs_no_quotes_though_yaml_takes_it_for_false() -> None:
    assert yaml.safe_load("off") is False
    assert said("action: {flags: off, hot_pixels: 'off'}").rules.actions == {"flags": "off", "hot_pixels": "off"}


@pytest.mark.parametrize(
    "text",
    [
        "limits: {no_such: 1}",
        "action: {no_such: warn}",
        "action: {dark_below: warn}",
        "action: {hot_pixels: stop}",
        "action: {hot_pixels: on}",
        "limits: {hot_pixels: [0, 1]}",
        "limits: {baseline: 1}",
        "limits: {baseline: [1.1, 0.9]}",
        "limits: {hot_pixels: .nan}",
        "limits: {contrast: [0, .inf]}",
        "warn: [hot_pixels]",
    ],
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        said(text)
