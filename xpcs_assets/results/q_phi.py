"""Mean scattering on the grid of the q-map's two coordinates, such as q and phi."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xpcs_assets.errors import ResultError
from xpcs_assets.readers.h5file import damage, open_hdf5

if TYPE_CHECKING:
    from xpcs_assets.results.result import Result

_REMEDY = "Correlate the run again, or open another file"


@dataclass(frozen=True, eq=False)
class QPhi:
    """Means of the static bins, by their place on the grid.

    Attributes
    ----------
    names, units
        Of the two coordinates, such as ``("q", "phi")`` and ``("1/A", "deg")``.
    first, second
        (n0,) and (n1,) float64, the coordinates of the grid's rows and columns.
    mean
        (n0, n1) float64, counts per pixel and frame; NaN where the grid has no pixels or nothing was measured.
    """

    names: tuple[str, str]
    units: tuple[str, str]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    mean: NDArray[np.float64]


def read_q_phi(result: Result) -> QPhi:
    """Put the static bins of a result on the grid of its q-map.

    Raises
    ------
    ResultError
        The file has no such grid, as those of the old layout, or its bins lie outside of it.
    """
    from xpcs_assets.results.result import Source

    path = result.path
    with open_hdf5(path, ResultError, _REMEDY) as file, damage(path, "it cannot be read", ResultError, _REMEDY):
        source = Source(file, path)
        first, second = (
            source.array(f"/xpcs/qmap/static_v_list_dim{axis}").reshape(-1).astype(np.float64) for axis in (0, 1)
        )
        place = source.array("/xpcs/qmap/static_index_mapping").reshape(-1).astype(np.int64)
        names, units = source.texts("/xpcs/qmap/map_names"), source.texts("/xpcs/qmap/map_units")
    mean = np.full(first.size * second.size, np.nan)
    inside = place.size == result.scattering_1d.size and ((place >= 0) & (place < mean.size)).all()
    if not inside or len(names) < 2 or len(units) < 2:
        raise ResultError("its static bins have no place on the grid of q and phi", where=path, remedy=_REMEDY)
    mean[place] = result.scattering_1d
    grid = mean.reshape(first.size, second.size)
    return QPhi((names[0], names[1]), (units[0], units[1]), first, second, grid)
