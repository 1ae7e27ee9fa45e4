"""``python -m xpcs_assets.process``: a beamline's command at a back end."""

from __future__ import annotations

import sys

from xpcs_assets.process.worker import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
