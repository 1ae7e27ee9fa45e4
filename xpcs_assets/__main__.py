"""The command ``xpcs-assets``.

``correlate``, ``average`` and ``merge`` go straight to their modules, which need numpy, h5py, jax, numba and hdf5plugin
alone, so that the same command works on an HPC node; everything else is in ``cli``.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the exit code is 0 only when what was asked for is done."""
    if sys.argv[1:2] == ["correlate"]:
        from xpcs_assets.correlate.worker import main as correlate

        return correlate(sys.argv[2:])
    if sys.argv[1:2] == ["average"]:
        from xpcs_assets.correlate.average_command import main as average

        return average(sys.argv[2:])
    if sys.argv[1:2] == ["merge"]:
        from xpcs_assets.correlate.merge_command import main as merge

        return merge(sys.argv[2:])
    from xpcs_assets.cli import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
