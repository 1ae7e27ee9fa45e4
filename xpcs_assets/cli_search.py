"""``xpcs-assets search``, ``comment``, ``tag``, ``mark`` and ``recatalogue``: the catalog from the command line.

Whoever reads the site's database sees all of it: here one looks as an operator, or with the eyes of some groups.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpcs_assets.cli_shared import (
    PID_PREFIX,
    BeamlineArgument,
    HomeOption,
    JsonOption,
    columns,
    counted,
    err,
    full_pid,
    open_beamline,
    open_site,
    out,
    plain,
    tell_error,
)
from xpcs_assets.errors import RefusedError

if TYPE_CHECKING:
    from xpcs_assets.catalog.hits import Counts, Hit
    from xpcs_assets.catalog.people import Note
    from xpcs_assets.catalog.query import Search
    from xpcs_assets.catalog.reader import CatalogReader

PidArgument = Annotated[str, typer.Argument(metavar="DATASET", help="As `search` prints it.")]
_CURVES = "▁▂▃▄▅▆▇█"


def search(
    words: Annotated[list[str] | None, typer.Argument(help="Each is found at the beginning of some word.")] = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="NAME=VALUE", help="Such as sample=silica; may repeat.")
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", help="Such as '*temperature>300 K' or 'frame_time=10..100 us'; may repeat."),
    ] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="That people gave it; may repeat.")] = None,
    mark: Annotated[str, typer.Option(help="good or bad, as people marked it.")] = "",
    since: Annotated[str, typer.Option(help="From this day or time on, ISO 8601, UTC.")] = "",
    until: Annotated[str, typer.Option(help="Before this day or time.")] = "",
    sort: Annotated[
        str, typer.Option(help="created, run, sample, proposal, size or updated; - for the highest first.")
    ] = "-created",
    limit: Annotated[int, typer.Option(help="Datasets of a page.")] = 50,
    after: Annotated[str, typer.Option(help="Where the page before ended, as it was printed.")] = "",
    facets: Annotated[bool, typer.Option("--facets", help="Count the datasets instead of listing them.")] = False,
    groups: Annotated[str, typer.Option(help="Look with the eyes of these groups, with commas between.")] = "",
    export: Annotated[
        Path | None, typer.Option(help="Write all that is found as .csv or .parquet, or as an RO-Crate into a folder.")
    ] = None,
    numbers: Annotated[str, typer.Option(help="Quantities as columns of an export, with commas between.")] = "",
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Find datasets in the catalog, the newest first: exit 0 when there are any, 1 when there are none."""
    from xpcs_assets.catalog.quantities import Range
    from xpcs_assets.catalog.query import Search

    asked = Search(
        words=" ".join(words or []),
        where=_where(where or []),
        ranges=tuple(map(Range.parse, ranges or [])),
        tags=tuple(tags or []),
        mark=mark,
        since=_moment(since, "--since"),
        until=_moment(until, "--until"),
        sort=sort,
        limit=limit,
        after=after,
    )
    with _reader(home, groups) as reader:
        columns_asked = [name.strip() for name in numbers.split(",") if name.strip()]
        if columns_asked and not (export and export.suffix):
            raise RefusedError("--numbers are columns of a table", remedy="Give --export NAME.csv or NAME.parquet too")
        _tell_unknown(reader, asked, columns_asked)
        if export is not None:
            found = _export(reader, asked, export, columns_asked)
        elif facets:
            found = _count(reader, asked, as_json=as_json)
        else:
            found = _list(reader, asked, as_json=as_json)
    if not (found or as_json):
        tell_error("no dataset is like that", "none", "yellow")
    raise typer.Exit(0 if found else 1)


