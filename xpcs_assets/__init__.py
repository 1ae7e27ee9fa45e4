"""A Dagster platform for coherent-scattering beamlines.

Every measurement run is one partition, and goes through these steps, one folder each:

1. ``arrive``     is the run complete?
2. ``stage``      copy once, hash, verify
3. ``correlate``  raw frames or events -> g2, in a process of its own
4. ``describe``   metadata and quality
5. ``plot``       arrays -> figures
6. ``catalog``    one raw and one derived record per run
7. ``archive``    bundle, tape, read back
8. ``prune``      what may go, and the proof
9. ``audit``      re-read copies, compare, mend

``runs`` says what a measurement is, ``readers`` reads raw formats, ``qmaps`` makes and reads q-maps, ``engine``
correlates counts, ``results`` are written, opened, fitted and averaged, ``copies`` knows where every copy is,
``places`` are where bytes live, ``compute`` is where heavy work runs, ``doctor`` sees whether all of it is in order.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xpcs_assets.correlate.api import correlate
    from xpcs_assets.results.result import open_result as open  # noqa: A004

__all__ = ["__version__", "correlate", "open"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # A beamline's detector host imports this package without h5py's second.
    if name == "open":
        from xpcs_assets.results.result import open_result

        return open_result
    if name == "correlate":
        return importlib.import_module("xpcs_assets.correlate")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
