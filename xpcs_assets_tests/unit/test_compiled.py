from __future__ import annotations

import subprocess
import sys

_FIRST_CALL = """
import sys
import numpy as np
from xpcs_assets.readers import event_loops
event_loops.pixels_rise(np.zeros(2, np.int32), np.zeros(2, np.int32), 1)
print("scipy.linalg" in sys.modules)
import scipy.linalg.cython_blas
"""


def test_a_compiled_loop_runs_without_scipys_algebra_which_loads_when_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", _FIRST_CALL], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
