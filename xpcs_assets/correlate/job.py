"""One correlation from files to result and report: what is read, which frames, in how many passes, with what."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata as distributions
from pathlib import Path
from typing import Any, Literal

import numpy as np

import xpcs_assets
from xpcs_assets.correlate import kernels, stop
from xpcs_assets.correlate.delays import Plan, make_plan
from xpcs_assets.correlate.device import choose_device, memory_limit_bytes
from xpcs_assets.correlate.engine import ENGINE
from xpcs_assets.correlate.multitau import Moments, bytes_per_pixel, is_dense, make_correlator
from xpcs_assets.correlate.normalise import normalise
from xpcs_assets.correlate.partition import Partition
from xpcs_assets.correlate.saxs import Scattering, ScatteringSums
from xpcs_assets.correlate.select import Selection
from xpcs_assets.correlate.write_result import ResultContent, result_bytes
from xpcs_assets.errors import CorrelationError, InputError, MetadataError, QmapError, RawDataError
from xpcs_assets.readers.metadata import Acquisition, find_metadata, read_acquisition
from xpcs_assets.readers.qmap import Qmap, check_shape, read_qmap
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import Chunk, RawSeries, SeriesInfo
from xpcs_assets.runs.recipe import AnalysisSettings, Recipe, selected_bins

REPORT_FORMAT = "xpcs-assets report 1"
# These write nothing for a frame without a photon, so a longer run than the file tells is no loss of frames.
_WITHOUT_EMPTY_FRAMES = frozenset({"rigaku500k", "rigaku3m"})
_EVENT_BYTES = 24
_HASH_BYTES = 16 << 20
# Chunks of as many frames as the kernels take at once, where memory allows.
_LEAST_CHUNK_BYTES, _MOST_CHUNK_BYTES = 64 << 20, 512 << 20


@dataclass(frozen=True)
class Job:
    """What the worker is asked for.

    Attributes
    ----------
    raw
        Raw files of one run.
    qmap, output
        The q-map, and the result file to make.
    settings
        The analysis.
    metadata
        Companion file; None looks beside the raw file.
    frames_field
        HDF5 path of the number of frames in the metadata; empty asks the raw file.
    raw_digests
        sha256 of each raw file where it is known already, hex with or without ``sha256:``.
    device
        ``auto``, ``cpu`` or ``gpu``.
    memory_bytes
        Bound on the engine's sums; 0 takes half of what this process may use.
    """

    raw: tuple[Path, ...]
    qmap: Path
    output: Path
    settings: AnalysisSettings
    metadata: Path | None = None
    frames_field: str = ""
    raw_digests: tuple[str, ...] = ()
    device: Literal["auto", "cpu", "gpu"] = "auto"
    memory_bytes: int = 0


@dataclass(frozen=True)
class Prepared:
    """A job whose inputs have been opened and found to fit each other."""

    job: Job
    series: RawSeries
    acquisition: Acquisition
    metadata: Path
    qmap: Qmap
    recipe: Recipe
    frames: dict[str, Any]
    selection: Selection
    plan: Plan
    partition: Partition
    device: str
    inputs: dict[str, Any]

    @property
    def occupancy(self) -> float:
        """Expected fraction of pixels with counts in a frame; 1 for dense files."""
        return float(self.series.info.extra.get("occupancy", 1.0)) if self.series.info.kind == "events" else 1.0

    @property
    def pixels_per_pass(self) -> int:
        """Analysed pixels whose sums fit into the memory bound together."""
        dense = self.device == "jax" or is_dense(self.occupancy)
        each = bytes_per_pixel(self.plan) if dense else _EVENT_BYTES * (1 + self.occupancy * self.plan.n_frames)
        limit = self.job.memory_bytes or memory_limit_bytes()
        n_passes = -(-int(each * self.partition.n_pixels) // limit)
        return max(1, -(-self.partition.n_pixels // max(n_passes, 1)))

    def summary(self) -> dict[str, Any]:
        """What will be done, as plain values."""
        return {
            "recipe": self.recipe.to_dict(),
            "recipe_digest": self.recipe.digest,
            "engine": ENGINE,
            "inputs": self.inputs,
            "frames": self.frames,
            "occupancy": self.occupancy,
            "device": "cpu" if self.device == "cpu" else "gpu",
            "n_delays": self.plan.n_delays,
            "n_pixels": self.partition.n_pixels,
            "n_passes": -(-self.partition.n_pixels // self.pixels_per_pass),
        }


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


def prepare(job: Job, stack: ExitStack) -> Prepared:
    """Open and check all inputs; nothing is written. ``stack`` closes the raw series.

    Raises
    ------
    InputError
        A file is missing, damaged, or does not fit the others; it is named.
    CorrelationError
        The settings leave nothing to correlate, or there is no such device.
    """
    qmap = read_qmap(job.qmap)
    series = stack.enter_context(open_raw(job.raw if len(job.raw) > 1 else job.raw[0]))
    try:
        check_shape(qmap, series.info.shape)
    except QmapError as error:
        raise QmapError(error.what, where=job.qmap, remedy=error.remedy) from error
    metadata = job.metadata or find_metadata(job.raw[0])
    if metadata is None:
        raise MetadataError(
            "no metadata file lies beside the raw file", where=job.raw[0], remedy="Name it with --metadata"
        )
    acquisition = read_acquisition(metadata, frames_field=job.frames_field)
    frames = count_frames(series.info, acquisition, job.settings)
    selection = Selection(frames["begin"], frames["end"], job.settings.stride, job.settings.average)
    frames["used"] = selection.n_frames
    return Prepared(
        job=job,
        series=series,
        acquisition=acquisition,
        metadata=metadata,
        qmap=qmap,
        recipe=Recipe(job.settings, qmap.digest, ENGINE),
        frames=frames,
        selection=selection,
        plan=make_plan(selection.n_frames, job.settings.delays_per_level, job.settings.scheme),
        partition=Partition.of(qmap.dynamic, qmap.static, qmap.mask, selected_bins(job.settings.dynamic_bins)),
        device=choose_device(job.device),
        inputs=_inputs(job, metadata, qmap),
    )


def count_frames(info: SeriesInfo, acquisition: Acquisition, settings: AnalysisSettings) -> dict[str, Any]:
    """Decide how many frames the run has and which are used.

    The option comes first, then the metadata field, then the last recorded frame + 1. Frames that were never
    recorded are not zeros: only formats that leave empty frames out may be longer than their last event.

    Returns
    -------
    ``recorded``, ``total``, ``source``, ``missing`` (claimed by the metadata but not in the file), ``dark``,
    ``begin`` and ``end`` (recorded frames, 0-based).

    Raises
    ------
    CorrelationError
        More frames are asked for than were recorded.
    """
    claimed, source = acquisition.n_frames or 0, "metadata"
    if settings.frames:
        claimed, source = settings.frames, "option"
    total, missing = claimed, 0
    if not claimed:
        total, source = info.n_recorded, "recorded"
    elif claimed > info.n_recorded and info.format not in _WITHOUT_EMPTY_FRAMES:
        if source == "option":
            raise CorrelationError(
                f"{claimed} frames are asked for, the file holds {info.n_recorded}",
                where=info.files[0],
                remedy="Leave --frames out, or copy the file anew if it is too short",
            )
        total, missing = info.n_recorded, claimed - info.n_recorded
    end = total if settings.end_frame < 0 else min(settings.end_frame, total)
    return {
        "recorded": info.n_recorded,
        "total": total,
        "source": source,
        "missing": missing,
        "dark": acquisition.dark_frames,
        "begin": max(settings.begin_frame, acquisition.dark_frames),
        "end": end,
    }


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
    if _sha256(prepared.job.qmap, QmapError) != prepared.qmap.digest:
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


def _inputs(job: Job, metadata: Path, qmap: Qmap) -> dict[str, Any]:
    if job.raw_digests and len(job.raw_digests) != len(job.raw):
        raise CorrelationError(
            f"{len(job.raw_digests)} raw digests for {len(job.raw)} raw files", remedy="Give one for each, or none"
        )
    digests = [f"sha256:{digest.removeprefix('sha256:')}" for digest in job.raw_digests]
    return {
        "raw": [
            {"name": path.name, "digest": digest}
            for path, digest in zip(job.raw, digests or [_sha256(path, RawDataError) for path in job.raw], strict=True)
        ],
        "metadata": {"name": metadata.name, "digest": _sha256(metadata, MetadataError)},
        "qmap": {"name": job.qmap.name, "digest": qmap.digest},
    }


def _sha256(path: Path, kind: type[InputError]) -> str:
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_HASH_BYTES):
                digest.update(block)
                stop.check()
    except OSError as error:
        raise kind(f"it cannot be read ({error.strerror})", where=path, remedy="Copy it anew") from error
    return "sha256:" + digest.hexdigest()


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
