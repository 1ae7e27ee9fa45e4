"""A command is the analysis only if it leaves what it should; killed anywhere and repeated, there is one result."""

from __future__ import annotations

import fcntl
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from xpcs_assets.beamline import OpenBeamline
from xpcs_assets.compute.facts import RUN_DATABASE
from xpcs_assets.errors import ComputeError, CopyError, NotFoundError, RefusedError, XpcsAssetsError
from xpcs_assets.process import processing
from xpcs_assets.process.making import LIST, outputs_in
from xpcs_assets.process.processing import keys_of, outputs_of, plan, process, target_of
from xpcs_assets.runs.command_words import filled
from xpcs_assets.settings_process import Process
from xpcs_assets_tests.remote import KEY
from xpcs_assets_tests.unit.process.conftest import SUM, Configured


def run(beamline: OpenBeamline, said: list[str] | None = None) -> processing.Processed:
    return process(beamline, KEY, (said if said is not None else []).append)


def test_the_outputs_of_a_command_get_their_final_names_and_are_in_the_timeline(configured: Configured) -> None:
    beamline, said = configured(), list[str]()
    done = run(beamline, said)
    final = beamline.root("made") / done.folder
    assert (final / "sum.txt").read_text() == "1 ['events']"
    assert sorted(path.name for path in final.iterdir()) == ["sum.txt", LIST]
    assert outputs_in(json.loads((final / LIST).read_text())) == done.outputs
    assert said == ["summed"]
    assert outputs_of(beamline, beamline.latest(KEY)) == (done.folder, done.outputs)


def test_outputs_that_are_there_and_whole_are_taken_and_others_made_anew(configured: Configured) -> None:
    beamline = configured()
    first = run(beamline)
    assert first.seconds > 0
    again = run(beamline)
    assert (again.seconds, again.digest) == (0, first.digest)
    (beamline.root("made") / first.folder / "sum.txt").write_text("damaged")
    mended = run(beamline)
    assert mended.seconds > 0
    assert mended.digest == first.digest


def test_another_command_or_target_is_another_result(configured: Configured) -> None:
    first = run(configured())
    other = run(configured(target=["peaks"]))
    assert other.folder != first.folder


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("raise SystemExit('no calibration')", r"exit code 1; its last words: no calibration"),
        ("pass", r"left no '\*\.txt'"),
        ("import sys; open(sys.argv[2] + '/sum.txt', 'w')", r"left an empty file"),
        ("import os, sys; os.symlink('/etc/passwd', sys.argv[2] + '/sum.txt')", r"no plain file"),
        ("import os; os.kill(os.getpid(), 9)", r"ended by signal 9, and it said nothing"),
        ("import time; time.sleep(60)", r"took longer than 1 s and was ended"),
    ],
)
def test_a_command_that_fails_or_leaves_not_what_it_should_has_failed(
    configured: Configured, program: str, told: str
) -> None:
    beamline = configured(program, time_limit=1 if "sleep" in program else 60)
    with pytest.raises(ComputeError, match=told):
        run(beamline)
    assert list(beamline.root("made").rglob("*.txt")) == []
    assert outputs_of(beamline, beamline.latest(KEY)) == ("", {})


def test_a_program_that_is_not_there_is_named(configured: Configured) -> None:
    with pytest.raises(ComputeError, match=r"no-such-program: it cannot be started"):
        run(configured(command=["no-such-program"], target=[]))


def test_what_a_shell_would_read_is_a_word_like_any_other(configured: Configured) -> None:
    beamline = configured(target=["$(touch here)", "; rm -r *"])
    done = run(beamline)
    text = (beamline.root("made") / done.folder / "sum.txt").read_text()
    assert text == "1 ['$(touch here)', '; rm -r *']"


