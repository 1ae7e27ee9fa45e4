"""What a judgement is: a value, its limit, where the limit comes from, and what follows. No data are read here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from xpcs_assets.runs.criteria import CRITERIA, Limit, Rules

Severity = Literal["quarantine", "warn", "off"]

QUARANTINED = "quarantined: "
"""How a verdict begins when what was judged is not to be used unseen."""


@dataclass(frozen=True)
class Judgement:
    """One thing that was looked at.

    Attributes
    ----------
    name
        Of :data:`~xpcs_assets.runs.criteria.CRITERIA`.
    value
        What was found; None when it could not be told.
    limit
        The bound in words.
    passed
        Whether the value is within it; None when it was not judged, which is no pass.
    severity
        What follows when it is not.
    reason
        What is wrong, or why it was not judged, as a sentence; empty when it passed.
    unit
        Of value and limit; empty for what has none.
    source
        Where the limit comes from.
    """

    name: str
    value: float | None
    limit: str
    passed: bool | None
    severity: Severity
    reason: str = ""
    unit: str = ""
    source: str = ""

    @property
    def outcome(self) -> str:
        """One word for tables: ``passed``, ``warn``, ``quarantine`` or ``not judged``."""
        if self.passed is None:
            return "not judged"
        return "passed" if self.passed else self.severity


@dataclass(frozen=True)
class Quality:
    """What all judgements of one kind say together."""

    judgements: tuple[Judgement, ...]

    @property
    def reasons(self) -> list[str]:
        """Every finding, those that quarantine first; empty when there is none."""
        failed = [judgement for judgement in self.judgements if judgement.passed is False]
        return [judgement.reason for judgement in sorted(failed, key=lambda failure: failure.severity != "quarantine")]

    @property
    def quarantining(self) -> list[str]:
        """The findings for which what was judged is not to be used unseen."""
        return [found.reason for found in self.judgements if found.passed is False and found.severity == "quarantine"]

    @property
    def not_judged(self) -> list[str]:
        """What could not be judged, each with its reason."""
        return [
            f"{judgement.name} not judged, because {judgement.reason}"
            for judgement in self.judgements
            if judgement.passed is None
        ]

    @property
    def passed(self) -> bool:
        """Whether there is no finding at all. What was not judged is none, and is said beside."""
        return not self.reasons

    @property
    def serious(self) -> bool:
        """Whether some finding quarantines what was judged."""
        return bool(self.quarantining)

    @property
    def words(self) -> str:
        """All findings and all that was not judged, in one line."""
        return "; ".join([*(self.reasons or ["passed"]), *self.not_judged])

    @property
    def verdict(self) -> str:
        """What a run's timeline says: the findings, those that quarantine under that word, or that it passed."""
        if self.serious:
            return QUARANTINED + "; ".join(self.quarantining)
        return f"warned: {'; '.join(self.reasons)}" if self.reasons else "passed"

    @property
    def facts(self) -> dict[str, float]:
        """The values that are known, by name: what is plotted over runs."""
        return {judgement.name: judgement.value for judgement in self.judgements if judgement.value is not None}

    @property
    def rows(self) -> list[dict[str, str | float | None]]:
        """A table: one row a judgement, plain values."""
        return [
            {
                "judgement": found.name,
                "outcome": found.outcome,
                "value": found.value,
                "limit": found.limit,
                "unit": found.unit,
                "if not kept": found.severity,
                "limit from": found.source,
                "reason": found.reason,
            }
            for found in self.judgements
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "passed": self.passed,
            "serious": self.serious,
            "judgements": [asdict(judgement) for judgement in self.judgements],
        }


@dataclass(frozen=True)
class Judge:
    """Holds values against the limits of a beamline."""

    rules: Rules

    def value(self, name: str, value: float | None, reason: str, *, at_most_warn: bool = False) -> Judgement:
        """Judge one value.

        Parameters
        ----------
        name
            The criterion.
        value
            What was found, finite or not.
        reason
            What to say when the limit is not kept.
        at_most_warn
            This finding warns even where the criterion quarantines.
        """
        if value is None or not math.isfinite(value):
            return self.not_judged(name, "no value could be made of the data")
        criterion, limit, action = CRITERIA[name], self.rules.limit(name), self.rules.action(name)
        if action == "off":
            return self.not_judged(name, "the beamline file turns it off", value)
        kept = criterion.keeps(value, limit)
        severity: Severity = "warn" if at_most_warn else action
        return self._made(name, value, kept, severity, "" if kept else reason)

    def not_judged(self, name: str, because: str, value: float | None = None) -> Judgement:
        """Say why there is no judgement."""
        return self._made(name, value, None, self.rules.action(name), because)

    def _made(self, name: str, value: float | None, passed: bool | None, severity: Severity, reason: str) -> Judgement:
        return Judgement(
            name,
            None if value is None else float(f"{value:.6g}"),
            in_words(CRITERIA[name].bound, self.rules.limit(name)),
            passed,
            severity,
            reason,
            CRITERIA[name].unit,
            self.rules.source(name),
        )


def in_words(bound: str, limit: Limit) -> str:
    """A limit as it is shown.

    >>> in_words("at most", 0.1), in_words("between", (0.95, 1.05))
    ('at most 0.1', '0.95 to 1.05')
    """
    return f"{limit[0]:g} to {limit[1]:g}" if isinstance(limit, tuple) else f"{bound} {limit:g}"
