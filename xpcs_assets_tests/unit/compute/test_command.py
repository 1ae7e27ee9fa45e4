"""A command is followed to its end, and what it holds stays held when who follows it is killed."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLLOWER = """
import fcntl, os, sys
from pathlib import Path
from xpcs_assets.compute.command import Command, run_command

folder = Path(sys.argv[1])
lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX)
words = ["sh", "-c", "touch begun; until [ -e go ]; do sleep 0.02; done; touch ended"]
run_command(Command(words, folder, folder / "log", 60, {}), print, keep_open=lock)
"""


def until(path: Path) -> None:
    for _ in range(1500):
        if path.exists():
            return
        time.sleep(0.02)
    raise AssertionError(f"{path.name} never came")


def is_free(lock: Path) -> bool:
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_the_lock_of_a_command_outlives_its_killed_follower_and_ends_with_the_command(tmp_path: Path) -> None:
    follower = subprocess.Popen([sys.executable, "-c", FOLLOWER, str(tmp_path)])
    try:
        until(tmp_path / "begun")
        follower.send_signal(signal.SIGKILL)
        follower.wait(timeout=30)
        assert not is_free(tmp_path / "lock")
    finally:
        follower.kill()
        (tmp_path / "go").touch()
    until(tmp_path / "ended")
    for _ in range(1500):
        if is_free(tmp_path / "lock"):
            break
        time.sleep(0.02)
    assert is_free(tmp_path / "lock")
