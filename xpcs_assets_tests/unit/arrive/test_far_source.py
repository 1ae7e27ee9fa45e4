"""Runs on another machine are found, judged, taken and staged as those of a folder of this one."""

from __future__ import annotations

import os
import threading
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, build_sensor_context
from typer.testing import CliRunner

from xpcs_assets import cli
from xpcs_assets.archive.archiving import archive
from xpcs_assets.arrive import sensors
from xpcs_assets.arrive.candidates import find, unreadable
from xpcs_assets.arrive.crawl import crawl
from xpcs_assets.arrive.source import source_of
from xpcs_assets.arrive.submit import matches, submit
from xpcs_assets.arrive.take import take
from xpcs_assets.arrive.watch import Watch
from xpcs_assets.audit.runs import compare_runs
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import ArrivalState, CopyState, Evidence
from xpcs_assets.describe.judging import judge_raw, raw_quality
from xpcs_assets.errors import ChangedWhileReadingError, CopyError, NotFoundError, RefusedError, SettingsError
from xpcs_assets.intake.taking import take_files
from xpcs_assets.orchestrate.bindings import Bound
from xpcs_assets.places.marker import UNMARKED
from xpcs_assets.places.ssh import SshPlace
from xpcs_assets.prune.pruning import plan, prune_all
from xpcs_assets.runs.folders import ARRIVING_FOLDER, MARKER
from xpcs_assets.runs.manifest import Manifest
from xpcs_assets.runs.selection import Selection
from xpcs_assets.site import Site
from xpcs_assets.stage.copy import take_manifest
from xpcs_assets.stage.moves import Waits
from xpcs_assets.stage.staging import StagedRun, stage
from xpcs_assets.testing.faults import partials_below
from xpcs_assets_tests.far_source import Altered, far_beamline, server_or_skip
from xpcs_assets_tests.storage import HandStopwatch
from xpcs_assets_tests.unit.conftest import bare_run

QUIET_S = 5.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "a DAQ's disk"


@pytest.fixture
def opening(site: Site, altered: Altered, root: Path) -> Any:
    """Open the beamline with some of its settings changed."""
    server = server_or_skip()
    return lambda **changes: far_beamline(site, altered, root, server.commands, **changes)


@pytest.fixture
def far(opening: Any) -> OpenBeamline:
    """The beamline."""
    return opening()  # type: ignore[no-any-return]


