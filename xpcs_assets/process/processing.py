"""A beamline's command for a run: what it is asked for, and its outputs given their final names.

It works apart, here or at a back end: :mod:`xpcs_assets.process.making`. Its outputs count once the report on them lies
beside them, which is written last. Killed anywhere and repeated, there is one result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.believe import Standing
from xpcs_assets.compute.facts import Facts
from xpcs_assets.copies.ledger import RunVersion
from xpcs_assets.errors import (
    ComputeError,
    CopyError,
    NotFoundError,
    NotVerifiedError,
    RefusedError,
    SettingsError,
    SourceDiffersError,
)
from xpcs_assets.places.files import write_file_safely
from xpcs_assets.places.reading import chunks_of, hash_file, open_regular, told_as_copy_error
from xpcs_assets.process.call import CommandCall
from xpcs_assets.process.making import (
    LIST,
    OUTPUT,
    alone,
    clear,
    made_in,
    made_report,
    make,
    outputs_in,
    read_report,
    taken,
)
from xpcs_assets.runs.key import split_analysis_key
from xpcs_assets.settings_process import Process

STEP = "processed"
MAY_BE_ASKED = ("target", "context")
"""What a reprocessing may have otherwise than the beamline file says."""


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


@dataclass(frozen=True)
class WantedOutputs:
    """What a command is to make of a run; see :class:`xpcs_assets.compute.remote_work.Wanted`.

    Attributes
    ----------
    beamline, key, version
        Which version of which run, and under which key.
    command
        What it is told.
    """

    beamline: OpenBeamline
    key: str
    version: int
    command: CommandCall

    @property
    def digest(self) -> str:
        """``sha256:`` of all that decides what comes out."""
        return self.command.digest

    @property
    def call(self) -> dict[str, Any]:
        """What the command is told, as plain values."""
        return self.command.to_dict()

    @property
    def folder(self) -> str:
        """Where the outputs go, relative to the root of their place."""
        return _folder(self.command, self.version)

    def standing(self) -> Standing:
        """What lies in the command's folder or under its final name; quick."""
        return outputs_standing(self.beamline, self.command, self.version)

    def make(self, log: Callable[[str], None], *, waits: bool = True) -> Processed:
        """Run the command on this machine, and give its outputs their final names.

        Raises
        ------
        ComputeError
            It failed, took too long, or left not what it should.
        RefusedError
            It is under way already, and is not waited for.
        """
        make(self.command, log, limit_s=process_settings(self.beamline).time_limit, waits=waits)
        return self.record({})

    def record(self, _: Mapping[str, Any]) -> Processed:
        """Give outputs their final names if they are what the report beside them says; those that have them are read.

        Raises
        ------
        ComputeError
            They are not.
        RefusedError
            A command is at work on them.
        CopyError
            Their place did not take them.
        """
        work, final = Path(self.command.folder), _final(self.beamline, self.command, self.version)
        with told_as_copy_error(work), alone(work, waits=False):
            report = made_report(work, self.digest)
            if report is not None:
                _move(report, work, final)
                taken(work, self.beamline.ledger.clock().timestamp())
            listed = outputs_in(report or _verified(final, self.digest))
        place, name = process_settings(self.beamline).to, self.beamline.name
        target = self.command.target
        detail = {
            "version": self.version,
            "analysis_key": self.key,
            "folder": self.folder,
            "outputs": listed,
            "target": list(target),
            "context": self.command.context,
        }
        self.beamline.ledger.note(
            name, self.command.run_key, STEP, f"{len(listed)} outputs are in {place}:{self.folder}", detail
        )
        return Processed(self.folder, target, listed, digest_of(listed), float(report["seconds"]) if report else 0.0)


def process(
    beamline: OpenBeamline, key: str, tell: Callable[[str], None], asked: Mapping[str, str] | None = None
) -> Processed:
    """Run the beamline's command on the newest version of run ``key`` here, unless its outputs are there and whole.

    Parameters
    ----------
    asked
        As of :func:`plan`.

    Raises
    ------
    ComputeError
        The command failed, took too long, or left not what it should.
    RefusedError
        It is under way already, or may not be asked for so.
    NotFoundError, CopyError
        The run is not staged; the outputs' place is not there, or did not take them.
    """
    wanted = plan(beamline, key, asked)
    if (found := wanted.standing().report) is not None:
        try:
            return wanted.record(found)
        except ComputeError as error:
            tell(f"what lies there is not believed: {error}")
    return wanted.make(tell, waits=False)


