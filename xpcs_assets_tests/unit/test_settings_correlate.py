"""Rules for special runs in a beamline file: what they may say, and what is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from xpcs_assets.errors import SettingsError
from xpcs_assets.settings_correlate import Correlate
from xpcs_assets_tests.unit.conftest import Altered


def with_rules(*rules: dict[str, Any]) -> Correlate:
    return Correlate.model_validate({"qmap": {"in_run": "*_qmap.hdf"}, "stride": 2, "type": "twotime", "rules": rules})


def test_what_a_rule_does_not_name_is_as_for_all_runs() -> None:
    correlate = with_rules({"when": {"run": "b*"}, "use": {"type": "both", "average": 3}})
    by_rule = correlate.settings_by(correlate.rules[0])
    assert (by_rule.analysis_type, by_rule.average, by_rule.stride) == ("both", 3, 2)
    assert (correlate.settings.analysis_type, correlate.settings.average) == ("twotime", 1)


def test_a_rule_may_set_back_what_the_beamline_has_otherwise() -> None:
    correlate = with_rules({"when": {"run": "b*"}, "use": {"type": "multitau", "stride": 1}})
    by_rule = correlate.settings_by(correlate.rules[0])
    assert (by_rule.analysis_type, by_rule.stride) == ("multitau", 1)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"when": {"run": "d*"}}, r"give either use or skip"),
        ({"when": {"run": "d*"}, "use": {}, "skip": "dark"}, r"give either use or skip"),
        ({"when": {}, "skip": "dark"}, r"at least 1 item"),
        ({"when": {"run": "> many"}, "skip": "dark"}, r"'> many' compares with no number"),
        ({"when": {"run": "d*"}, "use": {"smoothness": "none"}}, r"Extra inputs are not permitted"),
        ({"when": {"run": "d*"}, "use": {"type": "threetime"}}, r"'multitau', 'twotime' or 'both'"),
        ({"when": {"run": "d*"}, "use": {"stride": 0}}, r"rules: rule 1: these settings make no analysis: stride"),
        ({"when": {"run": "d*"}, "use": {"qmap": {}}}, r"give either in_run or path or registry"),
    ],
)
def test_a_rule_that_says_nothing_or_nonsense_is_refused(rule: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        with_rules(rule)


def test_a_rule_asks_for_what_a_run_of_the_beamline_can_have(altered: Altered) -> None:
    names = ("run", "source", "run_key", "proposal", "experiment", "mode", "detectors", "/entry/x", "raw.format")
    beamline = altered({"pipeline": {"correlate": {"rules": [{"when": dict.fromkeys(names, "x"), "skip": "dark"}]}}})
    assert beamline.settings.pipeline.correlate is not None
    with pytest.raises(SettingsError, match=r"correlate\.rules: rule 1 names scantype, which no run here has"):
        altered({"pipeline": {"correlate": {"rules": [{"when": {"scantype": "x"}, "skip": "dark"}]}}})
