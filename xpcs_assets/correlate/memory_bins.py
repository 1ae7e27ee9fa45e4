"""Maps of bins in memory, whatever they were given as: a file, a q-map, integer maps, or regions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xpcs_assets.errors import QmapError
from xpcs_assets.qmaps.qmap import read_qmap
from xpcs_assets.qmaps.qpartition import QPartition

Maps = tuple[ArrayLike, ArrayLike, ArrayLike]
"""Integer maps (rows, columns): dynamic bins, static bins, mask."""


@dataclass(frozen=True, eq=False)
class Bins:
    """Maps of bins with their names.

    Attributes
    ----------
    dynamic, static
        (rows, columns) integers, bins from 1, 0 unused.
    mask
        (rows, columns), above 0 where a pixel is analysed.
    q, static_q
        (Nd,) and (Ns,) float64, 1/Å; NaN where the map has no q.
    labels
        One a dynamic bin.
    digest
        ``sha256:`` of the q-map file, or of the maps.
    """

    dynamic: NDArray[Any]
    static: NDArray[Any]
    mask: NDArray[Any]
    q: NDArray[np.float64]
    static_q: NDArray[np.float64]
    labels: tuple[str, ...]
    digest: str

    @classmethod
    def of(cls, qmap: str | Path | QPartition | Maps | NDArray[Any]) -> Bins:
        """Take a file's path, a q-map, three maps, or one map whose regions are dynamic and static bins at once.

        Raises
        ------
        QmapError
            The file cannot be read, or these are no maps.
        """
        if isinstance(qmap, (str, Path)):
            qmap = read_qmap(Path(qmap))
        if isinstance(qmap, QPartition):
            return cls._of_partition(qmap)
        if isinstance(qmap, tuple) and len(qmap) == 3:
            dynamic, static, mask = map(np.asarray, qmap)
        else:
            dynamic = static = np.asarray(qmap)
            mask = dynamic > 0
        if dynamic.dtype.kind not in "iu" or static.dtype.kind not in "iu" or dynamic.ndim != 2:
            raise QmapError(
                f"these are no maps of bins: {dynamic.dtype} of shape {dynamic.shape}",
                remedy="Give whole numbers (rows, columns), bins from 1, 0 where a pixel is not used",
            )
        n_dynamic, n_static = int(dynamic.max(initial=0)), int(static.max(initial=0))
        labels = tuple(f"bin {number}" for number in range(1, n_dynamic + 1))
        return cls(
            dynamic, static, mask, np.full(n_dynamic, np.nan), np.full(n_static, np.nan), labels,
            _digest(dynamic, static, mask),
        )  # fmt: skip

    @classmethod
    def _of_partition(cls, qmap: QPartition) -> Bins:
        none = np.full(qmap.n_dynamic, np.nan), np.full(qmap.n_static, np.nan)
        return cls(
            dynamic=qmap.dynamic,
            static=qmap.static,
            mask=qmap.mask,
            q=none[0] if qmap.dynamic_q is None else qmap.dynamic_q,
            static_q=none[1] if qmap.static_q is None else qmap.static_q,
            labels=tuple(qmap.dynamic_label(number) for number in range(1, qmap.n_dynamic + 1)),
            digest=getattr(qmap, "digest", "") or _digest(qmap.dynamic, qmap.static, qmap.mask),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.dynamic.shape[0]), int(self.dynamic.shape[1])


def _digest(*maps: NDArray[Any]) -> str:
    content = hashlib.sha256()
    for each in maps:
        content.update(f"{each.shape}".encode() + np.ascontiguousarray(each, "<i8").tobytes())
    return f"sha256:{content.hexdigest()}"
