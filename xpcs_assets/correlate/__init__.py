"""Step 3: raw frames or events -> g2, in a process of its own. Runs without Dagster and the platform's state.

``delays`` plans, ``partition`` sorts the pixels, ``select`` chooses frames, ``multitau`` correlates (``kernels`` on the
CPU, ``multitau_jax`` on a GPU), ``normalise`` makes g2 and its errors, ``saxs`` the means, ``write_result`` and
``result`` the file, ``fit`` the laws, ``worker`` the command.

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
