"""Reading members out of a bundle in the order of their offsets, in one pass, as a tape likes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from xpcs_assets.copies.ledger import Bundle, Member
from xpcs_assets.errors import CopyError, UnderWayError, XpcsAssetsError
from xpcs_assets.places.hpss import HpssPlace
from xpcs_assets.places.place import Place
from xpcs_assets.places.reading import chunks_of, open_regular, told_as_copy_error

SKIP_BYTES = 8 << 20
"""A gap longer than this is skipped where the place can; a shorter one is read over."""


class TakenOut:
    """Members that lie in files of their own already.

    Parameters
    ----------
    files
        By their paths in the bundle.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def read(self, member: Member) -> Iterator[bytes]:
        """The bytes of a member; none when it did not come out."""
        file = self._files.get(member.path)
        if file is not None:
            with told_as_copy_error(file), open_regular(file) as descriptor:
                yield from chunks_of(descriptor)


def reader(place: Place, bundle: Bundle, members: Sequence[Member], *, whole: bool) -> Onward | TakenOut:
    """How to read members of a bundle. From HPSS, a small part is taken out there unless the bundle is wanted whole.

    Raises
    ------
    UnderWayError
        The job that brings them is not done yet.
    CopyError
        They cannot be brought.
    """
    if not isinstance(place, HpssPlace):
        return Onward(place, bundle.name)
    if not whole and 2 * sum(member.size_bytes for member in members) < bundle.size_bytes:
        with suppress(_NotTakenOutError):
            return TakenOut(_taken_out(place, bundle, members))
    place.fetch(bundle.name)
    return Onward(place, bundle.name)


class _NotTakenOutError(Exception):
    """htar cannot do it: the bundle is read by our own index."""


def _taken_out(place: HpssPlace, bundle: Bundle, members: Sequence[Member]) -> Mapping[str, Path]:
    try:
        files = place.take_out(bundle.name, [member.path for member in members])
    except UnderWayError:
        raise
    except CopyError as error:
        raise _NotTakenOutError from error
    if files is None:
        raise _NotTakenOutError
    return files


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
