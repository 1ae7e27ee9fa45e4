"""Words for people: text without control characters, sizes in a unit that suits them, things that are counted."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def plain(text: str) -> str:
    """Text that holds what people called their files, without control characters.

    >>> plain("A" + chr(10) + "2")
    'A�2'
    """
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def counted(number: float, what: str) -> str:
    """A number of things.

    >>> counted(1, "file"), counted(2, "file")
    ('1 file', '2 files')
    """
    return f"{number:g} {what}{'' if number == 1 else 's'}"


def size(size_bytes: float) -> str:
    """A size in the largest unit that it fills.

    >>> size(999), size(1.5e12)
    ('999 B', '1.5 TB')
    """
    step = 0
    while size_bytes >= 1000 and step < len(_UNITS) - 1:
        size_bytes, step = size_bytes / 1000, step + 1
    return f"{size_bytes:.0f} B" if step == 0 else f"{size_bytes:.3g} {_UNITS[step]}"
