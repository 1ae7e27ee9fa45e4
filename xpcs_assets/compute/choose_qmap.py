"""Which q-map a run is analysed with: one that is named, the registry's, the beamline's one, or the run's own."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.qmap_registry import resolve
from xpcs_assets.errors import QmapError
from xpcs_assets.settings_correlate import QmapSource

if TYPE_CHECKING:
    from xpcs_assets.copies.ledger import QmapVersion, RunVersion


@dataclass(frozen=True)
class ChosenQmap:
    """A q-map as it is written down; its file is not looked into.

    Attributes
    ----------
    path
        Where it lies.
    digest
        ``sha256:`` of its bytes by registry or manifest; empty where nothing but the file tells.
    version
        Which of the registry it is; None where it is from elsewhere.
    """

    path: Path
    digest: str = ""
    version: QmapVersion | None = None

    @property
    def told(self) -> str:
        """Where it is from, if from the registry."""
        return f"registry {self.version}" if self.version else ""


def choose_qmap(
    beamline: OpenBeamline, source: QmapSource, run: RunVersion, measured_at: Callable[[], datetime], qmap: str = ""
) -> ChosenQmap:
    """Choose the q-map of a run.

    Parameters
    ----------
    source
        What the beamline file says.
    measured_at
        Tells the run's time; asked when it matters.
    qmap
        Path of another one than the beamline's.

    Raises
    ------
    QmapError
        There is none, or more than one.
    """
    if qmap or source.path is not None:
        path = beamline.site.path(Path(qmap or str(source.path)))
        if not path.is_file():
            raise QmapError("the q-map is not there", where=path, remedy="Put it there, or name another one")
        return ChosenQmap(path)
    if source.registry:
        version = resolve(beamline, source.registry, measured_at())
        return ChosenQmap(beamline.site.path(Path(version.path)), version.digest, version)
    folder = beamline.staged(run).raw
    found = [entry for entry in run.manifest.files if fnmatch.fnmatch(Path(entry.path).name, source.in_run)]
    if len(found) != 1:
        raise QmapError(
            f"{len(found)} of the run's files match the q-map's pattern {source.in_run!r}",
            where=folder,
            remedy="Have one q-map beside the raw file, or give the beamline one by pipeline.correlate.qmap.path",
        )
    return ChosenQmap(folder / found[0].path, f"sha256:{found[0].sha256}")
