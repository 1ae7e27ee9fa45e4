"""Access is what owner, roster and clock say, whatever somebody did to it; what cannot be set is a finding."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from xpcs_assets.access.keeper import Found, keeping_access, settle_run
from xpcs_assets.archive.retrieve import retrieve
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Finding, FindingKind
from xpcs_assets.errors import SettingsError, UnreachableError
from xpcs_assets.places.access import EVERYBODY
from xpcs_assets.places.posix_access import PosixDoors
from xpcs_assets_tests.unit.access.conftest import OTHER, OWN, STAFF, copied, opened
from xpcs_assets_tests.unit.conftest import Altered


def looked(beamline: OpenBeamline, key: str = "A001") -> list[Found]:
    with keeping_access(beamline) as keeper:
        (owned,) = beamline.ledger.owned("xpcs", run_key=key)
        return keeper.look(owned)


def findings(beamline: OpenBeamline) -> list[Finding]:
    return list(beamline.ledger.findings("xpcs", kinds=[FindingKind.ACCESS]))


def folder_in(beamline: OpenBeamline, place: str) -> Path:
    return beamline.root(place) / "xpcs" / "A001" / "v1"


def test_each_copy_is_read_by_its_groups_and_the_staff(guarded: OpenBeamline) -> None:
    key = copied(guarded)
    assert [found.is_right for found in looked(guarded)] == [False, False]
    done = settle_run(guarded, key)
    assert [(each.gate.place, each.changed, each.is_right) for each in done] == [
        ("store", True, True),
        ("mirror", True, True),
    ]
    for found in looked(guarded):
        assert found.seen is not None
        assert found.seen.readers == {OWN, STAFF}
    assert not any(each.changed for each in settle_run(guarded, key)), "it is right, and nothing is done twice"


def test_what_somebody_let_in_is_kept_out_again(guarded: OpenBeamline) -> None:
    settle_run(guarded, copied(guarded))
    PosixDoors(guarded.place("store")).allow("xpcs/A001/v1", {OWN, OTHER})  # type: ignore[arg-type]
    (found, _) = looked(guarded)
    assert (found.missing, found.extra) == ([STAFF], [OTHER])
    assert found.why == "group 64302 cannot read it; group 64303 can, and should not"
    settle_run(guarded, "A001")
    assert all(found.is_right for found in looked(guarded))


def test_a_group_that_leaves_the_roster_is_kept_out(guarded: OpenBeamline) -> None:
    roster = guarded.site.home / "roster.yaml"
    roster.write_text("P-1: {groups: ['303']}\n", encoding="utf-8")
    with (guarded.site.home / "site.yaml").open("a", encoding="utf-8") as file:
        file.write("\nroster: {file: roster.yaml}\n")
    again = OpenBeamline(type(guarded.site)(guarded.site.home), guarded.settings)
    settle_run(again, copied(again))
    assert looked(again)[0].readers == {OWN, OTHER, STAFF}
    roster.write_text("P-1: {groups: []}\n", encoding="utf-8")
    assert looked(again)[0].extra == [OTHER]
    settle_run(again, "A001")
    assert all(found.is_right and found.readers == {OWN, STAFF} for found in looked(again))
    roster.write_text("P-1: [", encoding="utf-8")
    with pytest.raises(SettingsError, match="the roster cannot be read"):
        settle_run(again, "A001")
    again.engine.dispose()


def test_an_embargo_that_has_ended_lets_everybody_in(altered: Altered, tmp_path: Path) -> None:
    beamline = opened(altered, tmp_path, {"groups": ["301"], "embargo_until": "2020-01-01"})
    settle_run(beamline, copied(beamline))
    for found in looked(beamline):
        assert found.seen is not None
        assert found.seen.readers == {EVERYBODY}


def test_a_run_of_nobody_is_read_by_the_staff_alone(altered: Altered, tmp_path: Path) -> None:
    beamline = opened(altered, tmp_path, {"proposal": "P-1"})
    settle_run(beamline, copied(beamline))
    assert [found.readers for found in looked(beamline)] == [{STAFF}, {STAFF}]


def test_a_copy_that_is_brought_back_is_guarded_as_before(guarded: OpenBeamline) -> None:
    settle_run(guarded, copied(guarded))
    shutil.rmtree(folder_in(guarded, "store"))
    assert [found.is_there for found in looked(guarded)] == [False, True]
    retrieve(guarded, "A001")
    assert [found.is_right for found in looked(guarded)] == [False, True]
    settle_run(guarded, "A001")
    assert [found.is_there and found.is_right for found in looked(guarded)] == [True, True]


def test_a_group_that_is_not_there_is_told_and_the_others_are_let_in(altered: Altered, tmp_path: Path) -> None:
    beamline = opened(altered, tmp_path, {"groups": ["301", "no-such"]})
    done = settle_run(beamline, copied(beamline))
    assert all(found.seen is not None and found.seen.readers == {OWN, STAFF} for found in done)
    assert not any(found.is_right for found in done)
    (finding, _) = findings(beamline)
    assert "this machine has no group '64no-such'" in finding.reason
    assert (finding.run_key, finding.version, finding.place, finding.path) == ("A001", 1, "store", "xpcs/A001/v1")


def test_a_place_that_cannot_be_set_keeps_no_other_and_is_a_finding_until_it_can(
    guarded: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = copied(guarded)
    real = os.setxattr
    inode = folder_in(guarded, "store").stat().st_ino

    def refuse(folder: int, *rest: bytes) -> None:
        if os.fstat(folder).st_ino == inode:
            raise PermissionError(1, "Operation not permitted")
        real(folder, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(os, "setxattr", refuse)
        done = settle_run(guarded, key)
    assert [found.is_right for found in done] == [False, True]
    (finding,) = findings(guarded)
    assert finding.place == "store"
    assert "does not let the access be set" in finding.reason
    assert all(found.is_right for found in settle_run(guarded, key))
    assert findings(guarded) == []


def test_a_place_that_says_otherwise_after_it_was_set_is_not_called_right(
    guarded: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = copied(guarded)
    monkeypatch.setattr(PosixDoors, "allow", lambda *_: None)
    done = settle_run(guarded, key)
    assert not any(found.is_right for found in done)
    assert "the place still says otherwise" in done[0].why


def test_a_place_that_is_away_is_not_known_and_nothing_is_changed(guarded: OpenBeamline) -> None:
    key = copied(guarded)
    guarded.root("mirror").rename(guarded.root("mirror").with_name("away"))
    done = settle_run(guarded, key)
    assert [found.is_right for found in done] == [True, False]
    assert done[1].seen is None
    assert "'mirror' is unavailable" in done[1].why


def test_a_service_of_groups_that_is_down_takes_nobody_away(
    guarded: OpenBeamline, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = copied(guarded)
    settle_run(guarded, key)

    def silent(self: PosixDoors, name: str) -> None:
        raise UnreachableError("no answer", where=name)

    monkeypatch.setattr(PosixDoors, "group", silent)
    assert all("no answer" in found.why for found in settle_run(guarded, key))
    monkeypatch.undo()
    assert all(found.is_right and not found.changed for found in settle_run(guarded, key))


def test_the_finding_of_a_copy_that_has_gone_is_closed(altered: Altered, tmp_path: Path) -> None:
    beamline = opened(altered, tmp_path, {"groups": ["no-such"]})
    settle_run(beamline, copied(beamline))
    assert len(findings(beamline)) == 2
    shutil.rmtree(folder_in(beamline, "mirror"))
    settle_run(beamline, "A001")
    assert [finding.place for finding in findings(beamline)] == ["store"]
