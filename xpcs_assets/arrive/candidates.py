"""Find runs below a watched folder by its path pattern. Names and sizes only; no file is opened.

A pattern such as ``{cycle}/{experiment}/data/{run}/`` takes a folder for a run, ``{run}.h5`` a raw file with the
companions that begin with its stem.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

from xpcs_assets.arrive.tree import HERE, Entry, Tree
from xpcs_assets.errors import SettingsError
from xpcs_assets.runs.folders import MARKER
from xpcs_assets.runs.key import run_key
from xpcs_assets.settings import FIELD, Beamline

_STEM_ENDS = frozenset("._-")


@dataclass(frozen=True)
class Seen:
    """A file of a run as listed."""

    path: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Candidate:
    """What may be a run.

    Attributes
    ----------
    key
        The run key its path gives.
    folder
        The folder that its files' paths start at.
    source
        The run's folder or raw file, relative to the watched folder.
    fields
        What the path's fields hold.
    reason
        Why it cannot be a run (an unsafe or refused name); empty otherwise.
    """

    key: str
    folder: Path
    source: str
    fields: dict[str, str] = field(default_factory=dict)
    reason: str = ""


def find(beamline: Beamline, root: Path, tree: Tree = HERE) -> Iterator[Candidate]:
    """Walk the watched folder and yield every candidate, by name order.

    Raises
    ------
    OSError
        The watched folder itself cannot be listed. A folder below it that cannot be listed is skipped here and
        shown by :func:`unreadable`.
    """
    pattern = beamline.runs.source.path
    parts = _parts(pattern)
    folders, last = (parts, None) if pattern.endswith("/") else (parts[:-1], parts[-1])
    for path, fields in _descend(tree, root, folders, {}, top=True):
        if last is None:
            yield _candidate(beamline, root, path, path, fields)
            continue
        for entry in _entries(tree, path, top=path == root):
            match = _expression(last).fullmatch(entry.name)
            if match and entry.name != MARKER and entry.is_file(follow_symlinks=False):
                named = fields | match.groupdict()
                yield _candidate(beamline, root, path, path / entry.name, named)


def locate(beamline: Beamline, root: Path, path: Path) -> Candidate:
    """The candidate that ``path`` (a run's folder, or a file of it) belongs to.

    Raises
    ------
    SettingsError
        The path is not below the watched folder, or its pattern does not match.
    """
    return candidate_at(beamline, root, below(root, path))


def below(root: Path, path: Path) -> str:
    """Where a path of this machine is below the watched folder; SettingsError when it is not."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError as error:
        raise SettingsError(
            "this path is not below the watched folder", where=path, remedy=f"Runs of this beamline lie below {root}"
        ) from error


def candidate_at(beamline: Beamline, root: Path, source: str) -> Candidate:
    """The candidate that a path below the watched folder belongs to; nothing is looked at.

    Raises
    ------
    SettingsError
        The beamline's pattern does not match.
    """
    pattern = beamline.runs.source.path
    names = PurePosixPath(source).parts[: len(_parts(pattern))]
    fields = fields_of(beamline, "/".join(names))
    if fields:
        run = root.joinpath(*names)
        folder = run if pattern.endswith("/") else run.parent
        return _candidate(beamline, root, folder, run, fields)
    raise SettingsError(
        f"this path does not match the beamline's pattern {pattern!r}",
        where=root / source,
        remedy=f"`xpcs-assets check {beamline.beamline}` shows what matches",
    )


def fields_of(beamline: Beamline, source: str) -> dict[str, str]:
    """What the pattern's fields hold in a run's path below the watched folder; empty when it does not match."""
    wanted, names = _parts(beamline.runs.source.path), source.split("/")
    if len(wanted) != len(names):
        return {}
    fields: dict[str, str] = {}
    for part, name in zip(wanted, names, strict=True):
        match = _expression(part).fullmatch(name)
        if match is None:
            return {}
        fields |= match.groupdict()
    return fields


def _parts(pattern: str) -> list[str]:
    return pattern.strip("/").split("/")


def files_of(beamline: Beamline, candidate: Candidate, root: Path, tree: Tree = HERE) -> tuple[Seen, ...]:
    """The files of a candidate, sorted by path, without ignored ones and the marker.

    Raises
    ------
    OSError
        A folder of the run cannot be listed.
    """
    settings = beamline.runs
    ignored = [*settings.ignore]
    if settings.source.complete_when.marker:
        ignored.append(settings.source.complete_when.marker)
    run = root / candidate.source
    names = _walk(tree, candidate.folder) if run == candidate.folder else _companions(tree, beamline, run)
    seen = []
    for name in sorted(names):
        if any(fnmatch.fnmatchcase(part, mask) for part in name.split("/") for mask in ignored):
            continue
        seen.append(Seen(name, *tree.measured(candidate.folder / name)))
    return tuple(seen)


def fingerprint(files: tuple[Seen, ...]) -> str:
    """One short text for names, sizes and times of a run's files; it changes when any of them does."""
    lines = "\n".join(f"{item.path}\0{item.size_bytes}\0{item.mtime_ns}" for item in files)
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def unreadable(root: Path, beamline: Beamline, tree: Tree = HERE) -> list[Path]:
    """Folders on the pattern's way that cannot be listed."""
    found: list[Path] = []
    pattern = beamline.runs.source.path
    parts = _parts(pattern)
    for _ in _descend(tree, root, parts if pattern.endswith("/") else parts[:-1], {}, top=False, refused=found):
        pass
    return found


def key_of_refused(source: str) -> str:
    """A key under which a path is shown that can have none of its own."""
    return f"refused-{hashlib.sha256(os.fsencode(source)).hexdigest()[:16]}"


def _candidate(beamline: Beamline, root: Path, folder: Path, run: Path, fields: dict[str, str]) -> Candidate:
    source = str(run.relative_to(root))
    refused = [word for word in beamline.runs.refuse if word in source]
    try:
        key = run_key(beamline.runs.key, fields)
    except SettingsError as error:
        shown = os.fsencode(source).decode("utf-8", "backslashreplace")
        return Candidate(key_of_refused(source), folder, shown, reason=str(error))
    reason = f"its path holds {refused[0]!r}, which this beamline refuses" if refused else ""
    return Candidate(key, folder, source, fields, reason)


def _descend(
    tree: Tree,
    folder: Path,
    parts: list[str],
    fields: dict[str, str],
    *,
    top: bool,
    refused: list[Path] | None = None,
) -> Iterator[tuple[Path, dict[str, str]]]:
    if not parts:
        if refused is not None and not tree.may_list(folder):
            refused.append(folder)
        yield folder, fields
        return
    for entry in _entries(tree, folder, top=top, refused=refused):
        match = _expression(parts[0]).fullmatch(entry.name)
        if match and not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
            inner = folder / entry.name
            yield from _descend(tree, inner, parts[1:], fields | match.groupdict(), top=False, refused=refused)


def _entries(tree: Tree, folder: Path, *, top: bool, refused: list[Path] | None = None) -> list[Entry]:
    try:
        return sorted(tree.entries(folder), key=lambda entry: entry.name)
    except OSError:
        if top:
            raise
        if refused is not None:
            refused.append(folder)
        return []


def _walk(tree: Tree, folder: Path) -> Iterator[str]:
    for entry in tree.entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from (f"{entry.name}/{name}" for name in _walk(tree, folder / entry.name))
        else:
            yield entry.name


def _companions(tree: Tree, beamline: Beamline, raw: Path) -> Iterator[str]:
    raw_name = _expression(beamline.runs.source.path.split("/")[-1])
    names = [entry.name for entry in tree.entries(raw.parent) if not entry.is_dir()]
    stems = {Path(name).stem for name in names if raw_name.fullmatch(name)}
    for name in names:
        if name == raw.name or (not raw_name.fullmatch(name) and _owner(name, stems) == raw.stem):
            yield name


def _owner(name: str, stems: set[str]) -> str | None:
    """The longest of ``stems`` that a companion's name begins with: ``a_2.log`` is of ``a_2``, not of ``a``."""
    ends = (index for index in range(len(name) - 1, 0, -1) if name[index] in _STEM_ENDS)
    return next((name[:end] for end in ends if name[:end] in stems), None)


@lru_cache(maxsize=256)
def _expression(part: str) -> re.Pattern[str]:
    """A pattern's part as a regular expression; a field takes anything but ``/``."""
    pieces = FIELD.split(part)
    text = "".join(re.escape(piece) if i % 2 == 0 else f"(?P<{piece}>[^/]+)" for i, piece in enumerate(pieces))
    return re.compile(text, re.DOTALL)