def comment(
    pid: PidArgument,
    text: Annotated[str | None, typer.Argument(help="What you have to say; without it, nothing is written.")] = None,
    send: Annotated[
        str, typer.Option(metavar="CHANNEL", help="Send the newest comment to a channel, such as the logbook.")
    ] = "",
    home: HomeOption = None,
) -> None:
    """Show a dataset's comments, and write one; it stays through every rebuild of the catalog."""
    with _reader(home) as reader:
        if text is not None:
            reader.comment(full_pid(pid), text, getpass.getuser())
        notes = reader.notes(full_pid(pid))
        if send:
            _send_comment(home, send, notes)
        for note in notes:
            out.print(f"{note.written_at:%Y-%m-%d %H:%M} {plain(note.written_by)}: {plain(note.text)}")


def _send_comment(home: Path | None, channel: str, notes: Sequence[Note]) -> None:
    from xpcs_assets.alerts.channels import open_channel
    from xpcs_assets.alerts.comments import message_of

    opened = open_channel(open_site(home), channel, out.print)
    if not notes:
        raise RefusedError("it has no comment that could be sent", remedy="Give the text after the dataset")
    odd = opened.send(message_of(notes[-1]))
    if odd:
        tell_error(odd, "note", "yellow")


def tag(
    pid: PidArgument,
    words: Annotated[list[str], typer.Argument(help="Tags.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take them away.")] = False,
    home: HomeOption = None,
) -> None:
    """Give a dataset tags to search by, or take them away: exit 1 when there was no such tag to take."""
    missing = []
    with _reader(home) as reader:
        for word in words:
            if not remove:
                reader.tag(full_pid(pid), word, getpass.getuser())
            elif not reader.untag(full_pid(pid), word, getpass.getuser()):
                missing.append(word)
        out.print(" ".join(plain(label.word) for label in reader.labels(full_pid(pid)) if label.kind == "tag"))
    for word in missing:
        tell_error(f"it has no tag {word!r}")
    raise typer.Exit(1 if missing else 0)


def mark(
    pid: PidArgument,
    word: Annotated[str, typer.Argument(metavar="good|bad|none", help="What you think of it.")],
    home: HomeOption = None,
) -> None:
    """Mark a dataset good or bad, as a person sees it; none takes the mark away."""
    with _reader(home) as reader:
        reader.mark(full_pid(pid), "" if word == "none" else word, getpass.getuser())
        out.print(next((label.word for label in reader.labels(full_pid(pid)) if label.kind == "mark"), "no mark"))


def recatalogue(beamline: BeamlineArgument, home: HomeOption = None) -> None:
    """Fill the catalog again from the records and results beside the data; what people said stays as it is."""
    from xpcs_assets.catalog.cataloguing import recatalogue as fill
    from xpcs_assets.catalog.query import Search

    told = fill(open_beamline(home, beamline))
    for each in told:
        tell_error(each)
    with _reader(home) as reader:
        out.print(f"{counted(reader.count(Search(where={'beamline': [beamline]})).total, 'dataset')} of {beamline}")
    raise typer.Exit(1 if told else 0)


@contextmanager
def _reader(home: Path | None, groups: str = "") -> Iterator[CatalogReader]:
    from xpcs_assets.catalog.reader import CatalogReader
    from xpcs_assets.catalog.viewer import OPERATOR, Viewer
    from xpcs_assets.copies.database import check_schema, clock_of, open_database
    from xpcs_assets.copies.journal import Journal

    site = open_site(home)
    engine = open_database(site.database_url, journal=Journal(site.journal))
    try:
        check_schema(engine)
        viewer = Viewer.of(name.strip() for name in groups.split(",")) if groups else OPERATOR
        yield CatalogReader(engine, viewer, clock_of(engine))
    finally:
        engine.dispose()


def _list(reader: CatalogReader, asked: Search, *, as_json: bool) -> int:
    page = reader.search(asked)
    if as_json:
        hits = [
            asdict(hit) | {"created_at": hit.created_at.isoformat(), "updated_at": hit.updated_at.isoformat()}
            for hit in page.hits
        ]
        out.print_json(json.dumps({"datasets": hits, "next": page.next}))
    elif page.hits:
        columns(
            [("dataset", "created", "sample", "proposal", "state", "quality", "g2", "said"), *map(_shown, page.hits)]
        )
        if page.next:
            err.print(f"more: --after {page.next}", style="dim")
    return len(page.hits)


