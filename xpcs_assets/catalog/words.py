"""How texts are split into the words that are searched, the same way for both databases.

A word is a row of letters and digits, without case and accents: ``Café_2.04mm`` holds ``cafe``, ``2`` and ``04mm``.
Letters beyond ASCII are written by their numbers, so that no database's own rules split them. What is asked for is
found at the beginning of a word; every word that is asked for must be there.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from sqlalchemy import ColumnElement, cast, column, literal_column, table
from sqlalchemy.dialects import postgresql

from xpcs_assets.errors import RefusedError

LONGEST_CHARACTERS = 64
"""Of a longer word the beginning is searched."""
MOST_CHARACTERS = 500_000
"""Of the words of one record; PostgreSQL holds 1 MiB."""
_WORD = re.compile(r"[^\W_]+")

full_text = table("catalog_words", column("rowid"), column("catalog_words"))
"""SQLite's full-text table; the column of its own name takes what is asked."""


def words_in(text: str) -> list[str]:
    """The words of a text, each once, in their order.

    >>> words_in("Gold in WATER, gold_2.04mm")
    ['gold', 'in', 'water', '2', '04mm']
    """
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    found = (_ascii(match[0])[:LONGEST_CHARACTERS] for match in _WORD.finditer(plain))
    return list(dict.fromkeys(found))


def searchable(text: str) -> str:
    """What a database is given to search in: the words with spaces between, as many as are held."""
    joined = " ".join(words_in(text))
    return joined if len(joined) <= MOST_CHARACTERS else joined[:MOST_CHARACTERS].rpartition(" ")[0]


def asked_words(text: str) -> list[str]:
    """The words that a person asks for.

    Raises
    ------
    RefusedError
        There is text without a letter or digit: nothing could be found by it.
    """
    found = words_in(text)
    if text.strip() and not found:
        raise RefusedError(
            f"there is no word in {text!r}", remedy="Words are of letters and digits; other signs only part them"
        )
    return found


def on_sqlite(words: list[str]) -> ColumnElement[bool]:
    """The condition on :data:`full_text`."""
    asked = " AND ".join(f'"{word}"*' for word in words)
    return full_text.c.catalog_words.op("MATCH", is_comparison=True)(asked)


def on_postgresql(words: list[str]) -> ColumnElement[bool]:
    """The condition on the documents' column of lexemes."""
    asked = " & ".join(f"'{word}':*" for word in words)
    lexemes: ColumnElement[Any] = literal_column("catalog_documents.lexemes")
    return lexemes.op("@@", is_comparison=True)(cast(asked, postgresql.TSQUERY))


def _ascii(word: str) -> str:
    return word if word.isascii() else "".join(c if c.isascii() else f"u{ord(c):04x}" for c in word)
