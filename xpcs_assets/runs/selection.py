"""Choosing runs among many: by what their paths hold, a regular expression, numbers such as ``53-57,60``, a limit."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from xpcs_assets.errors import SettingsError

_NUMBER = re.compile(r"\d+")
_RANGE = re.compile(r"\s*(\d{1,18})(?:\s*-\s*(\d{1,18}))?\s*")

T = TypeVar("T")


def number_in(name: str) -> int | None:
    """The number of a run: the first whole number in its name; None when it has none.

    >>> number_in("A053_silica_att0_Lq0_001"), number_in("006000"), number_in("dark")
    (53, 6000, None)
    """
    found = _NUMBER.search(name)
    return None if found is None else int(found.group())


def ranges_of(text: str) -> tuple[tuple[int, int], ...]:
    """Ranges of numbers, both ends included.

    >>> ranges_of("53-57,60")
    ((53, 57), (60, 60))

    Raises
    ------
    SettingsError
        It is no list of numbers and ranges, or a range ends before it begins.
    """
    ranges = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part)
        if found is None:
            raise SettingsError(f"{part!r} is no number or range", remedy="Write it such as 53-57,60")
        first, last = int(found.group(1)), int(found.group(2) or found.group(1))
        if last < first:
            raise SettingsError(f"{part.strip()!r} ends before it begins", remedy="Write it such as 53-57,60")
        ranges.append((first, last))
    return tuple(ranges)


@dataclass(frozen=True)
class Selection:
    """Which runs are meant; each condition that is given must hold.

    Attributes
    ----------
    fields
        Shell patterns by field of the path, such as ``cycle`` and ``experiment``.
    match
        A regular expression that is found somewhere in the run's path.
    numbers
        Ranges of the run's number, both ends included; see :func:`number_in`.
    start_from
        Runs before this name are left out, by name order.
    limit
        The most runs; 0 is no limit.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    match: re.Pattern[str] | None = None
    numbers: tuple[tuple[int, int], ...] = ()
    start_from: str = ""
    limit: int = 0

    @classmethod
    def of(
        cls, *, fields: Iterable[str] = (), match: str = "", numbers: str = "", start_from: str = "", limit: int = 0
    ) -> Selection:
        """A selection from what a person types.

        Parameters
        ----------
        fields
            ``name=pattern``, such as ``cycle=2025-*``.

        Raises
        ------
        SettingsError
            A part of it cannot be understood.
        """
        chosen = {}
        for text in fields:
            name, equals, pattern = text.partition("=")
            if not equals or not name:
                raise SettingsError(f"{text!r} chooses nothing", remedy="Write field=pattern, such as cycle=2025-1")
            chosen[name] = pattern
        try:
            expression = re.compile(match) if match else None
        except re.error as error:
            raise SettingsError(f"{match!r} is no regular expression: {error}", remedy="Mend it") from error
        return cls(chosen, expression, ranges_of(numbers) if numbers else (), start_from, limit)

    def among(self, runs: Iterable[T], told: Callable[[T], tuple[str, str, Mapping[str, str]]]) -> Iterator[T]:
        """The runs that are meant, in their own order.

        Parameters
        ----------
        told
            The run's path, its name, and the fields of its path.
        """
        meant = (run for run in runs if self._holds(*told(run)))
        return islice(meant, self.limit or None)

    def refuse_unknown(self, known: Iterable[str], where: str) -> None:
        """Refuse a field that no path has: nothing would ever be found by it.

        Raises
        ------
        SettingsError
            There is one; ``where`` names the beamline.
        """
        there_are = list(known)
        if unknown := sorted(set(self.fields) - set(there_are)):
            raise SettingsError(
                f"the beamline's paths have no {', '.join(unknown)}",
                where=where,
                remedy=f"There are: {', '.join(there_are)}",
            )

    def _holds(self, path: str, name: str, fields: Mapping[str, str]) -> bool:
        if any(not fnmatch.fnmatchcase(fields.get(key, ""), pattern) for key, pattern in self.fields.items()):
            return False
        if self.match is not None and self.match.search(path) is None:
            return False
        if self.start_from and name < self.start_from:
            return False
        if not self.numbers:
            return True
        number = number_in(name)
        return number is not None and any(first <= number <= last for first, last in self.numbers)
