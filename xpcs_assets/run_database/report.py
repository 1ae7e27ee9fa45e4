"""Tell the run database what the ledger knows: how far each claimed run is, and where the copies of ended ones lie.

Only what is newer than the attempt counts: a step that failed before the run was asked for again says nothing of it.
"""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import Any

from xpcs_assets.arrive.candidates import fields_of
from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Arrival, ArrivalState, JobState, RunVersion
from xpcs_assets.follow import RunState, Step, state_of
from xpcs_assets.process.processing import STEP as PROCESSED
from xpcs_assets.process.processing import outputs_of
from xpcs_assets.run_database.database import RunDatabase
from xpcs_assets.run_database.known_run import KnownRun, RunStatus
from xpcs_assets.runs.key import run_key
from xpcs_assets.settings import COPY_IN

BY = "xpcs-assets"
"""Marks the data entries that are ours to keep up to date."""
PAGE = 20
"""Ended runs whose data entries one report looks at; the next goes on behind them."""
_LATER = ("archive", COPY_IN)
_RESULT = "correlation"


class Reporter:
    """What one process remembers between its reports."""

    def __init__(self, beamline: OpenBeamline, database: RunDatabase) -> None:
        self._beamline = beamline
        self._database = database
        self._below: int | None = None

    def report(self) -> list[str]:
        """Renew this site's claims and say how far their runs are; what to warn of.

        Raises
        ------
        UnreachableError, RefusedError, SettingsError
            The run database does not answer, or not as it should; the next report says it all.
        """
        now = self._database.now()
        self._database.renew(now)
        told = []
        for run in self._database.mine():
            status, reason = self._how_far(run)
            if (status, reason) == (run.status, run.reason) or self._database.say(run, status, reason, now):
                continue
            told.append(f"run {run.number} is {status}, which the run database was not told: another holds it now")
        self._tell_data(now)
        return told

    def _key(self, run: KnownRun) -> str:
        source = self._database.settings.source.source(run.number)
        return run_key(self._beamline.settings.runs.key, fields_of(self._beamline.settings, source))

    def _how_far(self, run: KnownRun) -> tuple[RunStatus, str]:
        arrival = self._beamline.ledger.arrival(self._beamline.name, self._key(run))
        if arrival is None or arrival.attempt < run.attempt:
            return RunStatus.SUBMITTED, ""
        ledger, state = self._beamline.ledger, state_of(self._beamline, arrival.run_key)
        status, reason = how_far(state, arrival, ledger.clock(), self._limit_s)
        waits = (JobState.INTENDED, JobState.SUBMITTED)
        if status is RunStatus.RUNNING and ledger.jobs(
            arrival.beamline, analysis_key=arrival.run_key, states=waits, limit=1
        ):
            return RunStatus.SUBMITTED, reason
        return status, reason

    @property
    def _limit_s(self) -> float:
        return self._database.settings.time_limit

    def _tell_data(self, now: datetime) -> None:
        ended = self._database.ended(self._below, PAGE)
        self._below = ended[-1].number if len(ended) == PAGE else None
        for run in ended:
            version = self._beamline.ledger.latest(self._beamline.name, self._key(run))
            if version is None:
                continue  # of a run that the ledger does not know nothing is said, and nothing taken back
            due = self._entries(version)
            known = {_identity(entry) for entry in run.data}
            for identity, entry in due.items():
                if identity not in known:
                    self._database.add_data(run, {**entry, "time": now})
            mine = [entry for entry in run.data if (entry.get("by"), entry.get("beamline")) == (BY, version.beamline)]
            for gone in mine:
                if _identity(gone) not in due:
                    self._database.retire_data(run, gone)

    def _entries(self, version: RunVersion) -> dict[tuple[Any, ...], dict[str, Any]]:
        """The data entries of a version: its verified copies but the one at the source, and what was made of it."""
        beamline, manifest = self._beamline, version.manifest
        watched = beamline.settings.runs.source.watch
        entries = [
            self._entry(
                self._database.settings.copies_type,
                copy.place,
                copy.path,
                checksum=manifest.digest,
                size_bytes=manifest.size_bytes,
                files=len(manifest.files),
            )
            for copy in beamline.ledger.copies(beamline.name, version.run_key, version.version)
            if copy.is_sound and copy.place != watched
        ]
        results = beamline.ledger.results(
            beamline.name, version.run_key, analysis_key=version.run_key, version=version.version
        )
        for result in results[:1]:
            staged = beamline.settings.pipeline.stage.to
            entries.append(self._entry(_RESULT, staged, result.path, checksum=result.result_digest))
        process = beamline.settings.pipeline.process
        folder, outputs = outputs_of(beamline, version) if process is not None else ("", {})
        if process is not None:
            entries += [
                self._entry(PROCESSED, process.to, f"{folder}/{name}", checksum=f"sha256:{sha256}")
                for name, sha256 in outputs.items()
            ]
        return {_identity(entry): entry for entry in entries}

    def _entry(self, kind: str, place: str, path: str, **facts: object) -> dict[str, Any]:
        settings = self._beamline.settings.places[place]
        root = self._beamline.site.path(settings.folder) if settings.folder is not None else None
        return {
            "type": kind,
            "location": f"{place}:{path}" if root is None else str(root / path),
            "host": self._database.host if root is not None else place,
            "user": _user(),
            "by": BY,
            "beamline": self._beamline.name,
            **facts,
        }


def how_far(state: RunState, arrival: Arrival, now: datetime, limit_s: float) -> tuple[RunStatus, str]:
    """How far a run is that was asked for with the attempt that ``arrival`` has, and why it is not further."""
    if arrival.state in {ArrivalState.REFUSED, ArrivalState.INCOMPLETE}:
        return RunStatus.FAILED, arrival.reason
    steps = [step for step in state.steps if not step.asset.startswith(_LATER)]
    for step in steps:
        if step.state == "failed" and _is_since(step, arrival):
            return RunStatus.FAILED, f"{step.asset}: {step.reason}"
    if arrival.state is not ArrivalState.TAKEN:
        return RunStatus.SUBMITTED, ""
    open_steps = [step for step in steps if not step.is_settled or not _is_since(step, arrival)]
    if not open_steps:
        return RunStatus.DONE, state.remarks
    waits = next((step.reason for step in open_steps if step.state == "waiting" and step.reason), "")
    last = max([arrival.changed_at, *(event.at for event in state.timeline)])
    if not waits and (now - last).total_seconds() > limit_s:
        return RunStatus.FAILED, f"no step has ended for {limit_s:.0f} s; {open_steps[0].asset} is still to come"
    return RunStatus.RUNNING, waits


def _is_since(step: Step, arrival: Arrival) -> bool:
    return step.at is not None and step.at >= arrival.changed_at


def _identity(entry: Any) -> tuple[Any, ...]:
    return tuple(str(entry.get(name)) for name in ("type", "host", "location", "checksum"))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return "unknown"
