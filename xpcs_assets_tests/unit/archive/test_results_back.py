"""Getting results back: each recipe's files verified, to where results lie or to any folder, never over other bytes."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from xpcs_assets.archive.archiving import archive
from xpcs_assets.archive.results_back import LATEST, retrieve_results
from xpcs_assets.archive.retrieve import ALREADY_THERE
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.errors import ConflictingBytesError, NotFoundError, RefusedError
from xpcs_assets.stage.returned import return_results
from xpcs_assets_tests.unit.archive.conftest import clocked, staged
from xpcs_assets_tests.unit.conftest import Altered

RUN = "A001"
HDF = "A001_results.hdf"
FILES = {
    f"{recipe}/{path}": f"{path} of {recipe}".encode()
    for recipe in ("aaaa", "bbbb")
    for path in (HDF, "A001_results.json", "plots/g2.svg")
}


def results_of(beamline: OpenBeamline) -> Path:
    return beamline.staged(beamline.latest(RUN)).path / "results"


def make(beamline: OpenBeamline, recipe: str, hdf: bytes = b"") -> None:
    """A result that the ledger knows, with its report and a plot beside it."""
    for path, content in FILES.items():
        file = results_of(beamline) / path
        if path.startswith(recipe):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(hdf or content if path.endswith(HDF) else content)
    file = results_of(beamline) / recipe / HDF
    beamline.ledger.record_result(
        "xpcs",
        RUN,
        run_key=RUN,
        version=1,
        recipe_digest=f"sha256:{recipe}",
        path=str(file.relative_to(beamline.root("store"))),
        result_digest=f"sha256:{sha256(file.read_bytes()).hexdigest()}",
        report={},
    )
    beamline.ledger.clock.advance(1)  # type: ignore[attr-defined]


def with_results(beamline: OpenBeamline) -> OpenBeamline:
    clocked(beamline)
    staged(beamline, RUN)
    for recipe in ("aaaa", "bbbb"):
        make(beamline, recipe)
        archive(beamline, RUN)
    return beamline


@pytest.fixture
def archived(beamline: OpenBeamline) -> OpenBeamline:
    """A beamline whose results of two recipes lie in its archive alone."""
    with_results(beamline)
    shutil.rmtree(results_of(beamline))
    return beamline


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_results_come_back_to_where_they_lay_and_doing_it_again_changes_nothing(archived: OpenBeamline) -> None:
    done = retrieve_results(archived, RUN)
    assert content_of(results_of(archived)) == FILES
    assert (done.missing, done.bytes_moved) == ({}, sum(map(len, FILES.values())))
    assert all(origin.startswith("tape:xpcs/A001/v1/results/") for origin in done.came_from.values())
    assert "6 of 6 result files retrieved" in archived.ledger.timeline("xpcs", RUN)[-1].what
    again = retrieve_results(archived, RUN)
    assert (set(again.came_from.values()), again.bytes_moved) == ({ALREADY_THERE}, 0)


@pytest.mark.parametrize("recipe", ["bbbb", "sha256:bb", LATEST])
def test_one_recipe_goes_below_any_folder_out_of_the_staging_place_where_that_has_it(
    archived: OpenBeamline, tmp_path: Path, recipe: str
) -> None:
    file = results_of(archived) / "bbbb" / HDF
    file.parent.mkdir(parents=True)
    file.write_bytes(FILES[f"bbbb/{HDF}"])
    done = retrieve_results(archived, RUN, recipe=recipe, to=tmp_path / "out")
    assert content_of(tmp_path / "out") == {path: data for path, data in FILES.items() if path.startswith("bbbb")}
    assert done.came_from[f"bbbb/{HDF}"] == "store"
    assert done.came_from["bbbb/plots/g2.svg"].startswith("tape:")


def test_files_are_named_with_or_without_their_recipe(archived: OpenBeamline, tmp_path: Path) -> None:
    done = retrieve_results(archived, RUN, ["plots/g2.svg", f"aaaa/{HDF}"], to=tmp_path)
    assert sorted(done.came_from) == [f"aaaa/{HDF}", "aaaa/plots/g2.svg", "bbbb/plots/g2.svg"]
    with pytest.raises(NotFoundError, match=r"no result has a file 'A001\.imm'"):
        retrieve_results(archived, RUN, ["A001.imm"])
    with pytest.raises(NotFoundError, match="0 recipes begin with 'cc'"):
        retrieve_results(archived, RUN, recipe="cc")


def test_f14_other_bytes_where_results_lie_are_kept_and_told(archived: OpenBeamline) -> None:
    other = results_of(archived) / "aaaa" / "A001_results.json"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"others")
    for dry_run in (True, False):
        with pytest.raises(ConflictingBytesError):
            retrieve_results(archived, RUN, dry_run=dry_run)
    assert content_of(results_of(archived)) == {"aaaa/A001_results.json": b"others"}


def test_f27_a_damaged_result_gets_no_name_and_is_missing(archived: OpenBeamline) -> None:
    for bundle in archived.root("tape").rglob("*-results-*.tar"):
        bundle.write_bytes(bundle.read_bytes().replace(b"plots/g2.svg of aaaa", b"plots/g2.svg of xxxx"))
    done = retrieve_results(archived, RUN)
    assert list(done.missing) == ["aaaa/plots/g2.svg"]
    assert content_of(results_of(archived)) == {k: v for k, v in FILES.items() if k != "aaaa/plots/g2.svg"}


def test_a_result_that_was_never_archived_is_missing(archived: OpenBeamline) -> None:
    make(archived, "aaaa", b"made anew")
    shutil.rmtree(results_of(archived))
    done = retrieve_results(archived, RUN, recipe="aaaa")
    assert list(done.missing) == [f"aaaa/{HDF}"]
    assert done.came_from == {}


def test_files_of_a_recipe_that_filled_several_bundles_are_told_by_their_index(altered: Altered) -> None:
    beamline = with_results(altered({"pipeline": {"archive": {"bundle": {"up_to": "3 kB", "alone_over": "1 B"}}}}))
    assert len(list(beamline.root("tape").rglob("*-results-*.tar"))) == len(FILES)
    shutil.rmtree(results_of(beamline))
    assert set(retrieve_results(beamline, RUN, recipe="aaaa").came_from) == {k for k in FILES if k.startswith("aaaa")}
    assert retrieve_results(beamline, RUN).missing == {}
    assert content_of(results_of(beamline)) == FILES
    for index in beamline.root("tape").rglob("*-results-*.index.json"):
        index.write_bytes(index.read_bytes() + b" ")
    done = retrieve_results(beamline, RUN)
    assert len(done.missing) == 4
    assert all("which recipe's files are in it is not known" in why for why in done.missing.values())


def test_what_went_back_to_the_beamline_is_a_copy_too(altered: Altered) -> None:
    places = {"back": {"kind": "posix", "root": "back", "failure_domain": "disk in the hutch"}}
    beamline = altered({"places": places, "pipeline": {"return_results": {"to": "back", "path": "out/{recipe}"}}})
    (beamline.site.home / "back").mkdir(exist_ok=True)
    clocked(beamline)
    staged(beamline, RUN)
    make(beamline, "aaaa")
    report = {"result_digest": beamline.result(RUN).result_digest, "recipe_digest": "sha256:aaaa"}
    (results_of(beamline) / "aaaa" / "A001_results.json").write_text(json.dumps(report))
    return_results(beamline, RUN)
    shutil.rmtree(results_of(beamline))
    told = retrieve_results(beamline, RUN, dry_run=True)
    assert told.came_from == {f"aaaa/{HDF}": "back"}
    done = retrieve_results(beamline, RUN)
    assert (done.came_from, done.bytes_moved) == (told.came_from, told.bytes_moved)
    assert content_of(results_of(beamline)) == {f"aaaa/{HDF}": FILES[f"aaaa/{HDF}"]}


def test_a_dry_run_tells_the_same_and_does_nothing(archived: OpenBeamline, tmp_path: Path) -> None:
    told = [retrieve_results(archived, RUN, to=to, dry_run=True) for to in (None, tmp_path / "out")]
    assert not results_of(archived).exists()
    assert not (tmp_path / "out").exists()
    done = retrieve_results(archived, RUN)
    assert [(each.came_from, each.bytes_moved) for each in told] == [(done.came_from, done.bytes_moved)] * 2


def test_a_run_that_another_works_on_gets_no_results_put_back(archived: OpenBeamline) -> None:
    with archived.ledger.lease("xpcs", RUN, "prune", "another", 60.0), pytest.raises(RefusedError):
        retrieve_results(archived, RUN)
    assert not results_of(archived).exists()


def test_a_run_without_results_says_so(beamline: OpenBeamline) -> None:
    clocked(beamline)
    staged(beamline, RUN)
    with pytest.raises(NotFoundError, match="it has no result"):
        retrieve_results(beamline, RUN)
