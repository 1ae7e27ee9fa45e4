"""A correlation whose inputs are open: in which form, in how many passes, within which memory it is carried out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.correlate.stream import Stream
from xpcs_assets.engine.delays import Plan
from xpcs_assets.engine.device import memory_limit_bytes
from xpcs_assets.engine.multitau import bytes_per_pixel, is_dense
from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.time_axis import TimeAxis
from xpcs_assets.engine.version import ENGINE
from xpcs_assets.qmaps.qmap import Qmap
from xpcs_assets.readers.metadata import Acquisition
from xpcs_assets.readers.series import RawSeries
from xpcs_assets.runs.recipe import Recipe, selected_bins

if TYPE_CHECKING:
    from xpcs_assets.correlate.job import Job

# Packed in 8, with the room that is kept for those to come; on a device 16 and three times there while they are sorted.
_EVENT_BYTES, _DEVICE_EVENT_BYTES = 10, 48
# What is left for the sums however much the arrays of dark and flat field take.
_LEAST_BYTES = 1 << 18


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
        return "frames" if is_dense(self.occupancy) or self.needs_frames else "events"

    @property
    def needs_frames(self) -> bool:
        """Whether values are no whole counts, in the file or by this recipe, or pixels' own sums are asked for."""
        settings, info = self.job.settings, self.series.info
        in_file = info.integrating or np.dtype(info.dtype).kind == "f"
        by_recipe = settings.normalize != "none" or not self.stream.corrections.keeps_events()
        return settings.save_g2 or in_file or by_recipe

    @property
    def pixels_per_pass(self) -> int:
        """Analysed pixels whose sums fit into the memory bound together."""
        plans = self.axis.plans
        if self.form == "frames":
            each: float = sum(_frames_bytes(plan, self.device) for plan in plans)
        else:
            event_bytes = _EVENT_BYTES if self.device == "cpu" else _DEVICE_EVENT_BYTES
            each = len(plans) * event_bytes * (1 + self.occupancy * self.n_frames)
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
        if self.job.settings.analysis_type == "multitau":
            return []
        from xpcs_assets.engine.twotime_passes import bins_in_passes

        whole = not self.needs_frames
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
            "memory_bytes": memory_of(self.job),
            "flags": list(self.flags),
        }


def _frames_bytes(plan: Plan, device: str) -> int:
    if device == "cpu":
        return bytes_per_pixel(plan)
    from xpcs_assets.engine.multitau_jax import device_bytes_per_pixel

    return device_bytes_per_pixel(plan)


def memory_of(job: Job) -> int:
    """The bound on memory, bytes."""
    return job.memory_bytes or memory_limit_bytes()
