"""Run keys can be undone, never clash, and are safe wherever a key goes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcs_assets.errors import SettingsError
from xpcs_assets.runs.key import analysis_key, decode, encode, is_run_key, run_key, split_analysis_key

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
# Names of few and dangerous letters, so that near misses are frequent.
CLOSE = st.text(st.sampled_from("a.=-_0%2E"), min_size=1, max_size=6)
LONG = st.text(st.sampled_from("ab.é="), min_size=90, max_size=130)
ANY = NAMES | CLOSE | LONG


@given(ANY)
def test_every_name_makes_a_key_that_can_be_undone_unless_shortened(name: str) -> None:
    key = encode(name)
    assert is_run_key(key)
    assert decode(key) in {name, None}
    if len(name.encode()) <= 31:
        assert decode(key) == name


@given(ANY, ANY)
def test_two_names_never_share_a_key(first: str, second: str) -> None:
    assert (encode(first) == encode(second)) == (first == second)


@given(st.tuples(CLOSE | NAMES, CLOSE | NAMES), st.tuples(CLOSE | NAMES, CLOSE | NAMES), st.sampled_from("_-"))
def test_two_pairs_of_fields_never_share_a_key(first: tuple[str, str], second: tuple[str, str], joint: str) -> None:
    template = f"{{experiment}}{joint}{{run}}"
    keys = [run_key(template, {"experiment": experiment, "run": run}) for experiment, run in (first, second)]
    assert (keys[0] == keys[1]) == (first == second)
    assert all(is_run_key(key) for key in keys)


@given(st.lists(st.tuples(CLOSE, CLOSE, CLOSE), min_size=2, max_size=8, unique=True))
def test_three_fields_with_two_joints_never_share_a_key(triples: list[tuple[str, str, str]]) -> None:
    keys = {run_key("{a}_{b}-{c}", dict(zip("abc", triple, strict=True))) for triple in triples}
    assert len(keys) == len(triples)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a b", "a_b"),
        ("a b", "a\tb"),
        ("a%20b", "a b"),
        ("a..b", "a.b"),
        ("a.", "a"),
        ("A", "a"),
        ("_a", "a"),
        ("=5F", "_"),
        ("0=._a", "_a"),
        (unicodedata.normalize("NFC", "Düse"), unicodedata.normalize("NFD", "Düse")),
        ("µ", "μ"),
    ],
)
def test_names_that_differ_in_one_such_character_get_two_keys(first: str, second: str) -> None:
    assert encode(first) != encode(second)
    assert (decode(encode(first)), decode(encode(second))) == (first, second)


@pytest.mark.parametrize("letter", ["a", "é", "漢", " ", "%", "."])
def test_a_name_of_255_bytes_makes_a_key_of_96_characters_at_most(letter: str) -> None:
    name = letter * (255 // len(letter.encode()))
    key = encode(name)
    assert len(key) <= 96
    assert is_run_key(key)
    assert decode(key) is None
    assert encode(name[:-1] + "x") != key


def test_names_of_8_id_stay_as_they_are() -> None:
    name = "B390_Strain2.04mm_att0_Lq0_001_0001-1000"
    assert encode(name) == name


@pytest.mark.parametrize("name", ["", "a\udcff"])
def test_a_name_that_is_empty_or_no_utf8_is_refused_with_a_remedy(name: str) -> None:
    with pytest.raises(SettingsError, match=r"\. (Rename it|Name the run)"):
        encode(name)


@pytest.mark.parametrize("text", ["", "-a", ".a", "a..b", "a b", "a/b", "a~b", "a\n", "é", "a" * 97])
def test_what_is_no_run_key_is_told(text: str) -> None:
    assert not is_run_key(text)


@pytest.mark.parametrize("template", ["", "run", "{a}{b}", "{a}x{b}", "{a}={b}"])
def test_a_template_that_cannot_be_undone_is_refused(template: str) -> None:
    with pytest.raises(SettingsError, match="cannot be undone"):
        run_key(template, {"a": "1", "b": "2"})


def test_a_template_that_begins_with_a_mark_makes_no_key() -> None:
    with pytest.raises(SettingsError, match="is no run key"):
        run_key("-{a}", {"a": "1"})


def test_a_reprocessing_has_a_key_of_its_own_that_splits_again() -> None:
    key = analysis_key(encode("a b"), "wide-q")
    assert split_analysis_key(key) == ("a=20b", "wide-q")
    assert not is_run_key(key)


@pytest.mark.parametrize("name", ["", "a~b", "../x", "a..b", "a b", "-a", "x" * 49])
def test_a_reprocessing_is_not_named_anything(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot name a reprocessing"):
        analysis_key("A001", name)
