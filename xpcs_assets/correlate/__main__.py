"""``python -m xpcs_assets.correlate``: the worker."""

from __future__ import annotations

import sys

from xpcs_assets.correlate.worker import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
