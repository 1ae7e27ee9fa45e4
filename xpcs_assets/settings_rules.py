"""What rules of a beamline file ask of a run: names of what is known of it, and what each must be."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import AfterValidator, Field

from xpcs_assets.runs.matching import Wanted, problem_with

RAW_FACT = "raw."
"""What a name begins with that asks the raw file, as the metadata record's ``raw`` has it."""
OF_RUN = ("source", "run_key", "proposal", "experiment")
OF_DATABASE = ("mode", "detectors")


def _is_matched(wanted: Wanted) -> Wanted:
    if reason := problem_with(wanted):
        raise ValueError(reason)
    return wanted


When = Annotated[
    dict[str, Annotated[Wanted, AfterValidator(_is_matched)]],
    Field(
        min_length=1,
        description="What must be so, all of it, by name: a field of the run's path, `source` (that path), `run_key`, "
        "`proposal` and `experiment` of the owner, `mode` and `detectors` with a run database, a metadatum's path as "
        "in the run's record (`/entry/sample/name`), or `raw.` and what the raw file tells (`raw.frames_recorded`). "
        "A text is a name pattern; one such as `>= 100` compares with a number",
    ),
]


def unknown_facts(when: When, path_fields: Collection[str]) -> list[str]:
    """The names that no run of the beamline can have."""
    known = {*path_fields, *OF_RUN, *OF_DATABASE}
    return sorted(name for name in when if name not in known and not name.startswith(("/", RAW_FACT)))
