"""A recorded result made again: the same, or which datasets are not, and nothing that is stored changes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.cli import run
from xpcs_assets.compute import analyse as analysing
from xpcs_assets.compute import replay as replaying
from xpcs_assets.compute.analyse import Analysed, analyse
from xpcs_assets.compute.local import WorkerJob
from xpcs_assets.compute.replay import chosen_result, replay
from xpcs_assets.copies.ledger import Result
from xpcs_assets.correlate import worker
from xpcs_assets.errors import (
    NotFoundError,
    NotVerifiedError,
    QmapError,
    RawDataError,
    RefusedError,
    ResultError,
    XpcsAssetsError,
)
from xpcs_assets.runs.recipe import AnalysisSettings
from xpcs_assets.site import HOME_VARIABLE
from xpcs_assets_tests.unit.compute.test_analyse import staged
from xpcs_assets_tests.unit.conftest import Altered, Drop

SETTINGS = AnalysisSettings(stride=2)
G2 = "/xpcs/multitau/normalized_g2"


@pytest.fixture(autouse=True)
def in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker works here and not in a process of its own, which takes longer to start than to work."""
    if "own_process" in request.fixturenames:
        return

    def work(job: WorkerJob, log: Callable[[str], None]) -> dict[str, Any]:
        worker._run(worker._parser().parse_args(job.arguments), worker.Progress("json"))
        return dict(json.loads(job.report.read_text()))

    for module in (analysing, replaying):
        monkeypatch.setattr(module, "run", work)


@pytest.fixture
def own_process() -> None:
    """Have the worker in a process of its own, as it is."""


def quiet(_: str) -> None:
    """Nobody listens to the worker."""


@pytest.fixture
def made(beamline: OpenBeamline, drop: Drop) -> Analysed:
    staged(beamline, drop(beamline))
    return analyse(beamline, "A001", SETTINGS, quiet)


