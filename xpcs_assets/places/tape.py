"""A folder that plays tape: written once, read from the beginning, nothing ever overwritten or removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256

from xpcs_assets.errors import ConflictingBytesError, RemovalRefusedError
from xpcs_assets.places.place import Presence, RemovalPermit
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

    def put_bundle(self, path: str, chunks: Iterable[bytes], index_path: str, index: bytes) -> bool:
        """Put a bundle that is known by its name, and its index beside it; whether the bundle was not there before.

        ``chunks`` are not asked for when it was: its bytes are not compared, whoever reads it back does that.

        Raises
        ------
        ConflictingBytesError
            The name of its index is taken by other bytes, or its own was meanwhile.
        """
        digest = sha256(index).hexdigest()
        if self.stat(index_path).signature is not None and self.digest(index_path).sha256 != digest:
            # Before a bundle of terabytes is written.
            raise ConflictingBytesError("its index is there with other bytes", where=f"{self.name}:{index_path}")
        is_new = self.stat(path).presence is not Presence.YES
        if is_new:
            is_new = not self.put(path, chunks).already_there
        self.put(index_path, [index], sha256=digest)
        return is_new
