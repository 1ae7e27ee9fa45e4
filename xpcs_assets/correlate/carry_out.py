"""Carry out a prepared correlation: chunks from the reader to every analysis asked for, then result and report."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata as distributions
from typing import TYPE_CHECKING, Any

import numpy as np

import xpcs_assets
from xpcs_assets.correlate import kernels, stop
from xpcs_assets.correlate.job import Prepared, sha256_of
from xpcs_assets.correlate.multitau import Correlator, Moments, make_correlator
from xpcs_assets.correlate.normalise import normalise
from xpcs_assets.correlate.partition import Partition
from xpcs_assets.correlate.saxs import Scattering, ScatteringSums
from xpcs_assets.correlate.write_result import ResultContent, result_bytes
from xpcs_assets.errors import QmapError
from xpcs_assets.readers.series import Chunk

if TYPE_CHECKING:
    from xpcs_assets.correlate.twotime import TwoTime, TwotimeCorrelator

REPORT_FORMAT = "xpcs-assets report 1"
# Chunks of as many frames as the kernels take at once, where memory allows.
_LEAST_CHUNK_BYTES, _MOST_CHUNK_BYTES = 64 << 20, 512 << 20


@dataclass
class Clock:
    """Seconds spent in each phase."""

    seconds: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "correlate": 0.0, "write": 0.0})
    started_s: float = field(default_factory=time.monotonic)

    def add(self, phase: str, since_s: float) -> float:
        """Count the time since ``since_s`` to ``phase``; return now."""
        now_s = time.monotonic()
        self.seconds[phase] += now_s - since_s
        return now_s

    def rounded(self) -> dict[str, float]:
        """Phases and ``total``, to the millisecond."""
        total = time.monotonic() - self.started_s
        return {**{phase: round(s, 3) for phase, s in self.seconds.items()}, "total": round(total, 3)}


@dataclass(frozen=True, eq=False)
class Found:
    """What all analyses of a run gave; None for those that were not asked for."""

    scattering: Scattering
    moments: Moments | None
    twotime: TwoTime | None


def carry_out(prepared: Prepared, progress: Callable[[float], None]) -> tuple[bytes, dict[str, Any], Clock]:
    """Read, correlate and make the result file's bytes.

    Parameters
    ----------
    prepared
        The opened job.
    progress
        Called with the fraction done.

    Returns
    -------
    The bytes, the report as far as it is known before they are written, and the clock that goes on.

    Raises
    ------
    RawDataError, QmapError
        The raw data are damaged, or an input changed meanwhile.
    """
    clock = Clock()
    found = _analyse(prepared, clock, progress)
    since_s = time.monotonic()
    g2 = None if found.moments is None else normalise(found.moments, prepared.job.settings.empty_bins)
    clock.add("correlate", since_s)
    if sha256_of(prepared.job.qmap, QmapError) != prepared.qmap.digest:
        raise QmapError("the q-map changed while it was used", where=prepared.job.qmap, remedy="Correlate again")
    report = _report(prepared, found, clock)
    content = ResultContent(
        recipe=prepared.recipe,
        plan=prepared.plan,
        selection=prepared.selection,
        g2=g2,
        twotime=found.twotime,
        scattering=found.scattering,
        acquisition=prepared.acquisition,
        metadata=prepared.metadata,
        qmap=prepared.job.qmap,
        raw_names=tuple(path.name for path in prepared.job.raw),
        output_name=prepared.job.output.name,
        provenance=report,
    )
    since_s = time.monotonic()
    image = result_bytes(content)
    clock.add("write", since_s)
    return image, report, clock


def _report(prepared: Prepared, found: Found, clock: Clock) -> dict[str, Any]:
    return {
        "format": REPORT_FORMAT,
        **prepared.summary(),
        "n_saturated": 0 if found.moments is None else found.moments.n_saturated,
        "n_valid_frames": int(np.count_nonzero(np.isfinite(found.scattering.intensity))),
        "versions": versions(),
        "seconds": {phase: clock.rounded()[phase] for phase in ("read", "correlate")},
    }


def _analyse(prepared: Prepared, clock: Clock, progress: Callable[[float], None]) -> Found:
    """Send every chunk to every analysis: multi-tau in as many passes as memory asks for, the others in the first."""
    settings, n_frames, parts = prepared.job.settings, prepared.selection.n_frames, prepared.passes()
    sums = ScatteringSums(prepared.whole, n_frames, settings.average)
    twotime = _twotime(prepared)
    moments: Moments | None = None
    for number, part in enumerate(parts):
        correlator = None if part is None else _correlator(prepared, part)
        analyses = [analysis for analysis in (correlator, *((sums, twotime) if number == 0 else ())) if analysis]
        since_s = time.monotonic()
        for chunk in _chunks(prepared):
            stop.check()
            since_s = clock.add("read", since_s)
            for analysis in analyses:
                analysis.push(chunk)
            since_s = clock.add("correlate", since_s)
            progress((number + chunk.end / n_frames) / len(parts))
        if correlator is not None:
            of_part = correlator.finish()
            moments = of_part if moments is None else moments + of_part
        clock.add("correlate", since_s)
    return Found(sums.finish(), moments, None if twotime is None else twotime.finish())


def _correlator(prepared: Prepared, part: Partition) -> Correlator:
    return make_correlator(prepared.plan, part, occupancy=prepared.occupancy, device=prepared.device)


def _twotime(prepared: Prepared) -> TwotimeCorrelator | None:
    settings = prepared.job.settings
    if settings.analysis_type == "multitau":
        return None
    from xpcs_assets.correlate.twotime import TwotimeCorrelator

    return TwotimeCorrelator(prepared.twotime_partition, prepared.selection.n_frames, settings.smoothing)


def _chunks(prepared: Prepared) -> Iterator[Chunk]:
    selection = prepared.selection
    rows, columns = prepared.series.info.shape
    wanted_bytes = 8 * kernels.FRAMES * rows * columns
    chunk_bytes = min(max(wanted_bytes, _LEAST_CHUNK_BYTES), _MOST_CHUNK_BYTES)
    raw = prepared.series.chunks(selection.begin, selection.read_end, max_bytes=chunk_bytes)
    return selection.apply(raw)


def versions() -> dict[str, str]:
    """Versions of what made the result."""
    names = ("numpy", "numba", "h5py", "hdf5plugin", "jax")
    found = {name: distributions.version(name) for name in names if _installed(name)}
    return {"xpcs-assets": xpcs_assets.__version__, "python": platform.python_version(), **found}


def _installed(name: str) -> bool:
    try:
        distributions.distribution(name)
    except distributions.PackageNotFoundError:
        return False
    return True
