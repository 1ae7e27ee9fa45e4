"""Carry out a prepared correlation: chunks from the reader to every analysis asked for, then result and report."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata as distributions
from typing import Any

import numpy as np

import xpcs_assets
from xpcs_assets.correlate import kernels, stop
from xpcs_assets.correlate.job import Prepared, sha256_of
from xpcs_assets.correlate.multitau import Moments, make_correlator
from xpcs_assets.correlate.normalise import normalise
from xpcs_assets.correlate.partition import Partition
from xpcs_assets.correlate.saxs import Scattering, ScatteringSums
from xpcs_assets.correlate.write_result import ResultContent, result_bytes
from xpcs_assets.errors import CorrelationError, QmapError
from xpcs_assets.readers.series import Chunk

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
    moments, scattering = _correlate(prepared, clock, progress)
    since_s = time.monotonic()
    g2 = normalise(moments, prepared.job.settings.empty_bins)
    clock.add("correlate", since_s)
    used_s = {phase: clock.rounded()[phase] for phase in ("read", "correlate")}
    report = {
        "format": REPORT_FORMAT,
        **prepared.summary(),
        "n_saturated": moments.n_saturated,
        "n_valid_frames": int(np.count_nonzero(np.isfinite(scattering.intensity))),
        "versions": versions(),
        "seconds": used_s,
    }
    if sha256_of(prepared.job.qmap, QmapError) != prepared.qmap.digest:
        raise QmapError("the q-map changed while it was used", where=prepared.job.qmap, remedy="Correlate again")
    content = ResultContent(
        recipe=prepared.recipe,
        plan=prepared.plan,
        selection=prepared.selection,
        g2=g2,
        scattering=scattering,
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


def _correlate(prepared: Prepared, clock: Clock, progress: Callable[[float], None]) -> tuple[Moments, Scattering]:
    settings, plan, qmap = prepared.job.settings, prepared.plan, prepared.qmap
    sums = ScatteringSums(Partition.of(qmap.dynamic, qmap.static, qmap.mask), plan.n_frames, settings.average)
    parts = list(prepared.partition.split(prepared.pixels_per_pass))
    moments: Moments | None = None
    for number, part in enumerate(parts):
        correlator = make_correlator(plan, part, occupancy=prepared.occupancy, device=prepared.device)
        since_s = time.monotonic()
        for chunk in _chunks(prepared):
            stop.check()
            since_s = clock.add("read", since_s)
            correlator.push(chunk)
            if number == 0:
                sums.push(chunk)
            since_s = clock.add("correlate", since_s)
            progress((number + chunk.end / plan.n_frames) / len(parts))
        of_part = correlator.finish()
        moments = of_part if moments is None else moments + of_part
        clock.add("correlate", since_s)
    if moments is None:
        raise CorrelationError("there is no pixel to correlate", where=prepared.job.qmap, remedy="Check its mask")
    return moments, sums.finish()


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
