"""All that decides a result beside the raw data. A recipe's digest names the folder its result lies in.

Each field of :class:`AnalysisSettings` is declared once, with its option: the worker's command line, the beamline file,
the run config in Dagster and ``reprocess`` are made from it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from xpcs_assets.errors import CorrelationError

AnalysisType = Literal["multitau", "twotime", "both"]
Scheme = Literal["boost", "skbeam"]
EmptyBins = Literal["excluded", "zero"]
ErrorRule = Literal["influence", "boost"]
Smoothing = Literal["sqmap", "none"]

_FILES = ("dark_file", "flat_file", "exclude_file")


def _setting(default: Any, option: str, text: str, *choices: str) -> Any:
    """A field with its option on the worker's command line, what it means, and its choices."""
    return field(default=default, metadata={"option": option, "text": text, "choices": choices})


@dataclass(frozen=True)
class AnalysisSettings:
    """What a scientist chooses about an analysis, beside the q-map. :func:`described` says what each field means."""

    analysis_type: AnalysisType = _setting("multitau", "--type", "kind of correlation", "multitau", "twotime", "both")
    begin_frame: int = _setting(0, "--begin-frame", "first frame, 0-based")
    end_frame: int = _setting(-1, "--end-frame", "one past the last frame; -1 is the end of the run")
    stride: int = _setting(1, "--stride", "take every n-th frame")
    average: int = _setting(1, "--average", "then average so many of those into one")
    dynamic_bins: str = _setting("", "--dq", "dynamic bins such as 1,2,5-7; empty is all")
    delays_per_level: int = _setting(4, "--dpl", "delays in each level of the multi-tau scheme")
    scheme: Scheme = _setting(
        "boost", "--scheme", "level scheme: as APS 8-ID (1..8, 10, 12, ...), or as scikit-beam", "boost", "skbeam"
    )
    empty_bins: EmptyBins = _setting(
        "excluded",
        "--empty-bins",
        "whether a static bin without counts is left out of the mean or enters it as 0",
        "excluded",
        "zero",
    )
    error_rule: ErrorRule = _setting(
        "influence",
        "--errors",
        "error bars from the spread of each pixel's influence on g2, or as boost_corr has them",
        "influence",
        "boost",
    )
    frames: int = _setting(0, "--frames", "number of frames of the run, where no file tells it right; 0 asks them")
    exclude_frames: str = _setting("", "--exclude-frames", "recorded frames that do not count, such as 3,100-120")
    exclude_file: str = _setting("", "--exclude", "text file of recorded frames that do not count, numbers or ranges")
    beam_dump_below: float = _setting(
        0.0, "--beam-dump-below", "frames with less than this fraction of the median intensity do not count; 0 is off"
    )
    normalize: str = _setting(
        "none", "--normalize", "none, frame (by the analysed pixels' mean) or monitor:PATH in the metadata file"
    )
    dark_frames: int = _setting(-1, "--dark-frames", "dark frames at the head of the file; -1 asks the metadata")
    dark_file: str = _setting("", "--dark-file", "series of dark frames, or an HDF5 file with their mean and std")
    offset_region: str = _setting(
        "", "--offset-region", "unlit pixels r0:r1,c0:c1 whose mean in each frame is taken off that frame"
    )
    lld: float = _setting(0.0, "--lld", "counts up to lld + sigma x std of the dark become 0; 0 with --sigma 0 is off")
    sigma: float = _setting(0.0, "--sigma", "see --lld")
    flat_file: str = _setting(
        "", "--flat-file", "flat field (rows, columns) that counts are divided by: npy, edf, HDF5"
    )
    adu_per_photon: float = _setting(0.0, "--adu-per-photon", "detector units of one photon; 0 leaves them as they are")
    round_photons: bool = _setting(False, "--round-photons", "round to whole photons")  # noqa: FBT003
    frames_per_burst: int = _setting(
        0, "--frames-per-burst", "frames taken in one go, with gaps between the bursts; 0 is evenly spaced"
    )
    partial_g2: int = _setting(0, "--partial-g2", "also g2 of the first 1, 2, ... of so many stretches of the run")
    save_g2: bool = _setting(False, "--save-g2", "also G2, IP and IF of every pixel")  # noqa: FBT003
    smoothing: Smoothing = _setting(
        "sqmap",
        "--smooth",
        "two-time: pixels over their static bin's mean in the frame, or as they are",
        "sqmap",
        "none",
    )
    twotime_bins: str = _setting("", "--twotime-dq", "dynamic bins of the two-time maps; empty is those of --dq")

    def __post_init__(self) -> None:
        wrong = (
            (self.begin_frame < 0, f"begin_frame {self.begin_frame} is below 0"),
            (self.end_frame < -1, f"end_frame {self.end_frame} is below -1"),
            (-1 < self.end_frame <= self.begin_frame, "end_frame is not beyond begin_frame"),
            (self.stride < 1 or self.average < 1, "stride and average are at least 1"),
            (self.delays_per_level < 1, "delays_per_level is at least 1"),
            (self.frames < 0, "frames is below 0"),
            (not 0 <= self.beam_dump_below < 1, "beam_dump_below is a fraction from 0 to below 1"),
            (
                self.normalize not in ("none", "frame") and not self.normalize.startswith("monitor:/"),
                f"normalize {self.normalize!r} is not none, frame or monitor:/PATH",
            ),
            (self.dark_frames < -1, "dark_frames is a number of frames, or -1"),
            (self.lld < 0 or self.sigma < 0, "lld and sigma are at least 0"),
            (self.adu_per_photon < 0, "adu_per_photon is above 0, or 0 to leave counts as they are"),
            (self.round_photons and not self.adu_per_photon, "round_photons needs adu_per_photon"),
            (self.frames_per_burst < 0 or self.partial_g2 < 0, "frames_per_burst and partial_g2 are at least 0"),
        )
        reasons = [reason for is_wrong, reason in wrong if is_wrong]
        for item in fields(self):
            choices, value = item.metadata["choices"], getattr(self, item.name)
            if choices and value not in choices:
                reasons.append(f"{item.name} {value!r} is none of {', '.join(choices)}")
        if reasons:
            raise CorrelationError(f"these settings make no analysis: {reasons[0]}", remedy="Change the recipe")
        for bins in (self.dynamic_bins, self.twotime_bins):
            selected_bins(bins)
        selected_frames(self.exclude_frames)

    def with_files(self, resolve: Callable[[Path], Path]) -> Self:
        """The same with every file that is named put through ``resolve``."""
        named = {name: getattr(self, name) for name in _FILES if getattr(self, name)}
        resolved: dict[str, Any] = {name: str(resolve(Path(path))) for name, path in named.items()}
        return replace(self, **resolved)

    def arguments(self) -> tuple[str, ...]:
        """The worker's options that say the same; those at their default are left out."""
        said = []
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default:
                said += [item.metadata["option"]] if value is True else [f"{item.metadata['option']}={value}"]
        return tuple(said)