def staged(beamline: OpenBeamline, key: str = "A001") -> StagedRun:
    done = stage(beamline, key)
    assert not isinstance(done, Waits)
    return done


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the other machine from now on."""
    asked: list[str] = []
    request = SshPlace.request

    def counting(self: SshPlace, do: str, *args: Any, **facts: Any) -> Any:
        asked.append(do)
        return request(self, do, *args, **facts)

    monkeypatch.setattr(SshPlace, "request", counting)
    return asked


def test_a_run_is_asked_for_once_it_is_still_and_taken_and_staged_as_it_is(far: OpenBeamline, root: Path) -> None:
    clock = HandStopwatch()
    watch = Watch(far, clock)
    run = bare_run(root / "A001")
    assert watch.look(10) == []
    (run / "A001.imm").write_bytes(b"more frames")
    clock.seconds += QUIET_S
    assert watch.look(10) == []
    clock.seconds += QUIET_S
    assert [ready.key for ready in watch.look(10)] == ["A001"]
    done = take(far, "A001")
    local = take_manifest("A001", run, ["A001.imm", "A001_metadata.hdf"])
    assert (done.version.manifest, done.raw) == (local, ("A001.imm",))
    (copy,) = far.ledger.copies("xpcs", "A001")
    assert (copy.place, copy.path, copy.evidence) == ("detector", "A001", Evidence.READ_BACK)
    assert copy.failure_domain == "the DAQ machine"
    made = staged(far)
    assert (made.staged.bytes_moved, made.staged.already_there) == (local.size_bytes, 0)
    for entry in local.files:
        file = made.folder.raw / entry.path
        assert (file.read_bytes(), file.stat().st_mtime_ns) == ((run / entry.path).read_bytes(), entry.mtime_ns)
    assert Manifest.from_json(made.folder.manifest.read_text()) == local
    assert {copy.place for copy in far.ledger.copies("xpcs", "A001")} == {"detector", "store"}
    assert not (far.root("store") / ARRIVING_FOLDER).exists()
    assert partials_below(far.root("store")) == ()


def test_what_is_staged_is_not_brought_again(far: OpenBeamline, root: Path) -> None:
    submit(far, bare_run(root / "A001"))
    take(far, "A001")
    staged(far)
    assert (staged(far).staged.bytes_moved, staged(far).staged.already_there) == (0, 2)


def test_a_look_is_one_listing_however_many_runs_and_files_there_are(
    far: OpenBeamline, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        bare_run(root / f"A{number:03d}")
    big = root / "A000" / "chunks"
    big.mkdir()
    for number in range(1000):
        (big / f"chunk {number:04d}").write_bytes(b"c")
    watch = Watch(far)
    asked = counted(monkeypatch)
    assert watch.look(100) == []
    assert asked == ["available", "folders", "folders"]
    (candidate, *_) = find(far.settings, root, source_of(far).tree())
    tree = source_of(far).tree()
    assert len(tree.entries(candidate.folder / "chunks")) == 1000


def test_the_far_side_tells_what_links_and_locked_folders_are(opening: Any, root: Path, tmp_path: Path) -> None:
    far = opening(runs={"from": {"path": "{experiment}/{run}/"}, "key": "{experiment}_{run}"})
    run = bare_run(root / "smith" / "A001")
    bare_run(tmp_path / "elsewhere" / "A009")
    (root / "door").symlink_to(tmp_path / "elsewhere")
    (root / "smith" / "A002").symlink_to(run)
    (run / "odd").symlink_to("A001.imm")
    tree = source_of(far).tree()
    (found,) = find(far.settings, root, tree)
    assert found.source == "smith/A001"
    assert unreadable(root, far.settings, tree) == []
    (match,) = matches(far, 10)
    assert "'odd' is a link or no ordinary file" in match.reason
    with pytest.raises(OSError, match="symbolic links"):
        tree.entries(root / "door" / "A009")


def test_names_of_all_kinds_are_found_taken_and_staged(far: OpenBeamline, root: Path) -> None:
    pair = [unicodedata.normalize(form, "Düse") for form in ("NFC", "NFD")]
    names = ["a b", "a\nb", "-rf", "#1", "$(touch x)", "名" * 60, *pair]
    for name in names:
        bare_run(root / name)
        (root / name / "sub folder").mkdir()
        (root / name / "sub folder" / f"{name[:20]} [1]*").write_bytes(name.encode())
    found = {match.source: match for match in matches(far, 100)}
    assert (set(found), {match.reason for match in found.values()}) == (set(names), {""})
    for name in ("a\nb", pair[1], "#1"):
        key = submit(far, Path(name)).key
        take(far, key)
        raw = staged(far, key).folder.raw
        assert (raw / "sub folder" / f"{name[:20]} [1]*").read_bytes() == name.encode()
        assert staged(far, key).staged.bytes_moved == 0


def test_a_raw_file_is_a_run_with_its_companions(opening: Any, root: Path) -> None:
    far = opening(runs={"from": {"path": "{run}.imm"}})
    bare_run(root, "A001")
    bare_run(root, "A0010")
    (root / "A001.plots").symlink_to(root)
    assert [(match.key, match.reason) for match in matches(far, 10)] == [("A001", ""), ("A0010", "")]
    key = submit(far, root / "A001.imm").key
    manifest = take(far, key).version.manifest
    assert [entry.path for entry in manifest.files] == ["A001.imm", "A001_metadata.hdf"]
    raw = staged(far, key).folder.raw
    assert sorted(path.name for path in raw.iterdir()) == ["A001.imm", "A001_metadata.hdf"]


def test_a_marker_there_says_that_a_run_is_complete(opening: Any, root: Path) -> None:
    far = opening(runs={"from": {"complete_when": {"quiet": 3600, "marker": ".done"}}})
    run = bare_run(root / "A001")
    watch = Watch(far)
    assert watch.look(10) == []
    (run / ".done").touch()
    assert [ready.key for ready in watch.look(10)] == ["A001"]


def test_a_run_is_named_by_its_path_there_or_below_the_root(far: OpenBeamline, root: Path) -> None:
    bare_run(root / "A001")
    assert submit(far, root / "A001" / "A001.imm").key == submit(far, Path("A001")).key == "A001"
    with pytest.raises(NotFoundError, match="no such run"):
        submit(far, Path("A002"))
    for odd in ("/etc", "../A001", f"{root}/../A001"):
        with pytest.raises(SettingsError, match=r"not below the watched folder.*lie below daq:"):
            submit(far, Path(odd))
    (root / "A001" / "A001_metadata.hdf").unlink()
    with pytest.raises(RefusedError, match="no file matches"):
        submit(far, root / "A001")


def test_crawling_submits_what_is_valid_there(far: OpenBeamline, root: Path) -> None:
    for name in ("A001", "A002"):
        bare_run(root / name)
    (root / "A003").mkdir()
    done = crawl(far, Selection.of())
    assert [[match.key for match in kind] for kind in (done.new, done.known, done.invalid)] == [
        ["A001", "A002"],
        [],
        ["A003"],
    ]
    assert [match.key for match in crawl(far, Selection.of(), root / "A002").new] == ["A002"]
    with pytest.raises(NotFoundError, match="no such folder"):
        crawl(far, Selection.of(), Path("no"))


def test_a_file_that_grows_while_it_is_read_there_is_refused(far: OpenBeamline, root: Path) -> None:
    run = bare_run(root / "A001")
    submit(far, run)
    (run / "A001.imm").write_bytes(bytes(64 << 20))
    stop = threading.Event()

    def write() -> None:
        with (run / "A001.imm").open("ab", buffering=0) as file:
            while not stop.wait(0.002):
                file.write(b"x")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with pytest.raises(ChangedWhileReadingError, match="changed while it was read"):
            take(far, "A001")
    finally:
        stop.set()
        writer.join()
    arrival = far.ledger.arrival("xpcs", "A001")
    assert arrival is not None
    assert (arrival.state, arrival.attempt, far.ledger.versions("xpcs", "A001")) == (ArrivalState.WAITING, 1, ())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda run: os.utime(run / "A001.imm", ns=(1, 1)), "changed while it was read"),
        (lambda run: (run / "A001.imm").unlink(), "vanished before it was read"),
        (lambda run: (run / "new").write_bytes(b"new"), "changed while they were read"),
    ],
)
def test_a_run_that_changes_while_another_file_of_it_is_read_is_refused(
    far: OpenBeamline, root: Path, monkeypatch: pytest.MonkeyPatch, change: Any, told: str
) -> None:
    run = bare_run(root / "A001")
    submit(far, run)
    digest = SshPlace.digest

    def then(self: SshPlace, path: str, also: Any = ()) -> Any:
        found = digest(self, path, also)
        if path.endswith("metadata.hdf"):
            change(run)
        return found

    monkeypatch.setattr(SshPlace, "digest", then)
    with pytest.raises(ChangedWhileReadingError, match=told):
        take(far, "A001")
    assert far.ledger.versions("xpcs", "A001") == ()


def test_digests_beside_sha256_are_the_same_as_made_here_and_checked(opening: Any, root: Path) -> None:
    far = opening(pipeline={"stage": {"also_hash": ["md5", "crc32c", "adler32"]}})
    run = bare_run(root / "A001")
    submit(far, run)
    manifest = take(far, "A001").version.manifest
    assert manifest == take_manifest("A001", run, [each.path for each in manifest.files], ("md5", "crc32c", "adler32"))
    assert staged(far).staged.bytes_moved == manifest.size_bytes


def test_a_damaged_hdf5_file_is_taken_and_judged_once_it_is_staged(far: OpenBeamline, root: Path) -> None:
    run = bare_run(root / "A001")
    (run / "A001_metadata.hdf").write_bytes(b"no HDF5 yet")
    assert [match.reason for match in matches(far, 10)] == [""]


def test_waiting_for_frames_of_files_that_are_not_opened_is_refused(opening: Any) -> None:
    with pytest.raises(SettingsError, match=r"frames_recorded.*kind ssh.*quiet or a marker"):
        opening(runs={"from": {"complete_when": {"frames_recorded": True}}})


def test_another_disk_there_is_no_source(far: OpenBeamline, root: Path) -> None:
    submit(far, bare_run(root / "A001"))
    (root / MARKER).unlink()
    watch = Watch(far)
    with pytest.raises(CopyError, match=r"unavailable: no marker"):
        watch.look(10)
    with pytest.raises(CopyError, match="unavailable"):
        take(far, "A001")


def test_a_root_that_cannot_be_written_is_watched_all_the_same(
    far: OpenBeamline, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of an account that may only read: no marker was left, and none is asked for."""
    bare_run(root / "A001")
    place = SshPlace("detector", far.site.host("daq"), str(root), "the DAQ machine", identity=UNMARKED)
    opened = far.place
    monkeypatch.setattr(far, "place", lambda name: place if name == "detector" else opened(name))
    submit(far, Path("A001"))
    take(far, "A001")
    assert staged(far).staged.bytes_moved


