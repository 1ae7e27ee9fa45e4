"""Digests of what a correlation is made from: a result is known by them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xpcs_assets.engine import stop
from xpcs_assets.errors import CorrelationError, InputError, MetadataError, RawDataError
from xpcs_assets.qmaps.qmap import Qmap

_HASH_BYTES = 16 << 20


def input_digests(
    raw: Sequence[Path], metadata: Path, qmap_path: Path, qmap: Qmap, raw_digests: Sequence[str] | None = ()
) -> dict[str, Any]:
    """Name and digest of each raw file, of the metadata file and of the q-map.

    Parameters
    ----------
    raw_digests
        sha256 of each raw file where it is known already; empty reads them. None leaves them out: they change.

    Raises
    ------
    CorrelationError
        There are not as many digests as raw files.
    InputError
        A file cannot be read.
    """
    if raw_digests and len(raw_digests) != len(raw):
        raise CorrelationError(
            f"{len(raw_digests)} raw digests for {len(raw)} raw files", remedy="Give one for each, or none"
        )
    known = [f"sha256:{digest.removeprefix('sha256:')}" for digest in raw_digests or ()]
    if raw_digests is None:
        known = [""] * len(raw)
    digests = dict(zip(raw, known or [sha256_of(path, RawDataError) for path in raw], strict=True))
    return {
        "raw": [{"name": path.name, "digest": digest} for path, digest in digests.items()],
        "metadata": {"name": metadata.name, "digest": digests.get(metadata) or sha256_of(metadata, MetadataError)},
        "qmap": {"name": qmap_path.name, "digest": qmap.digest},
    }


def sha256_of(path: Path, kind: type[InputError]) -> str:
    """``sha256:`` of a file's bytes.

    Raises
    ------
    InputError
        It cannot be read; the error is of the given kind.
    """
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_HASH_BYTES):
                digest.update(block)
                stop.check()
    except OSError as error:
        raise kind(f"it cannot be read ({error.strerror})", where=path, remedy="Copy it anew") from error
    return "sha256:" + digest.hexdigest()
