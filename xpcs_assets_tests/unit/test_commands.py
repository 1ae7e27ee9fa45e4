"""Programs run here and on another machine: every word arrives as it is, and no answer is no answer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from xpcs_assets import commands
from xpcs_assets.commands import Commands, LocalCommands, SshCommands, line_of
from xpcs_assets.errors import NotFoundError, UnreachableError
from xpcs_assets_tests import sshd

ODD = [
    "",
    " ",
    "a b",
    "'",
    '"',
    "$HOME",
    "`id`",
    "!x",
    "\\",
    "a\nb",
    "\n",
    "*",
    "-n",
    "\u00e9",
    os.fsdecode(b"\xff"),
    "%s",
]
SAY_WORDS = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
NO_HOST = SshCommands("127.0.0.1", 1, "nobody", "/nonexistent/key", "/nonexistent/hosts", connect_s=2)


@pytest.fixture(scope="session")
def far() -> SshCommands:
    if missing := sshd.why_missing():
        pytest.skip(missing)
    return sshd.server().commands


@pytest.fixture(params=["here", "far"])
def machine(request: pytest.FixtureRequest) -> Commands:
    if request.param == "here":
        return LocalCommands()
    found: Commands = request.getfixturevalue("far")
    return found


def test_what_a_program_leaves_is_told(machine: Commands) -> None:
    answer = machine.run(["sh", "-c", "cat; echo trouble >&2; exit 3"], limit_s=20, data=b"given\0\xff")
    assert (answer.code, answer.out, answer.err, answer.told) == (3, b"given\0\xff", b"trouble\n", "trouble")


def test_every_word_is_a_word_whatever_is_in_it(machine: Commands) -> None:
    answer = machine.run([sys.executable, "-I", "-S", "-c", SAY_WORDS, *ODD], limit_s=20)
    assert answer.out.split(b"\0") == [os.fsencode(word) for word in ODD]


def test_a_program_that_is_not_there_is_told_apart_from_a_machine_that_is_not(machine: Commands) -> None:
    with pytest.raises(NotFoundError, match="there is no program 'nonesuch'"):
        machine.run(["nonesuch"], limit_s=20)


def test_a_program_that_takes_too_long_is_given_up(machine: Commands) -> None:
    began_s = time.monotonic()
    with pytest.raises(UnreachableError, match=r"did not end within 0\.5 s"):
        machine.run(["sleep", "60"], limit_s=0.5)
    assert time.monotonic() - began_s < 20


def test_nothing_is_read_from_our_own_input(machine: Commands) -> None:
    assert machine.run(["cat"], limit_s=20).out == b""


def test_variables_are_added_for_programs_of_this_machine() -> None:
    answer = LocalCommands({"XPCS_WORD": "said"}).run(["sh", "-c", "echo $XPCS_WORD $PATH"], limit_s=20)
    assert answer.out.decode().split() == ["said", os.environ["PATH"]]


def test_what_a_program_says_of_its_trouble_is_one_short_line() -> None:
    told = LocalCommands().run(["sh", "-c", "yes no | head -n 5000 >&2; exit 1"], limit_s=20).told
    assert (len(told) <= 2000, "\n" in told) == (True, False)


@pytest.mark.parametrize("shell", ["sh", "bash", "tcsh", "fish"])
def test_a_line_gives_its_words_back_in_any_shell(shell: str) -> None:
    words = [sys.executable, "-I", "-S", "-c", SAY_WORDS, *ODD]
    try:
        done = subprocess.run([shell, "-c", line_of(words)], capture_output=True, check=True, timeout=20)
    except FileNotFoundError:
        pytest.skip(f"there is no {shell} here")
    assert done.stdout.split(b"\0") == [os.fsencode(word) for word in ODD]


def test_a_line_without_odd_signs_can_be_read_by_people() -> None:
    assert line_of(["sbatch", "--parsable", "my job"]) == "sbatch --parsable 'my job'"
    assert line_of(["a\nb"]).isprintable()
    assert "!" not in line_of(["wow!"])


# ---- over ssh --------------------------------------------------------------------------------------------------------


def test_a_machine_that_is_down_is_out_of_reach_and_says_where() -> None:
    with pytest.raises(UnreachableError, match=r"nobody@127\.0\.0\.1: ssh did not get there.*refused"):
        NO_HOST.run(["true"], limit_s=20)


def test_a_machine_that_accepts_and_says_nothing_is_given_up_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began_s = time.monotonic()
        with pytest.raises(UnreachableError):
            replace(NO_HOST, port=silent.getsockname()[1], connect_s=1).run(["true"], limit_s=20)
        assert time.monotonic() - began_s < 15


def test_a_host_with_another_key_is_refused_though_a_connection_to_it_is_open(far: SshCommands, tmp_path: Path) -> None:
    assert far.run(["true"], limit_s=20).code == 0
    with pytest.raises(UnreachableError, match="Host key verification failed"):
        sshd.with_a_wrong_host_key(far, tmp_path).run(["true"], limit_s=20)


def test_a_host_whose_key_is_not_known_is_refused(far: SshCommands, tmp_path: Path) -> None:
    (tmp_path / "none").touch()
    with pytest.raises(UnreachableError, match="Host key verification failed"):
        replace(far, known_hosts=str(tmp_path / "none")).run(["true"], limit_s=20)
    assert (tmp_path / "none").read_text() == ""


def test_a_key_that_the_host_does_not_take_is_refused_without_a_question(far: SshCommands, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    with pytest.raises(UnreachableError, match="Permission denied"):
        replace(far, key=str(tmp_path / "key")).run(["true"], limit_s=20)


def test_files_of_keys_may_have_odd_names(far: SshCommands, tmp_path: Path) -> None:
    (tmp_path / "a %h b").write_bytes(Path(far.known_hosts).read_bytes())
    (tmp_path / "100% 'key'").write_bytes(Path(far.key).read_bytes())
    (tmp_path / "100% 'key'").chmod(0o600)
    odd = replace(far, key=str(tmp_path / "100% 'key'"), known_hosts=str(tmp_path / "a %h b"))
    try:
        assert odd.run(["echo", "there"], limit_s=20).out == b"there\n"
    finally:
        sshd.hang_up(odd)


def test_one_connection_serves_many_calls(far: SshCommands) -> None:
    calls = [far.run(["sh", "-c", "echo $SSH_CONNECTION"], limit_s=20).out.split()[1] for _ in range(3)]
    assert len(set(calls)) == 1


@pytest.fixture
def another() -> Iterator[sshd.Server]:
    if missing := sshd.why_missing():
        pytest.skip(missing)
    with sshd.another_server() as found:
        yield found


def test_a_machine_that_came_back_is_reached_again(another: sshd.Server) -> None:
    assert another.commands.run(["true"], limit_s=20).code == 0
    another.stop()
    with pytest.raises(UnreachableError):
        another.commands.run(["true"], limit_s=20)
    another.start()
    assert another.commands.run(["true"], limit_s=20).code == 0


def test_more_calls_at_once_than_one_connection_takes_are_made_all_the_same(far: SshCommands) -> None:
    with ThreadPoolExecutor(14) as threads:
        answers = list(threads.map(lambda _: far.run(["sh", "-c", "sleep 1; echo done"], limit_s=60).out, range(14)))
    assert answers == [b"done\n"] * 14


@pytest.mark.parametrize("spoil", ["open to others", "a link", "a file"])
def test_no_connection_is_shared_through_a_folder_that_is_not_ours_alone(
    spoil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: SshCommands
) -> None:
    monkeypatch.setattr(commands, "_SOCKETS", str(tmp_path))
    folder = tmp_path / f"xpcs-assets-ssh-{os.getuid()}"
    if spoil == "a link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    elif spoil == "a file":
        folder.touch()
    else:
        folder.mkdir()
        folder.chmod(0o777)
    assert "ControlPath=none" in far.ssh
    assert far.run(["true"], limit_s=20).code == 0


def test_the_folder_of_sockets_is_made_for_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_SOCKETS", str(tmp_path))
    (path,) = (word.removeprefix("ControlPath=") for word in NO_HOST.ssh if word.startswith("ControlPath="))
    assert Path(path).parent.stat().st_mode & 0o777 == 0o700
    assert path != next(word for word in replace(NO_HOST, key="/other").ssh if "ControlPath" in word)
