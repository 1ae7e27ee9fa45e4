"""Reading members out of a bundle in the order of their offsets, in one pass, as a tape likes it."""

from __future__ import annotations

from collections.abc import Iterator

from xpcs_assets.copies.ledger import Member
from xpcs_assets.errors import XpcsAssetsError
from xpcs_assets.places.place import Place

SKIP_BYTES = 8 << 20
"""A gap longer than this is skipped where the place can; a shorter one is read over."""


class Onward:
    """A bundle that is read onward from member to member; what lies before the first is not asked for.

    Parameters
    ----------
    place, name
        The bundle.
    """

    def __init__(self, place: Place, name: str) -> None:
        self._place = place
        self._name = name
        self._chunks: Iterator[bytes] | None = None
        self._rest = memoryview(b"")
        self._at = 0

    def read(self, member: Member) -> Iterator[bytes]:
        """The bytes at a member's offset, as many as it has; fewer when the bundle ends there.

        Members come in the order of their offsets. Offsets are not taken on trust: who reads hashes what comes.
        """
        self._go_to(member.offset_bytes)
        left = member.size_bytes
        while left:
            piece = self._take(left)
            if not piece:
                return
            left -= len(piece)
            yield bytes(piece)

    def _go_to(self, offset_bytes: int) -> None:
        far = self._place.seeks and offset_bytes - self._at - len(self._rest) > SKIP_BYTES
        if self._chunks is None or far or offset_bytes < self._at:
            self._chunks = self._place.read(self._name, offset_bytes)
            self._rest = memoryview(b"")
            self._at = offset_bytes
        while self._at < offset_bytes and self._take(offset_bytes - self._at):
            pass

    def _take(self, at_most: int) -> memoryview:
        """The next bytes; none at the end."""
        if self._chunks is not None and not self._rest:
            try:
                self._rest = memoryview(next(self._chunks, b""))
            except XpcsAssetsError:
                self._chunks = None  # what has failed gives no more: the next member begins anew
                raise
        piece, self._rest = self._rest[:at_most], self._rest[at_most:]
        self._at += len(piece)
        return piece
