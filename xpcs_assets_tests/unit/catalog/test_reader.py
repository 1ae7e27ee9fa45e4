"""Searching and counting: both databases answer alike, nothing moves a page, and one sees what one may see."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import select

from xpcs_assets.catalog import reader as reader_module
from xpcs_assets.catalog.embedded import EmbeddedCatalog
from xpcs_assets.catalog.hits import Page
from xpcs_assets.catalog.quantities import Range
from xpcs_assets.catalog.query import FACETS, SORTS, Search
from xpcs_assets.catalog.reader import CatalogReader
from xpcs_assets.catalog.tables import facets
from xpcs_assets.catalog.viewer import OPERATOR, Viewer
from xpcs_assets.describe.record import Entry, Owner
from xpcs_assets.errors import CatalogError, RefusedError
from xpcs_assets_tests.storage import HandClock
from xpcs_assets_tests.unit.catalog.made import derived, described, owned_by

PID = "xpcs-assets/test-beamline/A001/v1"


def keys(found: Page) -> list[str]:
    return [hit.run_key for hit in found.hits]


@pytest.fixture
def filled(catalog: EmbeddedCatalog, reader: CatalogReader) -> CatalogReader:
    catalog.put_raw(described("A001", sample="silica in water"), "/f")
    catalog.put_raw(described("A002", sample="Gold in WATER", owner=owned_by("P2", "g2")), "/f")
    catalog.put_raw(described("A003", sample="100 % gel_x Café 2.04mm", beamline="other-beamline"), "/f")
    return reader


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", ["A003", "A002", "A001"]),
        ("water", ["A002", "A001"]),
        ("WATER gold", ["A002"]),
        ("wat gol", ["A002"]),
        ("water nothing", []),
        ("old", []),
        ("A00", ["A003", "A002", "A001"]),
        ("100 %", ["A003"]),
        ("gel_x", ["A003"]),
        ("cafe", ["A003"]),
        ("CAFÉ 2.04mm", ["A003"]),
        ("'; DROP TABLE catalog_records; --", []),
        ("water AND NOT gold", []),
        ('"water" OR *', []),
        ("zz:* | water", []),
        ("p2-experiment", ["A002"]),
    ],
)
def test_a_search_finds_every_word_by_its_beginning_and_newest_first(
    filled: CatalogReader, words: str, expected: list[str]
) -> None:
    assert keys(filled.search(Search(words))) == expected


def test_signs_alone_are_no_search(filled: CatalogReader) -> None:
    with pytest.raises(RefusedError, match="there is no word in '%'"):
        filled.search(Search("%"))


def test_filters_and_limit_narrow_the_search(filled: CatalogReader, catalog: EmbeddedCatalog) -> None:
    catalog.put_derived(derived(described("A001")))
    searches: list[tuple[Search, list[str]]] = [
        (Search(where={"beamline": ["other-beamline"]}), ["A003"]),
        (Search(where={"kind": ["derived"]}), ["A001"]),
        (Search("water", where={"kind": ["raw"], "proposal": ["P2", "P3"]}), ["A002"]),
        (Search(where={"experiment": ["P2-experiment"]}), ["A002"]),
        (Search(where={"quality": ["good"]}), ["A001"]),
        (Search(where={"state": ["analysed"]}), ["A001"]),
        (Search(where={"run": ["A001"], "kind": ["raw"]}), ["A001"]),
        (Search(where={"date": ["2026-05-02"]}), []),
        (Search(where={"kind": ["raw"]}, limit=2), ["A003", "A002"]),
        (Search(where={"kind": []}), []),
        (
            Search(since=datetime(2026, 5, 1, 12, 2, tzinfo=UTC), until=datetime(2026, 5, 1, 12, 3, tzinfo=UTC)),
            ["A002"],
        ),
    ]
    for search, expected in searches:
        assert keys(filled.search(search)) == expected, search


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"where": {"colour": ["red"]}}, r"told apart by colour.*By: kind"),
        ({"sort": "-beauty"}, r"sorted by '-beauty'.*By: created"),
        ({"limit": 0}, "page of 0"),
        ({"limit": 10**6}, "page of 1000000"),
    ],
)
def test_a_search_that_is_none_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        Search(**wrong)


@pytest.mark.parametrize("sort", [f"{sign}{name}" for name in SORTS for sign in ("", "-")])
def test_pages_follow_each_other_in_every_order_without_gap_or_twin(
    catalog: EmbeddedCatalog, reader: CatalogReader, sort: str
) -> None:
    for n in range(7):
        catalog.put_raw(described(f"A{n:03}", sample=f"sample {n // 3}"), "/f")
    every = reader.search(Search(sort=sort))
    paged = list(_pages(reader, Search(sort=sort, limit=2)))
    assert every.next == ""
    assert [hit for found in paged for hit in found.hits] == list(every.hits)
    assert [len(found.hits) for found in paged] == [2, 2, 2, 1]
    ordered = [_sorted_by(hit, sort.removeprefix("-")) for hit in every.hits]
    assert ordered == sorted(ordered, reverse=sort.startswith("-"))


def _pages(reader: CatalogReader, search: Search) -> Any:
    found = reader.search(search)
    yield found
    while found.next:
        found = reader.search(replace(search, after=found.next))
        yield found


def _sorted_by(hit: Any, name: str) -> Any:
    names = {"created": "created_at", "run": "run_key", "size": "size_bytes", "updated": "updated_at"}
    return getattr(hit, names.get(name, name))


def test_what_is_put_between_two_pages_moves_nothing(catalog: EmbeddedCatalog, reader: CatalogReader) -> None:
    for n in range(6):
        catalog.put_raw(described(f"A{n:03}"), "/f")
    searches = [Search(limit=3), Search("silica", limit=3)]
    first = [reader.search(search) for search in searches]
    catalog.put_raw(described("A059"), "/f")
    for search, before in zip(searches, first, strict=True):
        assert keys(before) == ["A005", "A004", "A003"]
        assert keys(reader.search(replace(search, after=before.next))) == ["A002", "A001", "A000"]


def test_a_page_of_another_search_is_refused(filled: CatalogReader) -> None:
    first = filled.search(Search(limit=1))
    for after in (first.next[:-3], "nonsense", "W10"):
        with pytest.raises(RefusedError, match="not where a page of this search ended"):
            filled.search(Search(after=after))
    with pytest.raises(RefusedError, match="not where a page"):
        filled.search(Search(sort="run", after=first.next))


def test_everything_goes_through_all_pages(
    catalog: EmbeddedCatalog, reader: CatalogReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "MOST", 2)
    for n in range(5):
        catalog.put_raw(described(f"A{n:03}"), "/f")
    assert [hit.run_key for hit in reader.everything(Search())] == ["A004", "A003", "A002", "A001", "A000"]


def test_runs_of_the_same_moment_are_all_there(catalog: EmbeddedCatalog, reader: CatalogReader) -> None:
    for n in range(30):
        catalog.put_raw(replace(described(f"A{n:03}"), taken_at="2026-05-01T12:00:00+00:00"), "/f")
    assert len(set(keys(reader.search(Search(limit=100))))) == 30


def test_facets_count_what_the_search_finds(filled: CatalogReader, catalog: EmbeddedCatalog) -> None:
    catalog.put_derived(derived(described("A001", sample="silica in water")))
    every = filled.count(Search())
    assert set(every.by) == {*FACETS, "state"}
    assert (every.total, every.newest_only) == (4, False)
    assert every.by["sample"][0] == ("silica in water", 2)
    assert dict(every.by["proposal"]) == {"P-1234": 3, "P2": 1}
    assert dict(every.by["state"]) == {"unverified": 3, "analysed": 1}
    for search in (Search("water"), Search(where={"sample": ["silica in water", "Gold in WATER"]})):
        found = filled.count(search, by=["kind", "sample"])
        assert found.total == 3
        assert found.by == {
            "kind": [("raw", 2), ("derived", 1)],
            "sample": [("silica in water", 2), ("Gold in WATER", 1)],
        }
    assert filled.count(Search("nothing")).total == 0
    assert filled.count(Search(), by=["sample"], most=1).by == {"sample": [("silica in water", 2)]}
    assert filled.count(Search(), by=["sample"]).by["sample"][1:] == [
        ("100 % gel_x Café 2.04mm", 1),
        ("Gold in WATER", 1),
    ]
    with pytest.raises(RefusedError, match=r"counted by colour.*By: kind"):
        filled.count(Search(), by=["colour"])


def test_of_many_matches_the_newest_are_counted_and_that_is_said(
    catalog: EmbeddedCatalog, reader: CatalogReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        catalog.put_raw(described(f"A{n:03}", sample=f"silica {n}"), "/f")
    monkeypatch.setattr(reader_module, "COUNTED_NEWEST", 3)
    bounded = reader.count(Search("silica"), by=["sample"])
    assert (bounded.total, bounded.newest_only) == (3, True)
    assert {value for value, _ in bounded.by["sample"]} == {"silica 4", "silica 3", "silica 2"}
    assert reader.count(Search()).total == 5


def with_temperature(run_key: str, value: float, unit: str) -> Any:
    record = described(run_key)
    entry = Entry("/entry/sample/qnw1_temperature", value, unit)
    return replace(record, groups={"sample": (*record.groups["sample"], entry)})


def test_ranges_compare_units_and_unknown_ones_like_with_like(catalog: EmbeddedCatalog, reader: CatalogReader) -> None:
    for run_key, value, unit in (
        ("A001", 290.0, "K"),
        ("A002", 310.0, "K"),
        ("A003", 27.0, "degC"),
        ("A004", 310.0, "furlong"),
        ("A005", 310.0, ""),
    ):
        catalog.put_raw(with_temperature(run_key, value, unit), "/f")

    def found(*texts: str) -> list[str]:
        return sorted(keys(reader.search(Search(ranges=tuple(map(Range.parse, texts))))))

    assert found("qnw1_temperature>300 K") == ["A002", "A003"]
    assert found("qnw1_temperature>26 degC") == ["A002", "A003"]
    assert found("qnw1_temperature>300 furlong") == ["A004"]
    assert found("qnw1_temperature>300") == ["A002", "A004", "A005"]
    assert found("qnw1_temperature=290..300.2 K") == ["A001", "A003"]
    assert found("qnw1_temperature>=290 K", "qnw1_temperature<300 K") == ["A001"]
    assert found("*temperature=310 K") == ["A002"]
    assert found("*_TEMPERATURE<295 K") == ["A001"]
    assert found("/entry/sample/qnw1_temperature>300 K") == ["A002", "A003"]
    assert found("temperature>300 K") == []
    assert found("%temperature>0 K") == []
    assert "qnw1_temperature" in reader.quantities()


def test_numbers_of_a_changed_record_are_the_new_ones(catalog: EmbeddedCatalog, reader: CatalogReader) -> None:
    hot = Search(ranges=(Range.parse("qnw1_temperature>300 K"),))
    catalog.put_raw(with_temperature("A001", 310.0, "K"), "/f")
    assert keys(reader.search(hot)) == ["A001"]
    catalog.put_raw(with_temperature("A001", 290.0, "K"), "/f")
    assert keys(reader.search(hot)) == []
    assert reader.count(hot).total == 0


def test_a_result_s_own_numbers_are_searched(catalog: EmbeddedCatalog, reader: CatalogReader) -> None:
    catalog.put_raw(described(), "/f")
    pid = catalog.put_derived(derived())
    found = reader.search(Search(ranges=(Range.parse("tau>1 us"), Range.parse("contrast=0.1..0.5"))))
    assert [hit.pid for hit in found.hits] == [pid]


@pytest.fixture
def owned(catalog: EmbeddedCatalog, clock: HandClock) -> EmbeddedCatalog:
    def owner(*groups: str, until: str = "") -> Owner:
        return Owner("P", "e", groups, until)

    tomorrow = f"{clock.now + timedelta(days=1):%Y-%m-%d}"
    catalog.put_raw(described("A001", owner=owner("alpha", "staff")), "/f")
    catalog.put_raw(described("A002", owner=owner("beta", until=tomorrow)), "/f")
    catalog.put_raw(described("A003", owner=owner("beta", until="some day")), "/f")
    catalog.put_raw(described("A004", owner=owner("Alpha")), "/f")
    return catalog


@pytest.mark.parametrize(
    ("groups", "seen"),
    [
        ([], []),
        ([""], []),
        (["none"], []),
        (["alpha"], ["A001"]),
        (["staff"], ["A001"]),
        (["beta"], ["A002", "A003"]),
        (["beta", "alpha"], ["A001", "A002", "A003"]),
        (["'beta' OR 1=1"], []),
    ],
)
def test_every_question_is_answered_from_what_the_viewer_may_see(
    owned: EmbeddedCatalog, clock: HandClock, groups: list[str], seen: list[str]
) -> None:
    reader = CatalogReader(owned.engine, Viewer.of(groups), clock)
    columns_px = (Range.parse("columns_px>0"),)
    for search in (
        Search(),
        Search("silica"),
        Search(sort="run"),
        Search(where={"kind": ["raw"]}),
        Search(ranges=columns_px),
    ):
        assert sorted(keys(reader.search(search))) == seen
        assert reader.count(search).total == len(seen)
        assert [hit.run_key for hit in reader.everything(replace(search, sort="run"))] == seen
    assert reader.quantities() == []
    for run_key in ("A001", "A002", "A003", "A004"):
        pid = f"xpcs-assets/test-beamline/{run_key}/v1"
        for ask in (
            lambda pid=pid: reader.get(pid),
            lambda pid=pid: reader.notes(pid),
            lambda pid=pid: reader.labels(pid),
            lambda pid=pid: reader.comment(pid, "text", "me"),
            lambda pid=pid: reader.tag(pid, "t", "me"),
            lambda pid=pid: reader.untag(pid, "t", "me"),
            lambda pid=pid: reader.mark(pid, "good", "me"),
        ):
            if run_key in seen:
                ask()
            else:
                with pytest.raises(CatalogError, match="no such record"):
                    ask()


def test_an_embargo_ends_by_the_clock_for_those_who_have_a_group(owned: EmbeddedCatalog, clock: HandClock) -> None:
    stranger, nobody = (CatalogReader(owned.engine, viewer, clock) for viewer in (Viewer.of(["else"]), Viewer()))
    assert keys(stranger.search(Search())) == []
    clock.advance(2 * 86400 - 1 - 12 * 3600)  # the last second of tomorrow
    assert keys(stranger.search(Search())) == []
    clock.advance(1)
    assert keys(stranger.search(Search())) == ["A002"]
    assert stranger.count(Search()).total == 1
    assert keys(nobody.search(Search())) == []


@pytest.mark.parametrize(
    ("until", "over_at"),
    [
        ("2024-05-03", "2024-05-04T00:00:00+00:00"),
        ("2024-05-03T18:00:00", "2024-05-03T18:00:00+00:00"),
        ("2024-05-03T18:00:00Z", "2024-05-03T18:00:00+00:00"),
        ("2024-05-03T18:00:00-05:00", "2024-05-03T23:00:00+00:00"),
        ("2024-05-03T01:00:00+09:00", "2024-05-02T16:00:00+00:00"),
    ],
)
@pytest.mark.parametrize("words", ["", "silica"])
def test_an_embargo_with_a_time_zone_ends_at_its_very_moment(
    catalog: EmbeddedCatalog, clock: HandClock, until: str, over_at: str, words: str
) -> None:
    pid = catalog.put_raw(described("A001", owner=Owner("P", "e", ("theirs",), until)), "/f")
    end = datetime.fromisoformat(over_at)
    stranger, theirs = (CatalogReader(catalog.engine, Viewer.of([group]), clock) for group in ("else", "theirs"))
    for now, seen in ((end - timedelta(microseconds=1), []), (end, ["A001"])):
        clock.now = now
        for same_moment in (now, now.astimezone(timezone(timedelta(hours=-11)))):
            clock.now = same_moment
            assert keys(stranger.search(Search(words))) == seen
            assert stranger.count(Search(words)).total == len(seen)
        assert keys(theirs.search(Search(words))) == ["A001"]
    assert stranger.get(pid).run_key == "A001"


def test_no_facet_tells_of_a_record_that_is_gone_or_is_not_to_be_seen(
    catalog: EmbeddedCatalog, clock: HandClock
) -> None:
    def told(viewer: Viewer, search: Search) -> str:
        return str(CatalogReader(catalog.engine, viewer, clock).count(search, most=1000))

    tomorrow = f"{clock.now + timedelta(days=1):%Y-%m-%d}"
    mine, theirs = Owner("Pmine", "Emine", ("mine",)), Owner("Ptheirs", "Etheirs", ("theirs",), tomorrow)
    catalog.put_raw(described("A001", owner=mine, sample="seen"), "/f")
    catalog.put_raw(described("A002", owner=mine, sample="renamed"), "/f")
    catalog.put_raw(described("A002", owner=mine, sample="seen"), "/f")  # no record uses its first row any more
    catalog.put_raw(described("A003", owner=theirs, sample="hidden"), "/f")
    catalog.put_raw(described("A004", owner=mine, sample="handed over"), "/f")
    catalog.put_raw(described("A004", owner=theirs, sample="handed over"), "/f")
    with catalog.engine.begin() as connection:
        samples = set(connection.scalars(select(facets.c.sample)))  # rows of facets stay
    assert {"renamed", "hidden"} <= samples
    searches = (
        Search(),
        Search("seen"),
        Search(ranges=(Range.parse("columns_px>0"),)),
        Search(where={"kind": ["raw"]}),
        Search(where={"sample": ["seen", "renamed", "hidden", "handed over"]}),
    )
    secrets = ("hidden", "handed over", "Ptheirs", "Etheirs")
    for search in searches:
        assert "renamed" not in told(OPERATOR, search)
        seen = told(Viewer.of(["mine"]), search)
        assert "Pmine" in seen
        assert not any(word in seen for word in ("renamed", *secrets))
        assert not any(word in told(Viewer.of(["else"]), search) for word in ("renamed", "Pmine", *secrets))
    hidden = Search(where={"sample": ["hidden"]})
    assert CatalogReader(catalog.engine, Viewer.of(["mine"]), clock).count(hidden).total == 0
    clock.advance(3 * 86400)
    assert "Ptheirs" in told(Viewer.of(["mine"]), Search())


def test_a_record_that_gets_other_groups_is_seen_by_those(owned: EmbeddedCatalog, clock: HandClock) -> None:
    owned.put_raw(described("A001", owner=Owner("P", "e", ("gamma",))), "/f")
    assert keys(CatalogReader(owned.engine, Viewer.of(["alpha"]), clock).search(Search())) == []
    assert keys(CatalogReader(owned.engine, Viewer.of(["gamma"]), clock).search(Search())) == ["A001"]


def test_a_record_comes_with_a_sparkline_and_without_its_document(
    catalog: EmbeddedCatalog, reader: CatalogReader
) -> None:
    curves = {"delay_s": [0.1, 0.2], "curves": [{"bin": 1, "q_inv_angstrom": 0.01, "g2": [1.2, None]}]}
    pid = catalog.put_derived(derived(), curves)
    (hit,) = reader.search(Search()).hits
    assert (hit.pid, hit.sparkline) == (pid, curves)
    assert reader.get(pid).sparkline == curves
    assert CatalogReader(catalog.engine, OPERATOR).get(pid) == reader.get(pid)
