"""``xpcs-assets alerts``: what is wrong at a beamline now, and what people were told of it."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpcs_assets.cli_shared import BeamlineArgument, HomeOption, JsonOption, columns, open_beamline, out, tell_error

if TYPE_CHECKING:
    from xpcs_assets.alerts.book import Book, Digest
    from xpcs_assets.alerts.word import Word
    from xpcs_assets.beamline import OpenBeamline


def alerts(
    beamline: BeamlineArgument,
    test: Annotated[str, typer.Option(metavar="CHANNEL", help="Send a word to try a channel, and nothing else.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """What is wrong now, and what people were told when. Exit 1 when anything is wrong."""
    from xpcs_assets.alerts.book import Book
    from xpcs_assets.alerts.looking import Look

    opened = open_beamline(home, beamline)
    if test:
        _try(opened, test)
        return
    book = Book(opened)
    book.read()
    words, _ = Look(opened).now(list(book.standing.values()), book.seen)
    if as_json:
        out.print_json(json.dumps({"now": [one.to_dict() for one in words], "told": _told(book)}))
    else:
        _show(words, book)
    raise typer.Exit(1 if any(not one.is_news for one in words) else 0)


def _try(opened: OpenBeamline, name: str) -> None:
    from xpcs_assets.alerts.channels import open_channel
    from xpcs_assets.alerts.digest import Message

    channel = open_channel(opened.site, name, out.print)
    text = f"{getpass.getuser()} tries the channel {name}. Nothing is wrong."
    content = {"beamline": opened.name, "subject": f"[{opened.name}] a test", "text": text}
    odd = channel.send(Message(f"[{opened.name}] a test", text, content))
    if odd:
        tell_error(odd)
        raise typer.Exit(1)
    out.print(f"{name} took it")


def _show(words: list[Word], book: Book) -> None:
    rows = [(one.kind, one.subject, f"{one.since:%Y-%m-%d %H:%M}", one.text, one.remedy) for one in words]
    if rows:
        columns([("what", "of", "since, UTC", "why", "to do"), *rows])
    else:
        out.print("nothing is wrong")
    told = [
        (str(one["digest"]), one["at"][:16].replace("T", " "), str(one["began"]), str(one["over"]), _by(one))
        for one in _told(book)
    ]
    if told:
        out.print()
        columns([("digest", "at, UTC", "began", "over", "told to"), *told])
    for name, sent in book.told.items():
        if sent.why:
            tell_error(f"{name} did not take it at {sent.at:%Y-%m-%d %H:%M} UTC: {sent.why}")
        elif sent.odd:
            tell_error(f"{name}: {sent.odd}", "note", "yellow")


def _told(book: Book) -> list[dict[str, Any]]:
    """The newest digests, the first one first, and which channels have them or wait for them."""
    return [_digest(book, digest) for _, digest in sorted(book.digests.items())]


def _digest(book: Book, digest: Digest) -> dict[str, Any]:
    waits = [name for name in digest.to if digest.number in book.waiting.get(name, [])]
    return {
        "digest": digest.number,
        "at": digest.at.isoformat(timespec="seconds"),
        "began": len(digest.began),
        "over": len(digest.over),
        "told": [name for name in digest.to if name not in waits],
        "waits": waits,
    }


def _by(told: dict[str, Any]) -> str:
    waits = [f"{name} (waits)" for name in told["waits"]]
    return ", ".join([*told["told"], *waits])
