"""A beamline's runs come from a watched folder or a run database, and the path of a run holds its number once."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from xpcs_assets.settings import RunsFrom
from xpcs_assets.settings_run_database import RunFolders

DATABASE = {
    "url": {"variable": "RUNS"},
    "database": "run",
    "collection": "runs",
    "source": {"place": "daq", "path": "raw/{number:06d}/"},
}


def read(**said: Any) -> RunsFrom:
    return RunsFrom.model_validate(said)


def test_a_run_databases_source_is_where_files_are_looked_for() -> None:
    found = read(run_database=DATABASE)
    assert (found.watch, found.path) == ("daq", "raw/{number}/")
    assert RunsFrom.model_validate(found.model_dump()) == found


@pytest.mark.parametrize(
    "said", [{}, {"watch": "daq", "run_database": DATABASE}, {"path": "x/", "run_database": DATABASE}]
)
def test_runs_come_from_one_of_both(said: dict[str, Any]) -> None:
    if "watch" in said:
        said = {**said, "path": "{run}/"}
    with pytest.raises(ValidationError):
        read(**said)


def test_a_runs_folder_is_named_by_its_number() -> None:
    assert RunFolders(place="daq", path="raw/{number:06d}/").source(600) == "raw/000600"
    assert RunFolders(place="daq", path="run-{number}.h5").source(600) == "run-600.h5"


@pytest.mark.parametrize(
    "path", ["raw/", "{number}/{number}/", "{number.real}/", "{number:>9}/", "../{number}/", "{x}"]
)
def test_a_path_without_the_number_or_with_more_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match=r"holds \{number\}"):
        RunFolders(place="daq", path=path)
