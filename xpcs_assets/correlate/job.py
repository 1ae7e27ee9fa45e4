"""One correlation, its inputs opened and found to fit each other: what is read, which frames, in how many passes."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.correlate.corrections import Corrections
from xpcs_assets.correlate.delays import Plan
from xpcs_assets.correlate.device import choose_device, memory_limit_bytes
from xpcs_assets.correlate.digests import input_digests
from xpcs_assets.correlate.engine import ENGINE
from xpcs_assets.correlate.flags import known_flags
from xpcs_assets.correlate.frames import count_frames
from xpcs_assets.correlate.in_time import place_in_time
from xpcs_assets.correlate.multitau import bytes_per_pixel, is_dense
from xpcs_assets.correlate.partition import Partition
from xpcs_assets.correlate.stream import Stream
from xpcs_assets.correlate.time_axis import TimeAxis
from xpcs_assets.errors import CorrelationError, MetadataError, QmapError
from xpcs_assets.readers.metadata import Acquisition, find_metadata, read_acquisition
from xpcs_assets.readers.qmap import Qmap, check_shape, read_qmap
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import RawSeries, SeriesInfo
from xpcs_assets.runs.recipe import AnalysisSettings, Recipe, selected_bins

_EVENT_BYTES = 24
# What is left for the sums however much the arrays of dark and flat field take.
_LEAST_BYTES = 1 << 18


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
    kernel
        ``frames`` or ``events`` correlates in that form whatever the occupancy; ``auto`` chooses.
    part
        Number, from 1, and count of parts of the pixels: only this one is correlated; None is all.
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
    kernel: Literal["auto", "frames", "events"] = "auto"
    part: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """A job whose inputs have been opened and found to fit each other.

    Attributes
    ----------
    job, series, acquisition, metadata, qmap, recipe
        What was asked for, and the open inputs.
    frames
        How many frames there are and which are used, see :func:`~xpcs_assets.correlate.frames.count_frames`.
    stream
        Gives the analysed frames, as often as wanted.
    axis
        The delays.
    mask
        (rows, columns) bool: the q-map's mask, less what the detector, the dark and the flat field know to be bad.
    partition, whole
        The chosen dynamic bins, and all of the q-map.
    monitor
        (N,) beam intensity in each analysed frame; None where frames are not divided by it.
    device, inputs
        Where it is computed, and the digests.
    flags
        What is remarkable about the run, as sentences, as far as known before it is read.
    """

    job: Job
    series: RawSeries
    acquisition: Acquisition
    metadata: Path
    qmap: Qmap
    recipe: Recipe
    frames: dict[str, Any]
    stream: Stream
    axis: TimeAxis
    mask: NDArray[np.bool_]
    partition: Partition
    whole: Partition
    monitor: NDArray[np.float64] | None
    device: str
    inputs: dict[str, Any]
    flags: tuple[str, ...]

    @property
    def n_frames(self) -> int:
        """Analysed frames."""
        return self.stream.selection.n_frames

    @property
    def occupancy(self) -> float:
        """Expected fraction of pixels with counts in a frame; 1 for dense files."""
        return float(self.series.info.extra.get("occupancy", 1.0)) if self.series.info.kind == "events" else 1.0

    @property
    def form(self) -> Literal["frames", "events"]:
        """In which form the engine correlates: values that are no whole counts, and pixels' own sums, need frames."""
        if self.job.kernel != "auto":
            return self.job.kernel
        return (
            "frames"
            if is_dense(self.occupancy) or _needs_frames(self.job.settings, self.stream.corrections)
            else "events"
        )

    @property
    def pixels_per_pass(self) -> int:
        """Analysed pixels whose sums fit into the memory bound together."""
        plans = self.axis.plans
        if self.form == "frames":
            each: float = sum(_frames_bytes(plan, self.device) for plan in plans)
        else:
            each = len(plans) * _EVENT_BYTES * (1 + self.occupancy * self.n_frames)
        limit = max(_LEAST_BYTES, self._share_bytes - self.kept_bytes)
        n_passes = -(-int(each * self.partition.n_pixels) // limit)
        return max(1, -(-self.partition.n_pixels // max(n_passes, 1)))

    @property
    def _share_bytes(self) -> int:
        """Memory for either kind of correlation; where both are asked for, their sums lie there together."""
        n_kinds = 2 if self.job.settings.analysis_type == "both" else 1
        return (memory_of(self.job) - self.stream.corrections.n_bytes) // n_kinds

    @property
    def kept_bytes(self) -> int:
        """Memory of each pixel's own sums, if they are asked for, and of the file that holds them."""
        if not self.job.settings.save_g2:
            return 0
        return 12 * len(self.axis.delay) * (self.partition.n_pixels + len(self.stream.analysed))

    @property
    def twotime_partition(self) -> Partition:
        """The bins of the two-time maps."""
        settings = self.job.settings
        bins = selected_bins(settings.twotime_bins or settings.dynamic_bins)
        return Partition.of(self.qmap.dynamic, self.qmap.static, self.mask, bins)

    def passes(self) -> list[Partition | None]:
        """The pixels of each pass over the run; a single None where no multi-tau is asked for."""
        if self.job.settings.analysis_type == "twotime":
            return [None]
        return list(self.partition.split(self.pixels_per_pass))

    def twotime_passes(self) -> list[tuple[int, ...]]:
        """The dynamic bins mapped in each pass over the run; none where no two-time is asked for."""
        settings, corrections = self.job.settings, self.stream.corrections
        if settings.analysis_type == "multitau":
            return []
        from xpcs_assets.correlate.twotime_passes import bins_in_passes

        whole = not _needs_frames(settings, corrections)
        return bins_in_passes(
            self.twotime_partition,
            self.n_frames,
            max(_LEAST_BYTES, self._share_bytes),
            occupancy=self.occupancy if whole else 1.0,
            count_bytes=2 if whole else 4,
        )

    def summary(self) -> dict[str, Any]:
        """What will be done, as plain values."""
        part = {} if self.job.part is None else {"part": "{}/{}".format(*self.job.part)}
        return {
            **part,
            "recipe": self.recipe.to_dict(),
            "recipe_digest": self.recipe.digest,
            "engine": ENGINE,
            "inputs": self.inputs,
            "frames": self.frames,
            "occupancy": self.occupancy,
            "form": self.form,
            "device": "cpu" if self.device == "cpu" else "gpu",
            "n_delays": len(self.axis.delay),
            "n_pixels": self.partition.n_pixels,
            "n_passes": max(len(self.passes()), len(self.twotime_passes())),
            "flags": list(self.flags),
        }


def _frames_bytes(plan: Plan, device: str) -> int:
    if device == "cpu":
        return bytes_per_pixel(plan)
    from xpcs_assets.correlate.multitau_jax import device_bytes_per_pixel

    return device_bytes_per_pixel(plan)


def memory_of(job: Job) -> int:
    """The bound on memory, bytes."""
    return job.memory_bytes or memory_limit_bytes()


def prepare(job: Job, stack: ExitStack) -> Prepared:
    """Open and check all inputs; nothing is written. ``stack`` closes the raw series.

    Raises
    ------
    InputError
        A file is missing, damaged, or does not fit the others; it is named.
    CorrelationError
        The settings leave nothing to correlate, contradict each other, or there is no such device.
    """
    settings = job.settings
    qmap = read_qmap(job.qmap)
    series = stack.enter_context(open_raw(job.raw if len(job.raw) > 1 else job.raw[0]))
    info = series.info
    try:
        check_shape(qmap, info.shape)
    except QmapError as error:
        raise QmapError(error.what, where=job.qmap, remedy=error.remedy) from error
    metadata, acquisition = _acquisition(job, info)
    frames = count_frames(info, acquisition, settings)
    corrections = Corrections.of(settings, series, frames["dark"])
    mask = (qmap.mask > 0) & corrections.good_pixels(info.shape)
    if info.good_pixels is not None:
        mask &= info.good_pixels
    device = "cpu" if settings.save_g2 else choose_device(job.device)
    whole = Partition.of(qmap.dynamic, qmap.static, mask)
    in_time = place_in_time(job, info, acquisition, frames, metadata)
    stream = Stream(
        series=series,
        corrections=corrections,
        timeline=in_time.timeline,
        selection=in_time.selection,
        begin=frames["begin"],
        end=in_time.end,
        known=in_time.known,
        beam_dump_below=settings.beam_dump_below,
        analysed=whole.position >= 0,
        copied_later=settings.normalize != "none",
    )
    frames["used"] = in_time.selection.n_frames
    prepared = Prepared(
        job=job,
        series=series,
        acquisition=acquisition,
        metadata=metadata,
        qmap=qmap,
        recipe=Recipe.of(settings, qmap.digest, ENGINE),
        frames=frames,
        stream=stream,
        axis=in_time.axis,
        mask=mask,
        partition=_partition(job, qmap, mask),
        whole=whole,
        monitor=in_time.monitor,
        device=device,
        inputs=input_digests(job.raw, metadata, job.qmap, qmap, job.raw_digests),
        flags=(*known_flags(info, settings, frames, corrections, whole), *in_time.timeline.flags),
    )
    _check_asked(prepared)
    return prepared


def _partition(job: Job, qmap: Qmap, mask: NDArray[np.bool_]) -> Partition:
    chosen = Partition.of(qmap.dynamic, qmap.static, mask, selected_bins(job.settings.dynamic_bins))
    return chosen if job.part is None else chosen.part(*job.part)


def _acquisition(job: Job, info: SeriesInfo) -> tuple[Path, Acquisition]:
    metadata = job.metadata or find_metadata(job.raw[0])
    if metadata is None:
        raise MetadataError(
            "no metadata file lies beside the raw file", where=job.raw[0], remedy="Name it with --metadata"
        )
    return metadata, read_acquisition(metadata, frames_field=job.frames_field)


def _needs_frames(settings: AnalysisSettings, corrections: Corrections) -> bool:
    return settings.save_g2 or settings.normalize != "none" or not corrections.keeps_events()


def _check_asked(prepared: Prepared) -> None:
    """Refuse what cannot be had together.

    Raises
    ------
    CorrelationError
        It says which and why.
    """
    settings, where = prepared.job.settings, prepared.job.output
    if prepared.job.kernel == "events" and _needs_frames(settings, prepared.stream.corrections):
        raise CorrelationError(
            "events are whole counts: this recipe makes them fractions or asks for the sums of pixels",
            where=where,
            remedy="Leave --kernel events out",
        )
    if prepared.axis.bursts and (settings.partial_g2 or settings.save_g2 or settings.analysis_type != "multitau"):
        raise CorrelationError(
            "bursts give g2 alone, no partials, no pixels' own sums and no two-time",
            where=where,
            remedy="Leave --partial-g2, --save-g2 and --type out, or --frames-per-burst",
        )
    if prepared.job.part and settings.analysis_type != "multitau":
        raise CorrelationError("two-time is not made in parts", where=where, remedy="Leave --part or --type out")
    if prepared.kept_bytes > memory_of(prepared.job):
        raise CorrelationError(
            f"G2, IP and IF of every pixel take {prepared.kept_bytes / 1e9:.2g} GB",
            where=where,
            remedy="Leave --save-g2 out, choose bins with --dq, or give --memory more",
        )
