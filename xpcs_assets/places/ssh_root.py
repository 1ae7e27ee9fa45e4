"""The root of a place over ssh, as a meeting sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xpcs_assets.commands import SshCommands
from xpcs_assets.errors import ConflictingBytesError
from xpcs_assets.places.marker import Marker
from xpcs_assets.places.ssh import SshPlace
from xpcs_assets.places.ssh_session import session
from xpcs_assets.places.ssh_wire import request_of, told_marker
from xpcs_assets.runs.folders import MARKER


@dataclass(frozen=True)
class SshRoot:
    """The root of a place that is a folder of another machine."""

    commands: SshCommands
    folder: str

    @property
    def where(self) -> str:
        """The machine and the folder."""
        return f"{self.commands.where}:{self.folder}"

    def read_marker(self) -> Marker | None:
        """The marker there; None when there is none; CopyError when that cannot be known."""
        return told_marker(self._told("look")["marker"], f"{self.where}/{MARKER}")

    def leave_marker(self, marker: Marker) -> Marker:
        """Put a marker where there is none, and return the one that is there then: another's if that was quicker."""
        found = self.read_marker()
        if found is not None:
            return found
        try:
            SshPlace(marker.place, self.commands, self.folder).put(MARKER, [marker.to_json().encode()])
        except ConflictingBytesError:  # another process came between look and write
            return self.leave_marker(marker)
        return marker

    def has_any(self, paths: Sequence[str]) -> bool:
        """Whether anything has one of these names, a link that leads nowhere included; CopyError when not known."""
        return bool(self._told("has_any", paths=list(paths))["found"])

    def _told(self, do: str, **facts: Any) -> dict[str, Any]:
        with session(self.commands, request_of(self.folder, do, path="", **facts), self.where) as asked:
            return asked.hear()
