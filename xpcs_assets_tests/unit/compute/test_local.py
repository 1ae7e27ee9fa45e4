"""The worker process: its report is believed only when it ended well, and no worker outlives an error here."""

from __future__ import annotations

import json
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from xpcs_assets.compute import local
from xpcs_assets.compute.local import WorkerJob, run
from xpcs_assets.errors import ComputeError


class Worker:
    """A worker of a few lines of Python in place of the real one."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.report = folder / "A001_results.json"
        self.log: list[str] = []
        self._monkeypatch = monkeypatch

    def run(self, script: str, *, time_limit_s: float = 30.0, arguments: tuple[str, ...] = ()) -> dict[str, object]:
        program = self.folder / "worker"
        header = f"#!{sys.executable} -ES\nimport json, os, signal, sys, time\nfrom pathlib import Path\n"
        named = f"report, here = Path({str(self.report)!r}), Path({str(self.folder)!r})\n"
        program.write_text(header + named + textwrap.dedent(script))
        program.chmod(0o755)
        self._monkeypatch.setattr(local.sys, "executable", str(program))
        job = WorkerJob(arguments, self.report, time_limit_s, {"XPCS_TEST": "from the job"})
        return run(job, self.log.append)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    return Worker(tmp_path, monkeypatch)


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_a_worker_that_ends_well_gives_its_report_and_its_words(worker: Worker) -> None:
    report = worker.run(
        """
        print("reading", file=sys.stderr)
        print(json.dumps({"progress": 0.5}), file=sys.stderr)
        report.write_text(json.dumps({"arguments": sys.argv[1:], "told": os.environ["XPCS_TEST"]}))
        """,
        arguments=("a.imm", "--qmap", "q.hdf"),
    )
    assert report["told"] == "from the job"
    assert report["arguments"] == ["-m", "xpcs_assets.correlate", "a.imm", "--qmap", "q.hdf", "--progress", "json"]
    assert worker.log[0] == "reading"
    assert worker.log[1].startswith("worker ended with 0 after ")
    assert len(worker.log) == 2


def test_the_workers_own_words_and_remedy_are_passed_on(worker: Worker) -> None:
    with pytest.raises(ComputeError) as caught:
        worker.run(
            """
            print(json.dumps({"error": "the q-map has another shape", "remedy": "Take the right one"}), file=sys.stderr)
            sys.exit(1)
            """
        )
    assert (caught.value.what, caught.value.remedy) == ("the q-map has another shape", "Take the right one")
    assert caught.value.where == str(worker.report.with_suffix(".hdf"))


@pytest.mark.parametrize(
    ("end", "what"),
    [
        ("sys.exit(3)", "the worker ended with exit code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", r"the worker was killed \(signal 9\): out of memory, or by hand"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the worker was ended by signal 11"),
    ],
)
def test_a_worker_that_says_nothing_of_its_end_is_described_by_it(worker: Worker, end: str, what: str) -> None:
    with pytest.raises(ComputeError, match=what):
        worker.run(f"report.write_text('{{}}')\n{end}")


@pytest.mark.parametrize(
    "left", ["pass", "report.write_text('{')", "report.write_bytes(b'\\xff')", "report.write_text('[]')"]
)
def test_a_worker_that_ends_well_without_a_report_has_failed(worker: Worker, left: str) -> None:
    with pytest.raises(ComputeError, match="ended well but left no report"):
        worker.run(left)


def test_a_worker_that_takes_too_long_is_stopped_and_said_to_be(worker: Worker) -> None:
    with pytest.raises(ComputeError, match=r"took longer than 0\.4 s and was stopped") as caught:
        worker.run("(here / 'pid').write_text(str(os.getpid()))\ntime.sleep(60)", time_limit_s=0.4)
    assert caught.value.where == str(worker.report.with_suffix(".hdf"))
    assert "time_limit" in caught.value.remedy
    assert is_gone(int((worker.folder / "pid").read_text()))


def test_a_worker_that_will_not_stop_is_killed(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_GRACE_S", 0.2)
    with pytest.raises(ComputeError, match="took longer"):
        worker.run(
            """
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            (here / "pid").write_text(str(os.getpid()))
            print("deaf", file=sys.stderr, flush=True)
            time.sleep(60)
            """,
            time_limit_s=0.5,
        )
    assert worker.log == ["deaf"]
    assert is_gone(int((worker.folder / "pid").read_text()))


def test_what_a_stopped_worker_says_last_is_heard(worker: Worker) -> None:
    with pytest.raises(ComputeError, match="took longer"):
        worker.run(
            """
            def end(*_):
                print("put away", file=sys.stderr, flush=True)
                sys.exit(143)
            signal.signal(signal.SIGTERM, end)
            time.sleep(60)
            """,
            time_limit_s=0.5,
        )
    assert worker.log == ["put away"]


def test_an_interrupt_here_ends_the_worker(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: object, job: WorkerJob) -> int:
        while not (worker.folder / "pid").exists() or not (worker.folder / "pid").read_text():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(local._Follower, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        worker.run("(here / 'pid').write_text(str(os.getpid()))\ntime.sleep(60)")
    assert is_gone(int((worker.folder / "pid").read_text()))


def test_a_child_that_the_worker_leaves_behind_does_not_hold_up_its_end(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_GRACE_S", 0.3)
    began_s = time.monotonic()
    report = worker.run(
        """
        import subprocess
        child = subprocess.Popen(["sleep", "5"])
        report.write_text(json.dumps({"child": child.pid}))
        """
    )
    took_s = time.monotonic() - began_s
    assert isinstance(report["child"], int)
    assert took_s < 3


def test_a_worker_that_says_a_great_deal_does_not_block(worker: Worker) -> None:
    worker.run(
        """
        for number in range(20000):
            print("line", number, file=sys.stderr)
            print("to nobody", number)
        report.write_text("{}")
        """
    )
    assert len(worker.log) == 20001


def test_bytes_that_are_no_text_are_passed_on_all_the_same(worker: Worker) -> None:
    worker.run("sys.stderr.buffer.write(b'\\xff\\xfe odd\\n')\nreport.write_text('{}')")
    assert worker.log[0] == "\ufffd\ufffd odd"


def test_no_thread_is_left_behind(worker: Worker) -> None:
    before = threading.active_count()
    worker.run("report.write_text(json.dumps({'ok': True}))")
    assert json.loads(worker.report.read_text()) == {"ok": True}
    assert threading.active_count() == before
