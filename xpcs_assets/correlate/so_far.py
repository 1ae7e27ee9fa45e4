"""A run correlated while it is still being written: the sums of its frames so far, to which later ones are added.

The delays of a longer run begin with those of a shorter one, and the correlators can tell their sums at any time. So
one set of them, planned for the whole run, gives after n frames the very g2 of a run of n frames.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace

import numpy as np

from xpcs_assets.correlate.carry_out import Clock, found_in
from xpcs_assets.correlate.intensity import FrameScale
from xpcs_assets.correlate.passes import Found, Multitau
from xpcs_assets.correlate.prepared import Prepared
from xpcs_assets.engine import stop
from xpcs_assets.engine.multitau import Moments, make_correlator
from xpcs_assets.engine.saxs import ScatteringSums
from xpcs_assets.engine.time_axis import TimeAxis
from xpcs_assets.errors import CorrelationError


class SoFar:
    """What the frames so far gave. Multi-tau in one pass, and the scattering.

    Parameters
    ----------
    prepared
        The run as far as it is whole now.
    n_planned
        Analysed frames there is room for, at least as many as it has.

    Attributes
    ----------
    n_planned
        As given.
    prepared
        The run as of the last push.

    Raises
    ------
    CorrelationError
        The sums of all pixels do not fit into the memory bound together.
    """

    def __init__(self, prepared: Prepared, n_planned: int) -> None:
        settings, planned = prepared.job.settings, _planned(prepared, n_planned)
        if len(planned.passes()) > 1:
            raise CorrelationError(
                f"the sums of {prepared.partition.n_pixels} pixels over {n_planned} frames do not fit into the memory "
                "bound in one pass, and a run that is being written is read once",
                where=prepared.job.raw[0],
                remedy="Give --memory more, choose bins with --dq, or correlate the complete run",
            )
        (self._plan,) = planned.axis.plans
        self.n_planned, self.prepared = n_planned, prepared
        self._form = prepared.form
        self._n_pushed = self._n_valid = self._n_repeated = 0
        self._engine = make_correlator(self._plan, prepared.partition, device=prepared.device, form=prepared.form)
        self._sums = ScatteringSums(prepared.whole, n_planned, settings.average)
        self._scale = FrameScale(prepared.whole.pixel, None) if settings.normalize == "frame" else None

    @property
    def n_frames(self) -> int:
        """Analysed frames so far."""
        return self._n_pushed

    @property
    def n_valid(self) -> int:
        """Analysed frames so far that count."""
        return self._n_valid

    def goes_on_as(self, prepared: Prepared) -> bool:
        """Whether a later look at the run only adds frames: what was said of those so far still stands."""
        before, now = self.prepared, prepared
        old, new = before.stream, now.stream
        end = old.end
        same = (
            (old.begin, old.selection.begin, old.selection.step)
            == (new.begin, new.selection.begin, new.selection.step),
            before.recipe.digest == now.recipe.digest,
            before.device == now.device,
            # An IMM file's frames are counted anew when its counter turns out to tell of dropped ones.
            _has_dropped(before) == _has_dropped(now),
            self._n_pushed <= now.n_frames <= self.n_planned,
            end <= new.end,
            np.array_equal(before.mask, now.mask),
            np.array_equal(old.timeline.slot[:end], new.timeline.slot[:end]),
            np.array_equal(old.known.valid[:end], new.known.valid[:end]),
        )
        return all(same)

    def is_all_of(self, complete: Prepared) -> bool:
        """Whether it gives all that the complete run's recipe asks for, as a correlation from the start would."""
        settings = complete.job.settings
        more = settings.partial_g2 or settings.save_g2 or settings.analysis_type != "multitau"
        as_planned = self.n_planned == complete.n_frames and self._form == complete.form
        return as_planned and not more and self.goes_on_as(complete)

    def push(self, prepared: Prepared, clock: Clock) -> None:
        """Take the frames that are new in ``prepared``, with which it :meth:`goes_on_as`.

        Raises
        ------
        RawDataError
            They are damaged.
        """
        if self._n_pushed:
            prepared.stream.go_on_after(self.prepared.stream)
        since_s, n_pixels = time.monotonic(), len(prepared.stream.analysed)
        with closing(prepared.stream.chunks(self._n_pushed)) as chunks:
            for chunk in chunks:
                stop.check()
                since_s = clock.add("read", since_s)
                self._sums.push(chunk)
                for piece in [chunk] if self._scale is None else self._scale.apply(chunk, n_pixels):
                    self._engine.push(piece)
                since_s = clock.add("correlate", since_s)
                self._n_pushed = chunk.end
                self._n_valid += int(np.count_nonzero(chunk.valid))
        self._n_repeated += int(prepared.series.info.extra.get("repeated_pixels", 0))
        self.prepared = prepared

    def found(self) -> Found:
        """What a run that ends here gives.

        Raises
        ------
        CorrelationError
            Fewer than 2 frames count.
        """
        prepared = self.prepared
        if "repeated_pixels" in prepared.series.info.extra:
            prepared.series.info.extra["repeated_pixels"] = self._n_repeated
        scattering = self._sums.finish()
        moments = self._until(prepared)
        return found_in(
            prepared,
            replace(scattering, intensity=scattering.intensity[: self._n_pushed]),
            Multitau((moments,), (), prepared.partition.pixel, None),
            n_empty=0 if self._scale is None else len(self._scale.empty),
        )

    def _until(self, prepared: Prepared) -> Moments:
        """The moments of the delays that a run of these frames has."""
        (plan,), moments = prepared.axis.plans, self._engine.finish()
        return replace(moments, plan=plan, n_pairs=moments.n_pairs[: plan.n_delays], sums=moments.sums[: plan.n_delays])


def _planned(prepared: Prepared, n_frames: int) -> Prepared:
    """The same run with ``n_frames`` analysed frames."""
    selection = prepared.stream.selection
    longer = replace(selection, end=selection.begin + n_frames * selection.step)
    axis = TimeAxis.even(n_frames, prepared.job.settings, prepared.acquisition.frame_time_s * selection.step)
    return replace(prepared, axis=axis, stream=replace(prepared.stream, selection=longer))


def _has_dropped(prepared: Prepared) -> bool:
    return bool(prepared.series.info.extra.get("dropped_frames", 0))
