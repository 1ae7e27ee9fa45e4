"""Numbers with units: which of a record's are searched, how units compare, and ranges as people write them.

Each number is kept with its own unit and in SI units. A unit that is not in the table here is kept as it is written and
compared with the same spelling only; so are numbers without a unit. ``C`` is not taken for degrees: it may be coulomb.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpcs_assets.errors import RefusedError

if TYPE_CHECKING:
    from xpcs_assets.catalog.documents import Derived
    from xpcs_assets.describe.record import Record

MOST_NUMBERS = 256
"""Of one record; the groups that scientists look at come first, the rest of the metadata after them."""

_PREFIXES = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_PREFIXED = {"s": "s", "m": "m", "A": "A", "V": "V", "W": "W", "Pa": "Pa", "Hz": "Hz", "K": "K", "eV": "eV", "Gy": "Gy"}
_OTHERS = {
    "": (1.0, 0.0, ""),
    **dict.fromkeys(("sec", "second", "seconds"), (1.0, 0.0, "s")),
    **dict.fromkeys(("min", "minute", "minutes"), (60.0, 0.0, "s")),
    **dict.fromkeys(("h", "hour", "hours"), (3600.0, 0.0, "s")),
    **dict.fromkeys(("d", "day", "days"), (86400.0, 0.0, "s")),
    "cm": (1e-2, 0.0, "m"),
    "micron": (1e-6, 0.0, "m"),
    **dict.fromkeys(("angstrom", "Angstrom", "A0", "Å"), (1e-10, 0.0, "m")),
    **dict.fromkeys(("1/angstrom", "angstrom^-1", "Å⁻¹", "1/Å", "A^-1"), (1e10, 0.0, "1/m")),
    **dict.fromkeys(("1/nm", "nm^-1", "nm⁻¹"), (1e9, 0.0, "1/m")),
    **dict.fromkeys(("1/s", "s^-1"), (1.0, 0.0, "Hz")),
    **dict.fromkeys(("degC", "°C", "celsius", "Celsius"), (1.0, 273.15, "K")),
    **dict.fromkeys(("kelvin", "Kelvin"), (1.0, 0.0, "K")),
    **dict.fromkeys(("rad", "radian", "radians"), (1.0, 0.0, "rad")),
    "mrad": (1e-3, 0.0, "rad"),
    **dict.fromkeys(("deg", "degree", "degrees", "°"), (math.pi / 180, 0.0, "rad")),
    "%": (0.01, 0.0, ""),
    "bar": (1e5, 0.0, "Pa"),
    "mbar": (1e2, 0.0, "Pa"),
    **dict.fromkeys(("pixel", "pixels", "px"), (1.0, 0.0, "pixel")),
    "B": (1.0, 0.0, "B"), "kB": (1e3, 0.0, "B"), "MB": (1e6, 0.0, "B"), "GB": (1e9, 0.0, "B"), "TB": (1e12, 0.0, "B"),
}  # fmt: skip
UNITS = {f"{prefix}{unit}": (factor, 0.0, si) for unit, si in _PREFIXED.items() for prefix, factor in _PREFIXES.items()}
UNITS |= _OTHERS
"""Factor, offset and SI unit by spelling: a value in SI units is ``value * factor + offset``."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_UNIT = r"((?:1/)?[^\s\d.<>=+-][^<>=]*)"
_COMPARED = re.compile(rf"\s*([^\s<>=]+)\s*(<=|>=|<|>|=)\s*({_NUMBER})\s*{_UNIT}?")
_BETWEEN = re.compile(rf"\s*([^\s<>=]+)\s*=\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*{_UNIT}?")


@dataclass(frozen=True)
class Number:
    """A number of a record.

    Attributes
    ----------
    path
        Where it stands: the metadata's path, or one below ``raw/`` or ``result/``.
    value, unit
        As it is written.
    si_value, si_unit
        In SI units; the same as ``value`` and ``unit`` for a unit that is not known here.
    """

    path: str
    value: float
    unit: str
    si_value: float
    si_unit: str

    @property
    def name(self) -> str:
        """The last part of the path, in lower case: what ranges name it by."""
        return self.path.rsplit("/", 1)[-1].lower()


