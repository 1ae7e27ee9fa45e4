"""All that decides a result beside the raw data. A recipe's digest names the folder its result lies in."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from xpcs_assets.errors import CorrelationError

Scheme = Literal["boost"]
EmptyBins = Literal["excluded", "zero"]
ErrorRule = Literal["influence", "boost"]


@dataclass(frozen=True)
class AnalysisSettings:
    """What a scientist chooses about an analysis, beside the q-map.

    Attributes
    ----------
    analysis_type
        ``multitau``.
    begin_frame, end_frame
        Frames [begin, end) are used, 0-based; -1 is the end of the run.
    stride, average
        Every ``stride``-th frame is taken, then ``average`` of those are averaged into one.
    dynamic_bins
        Dynamic bins to analyse, such as ``1,2,5-7``; empty is all.
    delays_per_level
        Delays in each level of the multi-tau scheme.
    scheme
        Level scheme; ``boost`` is the one of APS 8-ID: 1..8, 10, 12, 14, 16, 20, ...
    empty_bins
        Whether a static bin without counts is left out of the mean or enters it as 0.
    error_rule
        ``influence``: from the spread of each pixel's influence on g2; ``boost``: spread of per-pixel g2.
    frames
        Number of frames of the run, where neither metadata nor raw file tell it right; 0 asks them.
    """

    analysis_type: Literal["multitau"] = "multitau"
    begin_frame: int = 0
    end_frame: int = -1
    stride: int = 1
    average: int = 1
    dynamic_bins: str = ""
    delays_per_level: int = 4
    scheme: Scheme = "boost"
    empty_bins: EmptyBins = "excluded"
    error_rule: ErrorRule = "influence"
    frames: int = 0

    def __post_init__(self) -> None:
        wrong = (
            (self.begin_frame < 0, f"begin_frame {self.begin_frame} is below 0"),
            (self.end_frame < -1, f"end_frame {self.end_frame} is below -1"),
            (-1 < self.end_frame <= self.begin_frame, "end_frame is not beyond begin_frame"),
            (self.stride < 1 or self.average < 1, "stride and average are at least 1"),
            (self.delays_per_level < 1, "delays_per_level is at least 1"),
            (self.frames < 0, "frames is below 0"),
        )
        for is_wrong, reason in wrong:
            if is_wrong:
                raise CorrelationError(f"these settings make no analysis: {reason}", remedy="Change the recipe")
        selected_bins(self.dynamic_bins)


@dataclass(frozen=True)
class Recipe:
    """Settings, q-map and engine together."""

    settings: AnalysisSettings
    qmap_digest: str
    engine: str
    definition: str = field(default="symmetric multi-tau, static-bin normalisation")

    @property
    def digest(self) -> str:
        """``sha256:`` of everything above in a fixed order."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @property
    def folder(self) -> str:
        """The name of the result's folder: 12 hex digits of the digest."""
        return self.digest.removeprefix("sha256:")[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored with a result."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Make a recipe of what :meth:`to_dict` gave."""
        known = {item.name for item in fields(AnalysisSettings)}
        settings = AnalysisSettings(**{k: v for k, v in content["settings"].items() if k in known})
        return cls(settings, content["qmap_digest"], content["engine"], content["definition"])


def selected_bins(text: str) -> tuple[int, ...]:
    """Dynamic bins of a selection such as ``1,2,5-7``, sorted; empty for all.

    >>> selected_bins("5-7,1,2"), selected_bins("")
    ((1, 2, 5, 6, 7), ())

    Raises
    ------
    CorrelationError
        It is no such selection.
    """
    chosen: set[int] = set()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise CorrelationError(f"{text!r} selects no bins", remedy="Write numbers from 1, such as 1,2,5-7")
        low, high = int(first), int(last) if dash else int(first)
        if not 1 <= low <= high:
            raise CorrelationError(f"{part!r} selects no bins", remedy="Bins are numbered from 1, ranges rise")
        chosen.update(range(low, high + 1))
    return tuple(sorted(chosen))