def described() -> Mapping[str, str]:
    """What each setting means."""
    return {item.name: str(item.metadata["text"]) for item in fields(AnalysisSettings)}


@dataclass(frozen=True)
class Recipe:
    """Settings, q-map, files that the settings name, and engine together.

    Attributes
    ----------
    settings
        What was chosen.
    qmap_digest
        ``sha256:`` of the q-map.
    engine
        Definition and version of the engine.
    file_digests
        ``sha256:`` of each file that the settings name, by the setting's name.
    definition
        In words.
    """

    settings: AnalysisSettings
    qmap_digest: str
    engine: str
    file_digests: Mapping[str, str] = field(default_factory=dict)
    definition: str = "symmetric multi-tau, static-bin normalisation"

    @classmethod
    def of(cls, settings: AnalysisSettings, qmap_digest: str, engine: str) -> Self:
        """A recipe whose files are read and hashed now.

        Raises
        ------
        CorrelationError
            A file that the settings name cannot be read.
        """
        named = {name: getattr(settings, name) for name in _FILES if getattr(settings, name)}
        return cls(settings, qmap_digest, engine, {name: _digest_of(Path(path)) for name, path in named.items()})

    @property
    def digest(self) -> str:
        """``sha256:`` of everything above in a fixed order.

        What is at its default is left out, so that a setting which a later version adds changes no digest; how a
        selection is written and where a file lies make no difference either.
        """
        chosen = {
            item.name: getattr(self.settings, item.name)
            for item in fields(self.settings)
            if getattr(self.settings, item.name) != item.default and item.name not in _FILES
        }
        for name in ("dynamic_bins", "twotime_bins"):
            if name in chosen:
                chosen[name] = selected_bins(chosen[name])
        if "exclude_frames" in chosen:
            chosen["exclude_frames"] = selected_frames(chosen["exclude_frames"])
        content = {
            "settings": chosen,
            "files": dict(self.file_digests),
            "qmap": self.qmap_digest,
            "engine": self.engine,
            "definition": self.definition,
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    @property
    def folder(self) -> str:
        """The name of the result's folder: 12 hex digits of the digest."""
        return self.digest.removeprefix("sha256:")[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored with a result."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Make a recipe of what :meth:`to_dict` gave."""
        known = {item.name for item in fields(AnalysisSettings)}
        settings = AnalysisSettings(**{k: v for k, v in content["settings"].items() if k in known})
        files = content.get("file_digests", {})
        return cls(settings, content["qmap_digest"], content["engine"], files, content["definition"])


def selected_bins(text: str) -> tuple[int, ...]:
    """Dynamic bins of a selection such as ``1,2,5-7``, sorted; empty for all.

    >>> selected_bins("5-7,1,2"), selected_bins("")
    ((1, 2, 5, 6, 7), ())

    Raises
    ------
    CorrelationError
        It is no such selection.
    """
    ranges = _ranges(text, "bins", first=1)
    return tuple(sorted({number for low, high in ranges for number in range(low, high + 1)}))


def selected_frames(text: str) -> tuple[tuple[int, int], ...]:
    """First and last frame of each stretch of a selection such as ``3,100-120``, joined and sorted.

    >>> selected_frames("100-120,3,4")
    ((3, 4), (100, 120))

    Raises
    ------
    CorrelationError
        It is no such selection.
    """
    joined: list[tuple[int, int]] = []
    for low, high in sorted(_ranges(text, "frames", first=0)):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return tuple(joined)


def _ranges(text: str, of: str, *, first: int) -> list[tuple[int, int]]:
    found = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        begin, dash, end = part.partition("-")
        if not begin.isdecimal() or (dash and not end.isdecimal()):
            raise CorrelationError(f"{text!r} selects no {of}", remedy=f"Write numbers from {first}, such as 1,2,5-7")
        low, high = int(begin), int(end) if dash else int(begin)
        if not first <= low <= high:
            raise CorrelationError(
                f"{part!r} selects no {of}", remedy=f"{of.capitalize()} are numbered from {first}, ranges rise"
            )
        found.append((low, high))
    return found


def _digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CorrelationError(
            f"it cannot be read ({error.strerror})", where=path, remedy="Name a file that is there"
        ) from error
