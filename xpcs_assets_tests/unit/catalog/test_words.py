"""How texts become words that both databases find alike."""

from __future__ import annotations

import pytest

from xpcs_assets.catalog.words import LONGEST_CHARACTERS, MOST_CHARACTERS, asked_words, searchable, words_in
from xpcs_assets.errors import RefusedError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("B390_Strain2.04mm_att0", ["b390", "strain2", "04mm", "att0"]),
        ("Café CAFE\u0301 cafe", ["cafe"]),
        ("Straße", ["strasse"]),
        ("\u00b5m \u03bcm", ["u03bcm"]),
        ("水 gel", ["u6c34", "gel"]),
        ("ﬁber x²", ["fiber", "x2"]),
        ("\0\ud800-a", ["a"]),
    ],
)
def test_case_accents_and_spellings_do_not_count(text: str, words: list[str]) -> None:
    assert words_in(text) == words


def test_what_is_searched_has_bounds() -> None:
    assert words_in("x" * 1000) == ["x" * LONGEST_CHARACTERS]
    big = searchable(" ".join(f"word{n}" for n in range(100_000)))
    assert MOST_CHARACTERS * 0.9 < len(big) <= MOST_CHARACTERS
    assert set(big.split()) <= {f"word{n}" for n in range(100_000)}


def test_every_word_is_plain_for_both_databases() -> None:
    every = searchable("".join(chr(n) for n in range(0x3000)) + " '\"\\:*&|!()<-> ")
    assert every.isascii()
    assert all(word.isalnum() and word == word.lower() for word in every.split())


def test_text_without_a_word_is_refused_and_no_text_is_no_word() -> None:
    assert asked_words("  ") == []
    with pytest.raises(RefusedError, match="no word"):
        asked_words("-- %")
