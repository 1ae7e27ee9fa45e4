"""One correlation, its inputs opened and found to fit each other: what is read, which frames, in how many passes."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xpcs_assets.correlate import stop
from xpcs_assets.correlate.delays import Plan, make_plan
from xpcs_assets.correlate.device import choose_device, memory_limit_bytes
from xpcs_assets.correlate.engine import ENGINE
from xpcs_assets.correlate.frames import count_frames
from xpcs_assets.correlate.multitau import bytes_per_pixel, is_dense
from xpcs_assets.correlate.partition import Partition
from xpcs_assets.correlate.select import Selection
from xpcs_assets.errors import CorrelationError, InputError, MetadataError, QmapError, RawDataError
from xpcs_assets.readers.metadata import Acquisition, find_metadata, read_acquisition
from xpcs_assets.readers.qmap import Qmap, check_shape, read_qmap
from xpcs_assets.readers.recognise import open_raw
from xpcs_assets.readers.series import RawSeries
from xpcs_assets.runs.recipe import AnalysisSettings, Recipe, selected_bins

_EVENT_BYTES = 24
_HASH_BYTES = 16 << 20


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

    @property
    def whole(self) -> Partition:
        """Every bin of the q-map, whichever are correlated."""
        return Partition.of(self.qmap.dynamic, self.qmap.static, self.qmap.mask)

    @property
    def twotime_partition(self) -> Partition:
        """The bins of the two-time maps."""
        settings = self.job.settings
        bins = selected_bins(settings.twotime_bins or settings.dynamic_bins)
        return Partition.of(self.qmap.dynamic, self.qmap.static, self.qmap.mask, bins)

    def passes(self) -> list[Partition | None]:
        """The pixels of each pass over the run; a single None where no multi-tau is asked for."""
        if self.job.settings.analysis_type == "twotime":
            return [None]
        return list(self.partition.split(self.pixels_per_pass))

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
            "n_passes": len(self.passes()),
        }


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
        recipe=Recipe.of(job.settings, qmap.digest, ENGINE),
        frames=frames,
        selection=selection,
        plan=make_plan(selection.n_frames, job.settings.delays_per_level, job.settings.scheme),
        partition=Partition.of(qmap.dynamic, qmap.static, qmap.mask, selected_bins(job.settings.dynamic_bins)),
        device=choose_device(job.device),
        inputs=_inputs(job, metadata, qmap),
    )


def _inputs(job: Job, metadata: Path, qmap: Qmap) -> dict[str, Any]:
    if job.raw_digests and len(job.raw_digests) != len(job.raw):
        raise CorrelationError(
            f"{len(job.raw_digests)} raw digests for {len(job.raw)} raw files", remedy="Give one for each, or none"
        )
    digests = [f"sha256:{digest.removeprefix('sha256:')}" for digest in job.raw_digests]
    return {
        "raw": [
            {"name": path.name, "digest": digest}
            for path, digest in zip(
                job.raw, digests or [sha256_of(path, RawDataError) for path in job.raw], strict=True
            )
        ],
        "metadata": {"name": metadata.name, "digest": sha256_of(metadata, MetadataError)},
        "qmap": {"name": job.qmap.name, "digest": qmap.digest},
    }


def sha256_of(path: Path, kind: type[InputError]) -> str:
    """``sha256:`` of a file's bytes.

    Raises
    ------
    InputError
        It cannot be read; the error is of the given kind.
    """
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_HASH_BYTES):
                digest.update(block)
                stop.check()
    except OSError as error:
        raise kind(f"it cannot be read ({error.strerror})", where=path, remedy="Copy it anew") from error
    return "sha256:" + digest.hexdigest()