def _count(reader: CatalogReader, asked: Search, *, as_json: bool) -> int:
    counts: Counts = reader.count(asked)
    if as_json:
        out.print_json(json.dumps(asdict(counts)))
        return counts.total
    out.print(counted(counts.total, "dataset") + (" (the newest; there may be others)" if counts.newest_only else ""))
    for name, values in counts.by.items():
        for value, count in values:
            out.print(f"{name:<12}{count:>8}  {plain(value) or '-'}")
    return counts.total


def _export(reader: CatalogReader, asked: Search, target: Path, names: list[str]) -> int:
    from xpcs_assets.catalog.export import rows_of, write_table
    from xpcs_assets.catalog.ro_crate import crate_of, write_crate

    if not target.parent.is_dir():
        raise RefusedError("the folder is not there", where=target.parent, remedy="Make it, or name another one")
    if target.suffix:
        headings, rows = rows_of(reader, asked, names)
        if rows:
            write_table(target, headings, rows)
            out.print(f"{target}: {counted(len(rows), 'dataset')}")
        return len(rows)
    records = [reader.get(hit.pid) for hit in reader.everything(asked)]
    if records:
        crate = crate_of(records, name=asked.words or "XPCS datasets", made_at=datetime.now(UTC))
        out.print(f"{write_crate(target, crate)}: {counted(len(records), 'dataset')}")
    return len(records)


def _shown(hit: Hit) -> tuple[str, ...]:
    said = [f"+{word}" for word in hit.tags] + ([hit.mark] if hit.mark else [])
    return (
        hit.pid.removeprefix(PID_PREFIX),
        f"{hit.created_at:%Y-%m-%d %H:%M}",
        plain(hit.sample) or "-",
        plain(hit.proposal) or "-",
        hit.state,
        hit.quality,
        _curve(hit),
        plain(" ".join(said)),
    )


def _curve(hit: Hit) -> str:
    """g2 of the middle q in a dozen signs; nothing where there is none."""
    curves: list[dict[str, Any]] = hit.sparkline.get("curves", [])
    values = [value for value in curves[len(curves) // 2]["g2"] if value is not None] if curves else []
    if not values:
        return ""
    some = [values[place * (len(values) - 1) // 11] for place in range(12)]
    low, high = min(some), max(some)
    return "".join(_CURVES[round((value - low) / (high - low or 1) * (len(_CURVES) - 1))] for value in some)


def _tell_unknown(reader: CatalogReader, asked: Search, numbers: list[str]) -> None:
    """Say which quantities there are where a range or column names none, and which units are not known."""
    from xpcs_assets.catalog.quantities import UNITS, nearest_names

    names = [each.name for each in asked.ranges] + [name.lower() for name in numbers]
    there = reader.quantities() if names else []  # none to whoever does not see all
    for name in names:
        if there and "*" not in name and "/" not in name and name not in there:
            near = ", ".join(nearest_names(name, there)) or "none like it"
            tell_error(f"no dataset tells {name!r}; there is: {near}", "note", "yellow")
    for unit in dict.fromkeys(each.unit for each in asked.ranges if each.unit not in UNITS):
        tell_error(f"the unit {unit!r} is not known: only numbers in that spelling are compared", "note", "yellow")


def _where(texts: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise RefusedError(f"{text!r} says nothing of a name", remedy="Write --where sample=silica")
        found.setdefault(name.strip(), []).append(value.strip())
    return found


def _moment(text: str, option: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RefusedError(
            f"{text!r} is no time", where=option, remedy="Write 2026-05-01 or 2026-05-01T12:00"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
