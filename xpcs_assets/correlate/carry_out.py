"""Carry out a prepared correlation: chunks from the reader to every analysis asked for, then result and report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from xpcs_assets.correlate.digests import sha256_of
from xpcs_assets.correlate.flags import beam_dump_flags, seen_flags
from xpcs_assets.correlate.intensity import FrameScale, drift_flags
from xpcs_assets.correlate.passes import Found, Multitau, MultitauPass, stretches
from xpcs_assets.correlate.prepared import Prepared
from xpcs_assets.engine import stop
from xpcs_assets.engine.delays import Plan
from xpcs_assets.engine.multitau import Correlator, make_correlator
from xpcs_assets.engine.normalise import joined, normalise
from xpcs_assets.engine.partition import Partition
from xpcs_assets.engine.pixel_sums import PixelCorrelator
from xpcs_assets.engine.saxs import Scattering, ScatteringSums
from xpcs_assets.errors import CorrelationError, QmapError
from xpcs_assets.results.provenance import REPORT_FORMAT, versions
from xpcs_assets.results.write_multitau import MultitauContent
from xpcs_assets.results.write_result import ResultContent, result_bytes

if TYPE_CHECKING:
    from xpcs_assets.engine.twotime import TwoTime, TwotimeCorrelator


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


def carry_out(
    prepared: Prepared, progress: Callable[[float], None]
) -> tuple[bytes | memoryview, dict[str, Any], Clock]:
    """Read, correlate and make the result file's bytes.

    Parameters
    ----------
    prepared
        The opened job.
    progress
        Called with the fraction done.

    Returns
    -------
    The bytes (of a part's state, if a part was asked for), the report as far as it is known before they are written,
    and the clock that goes on.

    Raises
    ------
    RawDataError, QmapError
        The raw data are damaged, or an input changed meanwhile.
    CorrelationError
        Fewer than 2 frames count.
    """
    clock = Clock()
    found = _analyse(prepared, clock, progress)
    if prepared.job.part is None:
        return assemble(prepared, found, clock)
    from xpcs_assets.correlate.parts import state_bytes

    report = _report(prepared, found, clock)
    return state_bytes(prepared, found, report), report, clock


def assemble(prepared: Prepared, found: Found, clock: Clock) -> tuple[bytes | memoryview, dict[str, Any], Clock]:
    """Make the result file's bytes of what was found, as :func:`carry_out` does.

    Raises
    ------
    QmapError
        The q-map changed meanwhile.
    """
    since_s = time.monotonic()
    multitau = None if found.multitau is None else _normalised(prepared, found.multitau)
    clock.add("correlate", since_s)
    if sha256_of(prepared.job.qmap, QmapError) != prepared.qmap.digest:
        raise QmapError("the q-map changed while it was used", where=prepared.job.qmap, remedy="Correlate again")
    report = _report(prepared, found, clock)
    content = ResultContent(
        recipe=prepared.recipe,
        selection=prepared.stream.selection,
        multitau=multitau,
        twotime=found.twotime,
        scattering=found.scattering,
        acquisition=prepared.acquisition,
        metadata=prepared.metadata,
        qmap_file=prepared.job.qmap,
        qmap=prepared.qmap,
        mask=prepared.mask,
        raw_names=tuple(path.name for path in prepared.job.raw),
        output_name=prepared.job.output.name,
        provenance=report,
    )
    since_s = time.monotonic()
    image = result_bytes(content)
    clock.add("write", since_s)
    return image, report, clock


def _report(prepared: Prepared, found: Found, clock: Clock) -> dict[str, Any]:
    summary = prepared.summary()
    return {
        "format": REPORT_FORMAT,
        **summary,
        **({"complete": False} if "expected" in summary["frames"] else {}),
        "frames": {**summary["frames"], "invalid": _invalid(prepared, found)},
        "flags": [*summary["flags"], *found.flags],
        "n_saturated": _n_saturated(found),
        "pixels": {
            "detector": prepared.mask.size,
            "masked": int(np.count_nonzero(~prepared.mask)),
            "saturated": int(np.count_nonzero(np.isnan(found.scattering.pattern))),
        },
        "n_valid_frames": found.n_valid,
        "versions": versions(),
        "seconds": {phase: clock.rounded()[phase] for phase in ("read", "correlate")},
    }


def _n_saturated(found: Found) -> int:
    if found.multitau is not None:
        return found.multitau.moments[0].n_saturated
    return 0 if found.twotime is None else found.twotime.n_saturated


def _invalid(prepared: Prepared, found: Found) -> dict[str, int]:
    empty = {"no counts": found.n_empty} if found.n_empty else {}
    return {**prepared.stream.invalid, **empty}


def _normalised(prepared: Prepared, found: Multitau) -> MultitauContent:
    empty_bins, n_plans = prepared.job.settings.empty_bins, len(prepared.axis.plans)
    g2, partial = ([normalise(one, empty_bins) for one in moments] for moments in (found.moments, found.partial))
    return MultitauContent(
        delay=prepared.axis.delay,
        delay_s=prepared.axis.delay_s,
        g2=joined(g2),
        moments=found.moments,
        partial=tuple(joined(partial[first : first + n_plans]) for first in range(0, len(partial), n_plans)),
        # While a run is followed no partials are made.
        partial_frames=tuple(_ends(prepared)) if found.partial else (),
        pixel=found.pixel,
        pixels=found.pixels,
    )


def _ends(prepared: Prepared) -> list[int]:
    number, bursts = prepared.job.settings.partial_g2, prepared.axis.bursts
    if not number:
        return []
    if bursts is None:
        return stretches(prepared.n_frames, number)
    return [bursts.n_frames * end for end in stretches(bursts.n_bursts, number)]


def _analyse(prepared: Prepared, clock: Clock, progress: Callable[[float], None]) -> Found:
    """Send every chunk to every analysis, in as many passes over the run as the memory of each asks for."""
    settings, stream = prepared.job.settings, prepared.stream
    passes = list(zip_longest(prepared.passes(), prepared.twotime_passes()))
    flags = _look(prepared, clock)
    sums = ScatteringSums(prepared.whole, prepared.n_frames, settings.average)
    twotime: TwoTime | None = None
    scale = FrameScale(prepared.whole.pixel, prepared.monitor) if settings.normalize != "none" else None
    multitau: Multitau | None = None
    for number, (part, bins) in enumerate(passes):
        correlator = None if part is None else _multitau(prepared, part)
        mapper = _twotime(prepared, bins) if bins else None
        correlators = [one for one in (correlator, mapper) if one is not None]
        since_s = time.monotonic()
        with closing(stream.chunks()) as chunks:
            for chunk in chunks:
                stop.check()
                since_s = clock.add("read", since_s)
                if number == 0:
                    sums.push(chunk)
                for piece in [chunk] if scale is None else scale.apply(chunk, len(stream.analysed)):
                    for one in correlators:
                        one.push(piece)
                since_s = clock.add("correlate", since_s)
                progress((number + chunk.end / prepared.n_frames) / len(passes))
        if correlator is not None:
            of_part = correlator.finish()
            multitau = of_part if multitau is None else multitau + of_part
        if mapper is not None:
            maps = mapper.finish()
            twotime = maps if twotime is None else twotime + maps
        clock.add("correlate", since_s)
    n_empty = 0 if scale is None else len(scale.empty)
    return found_in(prepared, sums.finish(), multitau, twotime, flags=flags, n_empty=n_empty)


def found_in(
    prepared: Prepared,
    scattering: Scattering,
    multitau: Multitau | None,
    twotime: TwoTime | None = None,
    *,
    flags: Sequence[str] = (),
    n_empty: int = 0,
) -> Found:
    """Put together what the analyses gave, with what is remarkable about it after ``flags``.

    Raises
    ------
    CorrelationError
        Fewer than 2 frames count.
    """
    flags = (
        *flags,
        *seen_flags(prepared.series.info),
        *drift_flags(scattering.intensity, prepared.whole.n_pixels, prepared.job.settings.normalize),
        *([] if twotime is None else twotime.flags()),
    )
    found = Found(scattering, multitau, twotime, flags, n_empty)
    if found.n_valid < 2:
        told = _reasons(_invalid(prepared, found))
        raise CorrelationError(
            f"{found.n_valid} of {prepared.n_frames} frames count", where=prepared.job.raw[0], remedy=told
        )
    return found


def _reasons(invalid: Mapping[str, int]) -> str:
    told = ", ".join(f"{number} {reason}" for reason, number in invalid.items())
    return f"Look at what takes them out ({told})" if told else "Look at the raw file"


def _look(prepared: Prepared, clock: Clock) -> list[str]:
    """Read the run once before all else where frames without beam are to be left out."""
    below = prepared.job.settings.beam_dump_below
    if not below:
        return []
    since_s = time.monotonic()
    median = prepared.stream.look()
    clock.add("read", since_s)
    return beam_dump_flags(median, below)


def _multitau(prepared: Prepared, part: Partition) -> MultitauPass:
    def make(plan: Plan) -> Correlator:
        if prepared.job.settings.save_g2:
            return PixelCorrelator(plan, part)
        return make_correlator(plan, part, device=prepared.device, form=prepared.form)

    engine = prepared.axis.correlator(make, len(prepared.stream.analysed))
    return MultitauPass(engine, part.pixel, _ends(prepared))


def _twotime(prepared: Prepared, bins: Sequence[int]) -> TwotimeCorrelator:
    from xpcs_assets.engine.twotime import TwotimeCorrelator

    settings = prepared.job.settings
    return TwotimeCorrelator(
        prepared.twotime_partition,
        prepared.n_frames,
        settings.smoothing,
        bins=bins,
        empty_bins=settings.empty_bins,
        device=prepared.device,
    )
