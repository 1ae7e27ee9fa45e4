"""A run correlated in pieces: the pixels of one part, and the file that keeps what they gave until all are merged.

A part is whole static bins, so that each bin's sums are made by one worker, as if there were no others: the merged
result is the very same. The file is HDF5 and holds plain arrays.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from xpcs_assets.correlate.job import Job
from xpcs_assets.correlate.passes import Found, Multitau
from xpcs_assets.correlate.prepared import Prepared
from xpcs_assets.engine.delays import Plan
from xpcs_assets.engine.multitau import Moments
from xpcs_assets.engine.saxs import Scattering
from xpcs_assets.errors import CorrelationError, ResultError
from xpcs_assets.readers.h5file import damage, open_hdf5
from xpcs_assets.results.h5write import put
from xpcs_assets.runs.recipe import AnalysisSettings

FORMAT = "xpcs-assets state 1"
_GROUP = "/xpcs/state"
_REMEDY = "Correlate this part again with --part"
_SCATTERING = ("pattern", "static", "segments", "intensity")


@dataclass(frozen=True, eq=False)
class State:
    """What one part gave.

    Attributes
    ----------
    path
        Its file.
    job
        What its worker was asked for.
    report
        The worker's report.
    invalid
        Frames by the reason for which they do not count.
    arrays
        Everything else by its name in the file.
    flags, n_empty
        As in :class:`~xpcs_assets.correlate.passes.Found`.
    """

    path: Path
    job: Job
    report: dict[str, Any]
    invalid: dict[str, int]
    arrays: dict[str, NDArray[Any]]
    flags: tuple[str, ...]
    n_empty: int


def state_bytes(prepared: Prepared, found: Found, report: dict[str, Any]) -> bytes:
    """Make the file of a part.

    Raises
    ------
    CorrelationError
        There is no multi-tau to keep.
    """
    if found.multitau is None:
        raise CorrelationError("a part is one of multi-tau", where=prepared.job.output, remedy="Leave --part out")
    multitau, scattering = found.multitau, found.scattering
    arrays: dict[str, NDArray[Any]] = {f"scattering/{name}": getattr(scattering, name) for name in _SCATTERING}
    for kind, parts in (("moments", multitau.moments), ("partial", multitau.partial)):
        for number, moments in enumerate(parts):
            arrays[f"{kind}/{number}/sums"] = moments.sums
            arrays[f"{kind}/{number}/n_pixels"] = moments.n_pixels
            arrays[f"{kind}/{number}/n_pairs"] = moments.n_pairs
            arrays[f"{kind}/{number}/n_saturated"] = np.asarray(moments.n_saturated)
    arrays["pixel"] = multitau.pixel
    if multitau.pixels is not None:
        arrays["pixels"] = multitau.pixels
    told = {"flags": found.flags, "n_empty": found.n_empty, "invalid": prepared.stream.invalid}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group(_GROUP).attrs["format"] = FORMAT
        for name, value in arrays.items():
            put(file, f"{_GROUP}/{name}", value)
        put(file, f"{_GROUP}/job", json.dumps(_plain_job(prepared), sort_keys=True))
        put(file, f"{_GROUP}/found", json.dumps(told, sort_keys=True))
        put(file, "/xpcs/provenance/report", json.dumps(report, sort_keys=True))
    return buffer.getvalue()


def read_state(path: Path) -> State:
    """Read the file of a part.

    Raises
    ------
    ResultError
        It is missing, damaged or another file.
    """
    with open_hdf5(path, ResultError, _REMEDY) as file, damage(path, "it cannot be read", ResultError, _REMEDY):
        group = file.get(_GROUP)
        if not isinstance(group, h5py.Group) or group.attrs.get("format") != FORMAT:
            raise ResultError("it is no state of a part", where=path, remedy=_REMEDY)
        arrays: dict[str, NDArray[Any]] = {}

        def take(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and name not in ("job", "found"):
                arrays[name] = np.asarray(item[()])

        group.visititems(take)
        texts = [file[name].asstr()[()] for name in (f"{_GROUP}/job", f"{_GROUP}/found", "/xpcs/provenance/report")]
    try:
        job, found, report = map(json.loads, texts)
        return State(path, _job(job), report, found["invalid"], arrays, tuple(found["flags"]), int(found["n_empty"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ResultError(f"it is no state of a part ({error})", where=path, remedy=_REMEDY) from error


def in_order(states: Sequence[State]) -> list[State]:
    """The states by the number of their part.

    Raises
    ------
    ResultError
        They are not the parts of one run and recipe, or not each part once.
    """
    keys = ("recipe_digest", "engine", "inputs", "frames", "form")
    for state in states[1:]:
        differ = [key for key in keys if state.report.get(key) != states[0].report.get(key)]
        if differ:
            raise ResultError(
                f"{', '.join(differ)} are not those of {states[0].path.name}", where=state.path, remedy=_REMEDY
            )
    ordered = sorted(states, key=lambda state: state.job.part or (0, 0))
    n_parts = (ordered[0].job.part or (0, 0))[1]
    found = [state.job.part for state in ordered]
    if found != [(number, n_parts) for number in range(1, n_parts + 1)]:
        told = ", ".join(f"{part[0]}/{part[1]}" for part in found if part)
        raise ResultError(f"these are the parts {told}", where=states[0].path, remedy="Give each part once")
    return ordered


def merged(prepared: Prepared, states: Sequence[State]) -> Found:
    """Put the parts of a run together; ``prepared`` is the whole run."""
    multitau: Multitau | None = None
    for state in states:
        of_part = _multitau(prepared, state)
        multitau = of_part if multitau is None else multitau + of_part
    first = states[0]
    scattering = Scattering(*(first.arrays[f"scattering/{name}"] for name in _SCATTERING))
    return Found(scattering, multitau, None, first.flags, first.n_empty)


def _multitau(prepared: Prepared, state: State) -> Multitau:
    plans = prepared.axis.plans
    n_partial = len({name.split("/")[1] for name in state.arrays if name.startswith("partial/")})
    of_partial = [plans[number % len(plans)] for number in range(n_partial)]
    try:
        return Multitau(
            tuple(_moments(prepared, state, f"moments/{number}", plan) for number, plan in enumerate(plans)),
            tuple(_moments(prepared, state, f"partial/{number}", plan) for number, plan in enumerate(of_partial)),
            state.arrays["pixel"],
            state.arrays.get("pixels"),
        )
    except KeyError as error:
        raise ResultError(f"it lacks {error}", where=state.path, remedy=_REMEDY) from error


def _moments(prepared: Prepared, state: State, name: str, plan: Plan) -> Moments:
    partition = prepared.partition
    sums = state.arrays[f"{name}/sums"]
    if sums.shape[:2] != (plan.n_delays, partition.n_static):
        raise ResultError(f"{name}/sums has the shape {sums.shape}", where=state.path, remedy=_REMEDY)
    return Moments(
        plan=plan,
        n_pairs=state.arrays[f"{name}/n_pairs"],
        sums=sums,
        n_pixels=state.arrays[f"{name}/n_pixels"],
        dynamic_of_static=partition.dynamic_of_static,
        n_dynamic=partition.n_dynamic,
        n_saturated=int(state.arrays[f"{name}/n_saturated"]),
    )


def _plain_job(prepared: Prepared) -> dict[str, Any]:
    job = prepared.job
    digests = [item["digest"] for item in prepared.inputs["raw"]]
    return {
        **asdict(replace(job, metadata=prepared.metadata, raw_digests=tuple(digests))),
        "raw": [str(path.resolve()) for path in prepared.series.info.files],
        "qmap": str(job.qmap.resolve()),
        "metadata": str(prepared.metadata.resolve()),
        "output": str(job.output.resolve()),
    }


def _job(content: dict[str, Any]) -> Job:
    return Job(
        **{
            **content,
            "raw": tuple(map(Path, content["raw"])),
            **{name: Path(content[name]) for name in ("qmap", "metadata", "output")},
            "settings": AnalysisSettings(**content["settings"]),
            "raw_digests": tuple(content["raw_digests"]),
            "part": tuple(content["part"]),
        }
    )
