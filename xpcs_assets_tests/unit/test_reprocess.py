"""Asking for another recipe: what is sent to the running site, and what is refused before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xpcs_assets import reprocess
from xpcs_assets.arrive.submit import submit
from xpcs_assets.arrive.take import take
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import ComputeError, NotFoundError, QmapError, RefusedError
from xpcs_assets.follow import state_of
from xpcs_assets_tests.unit.conftest import Altered, Drop, bare_run


@pytest.fixture
def run(beamline: OpenBeamline, drop: Drop) -> str:
    key = submit(beamline, drop(beamline, "A001"), as_is=True).key
    take(beamline, key)
    return key


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def launch(*arguments: Any) -> str:
        calls.append(arguments[1:])
        return "run-1"

    monkeypatch.setattr(reprocess, "launch", launch)
    return calls


def asked_for(beamline: OpenBeamline, run_key: str, name: str, qmap: Path | None, changes: list[str]) -> str:
    return reprocess.ask(beamline, reprocess.with_another_recipe(beamline, run_key, name, qmap, changes))


def asked_again(beamline: OpenBeamline, run_key: str) -> str:
    return reprocess.ask(beamline, reprocess.once_more(beamline, run_key))


def test_only_the_analysis_is_asked_for_with_typed_settings(
    beamline: OpenBeamline, run: str, launched: list[tuple[Any, ...]]
) -> None:
    assert asked_for(beamline, run, "wide", None, ["stride=2", "dynamic_bins=1,3-4", "end_frame=-1"]) == "A001~wide"
    partitions, key, assets, config = launched[0]
    assert (partitions, key) == ("xpcs_runs", "A001~wide")
    assert assets == [("xpcs", "correlation"), ("xpcs", "plots"), ("xpcs", "result_entry")]
    wanted = {"stride": 2, "dynamic_bins": "1,3-4", "end_frame": -1}
    assert config == {"ops": {"xpcs__correlation": {"config": wanted}}}
    assert state_of(beamline, "A001~wide").word == "working"


def test_another_qmap_is_named_by_its_whole_path(
    beamline: OpenBeamline, run: str, launched: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    qmap = tmp_path / "q.hdf"
    qmap.write_bytes(b"x")
    asked_for(beamline, run, "q2", qmap, [])
    assert launched[0][-1]["ops"]["xpcs__correlation"]["config"] == {"qmap": str(qmap)}


@pytest.mark.parametrize("change", ["stride", "strides=2", "stride=two", "frames=5", "analysis_type=threetime"])
def test_what_sets_nothing_of_a_recipe_is_refused(
    beamline: OpenBeamline, run: str, launched: list[tuple[Any, ...]], change: str
) -> None:
    with pytest.raises(RefusedError):
        asked_for(beamline, run, "wide", None, [change])
    assert not launched


def test_a_recipe_without_a_change_a_missing_qmap_and_an_unknown_run_are_refused(
    beamline: OpenBeamline, run: str, launched: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    with pytest.raises(RefusedError, match="nothing would be different"):
        asked_for(beamline, run, "same", None, [])
    with pytest.raises(QmapError):
        asked_for(beamline, run, "same", tmp_path / "none.hdf", [])
    with pytest.raises(NotFoundError):
        asked_for(beamline, "A002", "wide", None, ["stride=2"])
    assert not launched


def test_a_site_that_is_not_up_is_said_and_nothing_is_noted(beamline: OpenBeamline, run: str) -> None:
    with pytest.raises(ComputeError, match="does not answer"):
        asked_for(beamline, run, "wide", None, ["stride=2"])
    with pytest.raises(NotFoundError):
        state_of(beamline, "A001~wide")


def test_the_beamlines_own_analysis_is_asked_for_once_more_under_the_plain_key(
    beamline: OpenBeamline, run: str, launched: list[tuple[Any, ...]]
) -> None:
    assert asked_again(beamline, run) == "A001"
    partitions, key, assets, config = launched[0]
    assert (partitions, key) == ("xpcs_runs", "A001")
    assert assets == [("xpcs", "correlation"), ("xpcs", "plots"), ("xpcs", "result_entry")]
    assert config == {"ops": {"xpcs__correlation": {"config": {}}}}
    assert beamline.ledger.timeline("xpcs", "A001")[-1].what == "asked for as A001"


def test_once_more_is_of_a_run_that_was_taken_and_of_its_plain_key(
    beamline: OpenBeamline, run: str, launched: list[tuple[Any, ...]]
) -> None:
    with pytest.raises(RefusedError):
        asked_again(beamline, "A001~wide")
    with pytest.raises(NotFoundError):
        asked_again(beamline, "A002")
    assert not launched


@pytest.fixture
def of_a_command(altered: Altered) -> OpenBeamline:
    command = ["amstrax", "{raw}", "{output}", "{target}"]
    analysis = {"command": command, "outputs": ["*"], "to": "made", "target": ["events"]}
    places = {"made": {"kind": "posix", "root": "made"}}
    beamline = altered({"pipeline": {"correlate": None, "process": analysis}, "places": places})
    take(beamline, submit(beamline, bare_run(beamline.source_root / "A001"), as_is=True).key)
    return beamline


def test_of_a_command_other_targets_are_asked_for_and_once_more_its_own(
    of_a_command: OpenBeamline, launched: list[tuple[Any, ...]]
) -> None:
    assert asked_for(of_a_command, "A001", "wide", None, ["target=peaks,hits"]) == "A001~wide"
    assert asked_again(of_a_command, "A001") == "A001"
    config = {"target": "peaks,hits"}
    assert launched == [
        ("xpcs_runs", "A001~wide", [("xpcs", "processed")], {"ops": {"xpcs__processed": {"config": config}}}),
        ("xpcs_runs", "A001", [("xpcs", "processed")], {"ops": {"xpcs__processed": {"config": {}}}}),
    ]
    assert [step.asset for step in state_of(of_a_command, "A001~wide").steps] == ["processed"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([], "nothing would be different"),
        (["stride=2"], "sets nothing"),
        (["context=v17"], r"has no \{context\}"),
        (["target=peaks,,hits"], "an empty target"),
    ],
)
def test_what_a_command_does_not_take_is_refused(
    of_a_command: OpenBeamline, launched: list[tuple[Any, ...]], changes: list[str], told: str
) -> None:
    with pytest.raises(RefusedError, match=told):
        asked_for(of_a_command, "A001", "wide", None, changes)
    assert not launched


def test_a_command_has_no_qmap_and_the_run_is_one_that_was_taken(
    of_a_command: OpenBeamline, launched: list[tuple[Any, ...]]
) -> None:
    with pytest.raises(RefusedError, match="a command has no q-map"):
        asked_for(of_a_command, "A001", "wide", Path(__file__), ["target=peaks"])
    with pytest.raises(NotFoundError):
        asked_for(of_a_command, "A002", "wide", None, ["target=peaks"])
    assert not launched


def test_a_correlation_has_no_target(beamline: OpenBeamline, run: str, launched: list[tuple[Any, ...]]) -> None:
    with pytest.raises(RefusedError, match="sets nothing"):
        asked_for(beamline, run, "wide", None, ["target=peaks"])
    assert not launched
