"""A person's comment on a dataset as a message, such as for a logbook."""

from __future__ import annotations

from xpcs_assets.alerts.digest import Message
from xpcs_assets.alerts.word import short
from xpcs_assets.catalog.people import Note
from xpcs_assets.plain import plain


def message_of(note: Note) -> Message:
    """The comment, who wrote it, when, and on which dataset; whole, in its own lines."""
    text = "\n".join(map(plain, note.text.splitlines()))
    signed = f"{plain(note.written_by)}, {note.written_at:%Y-%m-%d %H:%M} UTC"
    content = {
        "dataset": note.pid, "text": text, "written_by": note.written_by, "written_at": note.written_at.isoformat(),
    }  # fmt: skip
    return Message(short(f"Comment on {note.pid}"), f"{text}\n- {signed}", content)
