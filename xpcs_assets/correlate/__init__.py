"""Step 3: raw frames or events -> g2, in a process of its own. Runs without Dagster and the platform's state.

``job`` opens the inputs, ``stream`` brings the chunks (``corrections``, ``timeline``, ``intensity``), ``carry_out``
sends them through the ``engine`` and writes with ``results``; ``worker`` is the command.

The package itself can be called, for frames in memory: ``xpcs_assets.correlate(frames, qmap, ...)`` is
:func:`xpcs_assets.correlate.api.correlate`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xpcs_assets.correlate.api import Correlation


class _Callable(ModuleType):
    # A name cannot be both a function and the package that every module of this step lies in.
    def __call__(self, *arguments: Any, **options: Any) -> Correlation:
        from xpcs_assets.correlate.api import correlate

        return correlate(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