def test_the_sensor_looks_once_a_tick_and_names_the_machine(
    opening: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = opening(runs={"from": {"complete_when": {"quiet": 3600}}})
    bare_run(root / "A001")
    (sensor,) = sensors.build(Bound.of(far), "ingest")
    assert sensor.description == f"Runs that are complete in daq:{root}"
    asked = counted(monkeypatch)
    with DagsterInstance.ephemeral() as instance, build_sensor_context(instance=instance) as context:
        sensor(context)
    assert asked == ["available", "folders", "folders"]


def test_a_source_there_is_pruned_behind_a_proof(opening: Any, root: Path) -> None:
    rule = {"keep_for": "1 ms", "min_copies": 2, "needs": ["archive"], "at_most_share": 1.0}
    far = opening(retention={"detector": rule})
    submit(far, bare_run(root / "A001"))
    take(far, "A001")
    staged(far)
    assert [done.refused for done in prune_all(far, [plan(far, "detector")])] == []
    assert (root / "A001" / "A001.imm").exists()
    archive(far, "A001")
    assert [(done.files, done.refused) for done in prune_all(far, [plan(far, "detector")])] == [(2, "")]
    assert sorted(path.name for path in root.iterdir()) == [MARKER]
    (copy,) = [copy for copy in far.ledger.copies("xpcs", "A001") if copy.place == "detector"]
    assert copy.state is CopyState.REMOVED
    assert staged(far).staged.bytes_moved == 0  # by the archive's word, from what is there


def test_what_is_in_the_files_is_judged_once_they_are_staged(far: OpenBeamline, root: Path) -> None:
    submit(far, bare_run(root / "A001"))
    version = take(far, "A001").version
    with pytest.raises(NotFoundError, match=r"not staged, and are not opened elsewhere.*Materialise staged_copy"):
        judge_raw(far, version)
    assert raw_quality(far, version) is None
    staged(far)
    assert "A001.imm" in judge_raw(far, version).words


def test_a_run_there_that_nobody_took_is_found_and_no_answer_finds_nothing(far: OpenBeamline, root: Path) -> None:
    bare_run(root / "A001")
    assert compare_runs(far) == ""
    root.rename(root.with_name("away"))
    assert "No such file or directory" in compare_runs(far)


def test_a_listing_that_takes_too_long_is_broken_off(far: OpenBeamline, root: Path) -> None:
    bare_run(root / "A001")
    place = far.place("detector")
    assert isinstance(place, SshPlace)
    with pytest.raises(CopyError, match=r"to list it takes too long.*fewer files"):
        place.request("folders", limit_s=-1.0, depth=0, paths=[""])
    assert len(place.request("folders", limit_s=30.0, depth=-1, paths=[""])["folders"]) == 2


def test_commands_name_the_machine(far: OpenBeamline, root: Path) -> None:
    runner = CliRunner(env={"XPCS_ASSETS_HOME": str(far.site.home)})
    said = runner.invoke(cli.app, ["check", "xpcs"])
    assert (said.exit_code, said.output) == (1, f"nothing below daq:{root} matches '{{run}}/'\n")
    assert f"xpcs: watches daq:{root}" in runner.invoke(cli.app, ["init", str(far.site.home)]).output
    bare_run(root / "A001")
    assert runner.invoke(cli.app, ["submit", "xpcs", "A001"]).output == "A001\n"


def test_what_a_dispatcher_says_while_the_machine_is_away_is_kept(far: OpenBeamline, root: Path) -> None:
    bare_run(root / "A001")
    root.rename(root.with_name("away"))
    (said,) = take_files(far, {"file_path": f"{root}/A001"})
    assert ("is unavailable" in said.reason, bool(said.parked)) == (True, True)
    root.with_name("away").rename(root)
    assert [one.key for one in take_files(far, {"file_path": [f"{root}/A001", "A001"]})] == ["A001", "A001"]
