"""What every asset of a beamline shares, and how a step's end reaches Dagster and the run's timeline."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
from dagster import (
    AssetKey,
    AssetsDefinition,
    DagsterInstance,
    Failure,
    MaterializeResult,
    PreviewWarning,
    materialize,
)

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import QmapError
from xpcs_assets.orchestrate.bindings import PRIORITY, Bound, check, failure, materialised, table
from xpcs_assets.settings import Beamline


@pytest.fixture
def bound(beamline: OpenBeamline) -> Bound:
    return Bound.of(beamline)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Checks by partition are a preview of Dagster's, which warns of it each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PreviewWarning)
        yield


@pytest.fixture
def raw_file(bound: Bound, quiet: None) -> AssetsDefinition:
    """An asset whose body fails for the partition ``bad`` and meets a bug for ``bug``."""

    @bound.asset("raw_file", description="files", kinds={"file"}, checks={"raw_complete": "all there"})
    def raw_file(context):  # type: ignore[no-untyped-def]
        with bound.step(context.partition_key, "raw_file"):
            if context.partition_key == "bad":
                raise QmapError("the q-map has another shape", where="q.hdf", remedy="Take the right one")
            if context.partition_key == "bug":
                raise ZeroDivisionError
        return materialised({"files": 2}, digest="sha256:x", checks=[check("raw_complete", [], {}, warn=False)])

    return raw_file


def test_names_for_dagster_take_no_hyphen(bound: Bound) -> None:
    content = bound.beamline.settings.model_dump(by_alias=True) | {"beamline": "aps-8-id-i"}
    eight = OpenBeamline(bound.beamline.site, Beamline.model_validate(content))
    assert Bound.of(eight).partitions.name == "aps_8_id_i_runs"
    assert Bound.of(eight).key("raw_file") == AssetKey(["aps-8-id-i", "raw_file"])


def test_an_asset_belongs_to_its_beamline(bound: Bound, raw_file: AssetsDefinition) -> None:
    (spec,) = raw_file.specs
    assert spec.key == AssetKey(["xpcs", "raw_file"])
    assert (spec.group_name, list(spec.owners), spec.kinds) == ("xpcs", ["team:xpcs"], {"file"})
    assert spec.code_version
    assert raw_file.op.tags["dagster/priority"] == str(PRIORITY["raw_file"])


def test_g2_comes_before_the_description_and_the_catalog() -> None:
    ordered = sorted(PRIORITY, key=lambda name: -PRIORITY[name])
    assert ordered[:5] == ["raw_file", "staged_copy", "correlation", "processed", "plots"]
    assert len(set(PRIORITY.values())) == len(PRIORITY)


@pytest.mark.parametrize(
    ("partition", "succeeds", "what"),
    [
        ("good", True, "done"),
        ("bad", False, "failed: q.hdf: the q-map has another shape. Take the right one"),
        ("bug", False, "failed: it was interrupted or met an error of the program; the Dagster run has it"),
    ],
)
def test_a_steps_end_is_on_the_runs_timeline(
    bound: Bound, raw_file: AssetsDefinition, instance: DagsterInstance, partition: str, succeeds: bool, what: str
) -> None:
    instance.add_dynamic_partitions("xpcs_runs", [partition])
    done = materialize([raw_file], partition_key=partition, instance=instance, raise_on_error=False)
    assert done.success is succeeds
    (event,) = bound.beamline.ledger.timeline("xpcs", partition)
    assert (event.step, event.what, event.detail["partition"]) == ("raw_file", what, partition)
    assert event.detail["seconds"] >= 0


def test_a_reprocessing_is_on_its_runs_timeline_under_its_own_key(bound: Bound) -> None:
    with bound.step("A001~wide", "correlation"):
        pass
    (event,) = bound.beamline.ledger.timeline("xpcs", "A001")
    assert event.detail["partition"] == "A001~wide"


def test_an_error_becomes_a_failure_that_shows_what_where_and_what_to_do() -> None:
    shown = failure(QmapError("the q-map has another shape", where="q.hdf", remedy="Take the right one"))
    assert isinstance(shown, Failure)
    assert shown.description == "q.hdf: the q-map has another shape. Take the right one"
    assert shown.allow_retries is False
    told = {name: value.value for name, value in shown.metadata.items()}
    assert told["kind"] == "QmapError"
    assert (told["what"], told["where"]) == ("the q-map has another shape", "q.hdf")
    assert told["remedy"] == "Take the right one"


def test_a_result_carries_its_digest_as_data_version() -> None:
    result: MaterializeResult[object] = materialised({"a": 1}, digest="sha256:x")
    assert result.data_version is not None
    assert result.data_version.value == "sha256:x"
    assert materialised({}).data_version is None


@pytest.mark.parametrize(("reasons", "passed"), [([], True), (["no frames", "no light"], False)])
def test_a_check_passes_when_nothing_speaks_against_it(reasons: list[str], passed: bool) -> None:
    found = check("frames_sane", reasons, {"frames": 3}, warn=True)
    assert found.passed is passed
    assert found.description == ("; ".join(reasons) or "passed")
    assert found.severity.value == "WARN"


def test_rows_become_a_table() -> None:
    made = table([{"q_inv_angstrom": 0.01, "tau_s": 0.5}])
    assert [record.data for record in made.records] == [{"q_inv_angstrom": 0.01, "tau_s": 0.5}]  # type: ignore[attr-defined]


def test_a_step_that_waits_is_not_done_and_nothing_is_made(bound: Bound, quiet: None) -> None:
    @bound.asset("staged_copy", description="a copy", may_wait=True)
    def staged_copy(context):  # type: ignore[no-untyped-def]
        with bound.step(context.partition_key, "staged_copy") as step:
            step.waits_for = "a transfer"
        if context.partition_key == "here":
            yield materialised({})

    for key, made in (("there", 0), ("here", 1)):
        with DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions(bound.partitions.name or "", [key])
            result = materialize([staged_copy], instance=instance, partition_key=key)
        assert result.success
        assert len(result.get_asset_materialization_events()) == made
        (event,) = bound.beamline.ledger.timeline("xpcs", key)
        assert (event.step, event.what) == ("staged_copy", "waits: a transfer")