def test_a_command_sees_the_variables_it_was_given_and_no_secret_of_the_site(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPCS_SECRET", "s3cret")
    program = "import os, sys; open(sys.argv[2] + '/sum.txt', 'w').write(repr(sorted(os.environ)))"
    beamline = configured(program, environment={"GAIN": "low"})
    text = (beamline.root("made") / run(beamline).folder / "sum.txt").read_text()
    assert "'GAIN'" in text
    assert "XPCS_SECRET" not in text


def test_what_a_command_left_in_the_background_is_ended_with_it(configured: Configured) -> None:
    program = """
import pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[2], "child.txt").write_text(str(child.pid))
"""
    beamline = configured(program)
    child = int((beamline.root("made") / run(beamline).folder / "child.txt").read_text())
    until_s = time.monotonic() + 10
    while _is_alive(child):
        assert time.monotonic() < until_s
        time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_command_whose_follower_was_killed_keeps_others_out_until_it_ends(configured: Configured) -> None:
    beamline = configured()
    folder = Path(plan(beamline, KEY).command.folder)
    with (folder / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RefusedError, match=r"at this run already"):
            run(beamline)
    assert run(beamline).seconds > 0


@pytest.mark.parametrize("at", range(3))
def test_ended_between_any_two_files_and_repeated_there_is_one_result(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    program = "import sys; [open(sys.argv[2] + '/' + n + '.txt', 'w').write(n) for n in 'ab']"
    beamline = configured(program)
    write, written = processing.write_file_safely, list[Path]()

    def killed(target: Path, *args: Any, **options: Any) -> Any:
        if len(written) == at:
            raise KeyboardInterrupt
        written.append(target)
        return write(target, *args, **options)

    monkeypatch.setattr(processing, "write_file_safely", killed)
    with pytest.raises(KeyboardInterrupt):
        run(beamline)
    assert outputs_of(beamline, beamline.latest(KEY)) == ("", {})
    monkeypatch.undo()
    done = run(beamline)
    assert sorted(path.name for path in (beamline.root("made") / done.folder).iterdir()) == ["a.txt", "b.txt", LIST]
    assert run(beamline).digest == done.digest


def test_a_run_that_is_not_staged_and_a_place_that_is_not_there_are_refused(configured: Configured) -> None:
    beamline = configured()
    run(beamline)
    (beamline.root("made") / ".xpcs-assets-place").unlink()
    with pytest.raises(CopyError, match=r"unavailable"):
        run(beamline)
    beamline.staged(beamline.latest(KEY)).raw.rename(beamline.site.home / "away")
    with pytest.raises(NotFoundError, match=r"no staged copy"):
        run(beamline)


RULES = [
    {"when": {"mode": "led*"}, "target": ["led_calibration"]},
    {"when": {"detectors": "nai", "mode": "*"}, "target": ["nai_events"]},
    {"when": {"run": "Z*"}, "target": ["never"]},
]


@pytest.mark.parametrize(
    ("said", "target"),
    [
        ({}, "events"),
        ({"mode": "bkg"}, "events"),
        ({"mode": "ledcalibration", "detectors": ["nai"]}, "led_calibration"),
        ({"mode": "bkg", "detectors": ["xams", "nai"]}, "nai_events"),
    ],
)
def test_the_first_rule_that_fits_a_run_says_its_targets(
    configured: Configured, said: dict[str, Any], target: str
) -> None:
    beamline = configured(targets=RULES)
    if said:
        beamline.ledger.note("xpcs", KEY, RUN_DATABASE, "claimed", said)
    assert target_of(beamline, beamline.latest(KEY)) == (target,)


def test_fields_stand_for_words_and_parts_of_words() -> None:
    said = {
        "command": ["run", "--in={raw}", "{target}", "{target}:{context}", "{run_key}", '{"a": 1}'],
        "outputs": ["*"],
        "to": "x",
    }
    settings = Process.model_validate({**said, "target": ["a", "b"], "context": "{raw}"})
    known = {"raw": "/raw", "output": "/out", "run_key": "R1", "context": settings.context}
    words = filled(settings.command, known, settings.target)
    assert words == ("run", "--in=/raw", "a", "b", "a,b:{raw}", "R1", '{"a": 1}')


@pytest.mark.parametrize(
    "said", [{"command": ["{secret}"]}, {"command": ["{target}"]}, {"command": []}, {"outputs": []}]
)
def test_a_command_with_an_unknown_field_or_no_target_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Process.model_validate({"command": ["run"], "outputs": ["*"], "to": "x", **said})


def test_a_beamline_has_one_analysis_and_a_place_for_its_outputs_alone(configured: Configured) -> None:
    with pytest.raises(XpcsAssetsError):
        configured(to="store")


TELLS = [sys.executable, "-c", SUM, "{raw}", "{output}", "{target}", "{context}"]
OTHERWISE = {"target": "peaks,hits", "context": "v17"}


def test_what_a_reprocessing_asks_otherwise_is_made_apart_from_the_runs_own(configured: Configured) -> None:
    beamline = configured(command=TELLS, context="v16")
    own = run(beamline)
    other = process(beamline, f"{KEY}~wide", print, OTHERWISE)
    folders = [beamline.root("made") / each.folder / "sum.txt" for each in (own, other)]
    assert [file.read_text() for file in folders] == ["1 ['events', 'v16']", "1 ['peaks', 'hits', 'v17']"]
    latest = beamline.latest(KEY)
    assert outputs_of(beamline, latest) == (own.folder, own.outputs)
    assert outputs_of(beamline, latest, f"{KEY}~wide") == (other.folder, other.outputs)
    assert keys_of(beamline, KEY) == set(), "neither step has ended"
    beamline.ledger.note("xpcs", KEY, processing.STEP, "done", {"partition": f"{KEY}~wide"})
    assert keys_of(beamline, KEY) == {f"{KEY}~wide"}
    assert process(beamline, f"{KEY}~context", print, {"context": "v16"}).folder == own.folder


@pytest.mark.parametrize(
    ("key", "asked", "told"),
    [
        (KEY, {"target": "peaks"}, r"the plain key of a run keeps what the beamline file says, but target was set"),
        (f"{KEY}~wide", {"context": "v17"}, r"the beamline's command has no \{context\}"),
        (f"{KEY}~wide", {"target": "peaks,"}, r"'peaks,' has an empty target"),
        (f"{KEY}~wide", {"target": ""}, r"'' has an empty target"),
    ],
)
def test_what_would_not_be_a_call_of_its_own_is_refused(
    configured: Configured, key: str, asked: dict[str, str], told: str
) -> None:
    beamline = configured()
    with pytest.raises(RefusedError, match=told):
        process(beamline, key, print, asked)
    assert outputs_of(beamline, beamline.latest(KEY)) == ("", {})
