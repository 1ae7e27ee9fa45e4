"""Exports of a search: tables as CSV or Parquet, and an RO-Crate that describes datasets for others.

A table has one row a dataset, its columns those of :data:`COLUMNS`, then one for each quantity that is asked for, in
SI units, with the unit in its heading.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpcs_assets.catalog.hits import Hit
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.errors import RefusedError
from xpcs_assets.places.files import write_file_safely

if TYPE_CHECKING:
    from xpcs_assets.catalog.query import Search

COLUMNS = (
    "pid", "kind", "beamline", "run_key", "analysis_key", "version", "cycle", "proposal", "experiment", "sample",
    "detector", "qmap_digest", "recipe_digest", "quality", "state", "size_bytes", "created_at", "tags", "mark",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def rows_of(reader: CatalogReader, search: Search, quantities: Sequence[str] = ()) -> tuple[list[str], list[list[Any]]]:
    """Headings and rows of a search; a quantity that a dataset does not have is None.

    Parameters
    ----------
    quantities
        Names as ranges have them. One that a dataset has several times, such as tau of each bin, is its first.
    """
    hits = list(reader.everything(search))
    found = reader.numbers([hit.pid for hit in hits], quantities)
    headings = sorted({(name, unit) for (name, unit) in found})
    rows = [_row(hit) + [found[heading].get(hit.pid) for heading in headings] for hit in hits]
    return [*COLUMNS, *(f"{name} ({unit})" if unit else name for name, unit in headings)], rows


def to_csv(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """The table as CSV (RFC 4180, UTF-8). Texts that a spreadsheet would take for a formula get a ``'`` before them."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(headings)
    for row in rows:
        writer.writerow([_tame(value) if isinstance(value, str) else value for value in row])
    return text.getvalue().encode("utf-8", "surrogateescape")


def to_parquet(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """The table as Parquet, with times and numbers as such.

    Raises
    ------
    RefusedError
        pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise RefusedError(
            "Parquet needs pyarrow, which is not installed",
            remedy="Install xpcs-assets[parquet] in this environment, or export as CSV",
        )
    import pandas as pd

    file = io.BytesIO()
    table = pd.DataFrame([list(row) for row in rows], columns=list(headings))
    table["created_at"] = pd.to_datetime(table["created_at"], utc=True, format="ISO8601")
    table.to_parquet(file, engine="pyarrow", index=False)
    return file.getvalue()


def write_table(path: Path, headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table in the format that the name's ending says: ``.csv`` or ``.parquet``.

    Raises
    ------
    RefusedError
        The ending is another one, the file is there, or pyarrow is not installed.
    CopyError
        It could not be written.
    """
    makers = {".csv": to_csv, ".parquet": to_parquet}
    if path.suffix not in makers:
        raise RefusedError(
            f"tables are not written as {path.suffix!r}", where=path, remedy="End it in .csv or .parquet"
        )
    if path.exists():
        raise RefusedError("the file is there", where=path, remedy="Choose another name: nothing is overwritten")
    write_file_safely(path, [makers[path.suffix](headings, rows)])


def _row(hit: Hit) -> list[Any]:
    values = {name: getattr(hit, name) for name in COLUMNS}
    values |= {"created_at": hit.created_at.isoformat(), "tags": " ".join(hit.tags)}
    return [values[name] for name in COLUMNS]


def _tame(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
