"""A place that is a folder of a Globus collection and is mounted on this machine as well.

Bytes are read back, proved and removed through the mounted folder; Globus only brings them. A removal by Globus
(DeleteData) is never asked for: it would be behind no permit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from xpcs_assets.errors import CopyError
from xpcs_assets.places.posix import PosixPlace
from xpcs_assets.runs.manifest import check_relative


@dataclass(frozen=True)
class Collection:
    """A folder of a Globus collection.

    Attributes
    ----------
    uuid
        Of the collection.
    root
        The folder in it, an absolute path.
    sha256
        Whether its storage can compute sha256 for Globus.
    """

    uuid: str
    root: str
    sha256: bool = True

    def path(self, relative: str) -> str:
        """A file below the folder, as Globus calls it; CopyError when its name is no text."""
        try:
            relative.encode()
        except UnicodeEncodeError as error:
            raise CopyError(
                f"Globus moves no file whose name is not UTF-8: {relative!r}", where=self.uuid, remedy="Rename the file"
            ) from error
        return str(PurePosixPath(self.root) / check_relative(relative))


class GlobusPlace(PosixPlace):
    """The mounted folder, and the collection that it is a part of; parameters as in :class:`PosixPlace`."""

    def __init__(
        self,
        name: str,
        root: Path,
        failure_domain: str = "",
        *,
        collection: Collection,
        identity: str | None = None,
        unavailable: str = "",
    ) -> None:
        super().__init__(name, root, failure_domain, identity=identity, unavailable=unavailable)
        self.collection = collection
