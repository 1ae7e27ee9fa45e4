"""Judge g2 and its fits: undefined points, baseline, contrast, failed fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xpcs_assets.describe.judgement import Judge, Judgement
from xpcs_assets.describe.judging_frames import analysed_g2

if TYPE_CHECKING:
    from xpcs_assets.results.fit import BinFit
    from xpcs_assets.results.result import Result

_NO_G2 = "the result has no multi-tau g2"
_NO_FIT = "no bin has a good fit, which fitted_share judges"


def judge_g2(judge: Judge, result: Result, fits: Sequence[BinFit]) -> Iterator[Judgement]:
    """Judge the points of g2 and the fits."""
    g2 = analysed_g2(result)
    if not g2.size:
        names = ("undefined_share", "baseline", "contrast", "fitted_share")
        yield from (judge.not_judged(name, _NO_G2) for name in names)
        return
    undefined = float((~np.isfinite(g2)).mean())
    yield judge.value("undefined_share", undefined, f"{undefined:.0%} of all g2 points are undefined")
    good = [fit for fit in fits if fit.ok]
    if good:
        baseline = float(np.median([fit.baseline for fit in good]))
        yield judge.value("baseline", baseline, f"the fitted baseline of g2 is {baseline:.4g} where 1 belongs")
        yield _contrast(judge, float(np.median([fit.contrast for fit in good])))
    else:
        yield judge.not_judged("baseline", _NO_FIT)
        yield judge.not_judged("contrast", _NO_FIT)
    bins = g2.shape[1]
    yield judge.value("fitted_share", len(good) / bins, f"{len(good)} of {bins} bins have a good fit")


def _contrast(judge: Judge, contrast: float) -> Judgement:
    limit = judge.rules.limit("contrast")
    weak = isinstance(limit, tuple) and contrast < limit[0]
    return judge.value("contrast", contrast, f"the fitted contrast is {contrast:.4g}", at_most_warn=weak)
