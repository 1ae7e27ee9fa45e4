"""The book of bundles: what lies in an archive, of which runs."""

from __future__ import annotations

import pytest

from xpcs_assets.copies.ledger import Bundle, BundleRun, Evidence, Ledger, Member
from xpcs_assets.errors import NotFoundError, RefusedError
from xpcs_assets.runs.manifest import FileEntry, Manifest
from xpcs_assets_tests.storage import HandClock

TOGETHER = (BundleRun("r", 1, "r/v1/"), BundleRun("s", 1, "s/v1/"))


@pytest.fixture(autouse=True)
def run(ledger: Ledger) -> None:
    for key in ("r", "s"):
        ledger.record_version("b", key, Manifest.of(key, [FileEntry("a", 1, "0" * 64)]), f"/d/{key}")


def bundle(
    ledger: Ledger,
    sha256: str = "1",
    name: str = "r.tar",
    runs: tuple[BundleRun, ...] = (BundleRun("r", 1),),
    evidence: Evidence = Evidence.READ_BACK,
) -> Bundle:
    return ledger.record_bundle(
        "b",
        runs,
        place="tape",
        name=name,
        content="raw",
        size_bytes=9,
        sha256=sha256,
        index_digest="i",
        members=[Member("b", 512, 1, "0"), Member("a", 0, 1, "0")],
        evidence=evidence,
    )


def test_a_bundle_recorded_again_renews_its_evidence(ledger: Ledger, clock: HandClock) -> None:
    bundle(ledger)
    clock.advance(5)
    again = bundle(ledger)
    assert ledger.bundles("b", "r", 1) == (again,)
    assert again.verified_at == clock.now
    assert [member.path for member in ledger.members("tape", "r.tar")] == ["a", "b"]


def test_a_bundle_name_is_never_used_for_other_bytes(ledger: Ledger) -> None:
    first = bundle(ledger)
    with pytest.raises(RefusedError, match=r"r\.tar.*already holds other bytes"):
        bundle(ledger, sha256="2")
    with pytest.raises(RefusedError, match="already holds other bytes"):
        bundle(ledger, runs=(BundleRun("s", 1),))
    assert ledger.bundles("b", "r") == (first,)
    assert ledger.bundles("b", "r", 2) == ()


def test_a_bundle_of_several_runs_is_one_bundle_of_each(ledger: Ledger) -> None:
    one = bundle(ledger, runs=tuple(reversed(TOGETHER)))
    assert one.runs == TOGETHER
    assert ledger.bundles("b", "r") == ledger.bundles("b", "s") == (one,)
    assert bundle(ledger, runs=TOGETHER).name == one.name
    assert ledger.bundles("other", "r") == ()


def test_members_of_one_run_are_found_by_their_prefix_taken_literally(ledger: Ledger) -> None:
    members = [Member(path, at, 1, "0") for at, path in enumerate(["r_1/v1/a", "rx1/v1/a", "r%/v1/a"])]
    ledger.record_bundle(
        "b",
        TOGETHER,
        place="tape",
        name="g.tar",
        content="raw",
        size_bytes=9,
        sha256="1",
        index_digest="i",
        members=members,
        evidence=Evidence.READ_BACK,
    )
    assert [member.path for member in ledger.members("tape", "g.tar", "r_1/")] == ["r_1/v1/a"]
    assert [member.path for member in ledger.members("tape", "g.tar", "r%/")] == ["r%/v1/a"]
    assert len(ledger.members("tape", "g.tar")) == 3


def test_a_bundle_that_is_not_trusted_keeps_the_time_of_its_last_verification(ledger: Ledger, clock: HandClock) -> None:
    first = bundle(ledger)
    clock.advance(5)
    judged = ledger.judge_bundle("tape", "r.tar", Evidence.LEDGER)
    assert (judged.evidence, judged.verified_at) == (Evidence.LEDGER, first.verified_at)
    again = ledger.judge_bundle("tape", "r.tar", Evidence.READ_BACK)
    assert (again.evidence, again.verified_at) == (Evidence.READ_BACK, clock.now)
    with pytest.raises(NotFoundError, match=r"no bundle 's\.tar'"):
        ledger.judge_bundle("tape", "s.tar", Evidence.READ_BACK)


def test_the_longest_unverified_come_first_and_only_those_that_count(ledger: Ledger, clock: HandClock) -> None:
    for name in ("one.tar", "two.tar", "bad.tar"):
        bundle(ledger, name=name)
        clock.advance(1)
    ledger.judge_bundle("tape", "bad.tar", Evidence.LEDGER)
    bundle(ledger, name="one.tar")
    assert [each.name for each in ledger.bundles_in("tape", beamline="b")] == ["two.tar", "bad.tar", "one.tar"]
    clock.advance(1)
    due = ledger.bundles_in("tape", beamline="b", verified_before=clock.now)
    assert [each.name for each in due] == ["two.tar", "one.tar"]
    assert [each.name for each in ledger.bundles_in("tape", beamline="b", limit=1)] == ["two.tar"]
    two = due[0].verified_at
    assert ledger.bundles_in("tape", beamline="b", verified_before=two) == ()
    assert ledger.bundles_in("tape", beamline="other") == ledger.bundles_in("disk", beamline="b") == ()
