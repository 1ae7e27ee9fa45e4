"""A folder that plays tape: written once, read from the beginning, nothing ever overwritten or removed."""

from __future__ import annotations

from collections.abc import Iterator

from xpcs_assets.errors import RemovalRefusedError
from xpcs_assets.places.place import RemovalPermit
from xpcs_assets.places.posix import PosixPlace


class TapePlace(PosixPlace):
    """An archive of bundles in a folder."""

    holds_bundles = True
    seeks = False

    def read(self, path: str, offset_bytes: int = 0) -> Iterator[bytes]:
        """The bytes from an offset on; what lies before it is wound over, which takes its time as on a tape."""
        for chunk in super().read(path):
            if offset_bytes < len(chunk):
                yield chunk[offset_bytes:]
            offset_bytes = max(0, offset_bytes - len(chunk))

    def remove(self, path: str, permit: RemovalPermit) -> bool:
        """Refuse: an archive only grows, whatever the permit."""
        raise RemovalRefusedError("nothing is removed from an archive", where=f"{self.name}:{path}")

    def set_aside(self, path: str, label: str, permit: RemovalPermit) -> str:
        """Refuse, as :meth:`remove` does."""
        raise RemovalRefusedError("nothing is moved in an archive", where=f"{self.name}:{path}")