def files_below(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rewritten(beamline: OpenBeamline, made: Analysed, change: Callable[[h5py.File], object]) -> Result:
    """The recorded result with other content, recorded as such."""
    with h5py.File(made.path, "a") as file:
        change(file)
    digest = "sha256:" + hashlib.sha256(made.path.read_bytes()).hexdigest()
    old = beamline.result("A001")
    return beamline.ledger.record_result(
        "xpcs", "A001", run_key="A001", version=1, recipe_digest=old.recipe_digest, path=old.path, result_digest=digest,
        report={**old.report, "result_digest": digest},
    )  # fmt: skip


def test_a_result_made_again_is_the_same_though_its_bytes_are_not(beamline: OpenBeamline, made: Analysed) -> None:
    before = files_below(beamline.root("store"))
    done = replay(beamline, chosen_result(beamline, "A001"), quiet)
    assert done.same
    assert done.made_otherwise == {}
    assert done.now["seconds"].keys() == done.before["seconds"].keys()
    assert done.before["engine"] == made.recipe.engine
    assert done.came_from == str(made.inputs.folder.raw)
    assert files_below(beamline.root("store")) == before
    assert beamline.ledger.timeline("xpcs", "A001")[-1].what == "made again, and the same"


def test_a_dataset_that_came_out_otherwise_is_named(beamline: OpenBeamline, made: Analysed) -> None:
    result = rewritten(beamline, made, lambda file: file[G2].__setitem__((0, 0), 9.0))
    done = replay(beamline, result, quiet)
    assert not done.same
    (difference,) = done.differences
    assert difference.name == G2
    assert difference.largest is not None
    assert difference.largest > 1
    assert "1 datasets differ" in beamline.ledger.timeline("xpcs", "A001")[-1].what


def test_a_file_that_is_not_the_recorded_one_is_refused(beamline: OpenBeamline, made: Analysed) -> None:
    with h5py.File(made.path, "a") as file:
        file[G2][0, 0] = 9.0
    with pytest.raises(ResultError, match="not the recorded result"):
        replay(beamline, chosen_result(beamline, "A001"), quiet)
    made.path.unlink()
    with pytest.raises(ResultError, match="cannot be read"):
        replay(beamline, chosen_result(beamline, "A001"), quiet)


def test_without_a_staged_copy_the_raw_data_come_from_where_they_are(beamline: OpenBeamline, made: Analysed) -> None:
    shutil.rmtree(made.inputs.folder.raw)
    done = replay(beamline, chosen_result(beamline, "A001"), quiet)
    assert done.same
    assert "detector" in done.came_from
    assert not made.inputs.folder.raw.exists()


def test_raw_data_that_are_nowhere_are_said(beamline: OpenBeamline, made: Analysed) -> None:
    shutil.rmtree(made.inputs.folder.raw)
    shutil.rmtree(beamline.source_root / "A001")
    with pytest.raises(NotVerifiedError, match="could not be had from any copy"):
        replay(beamline, chosen_result(beamline, "A001"), quiet)


def test_raw_data_that_changed_are_said_whatever_came_out(beamline: OpenBeamline, made: Analysed) -> None:
    raw = made.inputs.raw[0]
    content = bytearray(raw.read_bytes())
    content[20] ^= 1  # in a part of the first header that no reader looks at
    raw.chmod(0o644)
    raw.write_bytes(content)
    with pytest.raises(RawDataError, match=r"not those that the result was made from: A001\.imm"):
        replay(beamline, chosen_result(beamline, "A001"), quiet)


@pytest.fixture
def elsewhere(altered: Altered, drop: Drop) -> tuple[OpenBeamline, Path]:
    """A beamline whose q-map is one file for all runs, with a run that was correlated."""
    beamline = altered({"pipeline": {"correlate": {"qmap": {"in_run": "", "path": "qmaps/standard.hdf"}}}})
    folder = drop(beamline)
    qmap = beamline.site.home / "qmaps" / "standard.hdf"
    qmap.parent.mkdir()
    shutil.move(folder / "A001_qmap.hdf", qmap)
    staged(beamline, folder)
    analyse(beamline, "A001", SETTINGS, quiet)
    return beamline, qmap


def test_a_q_map_is_found_by_its_digest_where_it_lies_now(
    elsewhere: tuple[OpenBeamline, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    beamline, qmap = elsewhere
    result = chosen_result(beamline, "A001")
    moved = Path(shutil.move(qmap, tmp_path / "moved.hdf"))
    with pytest.raises(QmapError, match=r"standard\.hdf that the result was made with is not there"):
        replay(beamline, result, quiet)
    shutil.copy(moved, qmap)
    with h5py.File(qmap, "a") as file:
        file.attrs["changed"] = 1
    with pytest.raises(QmapError, match="not there any more"):
        replay(beamline, result, quiet)
    again = replay(beamline, result, quiet, qmap=moved)
    assert again.same, "a name is no content"
    assert again.made_otherwise == {"qmap": ("standard.hdf", "moved.hdf")}
    with pytest.raises(QmapError, match="not there any more"):
        replay(beamline, result, quiet, qmap=qmap)
    beamline.ledger.note("xpcs", "A001", "reprocess", "asked", {"settings": {"qmap": str(moved)}})
    code, text = said(monkeypatch, capsys, beamline, "A001")
    assert code == 0
    assert "otherwise  name of the q-map, which has the same bytes: standard.hdf then, moved.hdf now" in text


def test_a_file_of_the_recipe_that_changed_is_refused(beamline: OpenBeamline, drop: Drop) -> None:
    staged(beamline, drop(beamline))
    bad = beamline.site.home / "bad_frames.txt"
    bad.write_text("3\n")
    analyse(beamline, "A001", AnalysisSettings(exclude_file="bad_frames.txt"), quiet)
    result = chosen_result(beamline, "A001")
    assert replay(beamline, result, quiet).same
    bad.write_text("4\n")
    with pytest.raises(RefusedError, match=r"bad_frames\.txt: the exclude file of its recipe"):
        replay(beamline, result, quiet)


def test_an_average_is_not_made_of_raw_data(beamline: OpenBeamline, made: Analysed) -> None:
    old = beamline.result("A001")
    report = {name: value for name, value in old.report.items() if name != "inputs"}
    result = beamline.ledger.record_result(
        "xpcs", "A001~mean", run_key="A001", version=1, recipe_digest=old.recipe_digest, path=old.path,
        result_digest=old.result_digest, report=report,
    )  # fmt: skip
    with pytest.raises(RefusedError, match="made of raw data, but of other results"):
        replay(beamline, result, quiet)


def test_results_are_chosen_by_key_or_by_the_beginning_of_their_digest(beamline: OpenBeamline, made: Analysed) -> None:
    other = analyse(beamline, "A001~other", AnalysisSettings(stride=3), quiet)
    assert chosen_result(beamline, "A001").result_digest == made.report["result_digest"]
    assert chosen_result(beamline, "A001~other").result_digest == other.report["result_digest"]
    for digest in (other.report["result_digest"], other.report["result_digest"].removeprefix("sha256:")[:10]):
        assert chosen_result(beamline, "A001", digest).analysis_key == "A001~other"
    with pytest.raises(RefusedError, match="2 results begin with"):
        chosen_result(beamline, "A001", "sha256:")


@pytest.mark.parametrize(("key", "digest"), [("B001", ""), ("A001~gone", ""), ("A001", "beef")])
def test_what_there_is_not_is_not_found(beamline: OpenBeamline, made: Analysed, key: str, digest: str) -> None:
    with pytest.raises(NotFoundError):
        chosen_result(beamline, key, digest)


def said(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    beamline: OpenBeamline,
    *arguments: str,
    name: str = "xpcs",
) -> tuple[int, str]:
    monkeypatch.setenv(HOME_VARIABLE, str(beamline.site.home))
    monkeypatch.setattr("sys.argv", ["xpcs-assets", "replay", name, *arguments])
    try:
        code = run()
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, capsys.readouterr().out


def test_the_command_ends_with_0_1_or_2(
    own_process: None,
    beamline: OpenBeamline,
    made: Analysed,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, text = said(monkeypatch, capsys, beamline, "A001")
    assert code == 0
    assert "every dataset has the same digest" in text
    assert f"{made.recipe.engine} on cpu" in text
    assert said(monkeypatch, capsys, beamline, "B001")[0] == 2
    assert said(monkeypatch, capsys, beamline, "A001", "--result", "beef")[0] == 2
    assert said(monkeypatch, capsys, beamline, "A001", name="no-such-beamline")[0] == 2
    assert said(monkeypatch, capsys, beamline, "A001", "--device", "tpu")[0] == 2

    def spoil(file: h5py.File) -> None:
        file[G2][0, 0] = 9.0

    rewritten(beamline, made, spoil)
    code, text = said(monkeypatch, capsys, beamline, "A001")
    assert code == 1
    assert f"different  {G2}: 1 of" in text
    made.path.unlink()
    assert said(monkeypatch, capsys, beamline, "A001")[0] == 1


def test_what_made_it_otherwise_is_told_by_name(
    beamline: OpenBeamline, made: Analysed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = beamline.result("A001")
    report = {**old.report, "versions": {**old.report["versions"], "numpy": "1.0"}}
    beamline.ledger.record_result(
        "xpcs", "A001", run_key="A001", version=1, recipe_digest=old.recipe_digest, path=old.path,
        result_digest=old.result_digest, report=report,
    )  # fmt: skip
    numpy = old.report["versions"]["numpy"]
    code, text = said(monkeypatch, capsys, beamline, "A001")
    assert code == 0
    assert f"otherwise  numpy: 1.0 then, {numpy} now" in text
    code, text = said(monkeypatch, capsys, beamline, "A001", "--json")
    told = json.loads(text)
    assert (code, told["same"], told["differences"]) == (0, True, [])
    assert (told["before"]["versions"]["numpy"], told["now"]["versions"]["numpy"]) == ("1.0", numpy)


def test_a_worker_that_fails_says_why(beamline: OpenBeamline, made: Analysed) -> None:
    made.inputs.raw[0].chmod(0o644)
    made.inputs.raw[0].write_bytes(b"\0" * 3000)
    with pytest.raises(XpcsAssetsError):
        replay(beamline, chosen_result(beamline, "A001"), quiet)


@pytest.mark.parametrize(("recorded", "passed"), [(1 << 28, ["--memory", str(1 << 28)]), (1 << 60, []), (None, [])])
def test_the_same_memory_makes_the_same_passes_where_there_is_so_much(
    beamline: OpenBeamline,
    made: Analysed,
    monkeypatch: pytest.MonkeyPatch,
    recorded: int | None,
    passed: list[str],
) -> None:
    asked: list[str] = []

    def work(job: WorkerJob, log: Callable[[str], None]) -> dict[str, Any]:
        asked.extend(job.arguments)
        raise RawDataError("that is enough")

    monkeypatch.setattr(replaying, "run", work)
    old = beamline.result("A001")
    assert old.report["memory_bytes"] > 0
    with pytest.raises(RawDataError, match="that is enough"):
        replay(beamline, Result(**{**vars(old), "report": {**old.report, "memory_bytes": recorded}}), quiet)
    at = asked.index("--memory") if "--memory" in asked else len(asked)
    assert asked[at : at + 2] == passed
