"""The registry of q-maps: what is kept of a file, and which version a run is analysed with."""

from __future__ import annotations

import shutil
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import h5py
import pytest

from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute import qmap_registry
from xpcs_assets.compute.analyse import inputs
from xpcs_assets.compute.qmap_registry import add, file_of, in_utc, resolve, run_time, standard_of
from xpcs_assets.copies.ledger import QmapVersion
from xpcs_assets.errors import QmapError, RefusedError
from xpcs_assets.site import Site
from xpcs_assets.stage.staging import stage
from xpcs_assets.testing.simulate import simulate
from xpcs_assets_tests.unit.conftest import Altered, Drop

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def beamline(altered: Altered) -> OpenBeamline:
    """A beamline whose runs are analysed with the registry's map."""
    return altered({"pipeline": {"correlate": {"qmap": {"in_run": "", "registry": "standard"}}}})


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two q-maps of one detector."""
    folder = tmp_path_factory.mktemp("maps")
    options = {"format": "imm", "frames": 8, "shape": (48, 64), "n_dynamic": 4}
    first, second = (simulate(folder, name=f"M{k}", n_static=k, **options) for k in (8, 12))  # type: ignore[arg-type]
    return first.qmap, second.qmap


def added(beamline: OpenBeamline, file: Path, **options: datetime) -> QmapVersion:
    return add(beamline, file, "standard", by="an operator", **options)  # type: ignore[arg-type]


def staged(beamline: OpenBeamline, folder: Path, started: str = "") -> str:
    """Take and stage a run that began at some time; its key."""
    if started:
        with h5py.File(folder / f"{folder.name}_metadata.hdf", "r+") as file:
            del file["/entry/start_time"]
            file["/entry/start_time"] = started
    submit(beamline, folder, as_is=True)
    take(beamline, folder.name)
    stage(beamline, folder.name)
    return folder.name


def test_a_file_is_kept_in_the_site_under_its_version_and_digest(
    beamline: OpenBeamline, maps: tuple[Path, Path]
) -> None:
    first, second = (added(beamline, file) for file in maps)
    assert (first.version, second.version) == (1, 2)
    for version, file in zip((first, second), maps, strict=True):
        sha256 = version.digest.removeprefix("sha256:")
        kept = beamline.site.home / "qmaps" / "xpcs" / "standard" / f"v{version.version}-{sha256[:12]}.hdf"
        assert file_of(beamline, version) == kept
        assert kept.read_bytes() == file.read_bytes()


def test_the_same_bytes_for_the_same_times_are_the_same_version(
    beamline: OpenBeamline, maps: tuple[Path, Path]
) -> None:
    first = added(beamline, maps[0])
    added(beamline, maps[1])
    assert added(beamline, maps[0]) == first
    other = added(beamline, maps[0], valid_from=NOON)
    assert (other.version, other.digest) == (3, first.digest)
    beamline.ledger.withdraw_qmap("xpcs", "standard", 1, "why", "who")
    assert added(beamline, maps[0]).version == 4


def test_what_is_no_q_map_no_name_or_no_time_is_refused_and_nothing_is_kept(
    beamline: OpenBeamline, maps: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "no.hdf").write_bytes(b"no map")
    with pytest.raises(QmapError, match="this is no HDF5 file"):
        added(beamline, tmp_path / "no.hdf")
    with pytest.raises(QmapError):
        added(beamline, tmp_path / "none.hdf")
    with pytest.raises(RefusedError, match=r"'\.\./x' can be no map's name"):
        add(beamline, maps[0], "../x", by="an operator")
    with pytest.raises(RefusedError, match="it would be valid at no time"):
        added(beamline, maps[0], valid_from=NOON, valid_until=NOON)
    assert beamline.ledger.qmap_names("xpcs") == ()
    assert not (beamline.site.home / "qmaps").exists()


def test_two_who_add_at_once_have_a_version_each(beamline: OpenBeamline, maps: tuple[Path, Path]) -> None:
    assert beamline.ledger.qmaps("xpcs", "standard") == ()  # so that both use the ledger that is open
    together = threading.Barrier(2)
    made: list[QmapVersion] = []

    def one(file: Path) -> None:
        together.wait()
        made.append(added(beamline, file))

    threads = [threading.Thread(target=one, args=(file,)) for file in maps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(version.version for version in made) == [1, 2]
    assert {file_of(beamline, version).read_bytes() for version in made} == {file.read_bytes() for file in maps}


def test_who_was_slower_takes_the_next_number_and_leaves_no_file_behind(
    beamline: OpenBeamline, maps: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(file: Path) -> list[bytes]:
        monkeypatch.undo()
        added(beamline, maps[1])
        return [file.read_bytes()]

    monkeypatch.setattr(qmap_registry, "_chunks", slow)
    made = added(beamline, maps[0])
    assert made.version == 2
    files = {path.name for path in (beamline.site.home / "qmaps" / "xpcs" / "standard").iterdir()}
    assert files == {Path(version.path).name for version in beamline.ledger.qmaps("xpcs", "standard")}
    assert len(files) == 2


def test_the_newest_version_that_is_valid_at_a_time_and_was_not_withdrawn_counts(
    beamline: OpenBeamline, maps: tuple[Path, Path]
) -> None:
    added(beamline, maps[0])
    added(beamline, maps[1], valid_from=NOON, valid_until=NOON + HOUR)
    assert [
        resolve(beamline, "standard", moment).version
        for moment in (NOON - timedelta(microseconds=1), NOON, NOON + HOUR - timedelta(microseconds=1), NOON + HOUR)
    ] == [1, 2, 2, 1]
    beamline.ledger.withdraw_qmap("xpcs", "standard", 2, "why", "who")
    assert resolve(beamline, "standard", NOON).version == 1


def test_a_run_for_which_there_is_none_is_told_what_to_do(beamline: OpenBeamline, maps: tuple[Path, Path]) -> None:
    with pytest.raises(QmapError, match=r"it is empty\. Add one: `xpcs-assets qmaps xpcs --add FILE --name standard"):
        resolve(beamline, "standard", NOON)
    added(beamline, maps[0], valid_from=NOON)
    with pytest.raises(QmapError, match="none of its 1 versions is valid at 2025-03-01 11:00:00 UTC"):
        resolve(beamline, "standard", NOON - HOUR)


def test_a_file_that_was_changed_or_is_gone_is_not_used(beamline: OpenBeamline, maps: tuple[Path, Path]) -> None:
    version = added(beamline, maps[0])
    path = file_of(beamline, version)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(QmapError, match=f"is not the one that was added. Bring standard v1 back .* {version.digest}"):
        file_of(beamline, version)
    path.unlink()
    with pytest.raises(QmapError, match="cannot be read"):
        file_of(beamline, version)


@pytest.mark.parametrize(
    ("started", "version"),
    [
        ("2025-03-01T12:59:59+01:00", 1),
        ("2025-03-01T13:00:00+01:00", 2),
        ("2025-03-01T11:59:59", 1),
        ("2025-03-01 12:00:00", 2),
        ("sometime", 2),
        ("", 2),
    ],
)
def test_a_runs_time_is_when_it_was_measured_and_else_when_it_was_taken(
    beamline: OpenBeamline, drop: Drop, maps: tuple[Path, Path], started: str, version: int
) -> None:
    added(beamline, maps[0])
    added(beamline, maps[1], valid_from=NOON)
    found = inputs(beamline, staged(beamline, drop(beamline), started))
    assert found.qmap_from == f"registry standard v{version}"
    assert found.qmap_digest == beamline.ledger.qmaps("xpcs", "standard")[version - 1].digest
    assert found.qmap.read_bytes() == maps[version - 1].read_bytes()
    if started == "sometime":
        assert run_time(found.version, found.metadata) == found.version.taken_at


def test_another_map_that_is_named_comes_before_the_registrys(
    beamline: OpenBeamline, drop: Drop, maps: tuple[Path, Path]
) -> None:
    key = staged(beamline, drop(beamline))
    found = inputs(beamline, f"{key}~other", str(maps[0]))
    assert (found.qmap, found.qmap_from) == (maps[0], "")


def entry(version: int, begins: datetime | None = None, ends: datetime | None = None) -> QmapVersion:
    """A version that was added at noon."""
    return QmapVersion("xpcs", "standard", version, f"sha256:{version}", "", begins, ends, "", "", NOON)


@pytest.mark.parametrize(
    ("second", "standard"),
    [
        (entry(2, NOON), 1),
        (entry(2, NOON + HOUR), 1),
        (entry(2), 2),
        (entry(2, NOON - HOUR), 2),
        (entry(2, None, NOON - HOUR), 2),
    ],
    ids=["from when it was added", "for later runs", "for all runs", "for runs of before", "for old runs alone"],
)
def test_a_newer_map_for_newer_runs_is_no_correction(second: QmapVersion, standard: int) -> None:
    found = standard_of([entry(1), second])
    assert found is not None
    assert found.version == standard


def test_times_that_do_not_meet_correct_nothing_and_what_is_withdrawn_does_not_count() -> None:
    first, second = entry(1, None, NOON - HOUR), entry(2, NOON - HOUR)
    assert standard_of([first, second]) == first
    gone = QmapVersion(**{**vars(entry(3)), "withdrawn_at": NOON})
    assert standard_of([first, second, gone]) == first
    assert standard_of([gone]) is None
    assert standard_of([]) is None


def test_a_time_is_read_in_utc() -> None:
    assert in_utc(" 2025-03-01T13:00+01:00 ") == in_utc("2025-03-01 12:00") == NOON
    with pytest.raises(ValueError, match="Invalid isoformat"):
        in_utc("noon")


def test_a_site_that_was_moved_has_its_maps_still(
    beamline: OpenBeamline, maps: tuple[Path, Path], tmp_path: Path
) -> None:
    version = added(beamline, maps[0])
    beamline.engine.dispose()
    moved = Site(Path(shutil.move(beamline.site.home, tmp_path / "moved")))
    again = OpenBeamline(moved, moved.beamline("xpcs"))
    assert file_of(again, again.ledger.qmaps("xpcs", "standard")[0]).is_relative_to(tmp_path / "moved")
    assert again.ledger.qmaps("xpcs", "standard") == (version,)
    again.engine.dispose()
