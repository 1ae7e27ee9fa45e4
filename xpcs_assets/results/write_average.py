"""Write an average as a result file: the layout of a run's result, with members and choice in ``/xpcs/average``."""

from __future__ import annotations

import io
import json
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.engine.delays import MIN_PAIRS
from xpcs_assets.errors import ResultError
from xpcs_assets.readers.h5file import damage, open_hdf5
from xpcs_assets.results.average import Average
from xpcs_assets.results.h5write import defined, put
from xpcs_assets.results.limits import stated
from xpcs_assets.results.outliers import LEAST_RUNS, LEAST_WIDTH, WIDTH
from xpcs_assets.results.provenance import REPORT_FORMAT, versions
from xpcs_assets.results.result import MASK_USED

RULE = (
    f"limits that were not given: median of the runs -+ {WIDTH:g} standard deviations (1.4826 x median absolute "
    "deviation, or what the error bars say if that is more), at least "
    + ", ".join(f"{width:g} ({name})" for name, width in LEAST_WIDTH.items())
    + f"; none with fewer than {LEAST_RUNS} runs"
)
_REMEDY = "Correlate the run again"


def average_bytes(average: Average, output_name: str) -> tuple[bytes, dict[str, Any]]:
    """Make the file's bytes, and the report that is in it. The same members give the same bytes.

    What describes the measurement (``/entry``, the q-map, the analysis' config) is that of the first run used.

    Raises
    ------
    ResultError
        The first run's file cannot be copied.
    """
    report = _report(average)
    template = average.used[0].path
    buffer = io.BytesIO()
    with (
        h5py.File(buffer, "w") as file,
        open_hdf5(template, ResultError, _REMEDY) as source,
        damage(template, "it cannot be copied", ResultError, _REMEDY),
    ):
        for name in source:
            if name != "xpcs":
                source.copy(name, file, name)
        source.copy("/xpcs/qmap", file.require_group("xpcs"), "qmap")
        if MASK_USED in source:
            source.copy(MASK_USED, file["xpcs"])
        source.copy("/xpcs/multitau/config", file.require_group("/xpcs/multitau"), "config")
        raw = ", ".join(member.result.run for member in average.used)
        for name, text in (("raw", raw), ("output", output_name)):
            del file[f"/xpcs/multitau/config/{name}"]
            put(file, f"/xpcs/multitau/config/{name}", text)
        put(file, "/xpcs/rawdata_path", raw)
        _put_g2(file, average)
        _put_means(file, average)
        _put_choice(file, average)
        put(file, "/xpcs/provenance/recipe", json.dumps(average.used[0].result.recipe.to_dict(), sort_keys=True))
        put(file, "/xpcs/provenance/recipe_digest", average.used[0].result.recipe.digest)
        put(file, "/xpcs/provenance/report", json.dumps(report, sort_keys=True))
    return buffer.getvalue(), report


def _report(average: Average) -> dict[str, Any]:
    recipe = average.used[0].result.recipe
    members = [
        {"name": member.path.name, "digest": member.digest, "used": bool(used), "reason": reason}
        for member, used, reason in zip(average.members, average.judged.used, average.judged.reasons, strict=True)
    ]
    return {
        "format": REPORT_FORMAT,
        "analysis": "average",
        "recipe": recipe.to_dict(),
        "recipe_digest": recipe.digest,
        "engine": recipe.engine,
        "inputs": {"members": members},
        "limits": stated(average.judged.limits),
        "frames": {"used": len(average.intensity)},
        "n_valid_frames": sum(member.n_valid_frames for member in average.used),
        "n_saturated": sum(member.moments.n_saturated for member in average.used),
        "versions": versions(),
    }


def _put_g2(file: h5py.File, average: Average) -> None:
    g2 = average.g2
    by_boost = average.used[0].result.recipe.settings.error_rule == "boost"
    values: dict[str, NDArray[np.generic]] = {
        "delay_list": average.delay_frames,
        "delay_s": average.delay_s,
        "normalized_g2": defined(g2.g2, 0.0),
        "normalized_g2_err": defined(g2.error_boost if by_boost else g2.error, np.inf),
        "normalized_g2_err_boost": defined(g2.error_boost, np.inf),
        "n_static_used": g2.n_static_used,
        "n_pairs": g2.n_pairs,
        "few_pairs": g2.n_pairs < MIN_PAIRS,
        "static_g2": g2.static.astype(np.float32),
    }
    for name, value in values.items():
        put(file, f"/xpcs/multitau/{name}", value)


def _put_means(file: h5py.File, average: Average) -> None:
    intensity = np.stack([np.arange(len(average.intensity)), average.intensity])
    put(file, "/xpcs/temporal_mean/scattering_2d", np.nan_to_num(average.scattering_2d)[None].astype(np.float32))
    put(file, "/xpcs/temporal_mean/scattering_1d", average.scattering_1d[None].astype(np.float32))
    put(file, "/xpcs/temporal_mean/scattering_1d_segments", average.segments.astype(np.float32))
    put(file, "/xpcs/spatial_mean/intensity_vs_time", intensity.astype(np.float32))


def _put_choice(file: h5py.File, average: Average) -> None:
    group, judged, text = file.create_group("/xpcs/average"), average.judged, h5py.string_dtype()
    group.create_dataset("file_list", data=[member.path.name for member in average.members], dtype=text)
    group.create_dataset("digests", data=[member.digest for member in average.members], dtype=text)
    group.create_dataset("used", data=judged.used)
    group.create_dataset("reasons", data=list(judged.reasons), dtype=text)
    for name, limits in stated(judged.limits).items():
        group[name] = getattr(judged, name)
        group[f"limits/{name}"] = np.array(limits or (-np.inf, np.inf))
    group["limits"].attrs["rule"] = RULE
