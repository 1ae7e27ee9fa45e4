"""Make the pages of docs/reference/ that say what the code says: settings, commands, errors, and the editor's schema.

``python docs/generate_reference.py`` writes them; a test compares what is committed with what this makes.
"""

from __future__ import annotations

import argparse
import enum
import inspect
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from xpcs_assets import errors
from xpcs_assets.cli import app
from xpcs_assets.correlate import average_command, merge_command, worker
from xpcs_assets.settings import Beamline, SiteSettings, beamline_schema
from xpcs_assets.units import seconds, share, size_bytes

ROOT = Path(__file__).resolve().parent.parent
NOTE = "<!-- Made by docs/generate_reference.py from the code: edit the code, then run it. -->"

# Commands that need the worker's libraries alone: made with argparse.
WORKER_COMMANDS = {
    "correlate": (worker, "xpcs-assets correlate RAW... --qmap FILE --output FILE [OPTIONS]"),
    "merge": (merge_command, "xpcs-assets merge STATE... --output FILE [OPTIONS]"),
    "average": (average_command, "xpcs-assets average RESULT... --output FILE [OPTIONS]"),
}

_DECIMAL = {1: "B", 10**3: "kB", 10**6: "MB", 10**9: "GB", 10**12: "TB"}
BEAMLINE_INTRO = """# Beamline file

One YAML file a beamline, `beamlines/<name>.yaml` in the site's folder, named like its beamline. `xpcs-assets init`
and `xpcs-assets new-beamline` write commented ones. A key that is not listed here is refused, and the other beamlines
go on. Relative paths start at the site's folder. Durations are written `5 s`, `10 min`, `1.5 h`, `30 days`, sizes
`65 GB` (10^9) or `64 MiB` (2^20); a bare number is seconds or bytes.

An editor that knows JSON schema can check the file while you type:
[beamline.schema.json](../../xpcs_assets/templates/beamline.schema.json).

A change is read when the code location is loaded: press *Reload* in the UI (Deployment), or end `xpcs-assets up` and
start it again. `xpcs-assets check NAME` reads the file at once.
"""
SITE_INTRO = """# Site file

`site.yaml` in the site's folder: what its beamlines share. A key that is not listed here is refused.
"""
COMMANDS_INTRO = """# Command line

A site is found by `--home`, else by `XPCS_ASSETS_HOME`, else around `DAGSTER_HOME`, else in this folder or its `site/`.
What exit codes and states mean: [states-and-exit-codes.md](states-and-exit-codes.md).
"""
ERRORS_INTRO = """# Errors

Every error that this package raises says what happened, where (a file with its offset, a run, a setting), and what to
do. They form one tree, so that `except XpcsAssetsError` is enough. In the Dagster UI a failed step shows the same three
as the metadata `what`, `where` and `remedy`, and the error's name as `kind`.
"""


def main() -> int:
    """Write every page."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


def pages() -> dict[Path, str]:
    """Every page with its text."""
    reference = ROOT / "docs" / "reference"
    return {
        reference / "beamline-file.md": _page(BEAMLINE_INTRO, *_tables("", Beamline)),
        reference / "site-file.md": _page(SITE_INTRO, *_tables("", SiteSettings)),
        reference / "command-line.md": _page(COMMANDS_INTRO, *_commands()),
        reference / "errors.md": _page(ERRORS_INTRO, *_errors()),
        ROOT / "xpcs_assets" / "templates" / "beamline.schema.json": beamline_schema(),
    }


def _page(*parts: str) -> str:
    return "\n".join([NOTE, *(part.strip() + "\n" for part in parts)])


def _tables(prefix: str, model: type[BaseModel]) -> Iterator[str]:
    """A table of a model's keys, then those of the models in it."""
    heading = f"`{prefix}`" if prefix else "The file"
    rows = [
        f"## {heading}",
        "",
        inspect.cleandoc(model.__doc__ or "").replace("``", "`"),
        "",
        "| key | type | default | meaning |",
    ]
    rows.append("|---|---|---|---|")
    below: list[tuple[str, type[BaseModel]]] = []
    for name, info in model.model_fields.items():
        key = info.alias or name
        inner = list(_inner(info.annotation))
        below += [(".".join(filter(None, [prefix, key])) + path, one) for path, one in inner]
        meaning = (info.description or "").replace("|", "\\|")
        rows.append(f"| `{key}` | {'table below' if inner else _kind(info)} | {_default(info)} | {meaning} |")
    yield "\n".join(rows)
    for path, one in below:
        yield from _tables(path, one)


