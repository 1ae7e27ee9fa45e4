"""Every small wrong change to the rules of deletion is noticed by a test."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

import pytest

from xpcs_assets_tests.mutation.equivalent import EQUIVALENT
from xpcs_assets_tests.mutation.harness import calls_of, is_noticed
from xpcs_assets_tests.mutation.mutants import Mutant, mutants_of

RULES = "xpcs_assets.prune.rules"
PURE = {
    RULES: ("unit/prune/test_rules.py", "unit/prune/test_rules_boundaries.py"),
    "xpcs_assets.prune.marks": ("unit/prune/test_marks.py", "unit/prune/test_rules_boundaries.py"),
    "xpcs_assets.prune.limits": ("unit/prune/test_limits.py", "unit/prune/test_rules_boundaries.py"),
}
PROOF = ("unit/prune/test_proof.py", "unit/prune/test_proof_boundaries.py")
READING = {"xpcs_assets.prune.proof": PROOF, "xpcs_assets.prune.witness": ("unit/prune/test_witness.py", *PROOF)}


def mutants(module: str) -> tuple[Mutant, ...]:
    return mutants_of(Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8"))


def survivors(module: str, tests: Iterable[str]) -> set[str]:
    assert not is_noticed(module, None, tests), "the tests fail as it is: they would notice anything"
    return {mutant.name for mutant in mutants(module) if not is_noticed(module, mutant, tests)}


@pytest.mark.parametrize("module", PURE)
def test_every_mutant_of_the_rules_is_noticed(module: str) -> None:
    assert survivors(module, PURE[module]) == set(EQUIVALENT.get(module, {}))


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("module", READING)
def test_every_mutant_of_the_proof_is_noticed(module: str) -> None:
    assert survivors(module, READING[module]) == set(EQUIVALENT.get(module, {}))


def test_each_equivalent_mutant_is_one_that_is_made_and_has_a_reason() -> None:
    for module, reasons in EQUIVALENT.items():
        assert reasons.keys() <= {mutant.name for mutant in mutants(module)}
        assert all(reason.strip() for reason in reasons.values())


SAMPLE = '''
LIMITS = frozenset({1, 2})

def judge(age, keep, held, others):
    """Docstring."""
    if held:
        return ["held"]
    if age < keep and not others:
        raise ValueError("young")
    return [other for other in others if other in LIMITS]
'''


def test_the_changes_are_those_that_are_meant() -> None:
    names = {mutant.name for mutant in mutants_of(SAMPLE)}
    assert {
        "LIMITS: {1, 2} -> {2}",
        "judge: age < keep -> age <= keep",
        "judge: age < keep -> age >= keep",
        "judge: age < keep and (not others) -> age < keep",
        "judge: age < keep and (not others) -> not others",
        "judge: age < keep and (not others) -> age < keep or not others",
        "judge: not others -> others",
        "judge: raise ValueError('young') -> nothing",
        "judge: if held: return ['held'] -> if held: pass",
        "judge: other in LIMITS -> other not in LIMITS",
    } <= names
    assert len(names) == len(mutants_of(SAMPLE))
    assert not any("Docstring" in name for name in names)


def test_a_mutant_takes_the_place_of_what_others_have_imported() -> None:
    late = next(mutant for mutant in mutants(RULES) if "_too_young: now < until -> now >= until" in mutant.name)
    assert is_noticed(RULES, late, ("unit/prune/test_rules.py",))
    assert not is_noticed(RULES, late, ("unit/prune/test_marks.py",))


@pytest.mark.parametrize("file", sorted({file for tests in (PURE | READING).values() for file in tests}))
def test_every_test_of_these_files_can_be_called(file: str) -> None:
    there_are = {name for name in vars(importlib.import_module(_name(file))) if name.startswith("test_")}
    assert {call.function.__name__ for call in calls_of(file)} == there_are


def _name(file: str) -> str:
    return ".".join(["xpcs_assets_tests", *Path(file).with_suffix("").parts])
