"""A detector of its own process that writes HDF5: it appends frames up to the number it is told, and says so.

``python swmr_writer.py FILE FRAMES.npy LAYER plain|swmr``; a line with a number on stdin appends, the end of stdin
closes the file. HDF5 shares what is open within a process, so that a writer in the same one would prove nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


class Writer:
    """A handle on the process."""

    def __init__(self, process: Popen[str]) -> None:
        self._process = process

    def put(self, n_frames: int) -> None:
        """Append up to ``n_frames`` and wait until they are flushed."""
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("the writer has no pipes")
        self._process.stdin.write(f"{n_frames}\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "done\n":
            raise ValueError("the writer has failed")

    def close(self) -> None:
        """Let it close the file."""
        self._process.communicate()


@contextmanager
def writing(path: Path, frames: NDArray[Any], layer: int, mode: str = "swmr") -> Iterator[Writer]:
    """A writer of ``frames``, (n, rows, columns), that has made the file and no frame yet."""
    source = path.with_suffix(".npy")
    np.save(source, frames)
    command = [sys.executable, __file__, str(path), str(source), str(layer), mode]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        writer = Writer(process)
        try:
            writer.put(0)
            yield writer
        finally:
            if process.stdin is not None and not process.stdin.closed:
                writer.close()


def _main(path: str, source: str, layer: str, mode: str) -> None:
    frames = np.load(source)
    with h5py.File(path, "w", libver="latest") as file:
        shape = frames.shape[1:]
        data = file.create_dataset(
            "/entry/data/data", (0, *shape), frames.dtype, maxshape=(None, *shape), chunks=(int(layer), *shape)
        )
        if mode == "swmr":
            file.swmr_mode = True
        for line in sys.stdin:
            before, after = data.shape[0], int(line)
            data.resize(after, axis=0)
            data[before:] = frames[before:after]
            file.flush()
            sys.stdout.write("done\n")
            sys.stdout.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
