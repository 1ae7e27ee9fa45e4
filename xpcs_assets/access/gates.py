"""The folders by which people get at a run's files: one for each place that says who may read there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.copies.ledger import Owned
from xpcs_assets.errors import XpcsAssetsError
from xpcs_assets.runs.folders import VersionFolder
from xpcs_assets.settings import ReturnResults
from xpcs_assets.settings_places import AccessSettings
from xpcs_assets.stage.returned import path_of


@dataclass(frozen=True)
class Gate:
    """A folder in a place: whoever may enter it reads all that is below.

    Attributes
    ----------
    place, folder
        Which place, and the path relative to its root.
    settings
        What the beamline file says of access there.
    trouble
        Why it cannot be known which folder it is; empty when it is.
    """

    place: str
    folder: str
    settings: AccessSettings
    trouble: str = ""


def gates_of(beamline: OpenBeamline, owned: Owned) -> Iterator[Gate]:
    """The folders of a version, whether they are there or not: raw data, results, and results that went back."""
    pipeline, back = beamline.settings.pipeline, beamline.settings.pipeline.return_results
    for place in (pipeline.stage.to, *pipeline.copies):
        if (settings := access_in(beamline, place)) is not None:
            root = beamline.root(place)
            folder = VersionFolder(root, owned.beamline, owned.run_key, owned.version).path
            yield Gate(place, folder.relative_to(root).as_posix(), settings)
    if back is not None and (settings := access_in(beamline, back.to)) is not None:
        try:
            yield from [Gate(back.to, folder, settings) for folder in _returned(beamline, owned, back)]
        except XpcsAssetsError as error:  # what the ledger says of the version is damaged
            yield Gate(back.to, "", settings, str(error))


def access_in(beamline: OpenBeamline, place: str) -> AccessSettings | None:
    """What the beamline file says of access in a place; None where nothing is to be set."""
    return getattr(beamline.settings.places[place], "access", None)


def _returned(beamline: OpenBeamline, owned: Owned, back: ReturnResults) -> list[str]:
    """The folders that results of a run went back to. Its versions share them: the newest one's owner decides."""
    latest = beamline.ledger.latest(owned.beamline, owned.run_key)
    if latest is None or latest.version != owned.version:
        return []
    found: dict[str, None] = {}
    for result in beamline.ledger.results(owned.beamline, owned.run_key):
        version = beamline.ledger.version(owned.beamline, owned.run_key, result.version)
        path = path_of(beamline, back, version, result)
        found[str(PurePosixPath(*path.parts[: back.own_folder]))] = None
    return list(found)
