"""Programs of an operator's: bounded in time and output, with a closed environment, and ended with all they started."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from migrator.execution.hooks import process
from migrator.execution.hooks.process import LOGGED_BYTES, PATH, Ended, Result, call
from tests.execution.hooks.scripts import script

ENOUGH = 20.0


def run(tmp_path: Path, body: str, *, seconds: float = ENOUGH, stop: bool = False, **environment: str) -> Ended:
    """A script's end."""
    program = script(tmp_path / "hooks", "on-start", body)
    return call(program, environment, directory=tmp_path, seconds=seconds, stop=lambda: stop)


def lives(process_id: int) -> bool:
    """Whether a process does anything any more."""
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_it_ends_as_the_shell_has_it(tmp_path: Path) -> None:
    """Status 0 is well; any other, and a signal, is not."""
    assert (run(tmp_path, "exit 0").result, run(tmp_path, "exit 0").exit_status) == (Result.OK, 0)
    assert (run(tmp_path, "exit 7").result, run(tmp_path, "exit 7").exit_status) == (Result.FAILED, 7)
    assert run(tmp_path, "kill -9 $$").exit_status == 137


def test_its_environment_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was given, a path and a language; nothing that migrator has: no input, descriptor or blocked signal."""
    monkeypatch.setenv("MIGRATOR_DATABASE_URL", "postgresql://u:hunter2@db/m")
    secret = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(secret, True)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    body = 'cat; tr "\\0" "\\n" </proc/$$/environ; ls /proc/$$/fd; grep SigBlk /proc/self/status; pwd'
    try:
        ended = run(tmp_path, body, MIGRATOR_HOOK_NAME="on-start")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(secret)
    assert ended.result is Result.OK
    variables = {line for line in ended.lines if "=" in line}
    assert variables == {"MIGRATOR_HOOK_NAME=on-start", f"PATH={PATH}", "LANG=C.UTF-8"}
    assert str(secret) not in ended.lines
    assert any(line.startswith("SigBlk:") and int(line.split()[1], 16) == 0 for line in ended.lines)
    assert ended.lines[-1] == str(tmp_path)


def test_a_hanging_program_is_ended_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that does not listen to SIGTERM, and a child of its."""
    monkeypatch.setattr(process, "_GRACE_SECONDS", 0.2)
    began = time.monotonic()
    ended = run(tmp_path, "trap '' TERM; sleep 987 & echo $!; while :; do sleep 0.1; done", seconds=0.3)
    assert (ended.result, ended.exit_status) == (Result.TIMED_OUT, 137)
    assert time.monotonic() - began < ENOUGH
    child = int(ended.lines[0])
    while lives(child):
        assert time.monotonic() - began < ENOUGH


def test_somebody_wants_to_stop(tmp_path: Path) -> None:
    """Long before its time is over."""
    ended = run(tmp_path, "sleep 986", stop=True)
    assert ended.result is Result.STOPPED
    assert ended.seconds < ENOUGH


def test_much_output_is_cut_and_holds_nobody_up(tmp_path: Path) -> None:
    """The beginning is kept, the rest counted; the program runs to its end."""
    ended = run(tmp_path, "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end >&2; exit 3")
    assert (ended.result, ended.exit_status) == (Result.FAILED, 3)
    assert ended.left_out == 3_000_000 + len("\nend\n") - LOGGED_BYTES
    assert sum(map(len, ended.lines)) <= LOGGED_BYTES


def test_output_steers_no_terminal(tmp_path: Path) -> None:
    """Escapes and what is no text are shown as what they are."""
    ended = run(tmp_path, r"printf 'a\033[2Jb\n\377\n'")
    assert ended.lines == ("a\\x1b[2Jb", "\N{REPLACEMENT CHARACTER}")


def test_what_it_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    """A daemon that holds the pipe open is its operator's."""
    began = time.monotonic()
    ended = run(tmp_path, "sleep 985 & echo $!")
    assert ended.result is Result.OK
    assert time.monotonic() - began < ENOUGH
    os.kill(int(ended.lines[0]), signal.SIGKILL)


def test_what_can_not_be_started_says_why(tmp_path: Path) -> None:
    """No interpreter, or no program any more."""
    program = script(tmp_path / "hooks", "on-start", "true")
    program.write_text("#!/no/such/interpreter\n", encoding="utf-8")
    for _ in range(2):
        ended = call(program, {}, directory=tmp_path, seconds=ENOUGH, stop=lambda: False)
        assert (ended.result, ended.exit_status) == (Result.NOT_STARTED, None)
        assert ended.lines == ("No such file or directory",)
        program.unlink(missing_ok=True)


def test_it_can_be_called_beside_the_main_thread(tmp_path: Path) -> None:
    """As `on-…` hooks are."""
    results: list[Ended] = []
    thread = threading.Thread(target=lambda: results.append(run(tmp_path, "echo beside")))
    thread.start()
    thread.join()
    assert results[0].lines == ("beside",)
