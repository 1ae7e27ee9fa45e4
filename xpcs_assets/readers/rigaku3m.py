"""Rigaku XSPA-3M in its fast mode: six module files, ``.bin.000`` to ``.bin.005``, each as of a Rigaku 500k.

The modules lie in three rows of two on a canvas of 1676 x 2100 pixels, files (5, 0, 4, 1, 3, 2) row by row, with gaps
of 70 rows and 52 columns, which are no good pixels. Pixel numbers may count from 2**20. A module may end before the
others: it saw nothing more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import RawDataError
from xpcs_assets.readers import rigaku
from xpcs_assets.readers.chunks import check_range
from xpcs_assets.readers.rigaku import RigakuStream, merge_streams
from xpcs_assets.readers.series import Events, SeriesInfo

N_MODULES = 6
GAP = (70, 52)
"""Rows and columns between modules, pixels."""

ORDER = (5, 0, 4, 1, 3, 2)
"""The file of each place on the canvas, row by row, two a row."""

SHAPE = (3 * rigaku.SHAPE[0] + 2 * GAP[0], 2 * rigaku.SHAPE[1] + GAP[1])

_NAME = re.compile(r"(.*\.bin\.00)([0-5])", re.IGNORECASE)
_BYTES_PER_EVENT, _MOST_EVENTS = 60, 1 << 21
_BRING = "Bring all six files, .bin.000 to .bin.005, into one folder"


def is_module_name(name: str) -> bool:
    """Tell whether a file of this name is one of the six modules'.

    >>> is_module_name("A001.bin.003"), is_module_name("A001.bin.006"), is_module_name("A001.bin")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None


@cache
def module_place(module: int) -> NDArray[np.int32]:
    """Flat index on the canvas of each pixel of a module, (512 * 1024,) int32, not to be written to."""
    row, column = divmod(ORDER.index(module), 2)
    rows = row * (rigaku.SHAPE[0] + GAP[0]) + np.arange(rigaku.SHAPE[0])
    columns = column * (rigaku.SHAPE[1] + GAP[1]) + np.arange(rigaku.SHAPE[1])
    place = (rows[:, None] * SHAPE[1] + columns).ravel().astype(np.int32)
    place.setflags(write=False)
    return place


def good_pixels() -> NDArray[np.bool_]:
    """(rows, columns) bool, False in the gaps between the modules."""
    good = np.zeros(SHAPE, np.bool_)
    for module in range(N_MODULES):
        good.reshape(-1)[module_place(module)] = True
    return good


def named_modules(path: Path) -> list[Path]:
    """What the six files are called, there or not, by the name of one of them.

    Raises
    ------
    RawDataError
        It is no such name.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise RawDataError("this is no module file of a Rigaku 3M", where=path, remedy=_BRING)
    return [path.with_name(f"{match[1]}{module}") for module in range(N_MODULES)]


def modules_of(paths: Sequence[Path]) -> list[Path]:
    """The six files in order, from all of them or from any one.

    Raises
    ------
    RawDataError
        A module is missing, which is named, or the files are of several runs.
    """
    wanted = named_modules(paths[0])
    strange = sorted(set(paths) - set(wanted))
    if strange:
        what = f"{strange[0].name!r} is no module file of the run of {paths[0].name!r}"
        raise RawDataError(what, where=strange[0], remedy=_BRING)
    given = wanted if len(paths) == 1 else paths
    missing = [path for path in wanted if path not in given or not path.is_file()]
    if missing:
        names = ", ".join(path.name[-len(".bin.000") :] for path in missing)
        what = f"{len(missing)} of the six module files missing: {names}"
        raise RawDataError(what, where=missing[0], remedy=_BRING)
    return wanted


def open_rigaku3m(paths: Sequence[Path], *, growing: bool = False) -> Rigaku3mSeries:
    """Open a run by its six files, or by one of them; of ``growing`` files the frames that all modules have passed.

    Raises
    ------
    RawDataError
        A module is missing, empty, ends in mid-word or holds no events.
    NoFrameYetError
        No frame of growing files is known to be whole.
    """
    with ExitStack() as stack:
        streams = [
            stack.enter_context(RigakuStream(path, module_place(module), counts_from_offset=True, growing=growing))
            for module, path in enumerate(modules_of(paths))
        ]
        ends = [stream.n_recorded for stream in streams]
        series = Rigaku3mSeries(streams, min(ends) if growing else max(ends))
        stack.pop_all()
    return series


class Rigaku3mSeries:
    """Six open module files; made by :func:`open_rigaku3m`."""

    def __init__(self, streams: list[RigakuStream], n_recorded: int) -> None:
        self._streams = streams
        n_events = sum(stream.n_words for stream in streams)
        self.info = SeriesInfo(
            format="rigaku3m",
            kind="events",
            shape=SHAPE,
            n_recorded=n_recorded,
            dtype="uint16",
            files=tuple(stream.path for stream in streams),
            good_pixels=good_pixels(),
            extra={
                "events": n_events,
                "occupancy": n_events / (n_recorded * SHAPE[0] * SHAPE[1]),
                "first_module_to_end_frames": min(stream.n_recorded for stream in streams),
                "repeated_pixels": 0,
            },
        )

    def chunks(self, begin: int, end: int, *, max_bytes: int = 64 << 20) -> Iterator[Events]:
        """Yield the frames [begin, end); see :class:`~xpcs_assets.readers.series.RawSeries`.

        Raises
        ------
        RawDataError
            No such frames, a frame earlier than the one before it, an impossible pixel, or a changed file.
        """
        check_range(begin, end, self._streams[0].path)
        room = min(max(1, max_bytes // (_BYTES_PER_EVENT * N_MODULES)), _MOST_EVENTS)
        while begin < end:
            stop = min(stream.next_frame(begin, end, room) for stream in self._streams)
            chunk = merge_streams([stream.events(begin, stop) for stream in self._streams])
            self.info.extra["repeated_pixels"] = sum(stream.n_repeated for stream in self._streams)
            yield chunk
            begin = stop

    def close(self) -> None:
        """Close the files."""
        for stream in self._streams:
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
