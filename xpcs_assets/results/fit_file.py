"""Fits of a result, stored beside it: ``<run>_fits.json``, archived with it.

They are not in the result file, which the worker writes and whose digest names it: the worker has no scipy, and another
set of bounds makes other fits of the same g2.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import ResultError
from xpcs_assets.results.fit import SIGMA, BinFit
from xpcs_assets.results.fit_laws import FORMULAS, PARAMETERS, FitKind
from xpcs_assets.results.power_law import fit_power_law
from xpcs_assets.results.result import Result

FORMAT = "xpcs-assets fits 1"
_REMEDY = "Materialise the run's plots again: they write it"


def fits_path(result: Path) -> Path:
    """Where the fits of a result file lie."""
    return result.with_name(result.stem.removesuffix("_results") + "_fits.json")


def fits_document(result: Result, result_digest: str, fits: Mapping[FitKind, Sequence[BinFit]]) -> str:
    """Write the fits of each law as JSON; NaN is null.

    Parameters
    ----------
    result, result_digest
        What was fitted, and ``sha256:`` of its file.
    fits
        One a dynamic bin, by law.
    """
    content = {
        "format": FORMAT,
        "result": result.path.name,
        "result_digest": result_digest,
        "recipe_digest": result.recipe.digest,
        "sigma": SIGMA,
        "q_inv_angstrom": _plain(result.q_inv_angstrom),
        "labels": list(result.labels),
        "laws": {kind: _law(result, kind, bins) for kind, bins in fits.items()},
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def stored_fits(path: Path) -> dict[FitKind, list[BinFit]]:
    """Read what :func:`fits_document` wrote, by law.

    Raises
    ------
    ResultError
        The file is missing, damaged or of another kind.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ResultError(f"its format is {content['format']!r}", where=path, remedy=_REMEDY)
        return {kind: _bins(kind, content["laws"][kind]) for kind in PARAMETERS if kind in content["laws"]}
    except OSError as error:
        raise ResultError(f"it cannot be read ({error.strerror})", where=path, remedy=_REMEDY) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ResultError(f"it is no file of fits ({error})", where=path, remedy=_REMEDY) from error


def _law(result: Result, kind: FitKind, fits: Sequence[BinFit]) -> dict[str, Any]:
    laws = {"tau_q": fit_power_law(result.q_inv_angstrom, fits)}
    if kind.startswith("double"):
        laws["slow_tau_q"] = fit_power_law(result.q_inv_angstrom, fits, slow=True)
    powers = {
        name: None if law is None else {key: _plain(value) for key, value in asdict(law).items()}
        for name, law in laws.items()
    }
    return {
        "g2": FORMULAS[kind],
        "parameters": list(PARAMETERS[kind]),
        "values": [_plain(fit.values) for fit in fits],
        "errors": [_plain(fit.errors) for fit in fits],
        "covariance": [_plain(fit.covariance) for fit in fits],
        "reduced_chi2": [_plain(fit.reduced_chi2) for fit in fits],
        "n_points": [fit.n_points for fit in fits],
        "ok": [fit.ok for fit in fits],
        "reason": [fit.reason for fit in fits],
        **powers,
    }


def _bins(kind: FitKind, law: Mapping[str, Any]) -> list[BinFit]:
    columns = (law[name] for name in ("values", "errors", "covariance", "reduced_chi2", "n_points", "ok", "reason"))
    return [
        BinFit.of(
            kind,
            _numbers(values),
            _numbers(errors),
            covariance=_numbers(covariance),
            reduced_chi2=float(_numbers(chi2)),
            n_points=int(n_points),
            ok=bool(ok),
            reason=str(reason),
        )
        for values, errors, covariance, chi2, n_points, ok, reason in zip(*columns, strict=True)
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(value: Any) -> NDArray[np.float64]:
    return np.asarray(value, np.float64)
