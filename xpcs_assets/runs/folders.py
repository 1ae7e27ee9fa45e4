"""Where the parts of a run lie inside a place. Paths only; nothing is read or made here.

::

    <root>/<beamline>/<run key>/v<version>/manifest.json
                                          /raw/...                      the staged copy
                                          /record.json                  the run's typed metadata
                                          /results/<recipe>/<run>_results.hdf, .json, plots/
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xpcs_assets.runs.manifest import FILE_NAME

PARTIAL_SUFFIX = ".xpcs-partial"
ASIDE_FOLDER = ".xpcs-aside"
"""In a place's root: what was moved out of its name, into the trash or because its bytes are bad."""
ARRIVING_FOLDER = ".xpcs-arriving"
"""In a place's root: what is being moved there, file by file under its own name, and was not read back yet."""
FLIGHT_FOLDER = ".xpcs-flight"
"""In a place's root: small files that only try the way there, and are taken away again at once."""
MARKER = ".xpcs-assets-place"
"""In a place's root: which place this is."""
UNLISTED = (MARKER, ASIDE_FOLDER, ARRIVING_FOLDER, FLIGHT_FOLDER)
"""What a listing of all that a place holds leaves out."""


@dataclass(frozen=True)
class VersionFolder:
    """The folder of one version of a run in a place's root.

    Attributes
    ----------
    root
        The place's root folder.
    beamline, run_key, version
        Which run; versions count from 1.
    """

    root: Path
    beamline: str
    run_key: str
    version: int

    @property
    def run(self) -> Path:
        """Folder of all versions of the run."""
        return self.root / self.beamline / self.run_key

    @property
    def path(self) -> Path:
        """Folder of this version."""
        return self.run / f"v{self.version}"

    @property
    def manifest(self) -> Path:
        """The manifest beside the raw files."""
        return self.path / FILE_NAME

    @property
    def raw(self) -> Path:
        """The staged raw files, in the folders they had at the source."""
        return self.path / "raw"

    @property
    def record(self) -> Path:
        """The typed metadata record."""
        return self.path / "record.json"

    def result(self, recipe_folder: str) -> Path:
        """The result file of a recipe."""
        return self.path / "results" / recipe_folder / f"{self.run_key}_results.hdf"

    def report(self, recipe_folder: str) -> Path:
        """The worker's report on that result."""
        return self.result(recipe_folder).with_suffix(".json")

    def plots(self, recipe_folder: str) -> Path:
        """Folder of the full plots of that result."""
        return self.path / "results" / recipe_folder / "plots"
