"""What is judged of a run, by which limit, and what follows: a table of values, which a beamline file may change.

The judging itself is in :mod:`xpcs_assets.describe.quality`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from xpcs_assets.errors import SettingsError

Action = Literal["warn", "quarantine", "off"]
"""What follows when a limit is not kept: somebody should look; not to be used unseen; it is not judged at all."""

Bound = Literal["at most", "at least", "between"]
Limit = float | tuple[float, float]

RAW, FRAMES, G2 = "raw_complete", "frames_sane", "g2_sane"
"""The asset checks, by what they judge: the raw data, frames and pixels of a result, its g2."""


@dataclass(frozen=True)
class Criterion:
    """One thing that is judged.

    Attributes
    ----------
    name
        Its key in the beamline file and in every table.
    check
        The asset check that it is part of.
    what
        What the value is.
    unit
        Of value and limit; empty for what has none.
    bound, limit
        How the limit binds, and what it is unless a beamline says otherwise.
    why
        Where the built-in limit comes from.
    action
        What follows unless a beamline says otherwise.
    """

    name: str
    check: str
    what: str
    unit: str
    bound: Bound
    limit: Limit
    why: str
    action: Action = "warn"

    def keeps(self, value: float, limit: Limit) -> bool:
        """Whether a value is within a limit; both ends are."""
        if isinstance(limit, tuple):
            return limit[0] <= value <= limit[1]
        return value >= limit if self.bound == "at least" else value <= limit


_CRITERIA = (
    Criterion(
        "unreadable_files", RAW, "raw files that do not open", "files", "at most", 0.0,
        "a file that does not open cannot be analysed", "quarantine",
    ),
    Criterion(
        "empty_files", RAW, "files of no bytes", "files", "at most", 0.0, "a file without bytes holds nothing",
        "quarantine",
    ),
    Criterion(
        "metadata_files", RAW, "metadata beside the raw file", "files", "at least", 1.0,
        "without them neither frame time nor energy are known",
    ),
    Criterion(
        "metadata_frames", RAW, "frames that the metadata promise and that were not recorded; more than promised, "
        "and an event file that ends early, are a warning", "frames", "at most", 0.0,
        "what was promised is what was measured", "quarantine",
    ),
    Criterion(
        "name_frames", RAW, "frames that the run's name (`_f000500_`) claims and that were not recorded, as above",
        "frames", "at most", 0.0, "what the name claims is what was measured", "quarantine",
    ),
    Criterion(
        "dropped_frames_share", RAW, "frames that the detector numbered and did not record, of all",
        "share", "at most", 0.01, "chosen here: their pairs are missing, which costs half a per cent in error bars",
    ),
    Criterion(
        "time_gaps", RAW, "frames missing by the time stamps though the numbers go on", "frames", "at most", 0.0,
        "each shifts the delay of every pair across it",
    ),
    Criterion(
        "frame_time_deviation", RAW, "usual step of the time stamps from the metadata's frame time", "share",
        "at most", 0.01, "chosen here: every delay, hence tau, is wrong by as much",
    ),
    Criterion(
        "dead_time_share", RAW, "part of the frame time that is not exposed: 1 - count_time / frame_time", "share",
        "between", (0.0, 0.5), "below 0 is impossible; above a half more photons are lost than counted, chosen here",
    ),
    Criterion(
        "missing_fields", RAW, "expected fields that the metadata file lacks", "fields", "at most", 0.0,
        "the lists in describe/expected_fields.toml; the old quality control of APS 8-ID let none be missing",
    ),
    Criterion(
        "misshapen_fields", RAW, "expected fields with another number of dimensions; () and (1, 1) are one",
        "fields", "at most", 0.0, "as missing_fields",
    ),
    Criterion(
        "missing_usual_fields", RAW, "usual fields that the metadata file lacks", "fields", "at most", 0.0,
        "the lists of usual fields; which of them a beamline has is its own matter", "off",
    ),
    Criterion(
        "invalid_frames_share", FRAMES, "dropped, excluded or never recorded frames of all", "share", "at most", 0.1,
        "chosen here: a tenth less time costs 5 % in error bars", "quarantine",
    ),
    Criterion(
        "flags", FRAMES, "sentences in which the worker says what is remarkable", "sentences", "at most", 0.0,
        "each asks somebody to look",
    ),
    Criterion(
        "dark_frames_share", FRAMES, "frames in stretches below `dark_below` of the usual intensity (beam dump, "
        "shutter), of all", "share", "at most", 0.01,
        "chosen here: one in a hundred at zero raises g2 by 1 % at short delays", "quarantine",
    ),
    Criterion(
        "intensity_drift", FRAMES, "change of the mean intensity over the run, of its mean, beyond noise", "share",
        "at most", 0.2, "a change by x in a line raises the mean square by x^2 / 12: 0.3 % of the baseline for 0.2",
    ),
    Criterion(
        "saxs_drift", FRAMES, "change of the shape of I(q) over the run: rms over static bins, beyond noise", "share",
        "at most", 0.05, "chosen here: a sample that the beam does not change keeps its structure",
    ),
    Criterion(
        "hot_pixels", FRAMES, "pixels in the mask that shine far above their static bin", "pixels", "at most", 0.0,
        "a dozen in 7000 left 2 of 9 q bins with a usable fit (measured)",
    ),
    Criterion(
        "silent_pixels_share", FRAMES, "analysed pixels that never counted though their neighbours did", "share",
        "at most", 0.01, "chosen here: they cost statistics only",
    ),
    Criterion(
        "masked_pixels_share", FRAMES, "pixels of the detector that are masked", "share", "at most", 1.0,
        "a choice of who made the q-map: none is too many unless a beamline says so",
    ),
    Criterion(
        "saturated_pixels_share", FRAMES, "analysed pixels dropped for a masked or overflowed count", "share",
        "at most", 0.01, "chosen here: they are the brightest of their bin",
    ),
    Criterion(
        "empty_bins_share", FRAMES, "dynamic bins without any g2", "share", "at most", 0.1,
        "chosen here: more mean that the q-map is not this detector's", "quarantine",
    ),
    Criterion(
        "qmap_shape", FRAMES, "rows and columns by which q-map and scattering pattern differ", "pixels", "at most",
        0.0, "a q-map of another shape is another detector's", "quarantine",
    ),
    Criterion(
        "distance_deviation", FRAMES, "detector distance of the q-map from the metadata's", "share", "at most", 0.05,
        "chosen here: q is wrong by as much; the metadata's is nominal, a calibrated map may differ by 28 % (APS 8-ID)",
    ),
    Criterion(
        "energy_deviation", FRAMES, "photon energy of the q-map from the metadata's", "share", "at most", 0.01,
        "chosen here: q is wrong by as much",
    ),
    Criterion(
        "pixel_size_deviation", FRAMES, "pixel size of the q-map from the metadata's", "share", "at most", 0.001,
        "chosen here: a detector's pixels do not change; another size is another detector",
    ),
    Criterion(
        "beam_centre_shift", FRAMES, "from the q-map's beam centre to the metadata's", "pixels", "at most", 10.0,
        "chosen here: a q of 0.005 1/Å at 10 keV, 5 m and 75 µm is 66 pixels from the centre",
    ),
    Criterion(
        "undefined_share", G2, "points of g2 without a value", "share", "at most", 0.2,
        "chosen here: with a fifth of the points missing a decay can still be fitted", "quarantine",
    ),
    Criterion(
        "baseline", G2, "median of the fitted baselines of g2", "", "between", (0.95, 1.05),
        "what pyXPCSViewer takes for a good repeat", "quarantine",
    ),
    Criterion(
        "contrast", G2, "median of the fitted contrasts; one that is too low is a warning at most", "", "between",
        (0.002, 1.0), "above 1 is impossible for speckle; below 0.002 is hardly a decay, chosen here", "quarantine",
    ),
    Criterion(
        "fitted_share", G2, "dynamic bins with a good fit, of all", "share", "at least", 0.5,
        "chosen here: with fewer, tau(q) hangs on a few bins",
    ),
    Criterion(
        "g2_drift", G2, "reduced chi^2 of g2 of the first part of the run against the whole's", "", "at most", 4.0,
        "chosen here: twice the error bars",
    ),
)  # fmt: skip

CRITERIA: Mapping[str, Criterion] = MappingProxyType({criterion.name: criterion for criterion in _CRITERIA})
"""Everything that is judged, by name, in the order of the tables."""

PARAMETERS: Mapping[str, tuple[float, str]] = MappingProxyType(
    {"dark_below": (0.5, "a stretch of frames is dark below this part of the usual intensity; half a beam is no beam")}
)
"""What else decides a judgement, by name: its value, and what it is. Set among the limits."""


@dataclass(frozen=True)
class Rules:
    """The limits and actions that hold at a beamline.

    Attributes
    ----------
    limits
        By name, where they are not the built-in ones.
    actions
        As well.
    fields
        HDF5 paths that every metadata file must have beside those of its layout.

    Raises
    ------
    SettingsError
        A limit is of no criterion, or not of its kind.
    """

    limits: Mapping[str, Limit] = field(default_factory=dict)
    actions: Mapping[str, Action] = field(default_factory=dict)
    fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (*self.limits, *self.actions):
            if name not in CRITERIA and name not in PARAMETERS:
                raise SettingsError(
                    f"nothing is judged by the name {name!r}", remedy=f"There are: {', '.join(CRITERIA)}"
                )
        for name, limit in self.limits.items():
            paired = name in CRITERIA and CRITERIA[name].bound == "between"
            if isinstance(limit, tuple) != paired or (isinstance(limit, tuple) and not limit[0] <= limit[1]):
                needed = "two numbers, the lower one first" if paired else "one number"
                raise SettingsError(f"the limit of {name} is {limit}", remedy=f"Give {needed}")

    def limit(self, name: str) -> Limit:
        """The limit that holds."""
        return self.limits.get(name, CRITERIA[name].limit)

    def action(self, name: str) -> Action:
        """What follows when it is not kept."""
        return self.actions.get(name, CRITERIA[name].action)

    def source(self, name: str) -> str:
        """Where the limit comes from, in words."""
        return f"beamline file, quality.limits.{name}" if name in self.limits else f"built in: {CRITERIA[name].why}"

    def parameter(self, name: str) -> float:
        """A value of :data:`PARAMETERS`."""
        value = self.limits.get(name, PARAMETERS[name][0])
        return float(value) if not isinstance(value, tuple) else value[0]
