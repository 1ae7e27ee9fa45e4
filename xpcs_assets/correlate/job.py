"""One correlation: what the worker is asked for, its inputs opened and found to fit each other."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.correlate.corrections import Corrections
from xpcs_assets.correlate.digests import input_digests
from xpcs_assets.correlate.flags import known_flags
from xpcs_assets.correlate.frames import count_frames, count_so_far
from xpcs_assets.correlate.in_time import place_in_time
from xpcs_assets.correlate.prepared import Prepared, memory_of
from xpcs_assets.correlate.stream import Stream
from xpcs_assets.engine.device import choose_device
from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.version import ENGINE
from xpcs_assets.errors import CorrelationError, MetadataError, QmapError
from xpcs_assets.qmaps.geometry_fields import read_geometry
from xpcs_assets.qmaps.qmap import Qmap, check_shape, read_qmap
from xpcs_assets.qmaps.qmap_old import with_geometry
from xpcs_assets.readers.growing import open_growing
from xpcs_assets.readers.metadata import Acquisition, find_metadata, read_acquisition
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import RawSeries, SeriesInfo
from xpcs_assets.results.output_name import check_output, check_report, report_path
from xpcs_assets.runs.recipe import AnalysisSettings, Recipe, selected_bins


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


def prepare(job: Job, stack: ExitStack, *, so_far: bool = False) -> Prepared:
    """Open and check all inputs; nothing is written. ``stack`` closes the raw series.

    Parameters
    ----------
    so_far
        The run is still being written: take the frames that are whole now, and no digest of the raw files.

    Raises
    ------
    NoFrameYetError
        There are not yet two of them.
    InputError
        A file is missing, damaged, or does not fit the others; it is named.
    ConflictingBytesError
        The output or its report would be written over one of them, or over somebody else's JSON.
    CorrelationError
        The settings leave nothing to correlate, contradict each other, or there is no such device.
    """
    settings = job.settings
    qmap = read_qmap(job.qmap)
    series = stack.enter_context(_open(job, so_far=so_far))
    info = series.info
    try:
        check_shape(qmap, info.shape)
    except QmapError as error:
        raise QmapError(error.what, where=job.qmap, remedy=error.remedy) from error
    metadata, acquisition = _acquisition(job, info)
    _check_name(job, info, metadata)
    qmap = _complete(qmap, metadata)
    frames = (count_so_far if so_far else count_frames)(info, acquisition, settings)
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
    frames |= {"end": in_time.end, "used": in_time.selection.n_frames}
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
        inputs=_inputs(job, info, metadata, qmap, so_far=so_far),
        flags=(*known_flags(info, settings, frames, corrections, whole), *in_time.timeline.flags),
    )
    _check_asked(prepared)
    return prepared


def _check_name(job: Job, info: SeriesInfo, metadata: Path) -> None:
    settings = job.settings
    named = (settings.dark_file, settings.flat_file, settings.exclude_file)
    files = (Path(name) for name in named if name)
    check_output(job.output, (*job.raw, *info.files, job.qmap, metadata, *files))
    check_report(report_path(job.output))


def _open(job: Job, *, so_far: bool) -> RawSeries:
    if so_far:
        return open_growing(job.raw)
    return open_raw(job.raw if len(job.raw) > 1 else job.raw[0])


def _inputs(job: Job, info: SeriesInfo, metadata: Path, qmap: Qmap, *, so_far: bool) -> dict[str, Any]:
    # One file may bring others of its run with it.
    return input_digests(info.files, metadata, job.qmap, qmap, None if so_far else job.raw_digests)


def _partition(job: Job, qmap: Qmap, mask: NDArray[np.bool_]) -> Partition:
    chosen = Partition.of(qmap.dynamic, qmap.static, mask, selected_bins(job.settings.dynamic_bins))
    return chosen if job.part is None else chosen.part(*job.part)


def _complete(qmap: Qmap, metadata: Path) -> Qmap:
    """A q-map of the old layout with the distance, pixel size and energy of the metadata, where those tell them."""
    if not np.isnan(qmap.detector_distance_m):
        return qmap
    try:
        return with_geometry(qmap, read_geometry(metadata, qmap.shape))
    except MetadataError:
        return qmap


def _acquisition(job: Job, info: SeriesInfo) -> tuple[Path, Acquisition]:
    metadata = job.metadata or find_metadata(job.raw[0])
    if metadata is None:
        raise MetadataError(
            "no metadata file lies beside the raw file", where=job.raw[0], remedy="Name it with --metadata"
        )
    return metadata, read_acquisition(metadata, frames_field=job.frames_field)


def _check_asked(prepared: Prepared) -> None:
    """Refuse what cannot be had together.

    Raises
    ------
    CorrelationError
        It says which and why.
    """
    settings, where = prepared.job.settings, prepared.job.output
    if prepared.job.kernel == "events" and prepared.needs_frames:
        raise CorrelationError(
            "events are whole counts: this recipe makes them fractions or asks for the sums of pixels",
            where=where,
            remedy="Leave --kernel events out",
        )
    if prepared.axis.bursts and (settings.save_g2 or settings.analysis_type != "multitau"):
        raise CorrelationError(
            "bursts give g2 and its partials, no pixels' own sums and no two-time",
            where=where,
            remedy="Leave --save-g2 and --type out, or --frames-per-burst",
        )
    if prepared.job.part and settings.analysis_type != "multitau":
        raise CorrelationError("two-time is not made in parts", where=where, remedy="Leave --part or --type out")
    if prepared.kept_bytes > memory_of(prepared.job):
        raise CorrelationError(
            f"G2, IP and IF of every pixel take {prepared.kept_bytes / 1e9:.2g} GB",
            where=where,
            remedy="Leave --save-g2 out, choose bins with --dq, or give --memory more",
        )