def plan(beamline: OpenBeamline, key: str, asked: Mapping[str, str] | None = None) -> WantedOutputs:
    """What the beamline's command is to make of the newest version of run ``key``; nothing is made but its folder.

    Parameters
    ----------
    asked
        What of :data:`MAY_BE_ASKED` is not as for the run itself, for a key with a name behind ``~``; targets have
        commas between them.

    Raises
    ------
    RefusedError
        It is asked of the run's plain key, or would change nothing.
    NotFoundError, CopyError
        The run is not staged; the outputs' place, or the folder for the command, is not there.
    """
    settings, asked = process_settings(beamline), asked or {}
    run, name = split_analysis_key(key)
    if asked and name is None:
        raise RefusedError(
            f"the plain key of a run keeps what the beamline file says, but {', '.join(asked)} was set",
            where=f"{beamline.name}/{key}",
            remedy=f"Give it a name: `xpcs-assets reprocess {beamline.name} {run} --name NAME --target TARGETS`",
        )
    check_asked(beamline, asked)
    version = beamline.latest(key)
    raw = beamline.staged(version).raw
    if not raw.is_dir():
        raise NotFoundError("there is no staged copy", where=raw, remedy="Materialise staged_copy first")
    place = beamline.place(settings.to)
    if reason := place.why_unavailable():
        raise CopyError(f"the place of the outputs is unavailable: {reason}", where=place.name)
    target = tuple(asked["target"].split(",")) if "target" in asked else target_of(beamline, version)
    settings = settings.model_copy(update={"context": asked.get("context", settings.context)})
    recipe = _recipe(settings, version, target)
    folder = beamline.site.path(settings.work) / beamline.name / version.run_key / f"v{version.version}-{recipe[:12]}"
    with told_as_copy_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
    command = CommandCall(
        settings.command, str(raw), version.run_key, target, settings.context, settings.outputs,
        dict(settings.environment), str(folder), f"sha256:{recipe}",
    )  # fmt: skip
    return WantedOutputs(beamline, key, version.version, command)


def outputs_standing(beamline: OpenBeamline, command: CommandCall, version: int) -> Standing:
    """What a command's outputs are at: in its folder, or under their final names; quick, for no byte is read."""
    report = made_report(Path(command.folder), command.digest)
    return Standing(report or read_report(_final(beamline, command, version), command.digest))


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


def check_asked(beamline: OpenBeamline, asked: Mapping[str, str]) -> None:
    """Refuse other targets, or another context, that make no call of their own of the beamline's command.

    Raises
    ------
    RefusedError
        The command does not hold the field, or a target is empty.
    """
    words = process_settings(beamline).command
    for name in asked:
        if not any(f"{{{name}}}" in word for word in words):
            raise RefusedError(
                f"the beamline's command has no {{{name}}}", where=beamline.name, remedy="Leave it out, or change both"
            )
    if not all(asked.get("target", "any").split(",")):
        raise RefusedError(
            f"{asked['target']!r} has an empty target", where=beamline.name, remedy="Write targets such as peaks,events"
        )


def outputs_of(beamline: OpenBeamline, version: RunVersion, key: str = "") -> tuple[str, dict[str, str]]:
    """Folder and files of what a command has made of a version, by the timeline; none when it has made nothing.

    Parameters
    ----------
    key
        The key of a reprocessing; without, the run's own outputs are meant.
    """
    for event in reversed(beamline.ledger.timeline(beamline.name, version.run_key)):
        made = event.detail
        if event.step != STEP or made.get("version") != version.version:
            continue
        if made.get("analysis_key", version.run_key) == (key or version.run_key):
            return str(made["folder"]), dict(made["outputs"])
    return "", {}


def digest_of(outputs: Mapping[str, str]) -> str:
    """``sha256:`` of the list of outputs: the same for the same files."""
    text = json.dumps(dict(sorted(outputs.items()))).encode()
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


def keys_of(beamline: OpenBeamline, run_key: str) -> set[str]:
    """The keys under which something was made of a run by a step whose end is noted."""
    events = [event for event in beamline.ledger.timeline(beamline.name, run_key) if event.step == STEP]
    made = {event.detail.get("analysis_key", run_key) for event in events if "outputs" in event.detail}
    return made & {event.detail.get("partition") for event in events}


def target_of(beamline: OpenBeamline, version: RunVersion) -> tuple[str, ...]:
    """What the command is asked for: by the first rule that fits the run, or as for all runs."""
    settings = process_settings(beamline)
    facts = Facts(beamline, version)
    for rule in settings.targets:
        if facts.lacking(rule.when)[0]:
            return rule.target
    return settings.target


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


def _folder(command: CommandCall, version: int) -> str:
    return f"{command.run_key}/v{version}-{command.digest.removeprefix('sha256:')[:12]}"


def _final(beamline: OpenBeamline, command: CommandCall, version: int) -> Path:
    return beamline.root(process_settings(beamline).to) / _folder(command, version)


def _move(report: Mapping[str, Any], work: Path, final: Path) -> None:
    """Give files their final names if they are what the report says, the report last."""
    output = made_in(work) / OUTPUT
    for name, sha256 in outputs_in(report).items():
        try:
            with open_regular(output / name) as descriptor:
                write_file_safely(final / name, chunks_of(descriptor), sha256=sha256, replace=True)
        except SourceDiffersError as error:
            clear(work)
            remedy = "Materialise processed again"
            raise ComputeError("an output is not the file that was reported", where=output / name, remedy=remedy) from (
                error
            )
    write_file_safely(final / LIST, [json.dumps(report, indent=1).encode()], replace=True)


def _verified(final: Path, digest: str) -> dict[str, Any]:
    """The report beside outputs that are what it says."""
    report = read_report(final, digest)
    if report is None:
        raise ComputeError("the command's outputs are gone", where=final, remedy="Materialise processed again")
    for name, sha256 in outputs_in(report).items():
        try:
            found = hash_file(final / name).sha256
        except (NotFoundError, NotVerifiedError) as error:
            raise ComputeError("an output cannot be read", where=final / name) from error
        if found != sha256:
            raise ComputeError("an output is not the file that was reported", where=final / name)
    return report
