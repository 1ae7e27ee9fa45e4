"""What runs at a Globus Compute endpoint: this file's text is registered as a function, and imports nothing of ours."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

LOG_BYTES = 20_000
LOOK_S = 0.2


def xpcs_assets_job(told: dict[str, Any]) -> dict[str, Any]:
    """Run a command in its folder until it ends, is late, or is to be ended; or leave the word that one is to be ended.

    ``told`` has ``stop`` (a path: as soon as a file is there the command is ended), and either ``end`` (leave that file
    and do nothing else), or ``words``, ``folder``, ``output`` (a path), ``environment`` and ``walltime_s``. The answer
    is plain JSON: ``code``, ``ended`` (empty, ``cancelled`` or ``walltime``) and ``log``, the last of what it wrote.
    """
    stop = Path(told["stop"])
    if told.get("end"):
        stop.touch()
        return {"code": None, "ended": "", "log": ""}
    if stop.exists():
        return {"code": None, "ended": "cancelled", "log": ""}
    output, ended, begun_s = Path(told["output"]), "", time.monotonic()
    with output.open("wb") as written:
        try:
            child = subprocess.Popen(
                told["words"],
                cwd=told["folder"],
                env={**os.environ, **told["environment"]},
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return {"code": 127, "ended": "", "log": f"{error}\n"}
        while child.poll() is None:
            if time.monotonic() - begun_s > told["walltime_s"]:
                ended = "walltime"
            elif stop.exists():
                ended = "cancelled"
            if ended:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            else:
                time.sleep(LOOK_S)
    with output.open("rb") as written:
        written.seek(max(0, written.seek(0, os.SEEK_END) - LOG_BYTES))
        log = written.read().decode(errors="replace")
    return {"code": None if ended else child.returncode, "ended": ended, "log": log}
