"""What a beamline file may say of a run database: where it is, what its fields are called, and which runs are taken."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator

from xpcs_assets.settings_base import Secret, Settings
from xpcs_assets.units import Seconds

_NUMBER = re.compile(r"\{number(?::0?[0-9]{1,2}d)?\}")


class RunDatabaseFields(Settings):
    """What the fields of a run's document are called."""

    number: str = Field("number", description="The run's number, an integer")
    start: str = Field("start", description="When it began")
    end: str = Field("end", description="When it ended; a run without it is not over")
    mode: str = Field("mode", description="Its mode")
    detectors: str = Field("detectors", description="Its detector, or a list of them")
    tags: str = Field("tags", description="Its tags, a list of names or of documents with a `name`")
    processing_status: str = Field("processing_status", description="How far it is")
    processing_failed: str = Field("processing_failed", description="How often it has failed")
    data: str = Field("data", description="Where its data lie")
    deleted_data: str = Field("deleted_data", description="Where data lay that are gone")


class RunFolders(Settings):
    """Where a run's raw files lie."""

    place: str = Field(description="A place of kind posix, globus or ssh")
    path: str = Field("{number:06d}/", description="A run's folder in it (ends in /) or raw file, by its number")

    @field_validator("path")
    @classmethod
    def _holds_the_number(cls, value: str) -> str:
        rest = _NUMBER.sub("", value)
        parts = value.strip("/").split("/")
        if len(_NUMBER.findall(value)) != 1 or set("{}") & set(rest) or any(part in {"", ".", ".."} for part in parts):
            raise ValueError("holds {number}, or {number:06d}, once, and no empty part, '.' or '..'")
        return value

    @property
    def pattern(self) -> str:
        """The path as a pattern with the field ``{number}``."""
        return _NUMBER.sub("{number}", self.path)

    def source(self, number: int) -> str:
        """The path of one run, without the last slash."""
        return self.path.format(number=number).rstrip("/")


class RunDatabaseSettings(Settings):
    """A run database in MongoDB that says which runs there are, and is told what became of them."""

    url: Secret = Field(description="Where its address lies, mongodb:// with user and password")
    database: str = Field(description="The database")
    collection: str = Field(description="The collection with one document a run")
    fields: RunDatabaseFields = Field(RunDatabaseFields(), description="What the fields of a run are called")
    source: RunFolders = Field(description="Where a run's raw files lie")
    switch: str = Field(
        "daq.processing",
        pattern=r"^[^.]+\.[^.].*$",
        description="Database and collection of the document {name: auto_processing, status: on}; with any other "
        "status no new run is taken, without the document all are",
    )
    min_run_number: int = Field(0, description="Runs below it are left alone")
    newest_days: Annotated[int, Field(ge=1)] = Field(100, description="So are runs that began longer ago")
    detectors: tuple[str, ...] = Field((), description="Only runs of one of these detectors; empty: of any")
    runs_at_most: Annotated[int, Field(ge=1)] = Field(20, description="Runs that this beamline has claimed at a time")
    failures_at_most: Annotated[int, Field(ge=1)] = Field(3, description="A run that failed so often is left alone")
    retry_after: Seconds = Field(600.0, description="A run that failed is tried again after this long")
    time_limit: Seconds = Field(
        86400.0, ge=60, description="A run under way of which no step ends for so long has failed"
    )
    claim_stands: Seconds = Field(
        1800.0, ge=60, description="A claim that was not renewed for so long may be taken over by another site"
    )
    copies_type: str = Field("raw_records", description="The type of the data entries of raw data's copies")
