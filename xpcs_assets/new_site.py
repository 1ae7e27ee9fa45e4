"""Write a new site or a new beamline file, from the templates that are shipped with the package."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from xpcs_assets.copies.database import SCHEMA, migrate, open_database
from xpcs_assets.copies.journal import Journal
from xpcs_assets.errors import RefusedError, SettingsError
from xpcs_assets.settings import NAME_RULE, Beamline
from xpcs_assets.settings_base import NAME
from xpcs_assets.site import SITE_FILE, Site, load_beamline

_CYCLE = re.compile(r"20\d\d-[1-4]")
_RUN_FOLDER = "{run}/"
_VARIABLE = re.compile("@([A-Z_]+)@")


def init(home: Path, *, title: str = "XPCS", told: Callable[[str], None] = lambda _: None) -> Site:
    """Make ``home`` a site: settings, one beamline, its folders, an empty ledger. What is there already stays.

    Parameters
    ----------
    told
        Hears what was done to the ledger.

    Raises
    ------
    SettingsError, LedgerError
        The folder cannot be made, or holds files of another kind under these names.
    """
    cores = os.cpu_count() or 2
    texts = {
        SITE_FILE: _filled("site.yaml", TITLE=title),
        "beamlines/xpcs.yaml": beamline_text("xpcs", title=title, detector="detector", path=_RUN_FOLDER, key="{run}"),
        "dagster/dagster.yaml": _filled(
            "dagster.yaml",
            MAX_CONCURRENT=str(max(4, cores)),
        ),
        "workspace.yaml": _filled("workspace.yaml"),
    }
    try:
        for folder in ("beamlines", "detector", "store", "tape", "dagster"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            if not (home / name).exists():
                (home / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"the site cannot be written ({error.strerror})", where=home, remedy="Name a folder you may write in"
        ) from error
    site = Site(home)
    engine = open_database(site.database_url, journal=Journal(site.journal))
    try:
        found = migrate(engine)
    finally:
        engine.dispose()
    if found is None:
        told(f"new, of schema {SCHEMA}")
    elif found != SCHEMA:
        told(f"brought from schema {found} to {SCHEMA}; all that it knew is still there")
    else:
        told(f"of schema {SCHEMA} already, nothing to do")
    return site


def new_beamline(home: Path, example: Path, *, name: str, root: Path | None = None) -> tuple[Path, Beamline]:
    """Write a commented beamline file from the path of one run, and read it back.

    The path's own folder or file becomes ``{run}``; a folder named like a cycle (``2026-3``) becomes ``{cycle}`` and
    the one below it ``{experiment}``; the rest stays as it is.

    Raises
    ------
    RefusedError
        The beamline exists.
    SettingsError
        The path is not there or makes no pattern, or the name is none.
    """
    if NAME.fullmatch(name) is None:
        raise SettingsError(f"{name!r} cannot name a beamline", where=home, remedy=NAME_RULE.capitalize())
    file = home / "beamlines" / f"{name}.yaml"
    if file.exists():
        raise RefusedError("this beamline has a file already", where=file, remedy="Edit it, or choose another name")
    if not example.exists():
        raise SettingsError("there is no such run", where=example, remedy="Give the path of one run that is there")
    watched, path, key = pattern_of(example.resolve(), root.resolve() if root else None)
    text = beamline_text(name, title=name, detector=str(watched), path=path, key=key)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    try:
        return file, load_beamline(file)
    except SettingsError:
        file.unlink()
        raise


def pattern_of(example: Path, root: Path | None) -> tuple[Path, str, str]:
    """The watched folder, path pattern and key template that one example run suggests."""
    parts = list(example.parts)
    cycle = next((i for i, part in enumerate(parts[:-1]) if _CYCLE.fullmatch(part)), None)
    if root is not None:
        if not example.is_relative_to(root):
            raise SettingsError("the run is not below that root", where=example, remedy=f"Look below {root}")
        start = len(root.parts)
    else:
        start = cycle if cycle is not None else len(parts) - 1
    names = parts[start:]
    fields: list[str] = []
    for index, part in enumerate(names):
        position = start + index
        if position == len(parts) - 1:
            names[index] = _RUN_FOLDER if example.is_dir() else "{run}" + example.suffix
        elif cycle is not None and position in {cycle, cycle + 1}:
            names[index] = "{cycle}" if position == cycle else "{experiment}"
            fields.append(names[index])
        else:
            names[index] = part.replace("{", "").replace("}", "")
    return Path(*parts[:start]), "/".join(names), "_".join([*fields, "{run}"])


def beamline_text(name: str, *, title: str, detector: str, path: str, key: str, quiet: str = "5 s") -> str:
    """A commented beamline file."""
    return _filled(
        "beamline.yaml",
        NAME=name,
        TITLE=title,
        DETECTOR=detector,
        PATH=path,
        KEY=key,
        QUIET=quiet,
        MAX_RUNS=str(max(4, os.cpu_count() or 2)),
    )


def _filled(template: str, **values: str) -> str:
    text = resources.files("xpcs_assets").joinpath("templates", template).read_text(encoding="utf-8")
    # What JSON writes between its quotes, YAML reads between double quotes.
    quoted = {name: json.dumps(value, ensure_ascii=False)[1:-1] for name, value in values.items()}
    return _VARIABLE.sub(lambda match: quoted[match[1]], text)
