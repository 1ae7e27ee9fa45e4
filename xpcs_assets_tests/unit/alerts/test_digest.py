"""One message of many things."""

from __future__ import annotations

from datetime import timedelta

from xpcs_assets.alerts.digest import LINES, digest_of
from xpcs_assets.alerts.word import LONGEST, Word, word
from xpcs_assets_tests.unit.alerts.conftest import NOON


def failure(number: int) -> Word:
    since = NOON + timedelta(seconds=number)
    return word("failed", f"A{number:03}", "correlation: no q-map", since, f"`xpcs-assets why xpcs A{number:03}`")


FULL = word("quota", "store", "97% of the disk is in use", NOON + timedelta(hours=1), "Make room")


def test_counts_come_first_then_each_thing_with_what_to_do() -> None:
    message = digest_of("xpcs", "The beamline", [failure(1), FULL], [failure(2)])
    assert message.subject == "[xpcs] 1 nearly full, 1 failed; over: 1 failed"
    assert message.text.splitlines() == [
        "The beamline (xpcs)",
        "1 nearly full, 1 failed",
        "over: 1 failed",
        "",
        "- quota store: 97% of the disk is in use (since 2026-05-01 13:00 UTC)",
        "  Make room",
        "- failed A001: correlation: no q-map (since 2026-05-01 12:00 UTC)",
        "  `xpcs-assets why xpcs A001`",
        "",
        "Over:",
        "- failed A002: correlation: no q-map (since 2026-05-01 12:00 UTC)",
        "",
        "All that is wrong now: `xpcs-assets alerts xpcs`",
    ]


def test_five_hundred_failures_are_one_message_of_bounded_length_that_begins_with_the_full_disk() -> None:
    message = digest_of("xpcs", "", [*map(failure, range(500)), FULL], [])
    lines = message.text.splitlines()
    assert message.subject == "[xpcs] 1 nearly full, 500 failed"
    assert lines[3].startswith("- quota store")
    assert [line[:13] for line in lines[5:9:2]] == ["- failed A000", "- failed A001"]
    assert "and 481 more" in lines
    assert len(lines) == 3 + 2 * LINES + 3
    assert (len(message.content["began"]), message.content["counts"]) == (LINES, {"began": 501, "over": 0})


def test_the_longest_words_make_a_message_that_a_chat_takes() -> None:
    long = [word("late", "s" * 999 + str(number), "t" * 999, NOON, "`xpcs-assets why`") for number in range(99)]
    message = digest_of("xpcs", "t" * 999, long, long)
    assert len(message.text) < 40_000
    assert len(message.subject) <= LONGEST


def test_a_word_comes_back_from_plain_values() -> None:
    news = word("campaign", "wide", "is over", NOON, "look", is_news=True)
    assert Word.from_dict(news.to_dict()) == news
    assert news.key == "campaign:wide:2026-05-01T12:00:00+00:00"
    assert failure(1).key == "failed:A001"
