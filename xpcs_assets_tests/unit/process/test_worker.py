"""The command line that runs a command at a back end, as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xpcs_assets.process.call import CommandCall
from xpcs_assets.process.making import made_report


def call(folder: Path, program: str) -> CommandCall:
    words = (sys.executable, "-c", program, "{output}")
    return CommandCall(words, str(folder), "A001", (), "", ("*.txt",), {"GAIN": "low"}, str(folder), "sha256:00")


def started(wanted: CommandCall) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "xpcs_assets.process", json.dumps(wanted.to_dict()), "0"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


SLOW = """
import os, pathlib, sys, time
with open(os.environ["CALLS"], "a") as calls:
    calls.write("x")
print("begun", flush=True)
time.sleep(float(os.environ["SECONDS"]))
pathlib.Path(sys.argv[1], "gain.txt").write_text(os.environ["GAIN"])
"""


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandCall:
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("SECONDS", "1")
    return call(tmp_path, SLOW)


def test_two_at_once_do_the_work_once_and_both_end_well(slow: CommandCall, tmp_path: Path) -> None:
    both = [started(slow), started(slow)]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert (tmp_path / "calls").read_text() == "x"
    assert sorted("begun" in each for each in said) == [False, True]
    report = made_report(tmp_path, "sha256:00")
    assert report is not None
    assert report["outputs"]["gain.txt"]["size_bytes"] == 3


def test_one_that_is_told_to_end_says_so_ends_the_command_and_leaves_nothing(
    slow: CommandCall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDS", "60")
    process = started(slow)
    until_s = time.monotonic() + 30
    while not (tmp_path / "calls").exists() and time.monotonic() < until_s:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    told = json.loads(said.splitlines()[-1])
    assert (told["error"], told["kind"]) == ("stopped by a signal", "ComputeError")
    assert made_report(tmp_path, "sha256:00") is None


@pytest.mark.parametrize("words", [[], ["{}", "0"], ["no json", "0"], ["[1]", "0"]])
def test_what_is_no_call_is_refused_as_wrong_usage(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "xpcs_assets.process", *words], capture_output=True, check=False)
    assert done.returncode == 2


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    _, said = (process := started(call(tmp_path / "away", "pass"))).communicate(timeout=60)
    assert process.returncode == 1
    assert "its folder cannot be used (No such file or directory)" in json.loads(said)["error"]


def test_it_loads_nothing_that_a_site_needs() -> None:
    heavy = ("pydantic", "sqlalchemy", "dagster", "yaml", "h5py", "jax", "numpy")
    program = f"import sys, xpcs_assets.process.worker; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
