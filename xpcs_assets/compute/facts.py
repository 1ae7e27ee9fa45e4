"""What is known of a run that rules may ask for: its path, its owner, what heralded it, and its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from xpcs_assets.arrive.candidates import fields_of
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.runs.matching import Wanted, fits
from xpcs_assets.settings_rules import OF_DATABASE, RAW_FACT

if TYPE_CHECKING:
    from xpcs_assets.copies.ledger import RunVersion
    from xpcs_assets.describe.record import Record

RUN_DATABASE = "run_database"
"""The timeline's name for what a run database said of a run."""
SCAN = "scan"
"""And for the scan of bluesky that a run was heard of by; ``start`` in its detail is the start document."""
_START = "/bluesky/start/"


class Facts:
    """What is known of one version of a run, by name. Its metadata are read when one of them is first asked for."""

    def __init__(self, beamline: OpenBeamline, version: RunVersion) -> None:
        self._beamline = beamline
        self._version = version

    def of(self, name: str) -> Any:
        """What is known under a name; None when nothing is.

        Raises
        ------
        NotFoundError
            It is a metadatum, and the run has neither a record nor a staged copy.
        """
        if name.startswith(RAW_FACT):
            return self._record.raw.get(name.removeprefix(RAW_FACT))
        if not name.startswith("/"):
            return self._said.get(name)
        if (entry := self._record.first(name)) is not None:
            return entry.value
        return _below(self._start, name.removeprefix(_START)) if name.startswith(_START) else None

    def lacking(self, when: Mapping[str, Wanted]) -> tuple[bool, str]:
        """Whether a rule fits; where it does not since something is not known, its name."""
        asks_files = [name for name in when if name.startswith(("/", RAW_FACT))]
        for name in (*(name for name in when if name not in asks_files), *asks_files):
            value = self.of(name)
            if value is None:
                return False, name
            if not fits(value, when[name]):
                return False, ""
        return True, ""

    @cached_property
    def _said(self) -> dict[str, Any]:
        version = self._version
        owner = {name: version.owner.get(name) or None for name in ("proposal", "experiment")}
        said = {"source": version.source, "run_key": version.run_key, **owner}
        said |= fields_of(self._beamline.settings, version.source)
        database = self._noted(RUN_DATABASE)
        return said | {name: database[name] for name in OF_DATABASE if name in database}

    @cached_property
    def _start(self) -> Mapping[str, Any]:
        start = self._noted(SCAN).get("start")
        return start if isinstance(start, Mapping) else {}

    @cached_property
    def _record(self) -> Record:
        from xpcs_assets.describe.describing import known_record

        return known_record(self._beamline, self._version)

    def _noted(self, step: str) -> Mapping[str, Any]:
        """What the last line of this kind in the run's timeline holds."""
        lines = self._beamline.ledger.timeline(self._beamline.name, self._version.run_key)
        return next((line.detail for line in reversed(lines) if line.step == step), {})


def _below(document: Any, path: str) -> Any:
    for name in path.split("/"):
        if not isinstance(document, Mapping):
            return None
        document = document.get(name)
    return document
