"""The command line that runs a beamline's command at a back end: it needs xpcs-assets alone, and no site.

It exits 0 when the report and what it names are there, 1 when it failed (the error is on stderr), 2 on wrong usage.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from xpcs_assets.engine import stop
from xpcs_assets.errors import ComputeError, XpcsAssetsError
from xpcs_assets.process.call import CommandCall
from xpcs_assets.process.making import make


def main(argv: Sequence[str]) -> int:
    """Run one command; ``argv`` is the JSON of its call and when it was asked for, s since 1970."""
    try:
        call, asked_at_s = CommandCall.from_text(argv[0]), float(argv[1])
    except (IndexError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"error: no call of a command ({type(error).__name__}: {error})\n")
        return 2
    try:
        with stop.stoppable():
            made = make(
                call,
                lambda _: None,
                environment=os.environ,
                waits=True,
                asked_at_s=asked_at_s,
                look=_Echo().go_on,
            )
    except XpcsAssetsError as error:
        return _failed(error)
    except KeyboardInterrupt:
        return _failed(ComputeError("stopped by a signal", where=call.folder, remedy="Start it again"))
    sys.stderr.write(f"{call.folder}: {'was taken already' if made is None else 'made'}\n")
    return 0


class _Echo:
    """Passes on what the command says as it comes: whoever is killed has said it."""

    def __init__(self) -> None:
        self._at = 0

    def go_on(self, log: Path) -> None:
        with suppress(BrokenPipeError), log.open("rb") as file:
            file.seek(self._at)
            said = file.read()
            self._at += len(said)
            sys.stderr.buffer.write(said)
            sys.stderr.buffer.flush()
        stop.check()


def _failed(error: XpcsAssetsError) -> int:
    told = {"error": error.what, "where": error.where, "remedy": error.remedy, "kind": type(error).__name__}
    with suppress(BrokenPipeError):
        sys.stderr.write(json.dumps(told) + "\n")
    return 1
