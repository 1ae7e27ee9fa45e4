"""What a message asks for, and what comes of it: runs that are submitted, and messages that are kept with a reason.

Two kinds of message: one that names files (``file_path``, one or a list, and ``is_export_control``), as dispatchers of
Splash Flows take it; and documents of bluesky, of which the stop document of a scan that ended well submits its run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xpcs_assets.arrive.source import source_of
from xpcs_assets.arrive.submit import submit
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.facts import SCAN
from xpcs_assets.errors import CopyError, InputError, NotFoundError, RefusedError, SettingsError, XpcsAssetsError
from xpcs_assets.intake.parked import park
from xpcs_assets.settings import FIELD

_STARTS = "_scans"
_UID = re.compile(r"[A-Za-z0-9-]{1,100}")
_MOST_PATHS = 10_000
_KEYS = {"file_path", "is_export_control"}


@dataclass(frozen=True)
class Said:
    """What came of one path of a message.

    Attributes
    ----------
    file_path
        As it was given.
    key
        The run's key; empty when it was refused.
    known
        Whether the run had been taken before, with the very files it has now.
    reason, parked
        Why it was refused, and the name under which that is kept.
    """

    file_path: str
    key: str = ""
    known: bool = False
    reason: str = ""
    parked: str = ""


def take_files(beamline: OpenBeamline, message: Any) -> tuple[Said, ...]:
    """Submit the files that a message names; relative paths start at the watched folder.

    Raises
    ------
    InputError
        The message cannot be understood: nothing of it was done.
    """
    paths, is_export_control = _understood(message)
    if is_export_control:
        error = RefusedError(
            "export-controlled data are not taken by this site", remedy="They stay at the beamline; nothing was copied"
        )
        return tuple(_kept(beamline, path, error, is_export_control=True) for path in paths)
    return tuple(_submitted(beamline, path) for path in paths)


def take_document(beamline: OpenBeamline, name: str, document: Any) -> Said | None:
    """Take a document of bluesky; None when it submits nothing (and need not).

    The start document is remembered by its ``uid``. The stop document of it, when it says ``success``, submits the
    path that ``runs.from.documents`` makes of the start document's entries.

    Raises
    ------
    InputError
        The document cannot be understood, or its start was never seen.
    SettingsError
        The beamline takes no documents.
    """
    template = beamline.settings.runs.source.documents
    if not template:
        raise SettingsError(
            "this beamline takes no documents", where=beamline.name, remedy="Give it runs.from.documents"
        )
    if not isinstance(document, Mapping):
        raise InputError("a document is an object", where=name)
    if name == "start":
        beamline.ledger.note(
            beamline.name, _start_key(document.get("uid")), "start", "began", {"start": dict(document)}
        )
        return None
    if name != "stop":
        return None
    key = _start_key(document.get("run_start"))
    start = next((event.detail["start"] for event in beamline.ledger.timeline(beamline.name, key)), None)
    if start is None:
        raise InputError(
            "its start document was never seen", where=key.removeprefix(f"{_STARTS}."), remedy="Send that one first"
        )
    if document.get("exit_status") != "success":
        return None
    missing = sorted({field for field in FIELD.findall(template) if not isinstance(start.get(field), str | int)})
    if missing:
        error = InputError(f"its start document has no {', '.join(missing)}", remedy="See runs.from.documents")
        return _kept(beamline, f"scan {start.get('uid')}", error)
    said = _submitted(beamline, template.format(**{field: start[field] for field in FIELD.findall(template)}))
    if said.key:
        _note_scan(beamline, said.key, start)
    return said


def take_documents(beamline: OpenBeamline, message: Any) -> tuple[Said, ...]:
    """Take documents of bluesky in their order: ``[name, document]``, or a list of such pairs.

    Raises
    ------
    InputError
        They cannot be understood; those before the one that cannot were taken.
    """
    pairs = [message] if _is_pair(message) else message
    if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
        raise InputError("documents are [name, document], or a list of such", remedy="Send them as bluesky emits them")
    said = (take_document(beamline, name, document) for name, document in pairs)
    return tuple(one for one in said if one is not None)


def take_message(beamline: OpenBeamline, message: Any) -> tuple[Said, ...]:
    """Take a message of either kind.

    Raises
    ------
    InputError, SettingsError
        As :func:`take_files` and :func:`take_documents`.
    """
    return (take_files if isinstance(message, Mapping) else take_documents)(beamline, message)


def _note_scan(beamline: OpenBeamline, key: str, start: Mapping[str, Any]) -> None:
    """Keep the start document in the run's own timeline, once: rules choose by it what is done with the run."""
    timeline = beamline.ledger.timeline(beamline.name, key)
    if not any(event.step == SCAN and event.detail.get("start") == start for event in timeline):
        beamline.ledger.note(beamline.name, key, SCAN, f"of scan {start['uid']}", {"start": dict(start)})


def _is_pair(message: Any) -> bool:
    return isinstance(message, list) and len(message) == 2 and isinstance(message[0], str)


def _start_key(uid: Any) -> str:
    if not isinstance(uid, str) or _UID.fullmatch(uid) is None:
        raise InputError(f"{uid!r} is no uid of a scan", remedy="Send documents as bluesky makes them")
    return f"{_STARTS}.{uid}"


def _understood(message: Any) -> tuple[list[str], bool]:
    if not isinstance(message, Mapping) or not set(message) <= _KEYS:
        raise InputError(f"a message has {' and '.join(sorted(_KEYS))}, and nothing else", remedy="Send JSON like that")
    given, controlled = message.get("file_path"), message.get("is_export_control", False)
    paths = [given] if isinstance(given, str) else given
    if not isinstance(paths, list) or not paths or len(paths) > _MOST_PATHS:
        raise InputError(f"file_path is a path, or a list of 1 to {_MOST_PATHS}", remedy="Send at least one")
    if not all(isinstance(path, str) and path and "\0" not in path for path in paths):
        raise InputError("every file_path is a text that is not empty", remedy="Send paths as they are at this site")
    if not isinstance(controlled, bool):
        raise InputError("is_export_control is true or false", remedy="Send the word, not a text of it")
    return list(dict.fromkeys(paths)), controlled


def _submitted(beamline: OpenBeamline, path: str) -> Said:
    try:
        done = submit(beamline, source_of(beamline).root / path)
    except (RefusedError, NotFoundError, SettingsError, CopyError) as error:
        return _kept(beamline, path, error)
    return Said(path, done.key, done.known)


def _kept(beamline: OpenBeamline, path: str, error: XpcsAssetsError, *, is_export_control: bool = False) -> Said:
    name = park(beamline, path, str(error), is_export_control=is_export_control)
    return Said(path, reason=error.what, parked=name)