def _inner(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """The models that a key holds, and what stands between for a mapping of names to models."""
    if typing.get_origin(annotation) is dict:
        for path, one in _inner(typing.get_args(annotation)[1]):
            kind = one.model_fields.get("kind")
            several = kind is not None and _one_kind(kind)
            yield (f".<{several}>" if several else ".<place>") + path, one
        return
    if typing.get_origin(annotation) is tuple:
        yield from (("[]", one) for _, one in _inner(typing.get_args(annotation)[0]))
        return
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    yield from (("", one) for one in options if inspect.isclass(one) and issubclass(one, BaseModel))


def _one_kind(kind: FieldInfo) -> str:
    """The only kind that a model is of; empty when it is of several."""
    values = typing.get_args(kind.annotation)
    return str(values[0]) if len(values) == 1 else ""


def _kind(info: FieldInfo) -> str:
    functions = _readers(info)
    if seconds in functions:
        return "duration"
    if size_bytes in functions:
        return "size"
    if share in functions:
        return "share, such as 90 %"
    return _words(info.annotation)


def _readers(info: FieldInfo) -> list[Any]:
    """The functions that read what a person writes, also of a key that may be empty."""
    optional = [item for each in typing.get_args(info.annotation) for item in getattr(each, "__metadata__", ())]
    return [getattr(item, "func", None) for item in (*info.metadata, *optional)]


def _words(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is typing.Annotated:
        return _words(arguments[0])
    if origin is tuple:
        return f"list of {_words(arguments[0])}"
    if origin is typing.Annotated:
        return _words(arguments[0])
    if origin is dict:
        return f"{_words(arguments[1])} by name"
    if isinstance(annotation, types.UnionType):
        return _words(next(item for item in arguments if item is not type(None)))
    if annotation is Any:
        return "anything"
    return {str: "text", int: "number", float: "number", bool: "`true` or `false`", Path: "path", UUID: "UUID"}[
        annotation
    ]


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.default
    functions = _readers(info)
    if value is None or isinstance(value, BaseModel) or value in ("", (), {}):
        return "-"
    if seconds in functions:
        return f"`{_duration(value)}`"
    if size_bytes in functions:
        if value % 2**20 == 0:
            return f"`{value >> 20} MiB`"
        power = max(power for power in _DECIMAL if value >= power or power == 1)
        return f"`{value / power:g} {_DECIMAL[power]}`"
    if share in functions:
        return f"`{100 * value:g} %`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(map(_item, value)) + "]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _item(value: str | float) -> str:
    """One value of a list as YAML has it."""
    return f'"{value}"' if isinstance(value, str) and re.search(r"\W", value) else str(value)


def _duration(value_s: float) -> str:
    for unit, length_s in (("days", 86400), ("h", 3600), ("min", 60)):
        if value_s >= 2 * length_s and value_s % length_s == 0:
            return f"{value_s / length_s:g} {unit}"
    return f"{value_s / 3600:g} h" if value_s % 3600 == 0 else f"{value_s:g} s"


def _commands() -> Iterator[str]:
    group = typer.main.get_command(app)
    for name, command in sorted(group.commands.items()):  # type: ignore[attr-defined]
        yield _worker_command(name) if name in WORKER_COMMANDS else _command(name, command)


def _command(name: str, command: Any) -> str:
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    options = [item for item in command.params if item.param_type_name == "option" and item.name != "help"]
    usage = " ".join(["xpcs-assets", name, *(_argument(item) for item in arguments), "[OPTIONS]" * bool(options)])
    rows = [(f"`{_name(item)}`", item.help, "" if item.required else _shown(item.default)) for item in arguments]
    rows += [(_option(item), item.help, "required" if item.required else _shown(item.default)) for item in options]
    return _described(name, usage.strip(), inspect.cleandoc(command.help or ""), rows)


def _worker_command(name: str) -> str:
    module, usage = WORKER_COMMANDS[name]
    made = module._parser()  # noqa: SLF001
    rows = []
    for action in made._actions:  # noqa: SLF001 - argparse has no public way to ask
        if isinstance(action, argparse._HelpAction):  # noqa: SLF001
            continue
        shown = "`, `".join(action.option_strings) or str(action.metavar)
        metavar = " ".join(action.metavar) if isinstance(action.metavar, tuple) else str(action.metavar or "")
        value = " or ".join(action.choices) if action.choices else metavar
        takes = f" {value}" if action.option_strings and action.nargs != 0 else ""
        default = "" if action.required or not action.option_strings else _shown(action.default)
        rows.append((f"`{shown}{takes}`", action.help or "", default))
    return _described(name, usage, made.description or "", rows)


def _described(name: str, usage: str, text: str, rows: list[tuple[str, str, str]]) -> str:
    lines = [f"## {name}", "", "```", usage, "```", "", text]
    if rows:
        lines += ["", "| argument or option | meaning | default |", "|---|---|---|"]
        lines += [f"| {_in_cell(first)} | {meaning or ''} | {default} |" for first, meaning, default in rows]
    return "\n".join(lines)


def _in_cell(text: str) -> str:
    return text.replace("|", "\\|")  # else the cell ends there


def _argument(item: Any) -> str:
    shown = _name(item) + ("..." if item.nargs == -1 else "")
    return shown if item.required else f"[{shown}]"


def _name(item: Any) -> str:
    return str(item.metavar or item.name.upper())  # as `--help` has it


def _option(item: Any) -> str:
    takes = "" if item.is_flag else f" {'SECONDS' if item.name == 'timeout' else _name(item)}"
    return f"`{item.opts[0]}{takes}`"


def _shown(value: Any) -> str:
    if isinstance(value, enum.Enum):
        value = value.value
    return "" if value is None or value is False or value in ("", []) else f"`{value}`"


def _errors() -> Iterator[str]:
    tree = inspect.cleandoc(errors.__doc__ or "").partition("::")[2]
    yield "```\n" + inspect.cleandoc(tree) + "\n```"
    yield "All of them can be imported from `xpcs_assets.errors`, and can be pickled."


if __name__ == "__main__":
    raise SystemExit(main())
