"""The watch asks for a run once it is still and complete, once, and never lets one run hold up another."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from xpcs_assets.arrive import watch as watching
from xpcs_assets.arrive.candidates import files_of, find, fingerprint
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.arrive.watch import ATTEMPTS, NEWEST, REQUEST_STANDS_S, SLICE, Ready, Watch
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Arrival, ArrivalState
from xpcs_assets.errors import CopyError
from xpcs_assets.runs.folders import MARKER
from xpcs_assets_tests.storage import HandStopwatch
from xpcs_assets_tests.unit.conftest import Altered, bare_run

QUIET_S = 5.0
GIVE_UP_S = 600.0


class Watcher:
    """A watch whose clock the test sets, and the source it watches."""

    def __init__(self, beamline: OpenBeamline) -> None:
        self.beamline = beamline
        self.clock = HandStopwatch()
        self.source = beamline.source_root
        self.watch = Watch(beamline, self.clock)

    def restart(self) -> None:
        self.watch = Watch(self.beamline, self.clock)

    def look(self, limit: int = 100) -> list[str]:
        return [item.key for item in self.ready(limit)]

    def ready(self, limit: int = 100) -> list[Ready]:
        return self.watch.look(limit)

    def after(self, seconds: float, limit: int = 100) -> list[str]:
        self.clock.seconds += seconds
        return self.look(limit)

    def settle(self, limit: int = 100) -> list[str]:
        """Look, wait for the quiet time and look again."""
        return self.look(limit) + self.after(QUIET_S, limit)

    def arrival(self, key: str = "A001") -> Arrival:
        found = self.beamline.ledger.arrival("xpcs", key)
        assert found is not None
        return found

    def told(self, key: str = "A001") -> tuple[str, str]:
        return self.arrival(key).state.value, self.arrival(key).reason


@pytest.fixture
def watcher(beamline: OpenBeamline) -> Watcher:
    return Watcher(beamline)


def taken(watcher: Watcher, *names: str) -> None:
    """Runs that are in the pipeline already."""
    for name in names:
        bare_run(watcher.source / name)
    watcher.settle()
    for name in names:
        take(watcher.beamline, name)
    watcher.restart()


def rewrite(run: Path) -> None:
    (run / f"{run.name}.imm").write_bytes(b"other frames " + os.urandom(4).hex().encode())


def test_a_run_is_asked_for_once_it_was_still_for_the_quiet_time(watcher: Watcher) -> None:
    bare_run(watcher.source / "A001")
    assert watcher.look() == []
    assert watcher.after(QUIET_S - 0.1) == []
    assert watcher.after(0.1) == ["A001"]
    assert watcher.told() == ("waiting", "complete; asked to be taken")


def test_the_stamp_of_another_machines_clock_is_never_compared(watcher: Watcher) -> None:
    run = bare_run(watcher.source / "A001")
    os.utime(run / "A001.imm", ns=(0, 2**62))
    assert watcher.settle() == ["A001"]


def test_a_file_that_keeps_growing_is_never_taken(watcher: Watcher) -> None:
    run = bare_run(watcher.source / "A001")
    for _ in range(20):
        with (run / "A001.imm").open("ab") as file:
            file.write(b"more")
        assert watcher.after(QUIET_S) == []
    assert watcher.after(QUIET_S) == ["A001"]


def test_f13_a_marker_spares_the_quiet_time_and_nothing_is_taken_without_it(altered: Altered) -> None:
    watcher = Watcher(altered({"runs": {"from": {"complete_when": {"marker": ".done"}}}}))
    run = bare_run(watcher.source / "A001")
    assert watcher.settle() == []
    assert watcher.told() == ("waiting", "the marker '.done' is not there yet")
    (run / ".done").touch()
    assert watcher.look() == ["A001"]


def test_f13_a_marker_that_comes_before_the_last_file_does_not_make_the_run_complete(altered: Altered) -> None:
    watcher = Watcher(altered({"runs": {"from": {"complete_when": {"marker": ".done"}}}}))
    run = bare_run(watcher.source / "A001")
    (run / ".done").touch()
    (run / "A001_metadata.hdf").rename(watcher.source / "aside")
    assert watcher.settle() == []
    assert watcher.told()[1].startswith("no file matches '*_metadata.hdf'")
    (watcher.source / "aside").rename(run / "A001_metadata.hdf")
    assert watcher.look() == ["A001"]


def test_f13_a_run_that_stays_incomplete_is_shown_so_and_taken_when_it_becomes_complete(watcher: Watcher) -> None:
    run = bare_run(watcher.source / "A001")
    (run / "A001.imm").write_bytes(b"")
    assert watcher.settle() == []
    assert watcher.told() == ("waiting", "'A001.imm' has zero bytes")
    assert watcher.after(GIVE_UP_S) == []
    assert watcher.told() == ("incomplete", "'A001.imm' has zero bytes")
    (run / "A001.imm").write_bytes(b"frames")
    assert watcher.settle() == ["A001"]


def test_hdf5_that_is_no_hdf5_is_shown_and_the_other_runs_go_on(watcher: Watcher) -> None:
    bare_run(watcher.source / "A001")
    (watcher.source / "A001" / "A001.h5").write_bytes(b"not at all HDF5")
    bare_run(watcher.source / "A002")
    assert watcher.settle() == ["A002"]
    assert watcher.told() == ("waiting", "'A001.h5' is no HDF5 file")


def test_the_same_files_are_asked_for_once_and_later_by_the_same_request(watcher: Watcher) -> None:
    bare_run(watcher.source / "A001")
    watcher.look()
    watcher.clock.seconds += QUIET_S
    (first,) = watcher.ready()
    assert watcher.look() == []
    assert watcher.after(REQUEST_STANDS_S - 1) == []
    watcher.clock.seconds += 1
    assert watcher.ready() == [first]


def test_a_lost_process_asks_by_the_same_request_again(watcher: Watcher) -> None:
    bare_run(watcher.source / "A001")
    watcher.look()
    watcher.clock.seconds += QUIET_S
    first = watcher.ready()
    watcher.restart()
    watcher.look()
    watcher.clock.seconds += QUIET_S
    assert watcher.ready() == first


def test_a_restarted_process_does_not_take_known_runs_again(watcher: Watcher) -> None:
    taken(watcher, "A001", "A002")
    assert watcher.settle() == []
    assert watcher.after(REQUEST_STANDS_S) == []
    assert watcher.told() == ("taken", "")


def test_a_run_that_was_taken_is_not_asked_for_again_by_the_process_that_asked(watcher: Watcher) -> None:
    bare_run(watcher.source / "A001")
    assert watcher.settle() == ["A001"]
    take(watcher.beamline, "A001")
    assert watcher.after(REQUEST_STANDS_S + 1) == []
    assert watcher.told() == ("taken", "")


def test_files_that_were_rewritten_are_asked_for_again_by_another_request(watcher: Watcher) -> None:
    taken(watcher, "A001")
    before = watcher.arrival().fingerprint
    rewrite(watcher.source / "A001")
    watcher.look()
    watcher.clock.seconds += QUIET_S
    (request,) = watcher.ready()
    assert request.key == "A001"
    assert request.fingerprint != before
    assert take(watcher.beamline, "A001").version.version == 2


def test_a_taken_run_with_a_passing_trouble_is_taken_again_in_name_only(watcher: Watcher) -> None:
    taken(watcher, "A001")
    extra = watcher.source / "A001" / "being copied.hdf"
    extra.touch()
    assert watcher.settle() == []
    assert watcher.told() == ("waiting", "'being copied.hdf' has zero bytes")
    extra.unlink()
    assert watcher.settle() == []
    assert watcher.told() == ("taken", "")
    assert watcher.after(REQUEST_STANDS_S + 1) == []


def test_a_passing_trouble_ends_well_over_a_restart(watcher: Watcher) -> None:
    taken(watcher, "A001")
    extra = watcher.source / "A001" / "being copied.hdf"
    extra.touch()
    watcher.settle()
    watcher.restart()
    extra.unlink()
    assert watcher.settle() == []
    assert watcher.told() == ("taken", "")


def test_files_put_back_as_an_older_version_are_said_to_be_those(watcher: Watcher, tmp_path: Path) -> None:
    taken(watcher, "A001")
    raw = watcher.source / "A001" / "A001.imm"
    raw.rename(tmp_path / "old.imm")
    raw.write_bytes(b"a second measurement")
    assert watcher.settle() == ["A001"]
    take(watcher.beamline, "A001")
    assert watcher.after(REQUEST_STANDS_S) == []
    (tmp_path / "old.imm").rename(raw)
    assert watcher.settle() == []
    assert watcher.told() == ("taken", "its files are those of version 1 again; version 2 stays the newest")


@pytest.fixture
def many(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> Watcher:
    """A watch that knows 200 taken runs; their files are made by name alone."""
    monkeypatch.setattr(watching, "why_not", lambda *_: "")
    for number in range(200):
        folder = watcher.source / f"B{number:03d}"
        folder.mkdir()
        (folder / "a.imm").write_bytes(b"frames")
    settings = watcher.beamline.settings
    for candidate in find(settings, watcher.source):
        seen = fingerprint(files_of(settings, candidate, watcher.source))
        watcher.beamline.ledger.note_arrival(
            "xpcs", candidate.key, source=candidate.source, fingerprint=seen, state=ArrivalState.TAKEN
        )
    watcher.restart()
    return watcher


def test_one_new_run_beside_200_known_ones_is_found_at_once(many: Watcher) -> None:
    assert many.look() == []
    bare_run(many.source / "A001")
    assert many.settle() == ["A001"]


def test_an_old_run_that_was_rewritten_is_found_within_one_turn(many: Watcher) -> None:
    (many.source / "B100" / "a.imm").write_bytes(b"other frames")
    turns = -(-(200 - NEWEST) // SLICE)
    for _ in range(turns):  # seen changed
        many.look()
    assert "B100" in [key for _ in range(turns) for key in many.after(QUIET_S)]


def test_the_newest_of_the_known_runs_are_looked_at_each_time(many: Watcher) -> None:
    (many.source / "B199" / "a.imm").write_bytes(b"other frames")
    assert many.settle() == ["B199"]


def test_the_newest_runs_come_first_and_no_more_than_asked_for(watcher: Watcher) -> None:
    for number in range(10):
        bare_run(watcher.source / f"A{number}")
    watcher.look()
    watcher.clock.seconds += QUIET_S
    assert watcher.look(limit=4) == ["A9", "A8", "A7", "A6"]
    assert watcher.look(limit=100) == ["A5", "A4", "A3", "A2", "A1", "A0"]


def test_submitted_runs_come_first_and_count_towards_the_limit(watcher: Watcher) -> None:
    for number in range(6):
        bare_run(watcher.source / f"A{number}")
    watcher.look()
    watcher.clock.seconds += QUIET_S
    for key in ("A0", "A1", "A2"):
        submit(watcher.beamline, watcher.source / key)
    assert set(watcher.look(limit=2)) < {"A0", "A1", "A2"}
    second = watcher.look(limit=2)
    assert set(second[:1]) < {"A0", "A1", "A2"}
    assert second[1:] == ["A5"]
    assert watcher.look() == ["A4", "A3"]


@pytest.mark.parametrize(
    "trouble", ["cannot be listed", "an unsafe name", "vanishes", "no HDF5", "a pipe", "is a clash"]
)
def test_one_poisoned_run_does_not_keep_49_others_from_being_taken(
    altered: Altered, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    watcher = Watcher(altered({"runs": {"from": {"path": "{cycle}/{run}/"}, "key": "{run}"}}))
    names = [f"A{number:03d}" for number in range(50)]
    for name in names:
        bare_run(watcher.source / "2026-1" / name)
    poisoned = watcher.source / "2026-1" / "A025"
    if trouble in {"cannot be listed", "vanishes"}:
        error = PermissionError if trouble == "cannot be listed" else FileNotFoundError
        scandir = os.scandir

        def scan(path: Path) -> object:
            if Path(path) == poisoned:
                raise error(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", scan)
    elif trouble == "an unsafe name":
        os.rename(poisoned, os.fsencode(watcher.source) + b"/2026-1/\xff")  # noqa: PTH104 - the name is bytes
    elif trouble == "no HDF5":
        (poisoned / "A025_metadata.hdf").write_bytes(b"nothing of the kind")
    elif trouble == "a pipe":
        os.mkfifo(poisoned / "pipe.imm")
    else:
        bare_run(watcher.source / "2026-2" / "A024")
        poisoned.rename(watcher.source / "2026-1" / "A026b")
    assert len(set(watcher.settle()) & set(names)) == 49


def test_two_runs_that_the_key_does_not_tell_apart_are_shown_and_never_merged(altered: Altered) -> None:
    watcher = Watcher(altered({"runs": {"from": {"path": "{cycle}/{run}/"}, "key": "{run}"}}))
    bare_run(watcher.source / "2026-2" / "A001")
    assert watcher.settle() == ["A001"]
    take(watcher.beamline, "A001")
    watcher.restart()
    for cycle in ("2026-1", "2026-3"):
        bare_run(watcher.source / cycle / "A001")
    assert watcher.settle() == []
    shown = {arrival.source: arrival for arrival in watcher.beamline.ledger.arrivals("xpcs")}
    assert shown["2026-2/A001"].state is ArrivalState.TAKEN
    for source in ("2026-1/A001", "2026-3/A001"):
        assert shown[source].state is ArrivalState.REFUSED
        assert "'A001' already belongs to 2026-2/A001" in shown[source].reason


def test_a_run_under_the_key_of_one_that_is_gone_from_the_source_is_shown_and_never_merged(altered: Altered) -> None:
    watcher = Watcher(altered({"runs": {"from": {"path": "{cycle}/{run}/"}, "key": "{run}"}}))
    gone = bare_run(watcher.source / "2026-1" / "A001")
    watcher.settle()
    take(watcher.beamline, "A001")
    shutil.rmtree(gone)
    bare_run(watcher.source / "2026-2" / "A001")
    watcher.restart()
    assert watcher.settle() == []
    assert watcher.told() == ("taken", "")
    (refused,) = watcher.beamline.ledger.arrivals("xpcs", states=[ArrivalState.REFUSED])
    assert refused.source == "2026-2/A001"
    assert refused.reason.startswith("run key 'A001' already belongs to 2026-1/A001")
    assert len(watcher.beamline.ledger.versions("xpcs", "A001")) == 1


def test_two_runs_whose_names_differ_in_one_odd_character_are_two_runs_in_the_ledger(watcher: Watcher) -> None:
    names = ["A 001", "A_001", "A%001", "A.001", "Aé001", "Ae\u0301001"]
    for name in names:
        bare_run(watcher.source / name)
    keys = watcher.settle()
    for key in keys:
        take(watcher.beamline, key)
    assert {run.source for run in watcher.beamline.ledger.runs("xpcs")} == set(names)
    assert len(set(keys)) == len(names)


def test_a_refused_run_is_shown_with_its_reason(altered: Altered) -> None:
    watcher = Watcher(altered({"runs": {"refuse": ["secret"]}}))
    bare_run(watcher.source / "secret1")
    assert watcher.settle() == []
    assert watcher.told("secret1") == ("refused", "its path holds 'secret', which this beamline refuses")


def test_a_run_that_cannot_be_listed_waits_with_its_reason_and_is_taken_later(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bare_run(watcher.source / "A001")
    scandir = os.scandir

    def scan(path: Path) -> object:
        if Path(path) == run:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scan)
        assert watcher.settle() == []
    assert watcher.told() == ("waiting", f"cannot be read: Permission denied ({run})")
    assert watcher.settle() == ["A001"]


def test_a_taken_run_that_cannot_be_listed_for_a_while_stays_taken(
    watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(watcher, "A001")
    with monkeypatch.context() as patch:
        patch.setattr(watching, "files_of", _refuse)
        assert watcher.settle() == []
    assert watcher.settle() == []
    assert watcher.told() == ("taken", "")


def _refuse(*_: object) -> None:
    raise PermissionError(13, "Permission denied", "A001")


def test_a_run_that_keeps_failing_is_asked_for_no_more_than_three_times(watcher: Watcher) -> None:
    bare_run(watcher.source / "A001")
    asked = []
    for _ in range(2 * ATTEMPTS):
        watcher.clock.seconds += REQUEST_STANDS_S + QUIET_S
        for request in watcher.ready() or watcher.ready():
            asked.append(request.attempt)
            watcher.beamline.ledger.retake("xpcs", "A001", "its disk is failing")
    assert asked == [0, 1, 2]
    assert watcher.told() == ("incomplete", "its disk is failing")


def test_a_run_that_failed_is_asked_for_again_when_its_files_change(watcher: Watcher) -> None:
    run = bare_run(watcher.source / "A001")
    watcher.settle()
    for _ in range(ATTEMPTS):
        watcher.beamline.ledger.retake("xpcs", "A001", "its disk is failing")
    rewrite(run)
    assert watcher.settle() == ["A001"]


def test_a_run_that_vanished_before_it_was_still_is_forgotten_and_may_come_back(
    watcher: Watcher, tmp_path: Path
) -> None:
    run = bare_run(watcher.source / "A001")
    watcher.look()
    run.rename(tmp_path / "A001")
    assert watcher.after(QUIET_S) == []
    (tmp_path / "A001").rename(run)
    assert watcher.settle() == ["A001"]


def test_a_watched_folder_that_is_gone_is_an_error_that_the_tick_shows(watcher: Watcher) -> None:
    watcher.source.rmdir()
    with pytest.raises(CopyError, match=r"watched folder is unavailable: No such file.*`xpcs-assets place xpcs`"):
        watcher.look()
    assert watcher.watch.refused_folders() == [str(watcher.source)]


def test_f52_another_disk_in_the_watched_folder_is_an_error_and_not_an_absence_of_runs(watcher: Watcher) -> None:
    bare_run(watcher.source / "A001")
    watcher.settle()
    watcher.source.rename(watcher.source.with_name("unmounted"))
    watcher.source.mkdir()
    with pytest.raises(CopyError, match=r"no marker \.xpcs-assets-place is there"):
        watcher.look()
    bare_run(watcher.source / "B001")
    with pytest.raises(CopyError, match="unavailable"):
        watcher.look()
    assert watcher.beamline.ledger.arrival("xpcs", "B001") is None


def test_the_marker_of_a_place_is_no_run(altered: Altered) -> None:
    beamline = altered({"runs": {"from": {"path": "{run}"}}})
    Watch(beamline).look(10)
    assert [path.name for path in beamline.source_root.iterdir()] == [MARKER]
    assert list(find(beamline.settings, beamline.source_root)) == []
