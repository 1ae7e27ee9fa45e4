"""Several digests of the same bytes, made in one pass over them."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable
from typing import Protocol

from xpcs_assets.errors import SettingsError


class _Digest(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class Hasher:
    """The sha256 of bytes that come piece by piece, and beside it what a service asks for.

    Parameters
    ----------
    also
        Of :data:`KINDS`. Another word is left out of the outcome: who compares takes a digest that is not there as not
        verified.

    Raises
    ------
    SettingsError
        The library that makes a digest of this kind is not installed.

    Examples
    --------
    >>> hasher = Hasher(["adler32", "md5"])
    >>> hasher.update(b"Wikipedia")
    >>> hasher.sha256[:8], hasher.also["adler32"], hasher.also["md5"][:8]
    ('d38b38a2', '11e60398', '9c677286')
    """

    def __init__(self, also: Iterable[str] = ()) -> None:
        self._sha256: _Digest = hashlib.sha256()
        self._also = {kind: _MAKERS[kind]() for kind in also if kind in _MAKERS}

    def update(self, data: bytes | memoryview) -> None:
        """Take the next piece."""
        self._sha256.update(data)
        for digest in self._also.values():
            digest.update(data)

    @property
    def sha256(self) -> str:
        """64 hex digits."""
        return self._sha256.hexdigest()

    @property
    def also(self) -> dict[str, str]:
        """The others by their kind: hex digits, 32 of md5, 8 of adler32 and crc32c (most significant byte first)."""
        return {kind: digest.hexdigest() for kind, digest in self._also.items()}


class _Adler32:
    """zlib's Adler-32 (RFC 1950), with the methods of ``hashlib``."""

    def __init__(self) -> None:
        self._value = 1

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = zlib.adler32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class _Crc32c:
    """CRC-32C (Castagnoli, RFC 3720 B.4), with the methods of ``hashlib``."""

    def __init__(self) -> None:
        try:
            import google_crc32c
        except ImportError as error:
            raise SettingsError(
                "the digest crc32c needs a library that is not installed",
                remedy="Install `xpcs-assets[crc32c]`, or take crc32c out of `also_hash`",
            ) from error
        self._extend: Callable[[int, bytes], int] = google_crc32c.extend
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        # The library takes nothing but bytes; a view of other memory is copied for it.
        self._value = self._extend(self._value, data if isinstance(data, bytes) else bytes(data))

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def _md5() -> _Digest:
    return hashlib.md5(usedforsecurity=False)


_MAKERS: dict[str, Callable[[], _Digest]] = {"md5": _md5, "adler32": _Adler32, "crc32c": _Crc32c}
KINDS = frozenset(_MAKERS)
"""The digests that can be made beside sha256."""
