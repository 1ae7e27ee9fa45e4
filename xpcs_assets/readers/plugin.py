"""Readers that other packages bring: entry points of the group ``xpcs_assets.readers``.

Each names an object, a module or an instance, with two functions::

    sniff(path: Path) -> bool         is this file mine? By content, reading little
    open(path: Path) -> RawSeries     open it; errors as RawDataError

They are asked before the built-in formats, in the order of their names.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from xpcs_assets.errors import RawDataError, XpcsAssetsError
from xpcs_assets.readers.series import RawSeries

GROUP = "xpcs_assets.readers"


def open_by_plugin(path: Path) -> RawSeries | None:
    """Open a file by the plug-in that says it is its own; None where none does.

    Raises
    ------
    RawDataError
        A plug-in cannot be loaded, fails, lacks one of its functions or gives no series; it is named.
    """
    for point in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        reader = _call(point, path, point.load)
        sniff, open_ = (_function(point, reader, name) for name in ("sniff", "open"))
        if not _call(point, path, sniff, path):
            continue
        series = _call(point, path, open_, path)
        if not isinstance(series, RawSeries):
            raise _broken(point, path, f"gave a {type(series).__name__}, which is no series of frames")
        return series
    return None


def _function(point: EntryPoint, reader: Any, name: str) -> Any:
    function = getattr(reader, name, None)
    if not callable(function):
        raise _broken(point, "", f"has no function {name}(path)")
    return function


def _call(point: EntryPoint, path: Path, function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except XpcsAssetsError:
        raise
    except Exception as error:
        raise _broken(point, path, f"failed ({type(error).__name__}: {str(error)[:200]})") from error


def _broken(point: EntryPoint, path: Path | str, what: str) -> RawDataError:
    package = f" of the package {point.dist.name}" if point.dist else ""
    return RawDataError(
        f"the reader plug-in {point.name!r}{package} {what}",
        where=path,
        remedy="Mend it, or uninstall the package that brings it",
    )
