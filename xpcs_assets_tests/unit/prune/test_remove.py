"""Removing a copy: what goes, what stays, and what is written about it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest

import xpcs_assets
from xpcs_assets.copies.ledger import CopyState, Evidence, RemovalKind
from xpcs_assets.errors import CopyError, RefusedError, RemovalRefusedError
from xpcs_assets.places.place import RemovalPermit
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.prune.proof import prove
from xpcs_assets.prune.remove import PURPOSE, prune_copy, remove_copy
from xpcs_assets.stage.copy import take_manifest
from xpcs_assets_tests.storage import BEAMLINE, FILES, KEEP_S, RETENTION, RUN, HandStopwatch, Storage


class Watched(PosixPlace):
    """A place that does something before its ``at``-th removal."""

    def __init__(self, storage: Storage, meddle: Callable[[], object], at: int = 2) -> None:
        super().__init__("detector", storage.detector.root, "detector room")
        self.meddle, self.left = meddle, at
        storage.places["detector"] = self

    def remove(self, path: str, permit: RemovalPermit) -> bool:
        self.left -= 1
        if self.left == 0:
            self.meddle()
        return super().remove(path, permit)


def kinds(storage: Storage) -> list[str]:
    return [line.kind.value for line in storage.ledger.removals(BEAMLINE, RUN)]


def outcome(storage: Storage) -> dict[str, object]:
    return dict(storage.ledger.removals(BEAMLINE, RUN, RemovalKind.OUTCOME)[-1].detail)


def test_a_copy_that_may_go_goes_and_everything_about_it_is_written(storage: Storage) -> None:
    removed = storage.prune()
    assert (storage.files_at("detector"), storage.files_at("disk")) == ({}, FILES)
    assert (removed.files, removed.size_bytes) == (3, sum(map(len, FILES.values())))
    assert (removed.copy.state, removed.kept, removed.strangers) == (CopyState.REMOVED, (), ())
    assert not storage.source.exists()
    assert kinds(storage) == ["intent", "tombstone", "outcome"]
    (tombstone,) = storage.ledger.removals(BEAMLINE, RUN, RemovalKind.TOMBSTONE)
    assert {witness["place"] for witness in tombstone.detail["witnesses"]} == {"disk", "tape"}
    assert (tombstone.removed_by, tombstone.place, tombstone.path) == ("operator", "detector", RUN)
    assert storage.ledger.timeline(BEAMLINE, RUN)[-1].what == "3 files removed from detector"
    assert storage.ledger.leases(BEAMLINE, RUN) == ()


def test_the_tombstone_is_written_before_the_first_byte_goes(storage: Storage) -> None:
    written: list[list[str]] = []
    inspector = Watched(storage, lambda: written.append(_lines(storage.root)), at=1)
    storage.prune()
    assert (inspector.left, written) == (-2, [["intent", "tombstone"]])


def _lines(root: Path) -> list[str]:
    """What another process reads in the ledger while it is locked for the removal."""
    import sqlite3

    connection = sqlite3.connect(root / "ledger.db")
    try:
        return [kind for (kind,) in connection.execute("SELECT kind FROM removals ORDER BY id")]
    finally:
        connection.close()


def test_min_copies_2_refuses_until_two_others_exist(tmp_path: Path) -> None:
    storage = Storage.build(tmp_path)
    storage.take()
    storage.clock.advance(KEEP_S)
    lenient = replace(RETENTION, needs_archive=False)
    for step, others in ((storage.stage, "0 other"), (storage.archive, "1 other")):
        with pytest.raises(RemovalRefusedError, match=f"{others} verified copies .*2 are needed"):
            storage.prune(retention=lenient)
        step()
    assert storage.prune(retention=lenient).copy.state is CopyState.REMOVED
    storage.close()


def test_the_last_copies_never_go(storage: Storage) -> None:
    storage.prune()
    with pytest.raises(RemovalRefusedError, match="1 other verified copies"):
        storage.prune("disk")
    with pytest.raises(RemovalRefusedError, match="is removed"):
        storage.prune("detector")
    assert storage.files_at("disk") == FILES


def test_a_refused_proof_leaves_everything_and_puts_the_ledger_right(storage: Storage) -> None:
    (storage.target.raw / "A001.imm").unlink()
    with pytest.raises(RemovalRefusedError, match="1 other copies are right"):
        storage.prune()
    assert storage.files_at("detector") == FILES
    assert (storage.copy("disk").state, storage.copy("detector").state) == (CopyState.LOST, CopyState.PRESENT)
    assert kinds(storage) == []


def test_one_second_too_early_is_too_early(storage: Storage) -> None:
    storage.clock.now -= timedelta(microseconds=1)
    with pytest.raises(RemovalRefusedError, match="keeps it until"):
        storage.prune()


def test_no_retention_refuses(storage: Storage) -> None:
    with pytest.raises(RemovalRefusedError, match="settings no longer know it"):
        storage.prune(retention=None)  # type: ignore[arg-type]


def test_f46_a_ledger_that_does_not_know_the_copy_deletes_nothing(storage: Storage, tmp_path: Path) -> None:
    other = Storage.build(tmp_path / "test instance")
    with pytest.raises(RemovalRefusedError, match="no longer know it"):
        prune_copy(
            other.ledger,
            storage.copy("detector"),
            storage.places,
            RETENTION,
            catalogued=True,
            holder="test",
            by="operator",
            reason="retention",
        )
    assert storage.files_at("detector") == FILES
    other.close()


def test_f39_work_on_the_run_and_holds_refuse(storage: Storage) -> None:
    with storage.ledger.lease(BEAMLINE, RUN, "correlate", "worker", 60), pytest.raises(RefusedError, match="worker"):
        storage.prune()
    storage.ledger.hold(BEAMLINE, RUN, "paper", "a scientist")
    with pytest.raises(RemovalRefusedError, match="a scientist holds it: paper"):
        storage.prune()
    assert storage.files_at("detector") == FILES


def _proof_and_remove(storage: Storage, between: Callable[[], object], watch: HandStopwatch | None = None) -> None:
    lease = storage.ledger.take_lease(BEAMLINE, RUN, PURPOSE, "one", 60)
    others = storage.ledger.copies(BEAMLINE, RUN, 1)
    stopwatch = watch or HandStopwatch()
    proof = prove(storage.copy("detector"), storage.manifest, others, storage.places, RETENTION, stopwatch=stopwatch)
    between()
    remove_copy(storage.ledger, proof, lease, storage.places, by="operator", reason="retention")


def test_f49_a_hold_that_comes_after_the_proof_wins(storage: Storage) -> None:
    with pytest.raises(RefusedError, match="a scientist holds it"):
        _proof_and_remove(storage, lambda: storage.ledger.hold(BEAMLINE, RUN, "wanted", "a scientist"))
    assert storage.files_at("detector") == FILES
    assert (storage.copy("detector").state, outcome(storage)["removed"]) == (CopyState.PRESENT, [])


def test_i16_whoever_lost_the_lease_removes_nothing(storage: Storage) -> None:
    def overtaken() -> None:
        storage.clock.advance(61)
        storage.ledger.take_lease(BEAMLINE, RUN, PURPOSE, "two", 60)

    with pytest.raises(RefusedError, match="another has taken it over"):
        _proof_and_remove(storage, overtaken)
    assert storage.files_at("detector") == FILES


def test_f41_an_expired_proof_removes_nothing(storage: Storage) -> None:
    watch = HandStopwatch()
    with pytest.raises(RemovalRefusedError, match="expired"):
        _proof_and_remove(storage, lambda: setattr(watch, "seconds", 1e6), watch)
    assert storage.files_at("detector") == FILES
    assert storage.copy("detector").state is CopyState.PRESENT


def test_a_witness_that_goes_after_the_proof_stops_the_removal(storage: Storage) -> None:
    with pytest.raises(RemovalRefusedError, match="changed or is gone"):
        _proof_and_remove(storage, (storage.target.raw / "A001.imm").unlink)
    assert storage.files_at("detector") == FILES


def test_f50_a_removal_that_ends_half_way_says_so_and_is_finished_later(storage: Storage) -> None:
    def fail() -> None:
        raise CopyError("the device is busy")

    Watched(storage, fail)
    with pytest.raises(CopyError, match="busy"):
        storage.prune()
    assert len(storage.files_at("detector")) == 2
    copy = storage.copy("detector")
    assert (copy.state, copy.reason) == (CopyState.PART_REMOVED, "removal 1 ended early: the device is busy")
    assert outcome(storage)["state"] == "part removed"
    storage.places["detector"] = storage.detector
    removed = storage.prune()
    assert (removed.files, removed.copy.state) == (2, CopyState.REMOVED)
    assert storage.files_at("detector") == {}


def test_f49_a_removal_may_be_stopped_between_two_files(storage: Storage) -> None:
    watch = HandStopwatch()
    Watched(storage, lambda: setattr(watch, "seconds", 1e6))
    with pytest.raises(RemovalRefusedError, match="expired"):
        _proof_and_remove(storage, lambda: None, watch)
    assert len(storage.files_at("detector")) == 2
    assert storage.copy("detector").state is CopyState.PART_REMOVED


def test_files_that_no_removal_took_are_lost_and_not_removed(storage: Storage) -> None:
    (storage.source / "A001.imm").unlink()
    with pytest.raises(RemovalRefusedError, match="1 of its files are gone, and no removal took them"):
        storage.prune()
    assert storage.copy("detector").state is CopyState.LOST
    assert kinds(storage) == []


def test_the_tombstone_of_another_copy_does_not_explain_missing_files(storage: Storage) -> None:
    storage.prune("disk")
    storage.stage()
    storage.clock.advance(KEEP_S)
    (storage.source / "A001.imm").unlink()
    with pytest.raises(RemovalRefusedError, match="no removal took them"):
        storage.prune("detector")


def test_the_tombstone_of_an_earlier_stay_does_not_explain_missing_files(storage: Storage) -> None:
    storage.prune("disk")
    storage.clock.advance(1)
    storage.stage()
    storage.clock.advance(KEEP_S)
    (storage.target.raw / "A001.imm").unlink()
    with pytest.raises(RemovalRefusedError, match="no removal took them"):
        storage.prune("disk")
    assert storage.copy("disk").state is CopyState.LOST


def test_an_empty_mount_point_is_not_taken_for_a_removed_copy(storage: Storage) -> None:
    storage.detector.root.rename(storage.root / "away")
    storage.detector.root.mkdir()
    with pytest.raises(RemovalRefusedError, match="3 of its files are gone"):
        storage.prune()
    assert storage.copy("detector").state is CopyState.LOST


def test_f51_a_stranger_s_file_stays_and_is_reported(storage: Storage) -> None:
    (storage.source / "sub" / "thesis.txt").write_bytes(b"mine")
    removed = storage.prune()
    assert removed.strangers == (f"{RUN}/sub/thesis.txt",)
    assert (storage.source / "sub" / "thesis.txt").read_bytes() == b"mine"
    assert removed.copy.state is CopyState.REMOVED


def test_a_run_that_lies_among_others_in_the_root_calls_nobody_a_stranger(tmp_path: Path) -> None:
    storage = Storage.build(tmp_path)
    storage.source = storage.detector.root
    for path, data in FILES.items():
        (storage.source / path).parent.mkdir(exist_ok=True)
        (storage.source / path).write_bytes(data)
    manifest = take_manifest(RUN, storage.source, list(FILES))
    storage.ledger.record_version(BEAMLINE, RUN, manifest, str(storage.source))
    storage.ledger.record_copy(
        BEAMLINE, RUN, 1, place="detector", path=".", failure_domain="detector room", evidence=Evidence.READ_BACK
    )
    for step in (storage.stage, storage.archive):
        storage.source, source = storage.detector.root / RUN, storage.source  # staged from the folder of its own
        step()
        storage.source = source
    storage.clock.advance(KEEP_S)
    removed = storage.prune()
    assert (removed.files, removed.strangers, storage.files_at("detector")) == (3, (), {})
    assert (storage.detector.root / RUN / "A001.imm").exists()
    storage.close()


def test_a_newer_measurement_under_the_same_name_stays(storage: Storage) -> None:
    newer = b"newer!" * 5000
    (storage.source / "A001.imm").write_bytes(newer)
    removed = storage.prune()
    assert (storage.source / "A001.imm").read_bytes() == newer
    assert (removed.files, removed.copy.state) == (2, CopyState.PART_REMOVED)
    assert "A001.imm: it holds other bytes" in removed.copy.reason
    again = storage.prune()
    assert (again.files, (storage.source / "A001.imm").read_bytes()) == (0, newer)
    assert again.copy.state is CopyState.PART_REMOVED


def test_a_copy_whose_bytes_are_all_others_is_bad_and_stays(storage: Storage) -> None:
    for path in FILES:
        (storage.source / path).write_bytes(b"other")
    removed = storage.prune()
    assert (removed.files, removed.copy.state) == (0, CopyState.BAD)
    with pytest.raises(RemovalRefusedError, match="the copy is bad"):
        storage.prune()


@pytest.mark.parametrize(
    ("change", "left", "reason"),
    [
        (lambda file: file.write_bytes(b"x"), {"A001.imm": b"x"}, "it changed after the proof was made"),
        (lambda file: file.unlink(), {}, "it is not there"),
    ],
)
def test_a_file_that_changes_after_the_proof_stays(
    storage: Storage, change: Callable[[Path], object], left: dict[str, bytes], reason: str
) -> None:
    _proof_and_remove(storage, lambda: change(storage.source / "A001.imm"))
    assert storage.files_at("detector") == left
    assert storage.copy("detector").state is CopyState.PART_REMOVED
    assert storage.copy("detector").reason.endswith(reason)


def test_an_archive_is_never_pruned_and_not_called_lost_for_it(storage: Storage) -> None:
    with pytest.raises(RemovalRefusedError, match="nothing is removed from an archive"):
        storage.prune("tape", replace(RETENTION, needs_archive=False))
    assert storage.copy("tape").state is CopyState.PRESENT


def test_f48_a_run_whose_name_begins_alike_is_not_touched(storage: Storage) -> None:
    for name in ("A0011", "A00", "1A001"):
        (storage.detector.root / name).mkdir()
        (storage.detector.root / name / "A001.imm").write_bytes(b"another run")
    storage.prune()
    assert sorted(path.name for path in storage.detector.root.iterdir()) == ["1A001", "A00", "A0011"]
    assert len(list(storage.detector.root.rglob("A001.imm"))) == 3


def test_a_staged_copy_goes_and_keeps_its_manifest_and_results(storage: Storage) -> None:
    result = storage.target.result("abc")
    result.parent.mkdir(parents=True)
    result.write_bytes(b"g2")
    assert storage.prune("disk").copy.state is CopyState.REMOVED
    assert (storage.files_at("disk"), storage.files_at("detector")) == ({}, FILES)
    assert storage.target.manifest.exists()
    assert result.exists()
    storage.stage()
    assert (storage.copy("disk").state, storage.files_at("disk")) == (CopyState.PRESENT, FILES)


STORAGE = {
    "places/syscalls.py",
    "places/files.py",
    "places/moving.py",
    "places/posix.py",
    "places/ssh_far.py",
    "places/ssh_far_files.py",
    "prune/remove.py",
}
FLIGHTS = {"doctor/flights.py"}
"""Takes away files that are below ``.xpcs-flight`` alone, by a permit that refuses any other."""
OWN_OUTPUT = {
    "correlate/publish.py",
    "results/write_result.py",
    "qmaps/qmap.py",
    "new_site.py",
    "copies/second.py",
    "compute/qmap_registry.py",
    "places/hpss_scratch.py",
    "process/making.py",
}
"""These take away what they have just made themselves: a partial result, a lock, a beamline file that does not load, a
ledger that was being made again, a q-map whose number another got, the folder that a command worked in, answers of
jobs in the scratch folder of HPSS. What is made for tests is not looked at: no site runs it."""


def _deletes(node: ast.Attribute) -> bool:
    owner = node.value.id if isinstance(node.value, ast.Name) else ""
    return node.attr in {"unlink", "rmtree", "removedirs", "rmdir"} or (
        node.attr == "remove" and owner in {"os", "shutil", "place"}
    )


@cache
def _attributes() -> tuple[tuple[str, ast.Attribute], ...]:
    """Every ``something.name`` in every file that a site runs."""
    root = Path(xpcs_assets.__file__).parent
    found = []
    for file in root.rglob("*.py"):
        name = file.relative_to(root)
        if name.parts[0] != "testing":
            nodes = ast.walk(ast.parse(file.read_text()))
            found += [(name.as_posix(), node) for node in nodes if isinstance(node, ast.Attribute)]
    return tuple(found)


def test_nothing_else_in_the_package_deletes_files() -> None:
    found = {file for file, node in _attributes() if _deletes(node)}
    assert STORAGE | FLIGHTS <= found <= STORAGE | FLIGHTS | OWN_OUTPUT


def test_a_place_is_asked_to_remove_copies_in_one_function_and_flight_files_in_another() -> None:
    callers = {file for file, node in _attributes() if node.attr == "remove"}
    assert callers == {"prune/remove.py", "doctor/flights.py"}
