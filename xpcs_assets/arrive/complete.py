"""Is a run complete? Why not, in words. Looks at names, sizes and HDF5 headers, never at the data.

Of files on another machine only names and sizes are known: what is in them is judged once they are staged.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path

from xpcs_assets.arrive.candidates import Candidate, Seen
from xpcs_assets.arrive.tree import HERE, Tree
from xpcs_assets.errors import InputError
from xpcs_assets.settings import Beamline


def why_not(beamline: Beamline, candidate: Candidate, files: tuple[Seen, ...], tree: Tree = HERE) -> str:
    """The reason why a run that has stopped changing is not complete; empty when it is.

    A run is complete when it has a raw file (any file, where nothing is analysed) and everything the beamline file
    expects, no file is empty or special, every HDF5 file opens and none is being written, and, where configured, the
    raw file holds as many frames as the metadata promise.
    """
    looks = (_special, _names, _sizes, _hdf5, _frames)
    for look in looks if tree.is_near else looks[:3]:
        reason = look(beamline, candidate, files)
        if reason:
            return reason
    return ""


def has_marker(beamline: Beamline, candidate: Candidate, tree: Tree = HERE) -> bool:
    """Tell whether the marker file that the beamline file names lies in the run's folder."""
    marker = beamline.runs.source.complete_when.marker
    return bool(marker) and tree.exists(candidate.folder / marker)


def raw_files(folder: Path, files: tuple[Seen, ...], tree: Tree = HERE) -> list[str]:
    """The raw files among a run's files in ``folder``: by name, and by content where several have a raw file's name."""
    from xpcs_assets.readers.companions import raw_among

    named = _raw_names(files)
    if not tree.is_near:
        return named
    return [path.relative_to(folder).as_posix() for path in raw_among([folder / path for path in named])]


def _raw_names(files: tuple[Seen, ...]) -> list[str]:
    from xpcs_assets.readers.recognise import is_raw_name

    return [item.path for item in files if is_raw_name(Path(item.path).name)]


def _special(_: Beamline, candidate: Candidate, files: tuple[Seen, ...]) -> str:
    odd = [item.path for item in files if item.size_bytes < 0]
    return f"{odd[0]!r} is a link or no ordinary file: put the file itself into the run's folder" if odd else ""


def _names(beamline: Beamline, _: Candidate, files: tuple[Seen, ...]) -> str:
    is_analysed = beamline.pipeline.correlate is not None or beamline.runs.source.complete_when.frames_recorded
    if is_analysed and not _raw_names(files):
        return "no raw file is there yet"
    names = [Path(item.path).name for item in files]
    missing = [mask for mask in beamline.runs.expect if not fnmatch.filter(names, mask)]
    return f"no file matches {missing[0]!r}, which every run of this beamline has" if missing else ""


def _sizes(_: Beamline, candidate: Candidate, files: tuple[Seen, ...]) -> str:
    empty = [item.path for item in files if item.size_bytes == 0]
    return f"{empty[0]!r} has zero bytes" if empty else ""


def _hdf5(_: Beamline, candidate: Candidate, files: tuple[Seen, ...]) -> str:
    import h5py

    from xpcs_assets.readers.hdf5 import being_written

    for item in files:
        path = candidate.folder / item.path
        if path.suffix.lower() not in {".h5", ".hdf", ".hdf5", ".nxs"}:
            continue
        try:
            if being_written(path):
                return f"{item.path!r} does not open as HDF5, or is being written"
        except InputError as error:  # it vanished, or may not be read
            return str(error)
        if not h5py.is_hdf5(path):
            return f"{item.path!r} is no HDF5 file"
    return ""


def _frames(beamline: Beamline, candidate: Candidate, files: tuple[Seen, ...]) -> str:
    if not beamline.runs.source.complete_when.frames_recorded:
        return ""
    from xpcs_assets.readers.metadata import find_metadata, read_acquisition
    from xpcs_assets.readers.recognise import open_raw

    raw = candidate.folder / raw_files(candidate.folder, files)[0]
    try:
        metadata = find_metadata(raw)
        promised = read_acquisition(metadata, frames_field=beamline.runs.frames_from).n_frames if metadata else None
        if promised is None:
            return (
                f"the metadata do not say how many frames were taken (runs.frames_from: {beamline.runs.frames_from!r})"
            )
        with open_raw(raw) as series:
            recorded = series.info.n_recorded
    except (InputError, OSError) as error:
        return str(error)
    return f"{recorded} of {promised} frames are recorded" if recorded < promised else ""
