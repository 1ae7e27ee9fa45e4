"""Following a run that is still being written: look at its file again and again, show g2 so far, know when it is over.

The run is complete when the frames that were asked for or that the metadata promise are there and no byte more comes,
when the writer of an HDF5 file has closed it, or when nothing has been added for a while.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpcs_assets.correlate.carry_out import Clock
from xpcs_assets.correlate.frames import claimed_by_name
from xpcs_assets.correlate.job import Job, prepare
from xpcs_assets.correlate.prepared import Prepared
from xpcs_assets.correlate.so_far import SoFar
from xpcs_assets.engine import stop
from xpcs_assets.errors import CorrelationError, MetadataError, NoFrameYetError, RawDataError
from xpcs_assets.readers import growing
from xpcs_assets.readers.hdf5 import SIGNATURE
from xpcs_assets.readers.metadata import find_metadata
from xpcs_assets.readers.rawfile import cannot_open

_BLOCK_BYTES = 16 << 20
_LEAST_PLANNED = 1 << 12


@dataclass(frozen=True)
class Pace:
    """How a run is followed.

    Attributes
    ----------
    every_s
        Time from one look at the file to the next, s; above 0.
    quiet_s
        A run that has not grown for so long is complete, s.
    """

    every_s: float = 5.0
    quiet_s: float = 10.0


def check_followed(job: Job) -> None:
    """Refuse what needs the whole run before its first frame is taken.

    Raises
    ------
    CorrelationError
        It says which and why.
    MetadataError
        There are none but in the raw file itself.
    """
    settings = job.settings
    reasons = {
        "--beam-dump-below looks at all frames first": settings.beam_dump_below > 0,
        "--normalize monitor:PATH needs a reading for each frame": settings.normalize.startswith("monitor"),
        "--frames-per-burst needs whole bursts": settings.frames_per_burst > 0,
        "--type twotime gives no g2 to look at meanwhile": settings.analysis_type == "twotime",
        "--part makes a state, which cannot be looked at": job.part is not None,
    }
    for reason, is_asked in reasons.items():
        if is_asked:
            raise CorrelationError(
                f"a run that is being written cannot be followed with this: {reason}",
                where=job.raw[0],
                remedy=f"Leave {reason.split()[0]} out, or correlate the complete run",
            )
    if (job.metadata or find_metadata(job.raw[0])) in job.raw:
        raise MetadataError(
            "a run that is being written is followed with the metadata beside it, and there are none",
            where=job.raw[0],
            remedy="Let the detector write them first, name them with --metadata, or correlate the complete run",
        )


class Follower:
    """Follows one run.

    Parameters
    ----------
    job
        What is asked for.
    pace
        How often it looks, and how long it waits.

    Attributes
    ----------
    so_far
        The sums of the frames so far; None before the first two are whole.
    """

    def __init__(self, job: Job, pace: Pace) -> None:
        self._job, self._pace = job, pace
        self._bytes = _Bytes(growing.files_of(job.raw))
        self._clock = Clock()
        self.so_far: SoFar | None = None

    def until_complete(self, show: Callable[[SoFar, Clock], None]) -> None:
        """Correlate what comes until the run is complete; ``show`` is called whenever there is more.

        Raises
        ------
        RawDataError
            The file is damaged, is not of a format that can be followed, became shorter or was replaced.
        CorrelationError
            It cannot be correlated in one pass.
        """
        idle_s = 0.0
        while not growing.is_closed(self._job.raw):
            grown = self._bytes.look()
            idle_s = 0.0 if grown else idle_s + self._pace.every_s
            if (grown and self._take(show)) or idle_s >= self._pace.quiet_s or (not grown and self._has_all()):
                return
            stop.wait(self._pace.every_s)

    def go_on_with(self, complete: Prepared) -> SoFar | None:
        """The sums so far and of the rest of the complete run; None where it has to be correlated from its start.

        Raises
        ------
        RawDataError
            Bytes that had been read were changed meanwhile, or the rest is damaged.
        """
        if self.so_far is None or not self._bytes.are_of(complete.inputs["raw"]):
            return None
        if not self.so_far.is_all_of(complete):
            return None
        self.so_far.push(complete, self._clock)
        return self.so_far

    @property
    def clock(self) -> Clock:
        """Seconds since the begin."""
        return self._clock

    def _take(self, show: Callable[[SoFar, Clock], None]) -> bool:
        """Take the frames that are new; tell whether the writer has closed its file meanwhile."""
        with ExitStack() as stack:
            try:
                prepared = prepare(self._job, stack, so_far=True)
            except NoFrameYetError:
                return False
            except RawDataError:
                if growing.is_closed(self._job.raw):
                    return True
                raise
            if self.so_far is not None and self.so_far.n_frames == prepared.n_frames:
                return False
            if self.so_far is None or not self.so_far.goes_on_as(prepared):
                self.so_far = SoFar(prepared, _room(prepared))
            self.so_far.push(prepared, self._clock)
            if self.so_far.n_valid > 1:
                show(self.so_far, self._clock)
        return False

    def _has_all(self) -> bool:
        if self.so_far is None:
            return False
        frames = self.so_far.prepared.frames
        return bool(frames["expected"]) and frames["recorded"] >= frames["expected"]


def _room(prepared: Prepared) -> int:
    """Analysed frames to plan for: as many as the run is said to have, or twice what there is."""
    frames, selection = prepared.frames, prepared.stream.selection
    expected = frames["expected"] or (claimed_by_name(prepared.job.raw[0].name) or 0) + frames["dark"]
    end = prepared.job.settings.end_frame
    last = min(expected, end) if end >= 0 else expected
    planned = (last - frames["begin"]) // selection.step
    n_frames = prepared.n_frames
    return planned if planned >= n_frames else max(_LEAST_PLANNED, 1 << (2 * n_frames - 1).bit_length())


class _Bytes:
    """The bytes of growing files: how many there are, and whether those seen are still the same.

    What is in the file may not change afterwards, which a digest tells in the end. Only HDF5 changes its own.
    """

    def __init__(self, files: list[Path]) -> None:
        self._seen = {path: growing.Present(0, 0) for path in files}
        self._digests: dict[Path, Any] | None = {path: hashlib.sha256() for path in files}

    def look(self) -> bool:
        """Whether there are more bytes than at the last look.

        Raises
        ------
        RawDataError
            A file became shorter, or another one has its name.
        """
        grown = False
        for path, before in self._seen.items():
            now = growing.Present.of(path)
            if now.size_bytes < before.size_bytes:
                raise _changed(path, f"it became shorter ({before.size_bytes} bytes, then {now.size_bytes})")
            if before.node not in (0, now.node):
                raise _changed(path, "it was replaced")
            if now.size_bytes > before.size_bytes:
                grown = True
                self._digest(path, before.size_bytes, now.size_bytes)
            self._seen[path] = now
        return grown

    def are_of(self, raw: list[dict[str, str]]) -> bool:
        """Whether the digests of the complete files begin with what was seen; False where that cannot be told.

        Raises
        ------
        RawDataError
            They do not.
        """
        self.look()
        if self._digests is None:
            return False
        told = {file["name"]: file["digest"] for file in raw}
        for path, digest in self._digests.items():
            if told.get(path.name, "") not in ("", f"sha256:{digest.hexdigest()}"):
                raise _changed(path, "bytes that had been read were changed")
        return all(path.name in told for path in self._digests)

    def _digest(self, path: Path, begin: int, end: int) -> None:
        if self._digests is None:
            return
        try:
            with path.open("rb") as file:
                if file.read(len(SIGNATURE)) == SIGNATURE:
                    self._digests = None
                    return
                file.seek(begin)
                while begin < end and (block := file.read(min(_BLOCK_BYTES, end - begin))):
                    self._digests[path].update(block)
                    begin += len(block)
                    stop.check()
        except OSError as error:
            raise cannot_open(path, error) from error


def _changed(path: Path, what: str) -> RawDataError:
    return RawDataError(
        f"{what} while it was followed: it is another file now",
        where=path,
        remedy="Find out who writes it, and correlate the complete run",
    )
