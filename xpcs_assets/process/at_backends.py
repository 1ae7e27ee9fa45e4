"""A beamline's command at back ends: its command line there, and what one that was too big asks for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.backend import Resources
from xpcs_assets.compute.believe import Standing
from xpcs_assets.copies.ledger import BookedJob
from xpcs_assets.process.call import CommandCall
from xpcs_assets.process.processing import STEP, outputs_standing, process_settings
from xpcs_assets.settings_compute import BackendSettings
from xpcs_assets.settings_process import Process


@dataclass(frozen=True)
class CommandWork:
    """The command of a beamline; see :class:`xpcs_assets.compute.remote_work.Work`."""

    beamline: OpenBeamline
    step: str = STEP
    with_more: str = "with more memory and time"

    @property
    def deployment(self) -> Process:
        """Where it is run."""
        return process_settings(self.beamline)

    def standing(self, job: BookedJob) -> Standing:
        """What the command has made."""
        return outputs_standing(self.beamline, _call_of(job), job.version)

    def why_not_seen(self, job: BookedJob) -> str:
        """Why the disk of the command's folder, or of its outputs, is not there."""
        folder = Path(_call_of(job).folder)
        if not folder.is_dir():
            return f"the folder that it works in is not there: {folder}"
        return self.beamline.place(self.deployment.to).why_unavailable()

    def words(self, job: BookedJob, backend: BackendSettings, seen: Callable[[str], str]) -> tuple[str, ...]:
        """The command line of what runs the command there, with all that it is told."""
        told = json.dumps(_call_of(job).seen_as(seen).to_dict())
        return (backend.python, "-m", "xpcs_assets.process", told, str(job.made_at.timestamp()))

    def rungs(self, job: BookedJob, backend: BackendSettings) -> tuple[int, ...]:
        """Twice as much, once."""
        return (0, 1)

    def asks(self, job: BookedJob, resources: Resources) -> Resources:
        """As many times the memory as the time."""
        return replace(resources, memory_bytes=resources.memory_bytes * (1 + job.rung))

    def instead(self, job: BookedJob) -> str:
        """Nothing: a command is not known to have a smaller form."""
        return ""


def _call_of(job: BookedJob) -> CommandCall:
    return CommandCall.from_dict(job.request["call"])
