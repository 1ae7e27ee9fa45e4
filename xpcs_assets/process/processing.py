"""Run a beamline's command on a staged run, see that its outputs are there, and give them their final names.

The command works in a folder of its own, under a lock that it holds itself: killed anywhere and repeated, there is one
result. It counts once the list of its files is written, which is the last of them.
"""

from __future__ import annotations

import fcntl
import fnmatch
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.command import Command, run_command
from xpcs_assets.compute.facts import Facts
from xpcs_assets.copies.ledger import RunVersion
from xpcs_assets.errors import ComputeError, CopyError, NotFoundError, RefusedError, SettingsError
from xpcs_assets.places.files import write_file_safely
from xpcs_assets.places.reading import chunks_of, hash_file, open_regular
from xpcs_assets.settings_process import TARGETS, WORD_FIELD, Process

STEP = "processed"
LIST = "xpcs-outputs.json"
"""Beside the outputs: what they are. It is written last."""


@dataclass(frozen=True)
class Processed:
    """What a command has made of a run.

    Attributes
    ----------
    folder
        Where its files lie, relative to the root of their place.
    target
        What it was asked for.
    outputs
        sha256 of each file, hex, by its path in the folder.
    digest
        Of all of them: ``sha256:`` of their list.
    seconds
        How long it took; 0 when the outputs were there.
    """

    folder: str
    target: tuple[str, ...]
    outputs: Mapping[str, str]
    digest: str
    seconds: float


def process(beamline: OpenBeamline, key: str, tell: Callable[[str], None]) -> Processed:
    """Run the beamline's command on the newest version of run ``key``, unless its outputs are there and whole.

    Raises
    ------
    ComputeError
        The command failed, took too long, or left not what it should.
    RefusedError
        It is under way already.
    NotFoundError, CopyError
        The run is not staged; the outputs' place is not there, or did not take them.
    """
    settings = process_settings(beamline)
    version = beamline.latest(key)
    raw = beamline.staged(version).raw
    if not raw.is_dir():
        raise NotFoundError("there is no staged copy", where=raw, remedy="Materialise staged_copy first")
    target = target_of(beamline, version)
    recipe = _recipe(settings, version, target)
    place = beamline.place(settings.to)
    if reason := place.why_unavailable():
        raise CopyError(f"the place of the outputs is unavailable: {reason}", where=place.name)
    folder = f"{version.run_key}/v{version.version}-{recipe[:12]}"
    final = beamline.root(settings.to) / folder
    with _alone(beamline.site.path(settings.work) / beamline.name / version.run_key) as (work, lock):
        listed, seconds = _made_before(final), 0.0
        if listed is None:
            words = words_of(settings, version.run_key, raw, work / "output", target)
            command = Command(words, work, work / "command.log", settings.time_limit, settings.environment)
            seconds = run_command(command, tell, keep_open=lock)
            listed = _moved(_left(work / "output", settings.outputs), work / "output", final)
    text = _text(listed)
    detail = {"version": version.version, "folder": folder, "outputs": listed, "target": list(target)}
    beamline.ledger.note(beamline.name, key, STEP, f"{len(listed)} outputs are in {place.name}:{folder}", detail)
    return Processed(folder, target, listed, f"sha256:{hashlib.sha256(text).hexdigest()}", seconds)


def process_settings(beamline: OpenBeamline) -> Process:
    """What the beamline file says of its command.

    Raises
    ------
    SettingsError
        It has none.
    """
    settings = beamline.settings.pipeline.process
    if settings is None:
        raise SettingsError("this beamline has no command", where=beamline.name, remedy="Name one: pipeline.process")
    return settings


def outputs_of(beamline: OpenBeamline, version: RunVersion) -> tuple[str, dict[str, str]]:
    """Folder and files of what a command has made of a version, by the timeline; none when it has made nothing."""
    for event in reversed(beamline.ledger.timeline(beamline.name, version.run_key)):
        if event.step == STEP and event.detail.get("version") == version.version:
            return str(event.detail["folder"]), dict(event.detail["outputs"])
    return "", {}


def target_of(beamline: OpenBeamline, version: RunVersion) -> tuple[str, ...]:
    """What the command is asked for: by the first rule that fits the run, or as for all runs."""
    settings = process_settings(beamline)
    facts = Facts(beamline, version)
    for rule in settings.targets:
        if facts.lacking(rule.when)[0]:
            return rule.target
    return settings.target


def words_of(settings: Process, run_key: str, raw: Path, output: Path, target: tuple[str, ...]) -> tuple[str, ...]:
    """The command's words with what their fields stand for; what a value holds is never looked into."""
    known = {
        "raw": str(raw),
        "output": str(output),
        "run_key": run_key,
        "target": ",".join(target),
        "context": settings.context,
    }
    words: list[str] = []
    for word in settings.command:
        words += target if word == TARGETS else (WORD_FIELD.sub(lambda found: known[found[1]], word),)
    return tuple(words)


def _recipe(settings: Process, version: RunVersion, target: tuple[str, ...]) -> str:
    """Digest of all that decides what comes out, hex."""
    decides = {
        "command": settings.command,
        "outputs": settings.outputs,
        "target": target,
        "context": settings.context,
        "environment": settings.environment,
        "manifest": version.manifest.digest,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


@contextmanager
def _alone(folder: Path) -> Iterator[tuple[Path, int]]:
    """A fresh folder to work in, and the descriptor whose lock says that somebody does."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RefusedError("a command is at this run already", where=folder, remedy="Wait for its end") from error
        work = folder / "run"
        shutil.rmtree(work, ignore_errors=True)  # of one that was killed: nobody else is here
        (work / "output").mkdir(parents=True)
        yield work, lock
        shutil.rmtree(work, ignore_errors=True)
    finally:
        os.close(lock)


def _left(output: Path, patterns: tuple[str, ...]) -> list[str]:
    """The files that the command was to leave, by their paths below its folder."""
    names = sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if not path.is_dir())
    found: set[str] = set()
    for pattern in patterns:
        matching = fnmatch.filter(names, pattern)
        if not matching:
            raise ComputeError(f"the command ended well but left no {pattern!r}", where=output, remedy="See its log")
        found.update(matching)
    for name in sorted(found):
        path = output / name
        if path.is_symlink() or not path.is_file() or name == LIST:
            raise ComputeError("the command left something that is no plain file", where=path)
        if path.stat().st_size == 0:
            raise ComputeError("the command ended well but left an empty file", where=path, remedy="See its log")
    return sorted(found)


def _moved(names: list[str], output: Path, final: Path) -> dict[str, str]:
    """Give files their final names, the list of them last; sha256 of each."""
    listed: dict[str, str] = {}
    for name in names:
        sha256 = hash_file(output / name).sha256
        with open_regular(output / name) as descriptor:
            write_file_safely(final / name, chunks_of(descriptor), sha256=sha256, replace=True)
        listed[name] = sha256
    write_file_safely(final / LIST, [_text(listed)], replace=True)
    return listed


def _made_before(final: Path) -> dict[str, str] | None:
    """The list of outputs that are there and whole; None when the command has to run."""
    try:
        told = json.loads((final / LIST).read_bytes())
    except (OSError, ValueError):
        return None
    listed = {str(name): str(sha256) for name, sha256 in told.items()} if isinstance(told, dict) else {}
    for name, sha256 in listed.items():
        try:
            if hash_file(final / name).sha256 != sha256:
                return None
        except (NotFoundError, CopyError):
            return None
    return listed or None


def _text(listed: Mapping[str, str]) -> bytes:
    return json.dumps(dict(sorted(listed.items())), indent=1).encode() + b"\n"