@dataclass(frozen=True)
class Range:
    """Bounds of a quantity.

    Attributes
    ----------
    name
        The last part of a path, with ``*`` for any characters; or a whole path.
    lower, upper
        As written; infinite where there is no bound.
    unit
        Of the bounds. Without one, values are compared as they stand, whatever their unit.
    open_lower, open_upper
        Whether the bound itself is left out.
    """

    name: str
    lower: float = -math.inf
    upper: float = math.inf
    unit: str = ""
    open_lower: bool = False
    open_upper: bool = False

    @classmethod
    def parse(cls, text: str) -> Range:
        """Read ``temperature > 300 K``, ``frame_time=1e-3 s`` or ``energy=7..12 keV``.

        Raises
        ------
        RefusedError
            The text is none of these.

        >>> Range.parse("temperature>300 K")
        Range(name='temperature', lower=300.0, upper=inf, unit='K', open_lower=True, open_upper=False)
        """
        if found := _BETWEEN.fullmatch(text):
            lower, upper = float(found[2]), float(found[3])
            if lower > upper:
                raise RefusedError(f"{text!r} holds no number", remedy="Write the lower bound first")
            return cls(found[1].lower(), lower, upper, _spelled(found[4]))
        if not (found := _COMPARED.fullmatch(text)):
            raise RefusedError(f"{text!r} is no range", remedy="Write temperature>300 K, or energy=7..12 keV")
        name, sign, bound, unit = found[1].lower(), found[2], float(found[3]), _spelled(found[4])
        lower = bound if sign[0] in ">=" else -math.inf
        upper = bound if sign[0] in "<=" else math.inf
        return cls(name, lower, upper, unit, sign == ">", sign == "<")

    @property
    def si_unit(self) -> str:
        """The SI unit of the bounds."""
        return to_si(0.0, self.unit)[1]


def to_si(value: float, unit: str) -> tuple[float, str]:
    """A value in SI units, and which; one of a unit that is not known here stays as it is.

    >>> to_si(27.0, "degC"), to_si(3.0, "furlong")
    ((300.15, 'K'), (3.0, 'furlong'))
    """
    factor, offset, si_unit = UNITS.get(_spelled(unit), (1.0, 0.0, _spelled(unit)))
    return value * factor + offset, si_unit


def numbers_of(record: Record, more: Iterable[tuple[str, Any, str]] = ()) -> list[Number]:
    """The numbers of a run that are searched, and ``more``: path, value and unit. At most :data:`MOST_NUMBERS`."""
    raw = ((f"raw/{name}", value, "") for name, value in record.raw.items())
    fields = ((entry.path, entry.value, entry.unit) for entry in record.fields)
    found: dict[str, Number] = {}
    for path, value, unit in (*more, *raw, *fields):
        if len(found) < MOST_NUMBERS and (number := _number(path, value, unit)) is not None:
            found.setdefault(path, number)
    return list(found.values())


def numbers_of_result(derived: Derived) -> Iterator[tuple[str, Any, str]]:
    """Path, value and unit of what was fitted; bins count from 1."""
    if derived.law is not None:
        yield "result/tau_q_exponent", derived.law.exponent, ""
    for place, fit in enumerate(derived.fits, 1):
        if fit.ok:
            yield f"result/bin_{place}/tau", fit.tau_s, "s"
            yield f"result/bin_{place}/contrast", fit.contrast, ""
            yield f"result/bin_{place}/baseline", fit.baseline, ""


def nearest_names(name: str, there: Sequence[str]) -> list[str]:
    """Names that hold the one that was asked for, or that it holds, the shortest first."""
    wanted = name.strip("*/").lower()
    return sorted((each for each in there if wanted in each or each in wanted), key=lambda each: (len(each), each))[:8]


def _number(path: str, value: object, unit: str) -> Number | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        plain = float(value)
    except OverflowError:
        return None
    unit = _spelled(unit)
    si_value, si_unit = to_si(plain, unit)
    return Number(path, plain, unit, si_value, si_unit) if math.isfinite(plain) and math.isfinite(si_value) else None


def _spelled(unit: str | None) -> str:
    """A unit without outer spaces, its micro sign written ``u``."""
    return (unit or "").strip().replace("\N{MICRO SIGN}", "u").replace("\N{GREEK SMALL LETTER MU}", "u")
